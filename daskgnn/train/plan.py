"""From the global plan of seeds to windows of steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.dataflow.window import WindowSeeds
from daskgnn.kernels.batch import StepMeta
from daskgnn.kernels.counter import DROPOUT, EXPANSION, SAMPLING, derive_key
from daskgnn.kernels.seeds import SeedPlan, cut_runs
from daskgnn.kernels.targets import distinct_nodes
from daskgnn.sampling.steps import runs_of
from daskgnn.train.compute.gradients import (
    SYNCHRONOUS,
    Gradients,
    UpdateOptions,
    step_weights,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from daskgnn.kernels.targets import TargetRows, Targets


@dataclass(frozen=True)
class Window:
    """Some consecutive steps of one epoch."""

    number: int
    epoch: int
    first: int
    """The first step, counted from the epoch's begin."""
    size: int
    last_of_epoch: bool


@dataclass(frozen=True)
class Position:
    """Where in the plan a run stands: the next step to do."""

    epoch: int = 0
    step: int = 0
    """Counted from the epoch's begin."""


def windows(
    plan: SeedPlan,
    start: Position,
    epochs: int,
    size: Callable[[], int],
    checkpoint_every: int | None,
    alike: Callable[[int], int | None] = lambda _: None,
) -> Iterator[Window]:
    """Yield the windows from `start` to the end of the last epoch.

    `size` is asked for the most steps of each. A window ends at its epoch's
    end, where a checkpoint is due: a multiple of `checkpoint_every` steps since the
    run began, and after the steps that are `alike` from its first one on.
    """
    per_epoch = plan.steps_per_epoch
    epoch, step, number = start.epoch, start.step, 0
    while epoch < epochs:
        take = min(size(), per_epoch - step)
        done = epoch * per_epoch + step
        most = alike(done)
        if most is not None:
            take = min(take, most)
        if checkpoint_every:
            take = min(take, checkpoint_every - done % checkpoint_every)
        last = step + take == per_epoch
        yield Window(number, epoch, step, take, last)
        number += 1
        epoch, step = (epoch + 1, 0) if last else (epoch, step + take)


def some_windows(
    plan: SeedPlan,
    start: Position,
    steps: int,
    size: Callable[[], int],
    alike: Callable[[int], int | None] = lambda _: None,
) -> Iterator[Window]:
    """Yield the windows from `start` until so many steps are in them."""
    left = steps
    enough = start.epoch + 2 + steps // plan.steps_per_epoch
    for window in windows(plan, start, enough, size, None, alike):
        take = min(window.size, left)
        left -= take
        yield replace(window, size=take)
        if not left:
            return


@dataclass(eq=False)
class WindowPlanner:
    """Gives every window its seeds and keys."""

    plan: SeedPlan
    num_parts: int
    dtype: np.dtype
    """Of the graph's node ids."""
    gradients: Gradients = SYNCHRONOUS
    warmup_steps: int = 0
    expand: Callable[[Targets, int], Targets] | None = None
    """(targets of a step, key) -> targets; they are cut into parts thereafter, so they
    are the same for any number of parts."""
    _epoch: int = -1
    _permutation: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def seeds(self, window: Window) -> WindowSeeds:
        """Return the window's seeds, by part and step, and the steps' keys."""
        parts = range(self.num_parts)
        runs: list[list[np.ndarray]] = [[] for _ in parts]
        rows: list[list[TargetRows | None]] = [[] for _ in parts]
        keys, meta = [], []
        for step in range(window.first, window.first + window.size):
            counter = (self.plan.seed, window.epoch, step)
            for part, (nodes, which) in enumerate(self._runs(window.epoch, step)):
                runs[part].append(nodes)
                rows[part].append(which)
            keys.append(derive_key(SAMPLING, *counter))
            count = self.plan.num_targets(window.epoch, step)
            meta.append(StepMeta(derive_key(DROPOUT, *counter), count))
        simple = all(which is None for part in rows for which in part)
        given = None if simple else rows
        return WindowSeeds(runs, np.array(keys, np.uint64), meta, given)

    def _runs(
        self, epoch: int, step: int
    ) -> Iterable[tuple[np.ndarray, TargetRows | None]]:
        """Return what each part samples from in a step, and which target has which."""
        if self.plan.chosen is not None:
            starts = self.plan.chosen.starts(epoch, step)
            return ((run, None) for run in runs_of(starts, self.num_parts))
        if epoch != self._epoch:
            self._permutation = self.plan.permutation(epoch)
            self._epoch = epoch
        key = derive_key(EXPANSION, self.plan.seed, epoch, step)
        return self._cut(self._targets(step, key))

    def _cut(self, targets: Targets) -> Iterator[tuple[np.ndarray, TargetRows | None]]:
        """Yield each part's share of a step's targets: nodes, and which has which."""
        parts = range(self.num_parts)
        if self.gradients.bound is None:
            runs = pairwise(cut_runs(len(targets), self.num_parts))
            shares = [slice(first, last) for first, last in runs]
        else:
            # Each share is an update of its own, so it must be like the others: targets
            # of one part of the graph alone have other classes than those of another.
            shares = [slice(part, None, self.num_parts) for part in parts]
        if targets.are_nodes():
            nodes = targets.nodes[:, 0].astype(self.dtype)
            yield from ((nodes[share], None) for share in shares)
            return
        for share in shares:
            nodes, which = distinct_nodes(targets.take(share))
            yield nodes.astype(self.dtype), which

    def _targets(self, step: int, key: int) -> Targets:
        """Return the targets of a step, in storage order."""
        targets = self.plan.step_targets(self._permutation, step)
        if self.expand is None:
            return targets
        expanded = self.expand(targets, key)
        return targets if expanded is targets else expanded.in_order()

    def updates(self, window: Window) -> Iterator[UpdateOptions]:
        """Yield how each step's gradient is used, but for the optimizer's settings."""
        per_epoch = self.plan.steps_per_epoch
        first = self._first_step(window)
        found = step_weights(
            self.gradients.accumulate,
            partial(self.plan.num_targets, window.epoch),
            per_epoch,
            range(window.first, window.first + window.size),
        )
        for i, (weight, applies) in enumerate(found):
            late = self.gradients.staleness_of(first + i)
            done = window.first + i + 1
            every = self.gradients.local_steps
            averages = every > 0 and (done % every == 0 or done == per_epoch)
            rate = self.gradients.rate(late) * self.warmth(first + i)
            ramp = self.gradients.ramp(first + i)
            yield UpdateOptions([], weight, applies, averages, rate, ramp, late)

    def limit(self, window: Window) -> int:
        """Return the largest staleness of a window's gradients."""
        return self.gradients.limit(self._first_step(window))

    def _first_step(self, window: Window) -> int:
        return window.epoch * self.plan.steps_per_epoch + window.first

    def warmth(self, step: int) -> float:
        """Return what the learning rate is multiplied by in the first steps."""
        return min(1.0, (step + 1) / (self.warmup_steps + 1))
