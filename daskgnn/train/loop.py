"""The loop over windows: prepared ahead, trained in order, state in hand."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.task_spec import Task, TaskRef

from daskgnn.dataflow.step import Chain, chain_window
from daskgnn.dataflow.window import Preparation, prepare_window
from daskgnn.train.program import apply_update, compute_gradient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.dataflow.executor import Executor
    from daskgnn.kernels.batch import PreparedWindow
    from daskgnn.kernels.hops import Traffic
    from daskgnn.train.plan import Window, WindowPlanner
    from daskgnn.train.schedule import Schedule
    from daskgnn.train.state import TrainState

CHAIN_PRIORITY = 100
"""Steps run before anything that prepares later ones."""


@dataclass(frozen=True)
class WindowResult:
    """A trained window."""

    window: Window
    state: TrainState
    """With the losses of the window's steps."""
    began: float
    """When its steps were submitted, seconds since the epoch."""
    halo_rows: int
    """Rows that crossed between parts."""
    remote_rows: int
    """Rows that crossed between workers."""
    remote_bytes: int
    messages: int


class TrainLoop:
    """Trains windows in order, preparing the next ones meanwhile.

    The state comes back to the driver after every window, and goes out again as a
    literal of the next one: nothing a worker holds is needed to go on.
    """

    def __init__(
        self,
        executor: Executor,
        preparation: Preparation,
        planner: WindowPlanner,
        programs: list[Any],
        look_ahead: int,
    ) -> None:
        self.executor = executor
        self.preparation = preparation
        self.planner = planner
        self.programs = programs
        self.look_ahead = look_ahead
        self.chain = Chain(compute_gradient, apply_update)

    def run(
        self, windows: Iterator[Window], state: TrainState, schedule: Schedule
    ) -> Iterator[WindowResult]:
        """Yield each window when it is trained."""
        prepared: deque[tuple[Window, list[Any]]] = deque()
        exhausted = False
        try:
            while True:
                while not exhausted and len(prepared) <= self.look_ahead:
                    window = next(windows, None)
                    if window is None:
                        exhausted = True
                    else:
                        prepared.append((window, self._prepare(window)))
                if not prepared:
                    return
                window, batches = prepared.popleft()
                result = self._train(window, batches, state, schedule)
                state = result.state.cleared()
                yield result
        finally:
            for _, batches in prepared:
                self.executor.release(batches)

    def _prepare(self, window: Window) -> list[Any]:
        """Start the preparation of a window; return the keys of its batches."""
        seeds = self.planner.seeds(window)
        tasks, keys = prepare_window(self.preparation, window.number, seeds)
        self.executor.submit(tasks, keys, priority=-window.number)
        return keys

    def _train(
        self, window: Window, batches: list[Any], state: TrainState, schedule: Schedule
    ) -> WindowResult:
        began = time.time()
        run = self.preparation.run
        tasks, last = chain_window(
            self.chain,
            run,
            window.number,
            state,
            self.programs,
            batches,
            schedule.window(window.size),
        )
        reports = [("traffic", run, window.number, p) for p in range(len(batches))]
        for key, batch in zip(reports, batches, strict=True):
            tasks[key] = Task(key, traffic_of, TaskRef(batch))
        self.executor.submit(tasks, [last, *reports], priority=CHAIN_PRIORITY)
        state, *traffic = self.executor.result([last, *reports])
        self.executor.release([last, *reports, *batches])
        return WindowResult(window, state, began, *self._count(traffic))

    def _count(self, traffic: list[Traffic]) -> tuple[int, int, int, int]:
        """Return rows between parts, and rows, bytes, messages between workers."""
        places = [self.executor.worker_of(p) for p in range(len(traffic))]
        halo = sum(int(t.rows.sum()) for t in traffic)
        rows = nbytes = messages = 0
        for place, received in zip(places, traffic, strict=True):
            away = np.array([other != place for other in places])
            rows += int(received.rows[away].sum())
            nbytes += int(received.nbytes[away].sum())
            messages += int(received.messages[away].sum())
        return halo, rows, nbytes, messages


def traffic_of(window: PreparedWindow) -> Traffic:
    """Return what a part received for a window."""
    return window.traffic
