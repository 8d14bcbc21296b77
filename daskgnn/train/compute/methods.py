"""Choose the `StepMethod` that the options ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskgnn.dataflow.steps.method import StepMethod
from daskgnn.train.compute.gradients import compression
from daskgnn.train.compute.local import LocalSteps
from daskgnn.train.compute.packing import PackedSteps
from daskgnn.train.compute.program import TrainSession

if TYPE_CHECKING:
    from daskgnn.train.compute.gradients import Gradients


def method_of(gradients: Gradients) -> StepMethod:
    """Return the method of steps that use gradients so."""
    late, every = gradients.staleness, gradients.checksum_every or 0
    if gradients.compress is not None:
        how = compression(gradients.compress)
        return PackedSteps(TrainSession, late, "packed", every, compression=how)
    if gradients.local_steps:
        count = gradients.local_steps
        return LocalSteps(TrainSession, late, gradients.sums, every, count)
    return StepMethod(TrainSession, late, gradients.sums, every)
