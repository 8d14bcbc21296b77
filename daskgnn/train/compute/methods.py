"""Steps with compressed gradients, and the choice of a `StepMethod` by options."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from daskgnn.dataflow.steps.gradients import PartStep
from daskgnn.dataflow.steps.method import StepMethod
from daskgnn.train.compute.gradients import compression
from daskgnn.train.compute.local import LocalSteps
from daskgnn.train.compute.session import TrainSession

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.dataflow.steps.method import Step
    from daskgnn.kernels.batch import PreparedWindow
    from daskgnn.kernels.compress import Carried, Compression, Message
    from daskgnn.train.compute.gradients import Gradients
    from daskgnn.train.compute.state import TrainState


@dataclass(frozen=True)
class PackedSteps(StepMethod):
    """Steps with compressed gradients: residuals are added to the next step's."""

    compression: Compression = field(kw_only=True)

    carries: ClassVar[bool] = True

    def part_step(
        self,
        session: Any,
        step: Step,
        part: int,
        batch: PreparedWindow,
        carried: Carried | None,
    ) -> PartStep:
        """Return a part's share with its gradient compressed, and what is left out."""
        share = session.gradient(batch, step.number, step.behind)
        shapes = session.program.shapes
        with session.clock.phase("compress"):
            if carried is None:
                carried = session.carried(part) or self.compression.first(shapes)
            compression = self.compression.ramped(step.options.ramp)
            message, carried = compression.compress(share.gradient, carried, shapes)
        given = _given(share.given, message) if share.given is not None else None
        share = replace(share, gradient=message, given=given)
        return PartStep(replace(share, sent_bytes=share.nbytes), carried)

    def keep(self, state: TrainState, carried: Sequence[Carried]) -> TrainState:
        """Return a state with what all parts carry, in order."""
        by_part = {name: np.stack([c[name] for c in carried]) for name in carried[0]}
        return replace(state, by_part=by_part)


def _given(given: np.ndarray, message: Message) -> np.ndarray:
    """Return which parameters have a gradient, what was left of earlier ones too."""
    sizes = [prod(shape) for shape in message.shapes]
    places = np.cumsum([0, *sizes]).tolist()
    sent = message.dense() != 0
    found = np.array([sent[first:last].any() for first, last in pairwise(places)])
    return given | found if len(given) else found if found.any() else given


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
