"""A parameter server: the driver applies gradients in the order of their arrival.

Free workers take units of work (`daskgnn.dataflow.steps.arrival`), so none waits for a
slow one. At the end of a window all of its units have been applied, so the state and
checkpoints hold whole steps, as with other options. Results depend on timing.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.task_spec import DataNode, Task, TaskRef

from daskgnn.dataflow.steps.arrival import Pool, Unit, Versions
from daskgnn.dataflow.steps.chain import checksum, part_step, update
from daskgnn.dataflow.steps.clock import together
from daskgnn.dataflow.steps.gradients import PartGradient, divided_alone
from daskgnn.dataflow.steps.method import Step
from daskgnn.dataflow.steps.peers import check_copies
from daskgnn.errors import TrainingError
from daskgnn.train.compute.gradients import delay_compensated
from daskgnn.train.compute.state import StepReport, TrainState
from daskgnn.train.loop import CHAIN_PRIORITY, TrainLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.dataflow.executor import Executor
    from daskgnn.dataflow.steps.method import StepMethod, WindowSteps
    from daskgnn.kernels.batch import PreparedWindow
    from daskgnn.train.ahead import PreparedAhead
    from daskgnn.train.compute.gradients import UpdateOptions
    from daskgnn.train.compute.program import Program
    from daskgnn.train.compute.state import Weights
    from daskgnn.train.plan import Window


_one_at_a_time = threading.Lock()
"""In a worker: one unit is computed at a time, while the next is being sent."""
_services = itertools.count()
"""Numbers the windows served here, for keys: a window that is served again gives other
gradients."""


class ServerLoop(TrainLoop):
    """The loop over windows of a parameter server."""

    counts_work = False  # units leave slow workers, not parts
    _seconds: dict[str, float] | None = None

    def window_size(self, most: int) -> int:
        """Return `most`: workers wait for each other only at windows' ends."""
        return most

    def _goes_in_order(self) -> bool:
        return False

    def _method_for(self, window: Window) -> StepMethod:
        return self.method

    def _run_tasks(
        self, ahead: PreparedAhead, steps: WindowSteps
    ) -> tuple[TrainState, int]:
        """Serve a window's units; return the state after them, and how many tasks."""
        given = steps.state, steps.options, len(ahead.batches)
        bound = self.lookahead.planner.limit(ahead.window)
        updates = _Updates(self.method, self.deployment.program, *given, bound)
        service = _Service(self.executor, self.programs, ahead, updates)
        service.pool.remember(self._seconds or {})
        after = service.run()
        self._seconds = service.pool.seconds()
        return after, service.num_tasks


class _Updates:
    """The state, and the gradients that have arrived for it."""

    def __init__(
        self,
        method: StepMethod,
        program: Program,
        state: TrainState,
        options: Sequence[UpdateOptions],
        num_parts: int,
        bound: int,
    ) -> None:
        self.method, self.program, self.num_parts = method, program, num_parts
        self.before, self.options = state, options
        self.state = replace(state, reports=(), late=())
        self.versions = Versions(bound)
        self._read: dict[Unit, Weights] = {}
        self._arrived: dict[Unit, PartGradient] = {}
        self._shares: list[list[PartGradient]] = [[] for _ in options]
        self._finished = [0.0] * len(options)
        self._late: list[int] = []

    def start(self, unit: Unit) -> TrainState:
        """Return the state that a unit's gradient is to be taken at."""
        self.versions.start(unit)
        self._read[unit] = self.state.weights
        return self._state_of(unit)

    def receive(
        self, unit: Unit, share: PartGradient, digest: str | None, worker: str
    ) -> None:
        """Take a gradient, and the digest of what the worker took it at."""
        step, part = unit
        if not np.isfinite(share.loss):
            raise TrainingError(
                f"the loss of part {part} in step {self.before.step + step} is "
                f"{share.loss}: lower the learning rate or normalise the features"
            )
        if digest is not None:
            _, mine = checksum(self.method, self.program, self._state_of(unit))
            done = self.before.step + step + 1
            check_copies({"this process": mine, worker: digest}, done)
        self._arrived[unit] = share

    def apply_what_may_be(self) -> None:
        """Apply what has come, the oldest first, but for what others must precede."""
        while True:
            oldest = sorted(self._arrived, key=self.versions.read_at)
            unit = next((u for u in oldest if self.versions.may_apply(u)), None)
            if unit is None:
                return
            self._apply(unit, self._arrived.pop(unit))

    def after(self) -> TrainState:
        """Return the state, with the reports of the window's steps."""
        finished = np.maximum.accumulate(self._finished)
        reports = [
            StepReport(
                float(sum(s.loss for s in step)),
                done,
                together(*(s.work for s in step)),
                sum(s.dense_bytes for s in step),
                sum(s.sent_bytes for s in step),
            )
            for step, done in zip(self._shares, finished, strict=True)
        ]
        step = self.before.step + len(self.options)
        late = tuple(self._late)
        return replace(self.state, step=step, reports=tuple(reports), late=late)

    def _state_of(self, unit: Unit) -> TrainState:
        read = self._read[unit]
        step, statistics = self.before.step, read.statistics
        return TrainState(read.parameters, {}, step, statistics=statistics)

    def _apply(self, unit: Unit, share: PartGradient) -> None:
        number, _ = unit
        way = self.program.gradients
        late = self.versions.apply(unit)
        then = self._read.pop(unit).parameters
        share = divided_alone(share, self.num_parts)
        gradient = share.gradient
        if way.compensation == "dc-asgd" and late:
            gradient = delay_compensated(gradient, self.state.parameters, then)
        planned = self.options[number]
        options = planned.slowed(planned.groups, way.rate(late))
        # The mean over a part's seeds, if all parts have equally many.
        options = replace(options, weight=float(self.num_parts), late=late)
        step = Step(number, 0, options, self.num_parts)
        whole = replace(share, gradient=gradient), None, None
        after = update(self.method, self.program, self.state, step, *whole)
        self.state = after.cleared()
        self._late.append(late)
        self._shares[number].append(share)
        self._finished[number] = time.time()


