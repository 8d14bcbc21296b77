"""A parameter server: this process applies gradients in the order in which they come.

Workers that are free pull units (`daskgnn.dataflow.arrival`), so a slow one holds
nobody up. At a window's end all of its units are applied: the state that comes home is
of whole steps, as with any other way, and so are checkpoints. Which bits come out
depends on time.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.task_spec import DataNode, Task, TaskRef

from daskgnn.dataflow.arrival import Pool, Unit, Versions
from daskgnn.dataflow.clock import together
from daskgnn.dataflow.peers import check_copies
from daskgnn.errors import TrainingError
from daskgnn.train.gradients import delay_compensated
from daskgnn.train.loop import CHAIN_PRIORITY, TrainLoop
from daskgnn.train.state import TrainState, hash_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.dataflow.chain import Chain
    from daskgnn.dataflow.executor import Executor
    from daskgnn.dataflow.shares import PartGradient
    from daskgnn.kernels.batch import PreparedWindow
    from daskgnn.train.gradients import Gradients, UpdateOptions
    from daskgnn.train.loop import PreparedAhead, WindowResult
    from daskgnn.train.program import Program


_one_at_a_time = threading.Lock()
"""In a worker: the next unit is on its way while one is computed, not beside it."""
_services = itertools.count()
"""Numbers the windows served here: one that is served again has other parameters, so
other gradients, under names of its own."""


class ServerLoop(TrainLoop):
    """A loop over windows whose units are applied as they come."""

    program: Program
    """That of `programs`, for the updates, which are made here."""
    _seconds: dict[str, float] | None = None

    def window_size(self, most: int) -> int:
        """Return `most`: workers wait for each other only at windows' ends."""
        return most

    def _takes_gang(self) -> bool:
        return False

    def _settle(
        self, result: WindowResult, state: TrainState, step_seconds: float
    ) -> None:
        """Let parts follow the workers, but not leave slow ones: units do."""
        account = replace(result.account, work=())
        super()._settle(replace(result, account=account), state, step_seconds)

    def _run_tasks(
        self, ahead: PreparedAhead, state: TrainState, options: list[Any]
    ) -> tuple[TrainState, int]:
        """Serve a window's units; return the state after them, and how many tasks."""
        service = _Service(self, ahead, state, options)
        service.pool.remember(self._seconds or {})
        after = service.run()
        self._seconds = service.pool.seconds()
        return after, service.num_tasks


