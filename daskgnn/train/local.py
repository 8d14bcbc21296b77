"""Local steps: every part takes the optimizer's steps by itself, averaged now and then.

Local SGD (Stich, ICLR 2019), for any optimizer: after k steps the parts' parameters and
the numbers of their optimizers' states (moments) are averaged, with equal weights. A
part's gradient is the sum over its seeds times P / n, for P parts and n seeds of the
step, so that with k = 1 plain SGD is what it is synchronously, but for rounding.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.dataflow.clock import Work, here, together
from daskgnn.dataflow.shares import PartGradient, add_gradients
from daskgnn.train.program import TrainSession
from daskgnn.train.state import TrainState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.dataflow.clock import Works
    from daskgnn.kernels.batch import PreparedWindow
    from daskgnn.train.gradients import UpdateOptions
    from daskgnn.train.program import Program

_PARAMETERS, _OPTIMIZER = "parameters", "optimizer/"
_OF_STEPS = ("step", "eta", "mu", "mu_product")
"""Entries of `torch.optim`'s states that follow from the number of steps alone."""


class LocalTraining:
    """A `daskgnn.dataflow.chain.Local`: a replica is the state of one part."""

    def begin(self, state: TrainState, part: int) -> TrainState:
        """Return a part's replica: the common state, or the part's own."""
        arrays = {name: array[part] for name, array in state.by_part.items()}
        if not arrays:
            return TrainState(state.parameters, state.optimizer, state.step)
        parameters = arrays.pop(_PARAMETERS)
        optimizer = {n.removeprefix(_OPTIMIZER): a for n, a in arrays.items()}
        return TrainState(parameters, optimizer, state.step)

    def step(
        self,
        program: Program,
        replica: TrainState,
        batch: PreparedWindow,
        step: int,
        options: UpdateOptions,
        num_parts: int,
    ) -> TrainState:
        """Return a replica after one step of its part."""
        began = time.time()
        session = TrainSession(program, replica)
        share = session.gradient(batch, step)
        spent = session.clock.take()
        work = {here(): Work(spent, began, time.time())}
        share = replace(share, work=work, sent_bytes=0)
        session.update(share, None, replace(options, weight=float(num_parts)))
        return session.state()

    def share(self, replica: TrainState) -> PartGradient:
        """Return what is averaged of a replica, as one vector; and its losses."""
        moments = [array.ravel() for array in _moments(replica).values()]
        vector = np.concatenate([replica.parameters, *moments], dtype=np.float32)
        dense = sum(sent[0] for sent in replica.sent)
        losses = np.array(replica.losses)
        work = together(*replica.work)
        return PartGradient(vector, losses, work, dense, vector.nbytes)

    def average(
        self,
        base: TrainState,
        replica: TrainState,
        left: PartGradient,
        right: PartGradient | None,
        num_parts: int,
    ) -> TrainState:
        """Return the state of the averages.

        Parameters
        ----------
        base : TrainState
            Before these steps of the window.
        replica : TrainState
            Any part's: counts of steps and the like are the same in all.
        left, right : PartGradient
            The last two sums of what `share` returned.
        """
        total = left if right is None else add_gradients(left, right)
        mean = total.gradient / np.float32(num_parts)
        place = length = len(replica.parameters)
        optimizer = dict(replica.optimizer)
        for name, array in _moments(replica).items():
            piece = mean[place : place + array.size].reshape(array.shape)
            optimizer[name] = piece.astype(array.dtype, copy=False)
            place += array.size
        steps = len(replica.losses)
        dense = total.dense_bytes // steps
        sent = [(dense, 0)] * (steps - 1) + [(dense, total.sent_bytes)]
        works: list[Works] = [{}] * (steps - 1) + [total.work]
        after = TrainState(mean[:length], optimizer, replica.step)
        return _told(after, base, total.loss, replica.finished, works, sent)

    def keep(self, base: TrainState, replicas: Sequence[TrainState]) -> TrainState:
        """Return a state that holds all parts' replicas, before they are averaged."""
        first = replicas[0]
        by_part = {_PARAMETERS: np.stack([r.parameters for r in replicas])}
        for name in first.optimizer:
            arrays = [replica.optimizer[name] for replica in replicas]
            by_part[f"{_OPTIMIZER}{name}"] = np.stack(arrays)
        losses = np.sum([replica.losses for replica in replicas], axis=0)
        works = [
            together(*(replica.work[i] for replica in replicas))
            for i in range(len(first.losses))
        ]
        dense = sum(replica.sent[0][0] for replica in replicas)
        sent = [(dense, 0)] * len(works)
        # Parameters and optimizer stay those that the parts began from.
        after = replace(base.cleared(), step=first.step, by_part=by_part)
        return _told(after, base, losses, first.finished, works, sent)


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


def _told(
    after: TrainState,
    base: TrainState,
    losses: Sequence[float] | np.ndarray,
    finished: Sequence[float],
    works: Sequence[Works],
    sent: Sequence[tuple[int, int]],
) -> TrainState:
    """Return a state with the reports of the steps before it and of these."""
    return replace(
        after,
        losses=(*base.losses, *(float(loss) for loss in losses)),
        finished=(*base.finished, *finished),
        work=(*base.work, *works),
        sent=(*base.sent, *sent),
    )
