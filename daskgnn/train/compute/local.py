"""Local steps: each part takes optimizer steps by itself between averages.

Local SGD (Stich, ICLR 2019), for any optimizer: after k steps the parts' parameters and
the numbers of their optimizers' states (moments) are averaged, with equal weights. A
part's gradient is the sum over its seeds times P / n, for P parts and n seeds of the
step, so that with k = 1 plain SGD is what it is synchronously, but for rounding.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from daskgnn.dataflow.steps.clock import Clock, Work, here, together
from daskgnn.dataflow.steps.gradients import (
    PartGradient,
    PartStep,
    add_gradients,
    divided_alone,
)
from daskgnn.dataflow.steps.method import StepMethod
from daskgnn.errors import TrainingError
from daskgnn.train.compute.loaded import load_model
from daskgnn.train.compute.state import StepReport, TrainState, named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.dataflow.steps.method import Step
    from daskgnn.kernels.batch import PreparedWindow
    from daskgnn.train.compute.gradients import UpdateOptions
    from daskgnn.train.compute.program import Program

_PARAMETERS, _OPTIMIZER, _SUMS = "parameters", "optimizer/", "sums"
_OF_STEPS = ("step", "eta", "mu", "mu_product")
"""Entries of `torch.optim`'s states that follow from the number of steps alone."""


@dataclass(frozen=True)
class LocalSteps(StepMethod):
    """Local steps, in which each part carries a replica of the state."""

    together_every: int = 1
    """Steps between averages."""

    carries: ClassVar[bool] = True
    begins_anew: ClassVar[bool] = True

    def begin(self, program: Program, state: TrainState) -> Replicas:
        """Return the session that holds the common state."""
        return Replicas(program, state)

    def part_step(
        self,
        session: Replicas,
        step: Step,
        part: int,
        batch: PreparedWindow,
        carried: TrainState | None,
    ) -> PartStep:
        """Return a part's replica after a step, and its share if it is averaged."""
        began, replica = time.time(), carried or session.replica(part)
        own: Any = self.session(session.program, replica)
        share = divided_alone(own.gradient(batch, step.number), step.num_parts)
        work = {here(): Work(own.clock.take(), began, time.time())}
        sums = _with_last(session.program, replica.sums, share.statistics)
        # The running statistics are of all parts' rows: see `Replicas.average`.
        given = _given(session.program, share)
        share = replace(share, work=work, sent_bytes=0, given=given, statistics=None)
        own.update(share, None, replace(step.options, weight=float(step.num_parts)))
        replica = replace(own.state(), sums=sums)
        for did in replica.reports[-1].work.values():
            session.clock.include(did.spent)
        return PartStep(share_of(replica) if self.adds(step.options) else None, replica)

    def adds(self, options: UpdateOptions) -> bool:
        """Return whether replicas are averaged after a step."""
        return options.averages

    def update(
        self,
        session: Replicas,
        step: Step,
        left: PartGradient,
        right: PartGradient | None,
        carried: TrainState,
    ) -> None:
        """Replace the common state by the average of all replicas."""
        session.average(carried, left, right, step.num_parts)

    def keep(self, state: TrainState, carried: Sequence[TrainState]) -> TrainState:
        """Return a state that holds all parts' replicas, before they are averaged."""
        first = carried[0]
        by_part = {_PARAMETERS: np.stack([r.parameters for r in carried])}
        for name in first.optimizer:
            arrays = [replica.optimizer[name] for replica in carried]
            by_part[f"{_OPTIMIZER}{name}"] = np.stack(arrays)
        sums = [r.sums for r in carried if r.sums is not None]
        if sums:
            by_part[_SUMS] = np.stack(sums)
        losses = np.sum([replica.losses for replica in carried], axis=0)
        dense = sum(replica.reports[0].dense_bytes for replica in carried)
        each = zip(*(replica.reports for replica in carried), strict=True)
        reports = [
            StepReport(
                float(loss), own[0].finished, together(*(r.work for r in own)), dense, 0
            )
            for loss, own in zip(losses, each, strict=True)
        ]
        # The common parameters and optimizer state do not change until the average.
        told = (*state.reports, *reports)
        return replace(state, step=first.step, by_part=by_part, reports=told)

    def checks(self, done: int) -> bool:
        """Return whether copies are compared now, which is possible at averages."""
        every = self.checksum_every
        return every > 0 and done % every < min(self.together_every, every)