class _Service:
    """One window's units."""

    def __init__(
        self,
        loop: ServerLoop,
        ahead: PreparedAhead,
        state: TrainState,
        options: Sequence[UpdateOptions],
    ) -> None:
        self.executor: Executor = loop.executor
        self.chain: Chain = loop.chain
        self.program, self.programs = loop.program, loop.programs
        self.way: Gradients = loop.program.gradients
        self.ahead, self.options, self.before = ahead, options, state
        self.state = TrainState(state.parameters, state.optimizer, state.step)
        parts = range(len(ahead.batches))
        self.places = [self.executor.worker_of(part) for part in parts]
        assert self.way.bound is not None
        self.pool = Pool.of(self.places, len(options), self.way.bound)
        self.versions = Versions(self.way.bound)
        self.num_tasks = 0
        self._name = (ahead.run, ahead.window.number, next(_services))
        self._under_way: dict[Any, tuple[Unit, str, float]] = {}
        self._read: dict[Unit, np.ndarray] = {}
        self._arrived: dict[Unit, PartGradient] = {}
        self._shares: list[list[PartGradient]] = [[] for _ in options]
        self._finished = [0.0] * len(options)
        self._late: list[int] = []

    def run(self) -> TrainState:
        """Serve all units; return the state after them."""
        try:
            while True:
                self._hand_out()
                if not self._under_way:
                    return self._after()
                for key in self.executor.wait_any(list(self._under_way)):
                    self._receive(key)
                self._apply_what_may_be()
        finally:
            # Where something was lost, nobody asks for the rest any more.
            self.executor.release(self._under_way)

    def _hand_out(self) -> None:
        """Give free workers their next units."""
        while self.versions.may_start():
            found = self.pool.take()
            if found is None:
                return
            worker, unit = found
            self._submit(worker, unit)

    def _submit(self, worker: str, unit: Unit) -> None:
        step, part = unit
        name = (*self._name, step)
        key = ("unit", *name, part)
        tasks: dict[Any, Any] = {}
        batch = self.ahead.batches[part]
        if worker != self.places[part]:
            # Another's unit: only its step travels.
            alone = ("unit-batch", *name, part)
            tasks[alone] = Task(alone, one_step, TaskRef(batch), step)
            batch, step = alone, 0
        state = ("unit-state", *name, part)
        copy = TrainState(self.state.parameters, {}, self.before.step)
        tasks[state] = DataNode(state, copy)
        checks = self.chain.checks(self.before.step + unit[0] + 1)
        given = TaskRef(self.programs[part]), TaskRef(state), TaskRef(batch)
        tasks[key] = Task(key, unit_gradient, self.chain, *given, step, checks)
        self.executor.submit(
            tasks, [key], priority=CHAIN_PRIORITY, part_of=self._home(worker)
        )
        self.num_tasks += len(tasks)
        self.versions.start(unit)
        self._read[unit] = self.state.parameters
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
        if not np.isfinite(share.loss):
            raise TrainingError(
                f"the loss of part {unit[1]} in step {self.before.step + unit[0]} is "
                f"{share.loss}: lower the learning rate or normalise the features"
            )
        if digest is not None:
            mine = hash_parameters(self._read[unit])
            done = self.before.step + unit[0] + 1
            check_copies({"this process": mine, worker: digest}, done)
        self._arrived[unit] = share

    def _apply_what_may_be(self) -> None:
        """Apply what has come, the oldest first, but for what others must precede."""
        while True:
            oldest = sorted(self._arrived, key=self.versions.read_at)
            unit = next((u for u in oldest if self.versions.may_apply(u)), None)
            if unit is None:
                return
            self._apply(unit, self._arrived.pop(unit))

    def _apply(self, unit: Unit, share: PartGradient) -> None:
        step, _ = unit
        late = self.versions.apply(unit)
        then = self._read.pop(unit)
        gradient = share.gradient
        if self.way.compensation == "dc-asgd" and late:
            gradient = delay_compensated(gradient, self.state.parameters, then)
        rate = self.way.rate(late)
        groups = [dict(group) for group in self.options[step].groups]
        for group in groups if rate != 1.0 else ():
            group["lr"] *= rate
        # The mean over a run's seeds, where runs are of equal length.
        weight = float(len(self.places))
        options = replace(self.options[step], groups=groups, weight=weight)
        self.state = self.chain.update(
            self.program, self.state, replace(share, gradient=gradient), None, options
        ).cleared()
        self._late.append(late)
        self._shares[step].append(share)
        self._finished[step] = time.time()

    def _after(self) -> TrainState:
        shares = self._shares
        return replace(
            self.state,
            step=self.before.step + len(self.options),
            losses=tuple(float(sum(s.loss for s in step)) for step in shares),
            finished=tuple(np.maximum.accumulate(self._finished)),
            work=tuple(together(*(s.work for s in step)) for step in shares),
            sent=tuple(
                (sum(s.dense_bytes for s in step), sum(s.sent_bytes for s in step))
                for step in shares
            ),
            late=tuple(self._late),
        )


def unit_gradient(
    chain: Chain,
    program: Program,
    state: TrainState,
    batch: PreparedWindow,
    step: int,
    checks: bool,
) -> tuple[PartGradient, str | None]:
    """Return a unit's share, and the digest of the parameters as they came: a task."""
    with _one_at_a_time:
        share = chain.gradient(program, state, batch, step, 0)
    return share, hash_parameters(state.parameters) if checks else None


def one_step(window: PreparedWindow, step: int) -> PreparedWindow:
    """Return a prepared window of one step alone: a task."""
    return replace(window, steps=(window.steps[step],))
