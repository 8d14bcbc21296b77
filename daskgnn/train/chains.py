"""From how gradients are used to the chain of a window's steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskgnn.dataflow.chain import Chain
from daskgnn.train.gradients import compression
from daskgnn.train.local import LocalTraining
from daskgnn.train.packing import GradientPacking
from daskgnn.train.program import TrainSession

if TYPE_CHECKING:
    from daskgnn.train.gradients import Gradients


def chain_of(gradients: Gradients) -> Chain:
    """Return the chain of steps that use gradients so."""
    packing = None
    if gradients.compress is not None:
        packing = GradientPacking(compression(gradients.compress))
    local = LocalTraining() if gradients.local_steps else None
    return Chain(
        TrainSession,
        gradients.staleness,
        gradients.sums,
        packing,
        gradients.checksum_every or 0,
        local,
        max(gradients.local_steps, 1),
    )
