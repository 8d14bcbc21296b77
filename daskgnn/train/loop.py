"""The loop over windows, which are prepared ahead and trained in order."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from dask.task_spec import TaskRef

from daskgnn.dataflow.executor import PartsLost
from daskgnn.dataflow.steps.chain import chain_window
from daskgnn.dataflow.steps.method import WindowSteps
from daskgnn.dataflow.steps.tasks import add_task
from daskgnn.dataflow.timing import report_of, transfers
from daskgnn.kernels.record import array_bytes
from daskgnn.train.compute.methods import method_of
from daskgnn.train.plan import some_windows
from daskgnn.train.profile.stepprofile import StepProfile
from daskgnn.train.profile.windowprofile import CROSSED, WindowProfile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from daskgnn.cluster.placement import Event
    from daskgnn.dataflow.steps.method import StepMethod
    from daskgnn.dataflow.steps.peers import MemberReport
    from daskgnn.kernels.seeds import SeedPlan
    from daskgnn.kernels.traffic import Traffic
    from daskgnn.train.ahead import Lookahead, PreparedAhead
    from daskgnn.train.compute.gradients import UpdateOptions
    from daskgnn.train.compute.schedule import Schedule
    from daskgnn.train.compute.state import TrainState
    from daskgnn.train.deployment import Deployment
    from daskgnn.train.plan import Window
    from daskgnn.train.profile.advice import Advisor
    from daskgnn.train.profile.recovery import Recoveries
    from daskgnn.train.runstate import RunState

CHAIN_PRIORITY = 100
"""Steps run before anything that prepares later ones."""

WINDOW_SECONDS = 0.3
"""Short steps make longer windows: what one costs in any case is paid less often.
Long steps make shorter ones: they take less memory, and find more of it in caches."""

TASK_SECONDS = 0.00125
"""Processor time of a task of preparation beside its kernel: measured in
docs/measurements/scaling.md."""

STATE_SECONDS = 5e-9
"""Of a byte of the state, which goes to the workers and comes back once a window."""

LARGEST_OVERHEAD = 0.1
"""Of those tasks and the state, as a share of the time of the window's steps."""

LONG_STEP = 2.0
"""Seconds of a step from which on the chain of tasks costs under 1 % beside it."""


@dataclass(frozen=True)
class WindowResult:
    """A trained window."""

    window: Window
    state: TrainState
    """With the losses of the window's steps."""
    window_profile: WindowProfile
    """How its steps ran, where their time went, and what crossed."""