class Replicas:
    """The state from which parts take local steps, and its averages."""

    def __init__(self, program: Program, state: TrainState) -> None:
        self.program = program
        self.clock = Clock()
        self._state = state

    def state(self) -> TrainState:
        """Return the state: of the last average."""
        return self._state

    def checksum(self) -> str:
        """Return the SHA-256 of its weights."""
        return self._state.weights.digest()

    def replica(self, part: int) -> TrainState:
        """Return a part's first replica: the common state, or the part's own."""
        state = self._state
        arrays = {name: array[part] for name, array in state.by_part.items()}
        if not arrays:
            found = state.parameters, state.optimizer
        else:
            found = arrays[_PARAMETERS], named(arrays, _OPTIMIZER)
        statistics, sums = state.statistics, arrays.get(_SUMS)
        return TrainState(*found, state.step, statistics=statistics, sums=sums)

    def average(
        self,
        replica: TrainState,
        left: PartGradient,
        right: PartGradient | None,
        num_parts: int,
    ) -> None:
        """Take the averages of all replicas.

        Parameters
        ----------
        replica : TrainState
            Any part's: counts of steps and the like are the same in all.
        left, right : PartGradient
            The last two sums of what `share_of` returned.
        """
        with self.clock.phase("reduce"):
            total = left if right is None else add_gradients(left, right)
            mean = total.gradient / np.float32(num_parts)
            place = length = len(replica.parameters)
            loaded, statistics = load_model(self.program), self._state.statistics
            for where in loaded.untrained():  # an average of equals may be rounded
                mean[where] = self._state.parameters[where]
            for sums in () if total.statistics is None else total.statistics:
                statistics = loaded.pooled(statistics, sums)
            optimizer = dict(replica.optimizer)
            for name, array in _moments(replica).items():
                piece = mean[place : place + array.size].reshape(array.shape)
                optimizer[name] = piece.astype(array.dtype, copy=False)
                place += array.size
        dense = total.dense_bytes // len(replica.reports)
        reports = [
            StepReport(float(loss), own.finished, {}, dense, 0)
            for loss, own in zip(total.loss, replica.reports, strict=True)
        ]
        reports[-1] = reports[-1]._replace(work=total.work, sent_bytes=total.sent_bytes)
        told = (*self._state.reports, *reports)
        found = mean[:length], optimizer, replica.step
        self._state = TrainState(*found, statistics=statistics, reports=told)


def share_of(replica: TrainState) -> PartGradient:
    """Return what is averaged of a replica, as one vector; and its losses."""
    moments = [array.ravel() for array in _moments(replica).values()]
    vector = np.concatenate([replica.parameters, *moments], dtype=np.float32)
    dense = sum(step.dense_bytes for step in replica.reports)
    work = together(*(step.work for step in replica.reports))
    losses = np.array(replica.losses)
    share = PartGradient(vector, losses, work, dense, statistics=replica.sums)
    return replace(share, sent_bytes=share.nbytes)


def _with_last(
    program: Program, sums: np.ndarray | None, last: np.ndarray | None
) -> np.ndarray | None:
    """Return what a part adds to the statistics of each step since the last average."""
    row = load_model(program).no_rows() if last is None else last
    if row is None or sums is None:
        return None if row is None else row[None]
    return np.concatenate([sums, row[None]])


def _given(program: Program, share: PartGradient) -> np.ndarray | None:
    """Return which parameters have a gradient: those that had one in the trial.

    Until the next average, parts do not know of each other's gradients.

    Raises
    ------
    TrainingError
        If there is a gradient of another one: its moments could not be averaged.
    """
    given, own = program.given, share.given
    if given is None or (own is not None and not (own & ~given[: len(own)]).any()):
        return given
    number = int(np.flatnonzero(~given if own is None else own & ~given)[0])
    raise TrainingError(
        f"parameter {number} of the model has a gradient in some minibatches only, "
        f"which local_steps={program.gradients.local_steps} cannot average: leave "
        "local_steps out"
    )


def _moments(replica: TrainState) -> dict[str, np.ndarray]:
    """Return the entries of an optimizer's state that are averaged.

    All that may differ between parts: of all parameters together or of a single one.
    """
    return {
        name: array
        for name, array in sorted(replica.optimizer.items())
        if array.dtype.kind == "f" and _entry_of(name) not in _OF_STEPS
    }


def _entry_of(name: str) -> str:
    """Return the entry that an array of `export_optimizer` is of."""
    entry, _, index = name.rpartition(".")
    return entry if entry and index.isdigit() else name
