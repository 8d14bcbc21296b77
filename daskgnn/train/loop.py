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
from daskgnn.train.program import TrainSession

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

FIRST_WINDOW = 8
"""Steps of a window until it is known how long one takes."""

WINDOW_SECONDS = 0.4
"""Short steps make longer windows: the driver's part in one is paid less often."""

LONG_STEP = 0.3
"""Seconds of a step from which on the chain of tasks costs little beside it."""


@dataclass(frozen=True)
class WindowResult:
    """A trained window."""

    window: Window
    state: TrainState
    """With the losses of the window's steps."""
    began: float
    """When its steps were submitted, seconds since the epoch."""
    form: str
    """"tasks" or "window": how its steps ran."""
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
        form: str,
    ) -> None:
        self.executor = executor
        self.preparation = preparation
        self.planner = planner
        self.programs = programs
        self.look_ahead = look_ahead
        self.form = form
        self._step_seconds = 0.0
        self.chain = Chain(TrainSession)

    def run(
        self, windows: Iterator[Window], state: TrainState, schedule: Schedule
    ) -> Iterator[WindowResult]:
        """Yield each window when it is trained."""
        prepared: deque[tuple[Window, list[Any]]] = deque()
        exhausted, first = False, True
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
                if first:
                    # Loading and compiling are not part of the first step.
                    self.executor.wait([*self.programs, *batches])
                    first = False
                result = self._train(window, batches, state, schedule)
                state = result.state.cleared()
                yield result
        finally:
            for _, batches in prepared:
                self.executor.release(batches)

    def window_size(self, most: int) -> int:
        """Return how many steps the next window is to have: not a bit depends on it."""
        wanted = FIRST_WINDOW
        if self._step_seconds:
            wanted = max(wanted, round(WINDOW_SECONDS / self._step_seconds))
        return min(most, wanted)

    def _prepare(self, window: Window) -> list[Any]:
        """Start the preparation of a window; return the keys of its batches."""
        seeds = self.planner.seeds(window)
        tasks, keys = prepare_window(self.preparation, window.number, seeds)
        self.executor.submit(tasks, keys, priority=-window.number, ahead=True)
        return keys

    def _train(
        self, window: Window, batches: list[Any], state: TrainState, schedule: Schedule
    ) -> WindowResult:
        began = time.time()
        run = self.preparation.run
        reports = [("traffic", run, window.number, p) for p in range(len(batches))]
        tasks = {
            key: Task(key, traffic_of, TaskRef(batch))
            for key, batch in zip(reports, batches, strict=True)
        }
        self.executor.submit(tasks, reports, priority=CHAIN_PRIORITY)
        options = schedule.window(window.size)
        outcomes = []
        if self._takes_gang():
            name = ("window", run, window.number)
            outcomes = self.executor.run_gang(
                self.chain, name, state, self.programs, batches, options
            )
        form = "window" if outcomes else "tasks"
        if outcomes:
            after = outcomes[0].state
        else:
            after = self._run_tasks(window, batches, state, options)
        self._step_seconds = (time.time() - began) / window.size
        traffic = self.executor.result(reports)
        self.executor.release([*reports, *batches])
        return WindowResult(window, after, began, form, *self._count(traffic))

    def _takes_gang(self) -> bool:
        """Return whether the next window is to be one task a worker."""
        if self.form != "auto":
            return self.form == "window"
        return self._step_seconds < LONG_STEP

    def _run_tasks(
        self,
        window: Window,
        batches: list[Any],
        state: TrainState,
        options: list[Any],
    ) -> TrainState:
        """Run a window's steps as tasks of their own."""
        tasks, last = chain_window(
            self.chain,
            self.preparation.run,
            window.number,
            state,
            self.programs,
            batches,
            options,
        )
        self.executor.submit(tasks, [last], priority=CHAIN_PRIORITY)
        (after,) = self.executor.result([last])
        self.executor.release([last])
        return after

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
