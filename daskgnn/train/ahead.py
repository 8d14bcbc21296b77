"""Windows that are prepared while steps of earlier ones run."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import dask

from daskgnn.dataflow.bundle import bundled
from daskgnn.dataflow.timing import timed
from daskgnn.dataflow.window import prepare_window
from daskgnn.train.deployment import new_name
from daskgnn.train.plan import WindowPlanner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.dataflow.executor import Executor
    from daskgnn.dataflow.window import Preparation
    from daskgnn.kernels.seeds import SeedPlan
    from daskgnn.train.deployment import Deployment
    from daskgnn.train.plan import Window


@dataclass(frozen=True)
class PreparedAhead:
    """A window whose preparation has been submitted."""

    window: Window
    batches: list[Any]
    """Keys by part."""
    submitted: float
    """Seconds since the epoch."""
    num_tasks: int
    run: str
    """The name in its keys."""
    takeovers: int
    """How many times standbys had taken parts over before."""


@dataclass(eq=False)
class Lookahead:
    """Submits the preparation of windows ahead of their training."""

    executor: Executor
    preparation: Preparation
    planner: WindowPlanner
    depth: int
    """Windows that are prepared beside the one whose turn it is."""
    num_tasks: int = 0
    """Of the window that was prepared last."""
    _caches: list[Any] = field(default_factory=list)
    _prepared: deque[PreparedAhead] = field(default_factory=deque)
    _attempt: int = 0

    @classmethod
    def of(cls, deployment: Deployment, plan: SeedPlan) -> Lookahead:
        """Prepare the windows of `plan` on what a run is deployed on."""
        graph, expand = deployment.graph, deployment.targets.expand
        gradients = deployment.program.gradients
        return cls(
            deployment.executor,
            # A new name, so that results of an earlier fit that have not been released
            # by the scheduler yet are never taken for those of this one.
            replace(deployment.preparation, run=new_name()),
            WindowPlanner(
                plan,
                graph.num_parts,
                graph.index_dtype,
                gradients,
                deployment.options["warmup_steps"] or 0,
                expand,
            ),
            int(dask.config.get("gnn.look-ahead")),
        )

    def next(self, windows: Iterator[Window]) -> PreparedAhead | None:
        """Return the window whose turn it is, with enough of them on their way."""
        while len(self._prepared) <= self.depth:
            window = next(windows, None)
            if window is None:
                break
            self._prepared.append(self._prepare(window))
        return self._prepared.popleft() if self._prepared else None

    @property
    def in_flight(self) -> int:
        """Windows on their way: those prepared, and the one whose turn it is."""
        return len(self._prepared) + 1

    def close(self) -> None:
        """Discard prepared windows that have not been used."""
        for ahead in self._prepared:
            self.executor.release(ahead.batches)
        self._prepared.clear()
        self.executor.release(self._caches)
        self._caches = []

    def _prepare(self, window: Window) -> PreparedAhead:
        """Start the preparation of a window."""
        submitted = time.time()
        seeds = self.planner.seeds(window)
        plan = self.preparation
        if self._attempt:
            plan = replace(plan, run=f"{plan.run}-{self._attempt}")
        memories = self.executor.memories(plan.book.num_parts)
        tasks, keys = prepare_window(plan, window.number, seeds, memories)
        tasks = timed(tasks, keys)
        caches = self.preparation.caches_after(window.number)
        places = [self.executor.worker_of(part) for part in range(len(keys))]
        together = memories if plan.read_in_place else places
        if len(set(together)) < len(places) and self.executor.num_workers():
            tasks = bundled(tasks, [*keys, *caches], places, (plan.run, window.number))
        self.executor.submit(
            tasks, [*keys, *caches], priority=-window.number, ahead=True
        )
        # Only now the caches of the previous window are not needed any more.
        self.executor.release(self._caches)
        self._caches = caches
        self.num_tasks = len(tasks)
        takeovers = self.executor.takeovers
        return PreparedAhead(window, keys, submitted, len(tasks), plan.run, takeovers)

    def after_takeover(self, ahead: PreparedAhead) -> PreparedAhead:
        """Return a window, prepared again if standbys have taken parts over since.

        So are those after it, from what standbys hold.
        """
        if ahead.takeovers == self.executor.takeovers:
            return ahead
        if self._caches and self.preparation.cache is not None:
            return ahead  # it depends on what the windows before it left
        self._attempt += 1
        windows = [ahead, *self._prepared]
        for old in windows:
            self.executor.release(old.batches)
        again = [self._prepare(old.window) for old in windows]
        self._prepared.clear()
        self._prepared.extend(again[1:])
        return again[0]