@dataclass(eq=False)
class TrainLoop:
    """Trains windows in order, preparing the next ones meanwhile.

    The state comes back to the driver after every window, and goes out again as a
    literal of the next one where a worker lacks it: nothing that a worker holds is
    needed to go on.
    """

    form: ClassVar[str] = "tasks"
    """How steps run that are not one task a worker and window."""
    counts_work: ClassVar[bool] = True
    """Whether parts leave workers that take longer for their steps."""

    lookahead: Lookahead
    deployment: Deployment
    recoveries: Recoveries
    advisor: Advisor
    _step_seconds: float = 0.0
    _own_seconds: float = 0.0
    """Of a step by the clocks of workers: without what a window costs in any case."""
    _beside_seconds: float = 0.0
    """The least that a window took beside its steps, as far as is known."""
    _state_bytes: int = 0
    _events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.executor = self.lookahead.executor
        self.programs = self.deployment.programs
        self.gradients = self.deployment.program.gradients
        self.method = method_of(self.gradients)
        self.step_profile = StepProfile(inline=self.executor.num_workers() == 0)

    def run(
        self, windows: Iterator[Window], state: TrainState, schedule: Schedule
    ) -> Iterator[WindowResult]:
        """Yield each window when it is trained."""
        first = True
        self.step_profile.begin()
        try:
            while (ahead := self.lookahead.next(windows)) is not None:
                if first:
                    # Loading and compiling are not part of the first step.
                    self.executor.wait([*self.programs, *ahead.batches])
                    first = False
                self.step_profile.enter()
                before = self._step_seconds
                self._state_bytes = array_bytes(state)
                result = self._train_through(ahead, state, schedule)
                self.step_profile.leave(result.window_profile)
                self._settle(result, state, before)
                state = result.state.cleared()
                try:
                    yield result
                finally:
                    self.step_profile.resume()
        finally:
            self.lookahead.close()

    def measure(
        self,
        plan: SeedPlan,
        run_state: RunState,
        schedule: Schedule,
        steps: int,
        most: int,
    ) -> StepProfile:
        """Train so many steps from where a run stands, for their profile alone."""
        size = partial(self.window_size, most)
        alike = self.gradients.steps_alike
        some = some_windows(plan, run_state.position, steps, size, alike)
        for _ in self.run(some, run_state.state, schedule):
            pass
        self.step_profile.transfers = transfers(self.executor, self.step_profile.began)
        return self.step_profile

    def window_size(self, most: int) -> int:
        """Return how many steps the next window is to have: not a bit depends on it."""
        if not self._step_seconds:
            return min(most, self.deployment.first_window)
        overhead = self.lookahead.num_tasks * TASK_SECONDS
        if self.executor.num_workers():
            sent = self._state_bytes * STATE_SECONDS
            # On a slow network it takes longer.
            overhead += max(sent, self._beside_seconds)
        seconds = max(WINDOW_SECONDS, overhead / LARGEST_OVERHEAD)
        step = self._own_seconds or self._step_seconds
        return min(most, max(1, round(seconds / step)))

    def _note_seconds(
        self, whole: float, size: int, after: TrainState, members: Sequence[Any]
    ) -> None:
        """Note what the steps of a window took, and what it took beside them."""
        self._step_seconds = whole / size
        if members:
            own = after.reports[-1].finished - min(m.work.began for m in members)
            own = min(max(own, 1e-6), whole)
            if self._own_seconds:  # In the first window workers load and compile.
                before = self._beside_seconds or whole
                self._beside_seconds = min(before, whole - own)
            self._own_seconds = own / size

    def _train_through(
        self, ahead: PreparedAhead, state: TrainState, schedule: Schedule
    ) -> WindowResult:
        """Train a window, again where standbys have to take parts over."""
        before = schedule.state()
        options = schedule.window(self.lookahead.planner.updates(ahead.window))
        while True:
            ahead = self.lookahead.after_takeover(ahead)
            try:
                return self._train(ahead, state, options)
            except PartsLost:
                self.executor.take_over()
            except BaseException:
                # The window may be trained after all, on another cluster.
                schedule.load(before)
                raise

    def _train(
        self, ahead: PreparedAhead, state: TrainState, options: list[UpdateOptions]
    ) -> WindowResult:
        began = time.time()
        self.recoveries.in_flight = ahead.window.size
        window = ahead.window
        name = (ahead.run, window.number)
        steps = WindowSteps(
            self._method_for(window),
            name,
            state,
            self.programs,
            ahead.batches,
            options,
            report_of,
        )
        outcomes = self.executor.run_in_order(steps) if self._goes_in_order() else []
        batches = ahead.batches
        num_tasks = ahead.num_tasks
        members: tuple[MemberReport, ...] = ()
        if outcomes:
            after, members = outcomes[0].state, outcomes[0].reports
            num_tasks += len(members)
        told = {p: report for m in members for p, report in m.prepared.items()}
        keys = self._ask_for_reports(ahead, told)
        if not outcomes:
            after, count = self._run_tasks(ahead, steps)
            num_tasks += count
        form = "window" if outcomes and self.executor.num_workers() else self.form
        self.recoveries.in_flight = 0
        self._note_seconds(time.time() - began, window.size, after, members)
        if keys:
            told |= zip(keys, self.executor.result(list(keys.values())), strict=True)
        self.executor.release([*keys.values(), *batches])
        reports = [told[part] for part in range(len(batches))]
        window_profile = WindowProfile(
            window.size,
            form,
            ahead.submitted,
            began,
            num_tasks,
            tuple(reports),
            members,
            tuple(step.work for step in after.reports),
            self._count([report.traffic for report in reports]),
            tuple(self.executor.worker_of(p) for p in range(len(self.programs))),
        )
        return WindowResult(window, after, window_profile)

    def _method_for(self, window: Window) -> StepMethod:
        """Return how a window's steps are taken: staleness rises at first."""
        limit = self.lookahead.planner.limit(window)
        return replace(self.method, staleness=limit)

    def _ask_for_reports(
        self, ahead: PreparedAhead, told: Mapping[int, Any]
    ) -> dict[int, Any]:
        """Have the reports of a window's preparation made that no member has told.

        Returns
        -------
        dict
            By part, the key of its report.
        """
        tasks: dict[Any, Any] = {}
        keys = {}
        for part, batch in enumerate(ahead.batches):
            if part not in told:
                keys[part] = ("report", ahead.run, ahead.window.number, part)
                add_task(tasks, keys[part], report_of, TaskRef(batch))
        if tasks:
            self.executor.submit(tasks, list(tasks), priority=CHAIN_PRIORITY)
        return keys

    def take_events(self) -> list[Event]:
        """Return what has happened to workers since this was called last."""
        events, self._events = self._events, []
        return events

    def _settle(
        self, result: WindowResult, state: TrainState, step_seconds: float
    ) -> None:
        """Let parts follow the workers after a window."""
        places = [self.executor.worker_of(p) for p in range(len(self.programs))]
        profile = result.window_profile
        if not self.counts_work:
            profile = replace(profile, work=())
        part_seconds = profile.part_seconds(places)
        workers = self.executor.num_workers()
        self._events += self.recoveries.events(
            self.executor.rebalance(part_seconds),
            state.step,
            profile.began,
            [step.finished for step in result.state.reports],
            step_seconds,
            abandoned=profile.form == "tasks" and self._goes_in_order(),
        )
        advice = self.advisor.add(workers, self._step_seconds, part_seconds)
        if advice is not None:
            self._events.append({"event": "scaled", **asdict(advice)})

    def _goes_in_order(self) -> bool:
        """Return whether the next window is to be one task a worker, or none."""
        if not self.executor.num_workers():
            return True
        form = self.deployment.options["steps"]
        if form != "auto":
            return form == "window"
        return self._step_seconds < LONG_STEP

    def _run_tasks(
        self, ahead: PreparedAhead, steps: WindowSteps
    ) -> tuple[TrainState, int]:
        """Run a window's steps as tasks; return how many tasks, too."""
        tasks, last = chain_window(steps)
        self.executor.submit(tasks, [last], priority=CHAIN_PRIORITY)
        (after,) = self.executor.result([last])
        self.executor.release([last])
        return after, len(tasks)

    def _count(self, traffic: list[Traffic]) -> dict[str, int]:
        """Return what crossed, by the names of `CROSSED`."""
        places = np.array([self.executor.worker_of(p) for p in range(len(traffic))])
        away = places[:, None] != places

        def count(name: str, where: Any = True) -> int:
            found = np.stack([getattr(received, name) for received in traffic])
            return int(found.sum(where=where))

        halo = count("rows")
        remote = (count(name, away) for name in ("rows", "nbytes", "messages"))
        misses = 0 if self.lookahead.preparation.cache is None else halo
        saved = count("hits"), misses, count("saved")
        return dict(zip(CROSSED, (halo, *remote, *saved), strict=True))