class _Service:
    """One window's units, and the workers that compute them."""

    def __init__(
        self,
        executor: Executor,
        programs: Sequence[Any],
        ahead: PreparedAhead,
        updates: _Updates,
    ) -> None:
        self.executor, self.programs, self.ahead = executor, programs, ahead
        self.updates = updates
        self.places = [executor.worker_of(p) for p in range(len(ahead.batches))]
        steps = len(updates.options)
        self.pool = Pool.of(self.places, steps, updates.versions.bound)
        self.num_tasks = 0
        self._name = (ahead.run, ahead.window.number, next(_services))
        self._under_way: dict[Any, tuple[Unit, str, float]] = {}

    def run(self) -> TrainState:
        """Serve all units; return the state after them."""
        try:
            while True:
                self._hand_out()
                if not self._under_way:
                    return self.updates.after()
                for key in self.executor.wait_any(list(self._under_way)):
                    self._receive(key)
                self.updates.apply_what_may_be()
        finally:
            # After a loss, the other results are not needed any more.
            self.executor.release(self._under_way)

    def _hand_out(self) -> None:
        """Give free workers their next units."""
        while self.updates.versions.may_start():
            found = self.pool.take()
            if found is None:
                return
            worker, unit = found
            self._submit(worker, unit)

    def _submit(self, worker: str, unit: Unit) -> None:
        number, part = unit
        name = (*self._name, number)
        key = ("unit", *name, part)
        tasks: dict[Any, Any] = {}
        batch = self.ahead.batches[part]
        step = Step(number, num_parts=len(self.places))
        if worker != self.places[part]:
            # A unit of another worker: only its step is sent.
            alone = ("unit-batch", *name, part)
            tasks[alone] = Task(alone, one_step, TaskRef(batch), number)
            batch, step = alone, replace(step, number=0)
        state = ("unit-state", *name, part)
        tasks[state] = DataNode(state, self.updates.start(unit))
        method = self.updates.method
        checks = method.checks(self.updates.before.step + number + 1)
        given = TaskRef(self.programs[part]), TaskRef(state), step, part
        tasks[key] = Task(key, unit_gradient, method, *given, TaskRef(batch), checks)
        self.executor.submit(
            tasks, [key], priority=CHAIN_PRIORITY, part_of=self._home(worker)
        )
        self.num_tasks += len(tasks)
        self._under_way[key] = (unit, worker, time.monotonic())

    def _home(self, worker: str) -> Callable[[Any], int]:
        """Return what says by which part's worker a task of a unit is run."""
        home = self.places.index(worker)
        return lambda key: int(key[-1]) if key[0] == "unit-batch" else home

    def _receive(self, key: Any) -> None:
        """Take a gradient that has come."""
        ((share, digest),) = self.executor.result([key])
        unit, worker, began = self._under_way.pop(key)
        self.executor.release([key])
        self.pool.done(worker, time.monotonic() - began)
        self.updates.receive(unit, share, digest, worker)


def unit_gradient(
    method: StepMethod,
    program: Program,
    state: TrainState,
    step: Step,
    part: int,
    batch: PreparedWindow,
    checks: bool,
) -> tuple[Any, str | None]:
    """Return a unit's share, and the digest of the parameters as they came: a task."""
    with _one_at_a_time:
        share = part_step(method, program, state, step, part, batch, None)
    return share, checksum(method, program, state)[1] if checks else None


def one_step(window: PreparedWindow, step: int) -> PreparedWindow:
    """Return a prepared window of one step alone: a task."""
    return replace(window, steps=(window.steps[step],))
