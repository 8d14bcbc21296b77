"""A worker's share of a step: its operations in order, sums over copies, the update.

The same code runs all stages in this process, which is the reference, and the stages of
a worker in one task: activations and their gradients then go to the workers of the
neighbouring stages as messages.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

from daskgnn.dataflow.steps.clock import Clock
from daskgnn.dataflow.steps.gang import kept_here, run_among_peers
from daskgnn.dataflow.steps.gradients import add_gradients
from daskgnn.dataflow.steps.member import alone
from daskgnn.dataflow.steps.peers import HELLO, PeerLost
from daskgnn.dataflow.steps.sums import TreeSum
from daskgnn.errors import TrainingError
from daskgnn.pipeline.layermodel import LoadedStages
from daskgnn.pipeline.plan import Span, WorkerOutcome
from daskgnn.pipeline.schedules import BACKWARD, FORWARD
from daskgnn.pipeline.stagework import StageWork
from daskgnn.train.compute.arithmetic import computing

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from daskgnn.dataflow.steps.gradients import PartGradient
    from daskgnn.dataflow.steps.peers import Exchange, Gang
    from daskgnn.pipeline.plan import Assignment, Load, Pieces, StepPlan
    from daskgnn.pipeline.schedules import Operation, Slot


class StepRun:
    """What a worker holds of a step while it runs.

    Parameters
    ----------
    loaded : LoadedStages
    plan : StepPlan
    worker : int
        This worker's number in the plan.
    pieces : Pieces
        What it is given of the batch.
    """

    def __init__(
        self, loaded: LoadedStages, plan: StepPlan, worker: int, pieces: Pieces
    ) -> None:
        self.loaded, self.plan, self.worker = loaded, plan, worker
        self._pieces = pieces.found
        self.work: dict[Slot, StageWork] = {
            (copy, stage): StageWork(loaded, plan, copy, stage)
            for copy, stage in plan.shape.slots_of(worker)
        }
        self.spans: list[Span] = []
        self._dropped = False
        self._changed = threading.Condition()
        self.outputs: dict[tuple[int, int], np.ndarray] = {}

    @property
    def stages(self) -> list[int]:
        """The stages that this worker has, of one copy or several."""
        return sorted({stage for _, stage in self.work})

    def do(
        self, operation: Operation, received: np.ndarray | None
    ) -> np.ndarray | None:
        """Do one operation; return what goes to another stage, if anything does."""
        kind, copy, stage, m = operation
        began, work = time.time(), self.work[copy, stage]
        batch = self._pieces[copy, stage, m]
        out = None
        if not self.plan.training:
            out = work.evaluate(received, batch)
            if work.is_last:
                self.outputs[copy, m] = out
                out = None
        elif kind == FORWARD:
            out = work.forward(m, received, batch)
        elif kind == BACKWARD:
            out = work.backward(m, received, batch)
        else:
            work.weights(m)
        with self._changed:
            self.spans.append(Span(self.worker, operation, began, time.time()))
            self._changed.notify_all()
        return out

    def wait_for(self, turn: int) -> None:
        """Wait until so many operations are done, which other threads do.

        Raises
        ------
        PeerLost
            If the step is dropped.
        """
        with self._changed:
            while len(self.spans) < turn and not self._dropped:
                self._changed.wait()
            if self._dropped:
                raise PeerLost("the step was dropped")

    def drop(self) -> int:
        """Free what is held, and end all waiting; return what was held."""
        with self._changed:
            self._dropped = True
            self._changed.notify_all()
        return sum(len(work.passed) for work in self.work.values())

    def shares(self) -> dict[int, PartGradient]:
        """Return, by stage, what its micro-batches add up to; of a single copy."""
        return {stage: work.share() for (_, stage), work in self.work.items()}

    def finish(self, totals: Mapping[int, PartGradient]) -> WorkerOutcome:
        """Update this worker's layers and return what it has then.

        Parameters
        ----------
        totals : mapping
            By stage, the sum of all copies' shares.
        """
        last = self.plan.cut.stages - 1
        if last in totals and not math.isfinite(totals[last].loss):
            raise TrainingError(
                f"the loss of step {self.plan.step} is {totals[last].loss}: lower the "
                "learning rate or normalise the input"
            )
        for stage in self.stages:
            if self.plan.training:
                some = next(w for (_, s), w in self.work.items() if s == stage)
                some.update(totals[stage])
        models = self.loaded.models.items()
        return WorkerOutcome(
            self.worker,
            float(totals[last].loss) if last in totals else None,
            tuple(self.spans),
            {slot: work.held for slot, work in self.work.items()},
            {i: m.state() for i, m in models} if self.plan.returns_state else None,
            self.outputs,
        )


def run_here(
    loaded: LoadedStages, plan: StepPlan, given: Assignment, pieces: Pieces
) -> WorkerOutcome:
    """Run a step whose stages are all of this process."""
    with computing(loaded.program.threads):
        step = StepRun(loaded, plan, given.worker, pieces)
        return _Peers(step, alone(plan.copies)).run(given)


class _Peers:
    """Runs a step's operations, and exchanges what they need with other workers."""

    def __init__(self, step: StepRun, exchange: Exchange) -> None:
        self.step, self.plan, self.exchange = step, step.plan, exchange
        self._here: dict[int, Any] = {}
        """What goes from stage to stage of this worker."""
        addresses = [address for address, _ in exchange.gang.members]
        self._address = dict(enumerate(addresses))
        self._sums = {}
        for stage in step.stages if self.plan.training else ():
            copies: dict[str, tuple[int, ...]] = {}
            for copy, worker in enumerate(self.plan.owners(stage)):
                address = self._address[worker]
                copies[address] = (*copies.get(address, ()), copy)
            self._sums[stage] = exchange.among(stage, copies)

    def run(self, given: Assignment) -> WorkerOutcome:
        """Run all operations, add the copies' gradients, and update."""
        for operation in given.operations:
            received = self._received(operation)
            self._pass_on(operation, self.step.do(operation, received))
        totals = self._totals()
        self.exchange.wait_for_posted()
        return self.step.finish(totals)

    def _received(self, operation: Operation) -> Any:
        """Wait for what an operation needs from another stage."""
        source = self.plan.shape.source_of(operation)
        if source is None:
            return None
        number = self._number(source)
        worker = self.plan.shape.workers[source.copy, source.stage]
        if worker == self.step.worker:
            return self._here.pop(number)
        return self.exchange.collect(self._address[worker], number)

    def _pass_on(self, operation: Operation, out: Any) -> None:
        if out is None:
            return
        kind, copy, stage, _ = operation
        number = self._number(operation)
        following = stage + (1 if kind == FORWARD else -1)
        worker = self.plan.shape.workers[copy, following]
        if worker == self.step.worker:
            self._here[number] = out
        else:
            self.exchange.post(self._address[worker], number, out)

    def _number(self, operation: Operation) -> int:
        """Return what the result of an operation is called."""
        kind, copy, stage, m = operation
        shape = self.plan.shape
        slot = copy * shape.stages + stage
        return 2 * (slot * shape.micro_batches + m) + (kind == BACKWARD)

    def _totals(self) -> dict[int, PartGradient]:
        """Return, by stage, the sum of all copies' shares in the fixed tree."""
        clock, begun = Clock(), {}
        for stage, exchange in self._sums.items():
            shares = {
                copy: work.share()
                for (copy, s), work in self.step.work.items()
                if s == stage
            }
            begun[stage] = TreeSum(exchange, 0, shares, clock)
        found = {}
        for stage, total in begun.items():
            left, right = total.take()
            found[stage] = left if right is None else add_gradients(left, right)
        return found


# -- on workers


def run_worker_step(
    plan: StepPlan, gang: Gang, given: Assignment, pieces: Pieces, load: Load | None
) -> WorkerOutcome | None:
    """Run a worker's share of a step, as one task; None if the step is dropped."""

    def work(exchange: Exchange) -> WorkerOutcome:
        run = begin_step(plan, given, pieces, load)
        try:
            with computing(run.loaded.program.threads):
                exchange.all_gather(HELLO, None, exchange.gang.form_seconds)
                outcome = _Peers(run, exchange).run(given)
        except BaseException:
            forget_run(plan.run, plan.attempt)
            raise
        end_step(plan)
        return outcome

    return run_among_peers(gang, given.worker, work)


class Kept:
    """What a worker keeps of a run from step to step."""

    def __init__(self, loaded: LoadedStages) -> None:
        self.loaded = loaded
        self.holds = ""
        """The attempt whose outcome its layers are; none during a step."""
        self.running: StepRun | None = None


def begin_step(
    plan: StepPlan, given: Assignment, pieces: Pieces, load: Load | None
) -> StepRun:
    """Return what a worker holds of a step; load layers if they are given.

    Raises
    ------
    PeerLost
        If the worker has not the layers that it is thought to have.
    """
    kept_of_runs = kept_here()
    if load is not None:
        kept_of_runs.pop(plan.run, None)
        loaded = LoadedStages(load.program, load.states)
        kept_of_runs[plan.run] = kept = Kept(loaded)
    else:
        found: Kept | None = kept_of_runs.get(plan.run)
        if found is None or found.holds != given.holds:
            raise PeerLost("this worker has other layers")
        kept = found
    kept.holds = ""
    kept.running = StepRun(kept.loaded, plan, given.worker, pieces)
    return kept.running


def running_step(plan: StepPlan) -> StepRun:
    """Return what this worker holds of a step that has begun here.

    Raises
    ------
    PeerLost
        If it has not begun, or was dropped.
    """
    kept = kept_here().get(plan.run)
    if kept is None or kept.running is None:
        raise PeerLost("the step has not begun on this worker")
    if kept.running.plan.attempt != plan.attempt:
        raise PeerLost("the step was dropped")
    return kept.running


def end_step(plan: StepPlan) -> None:
    """Take note that a step has come to its end here.

    Raises
    ------
    PeerLost
        If the run was forgotten meanwhile.
    """
    kept = kept_here().get(plan.run)
    if kept is None:
        raise PeerLost("the run was forgotten")
    kept.running, kept.holds = None, plan.attempt


def states_here(run: str, holds: str) -> dict[int, Any] | None:
    """Return the states of a worker's layers, if they are what they are thought."""
    kept = kept_here().get(run)
    if kept is None or kept.holds != holds:
        return None
    return {i: model.state() for i, model in kept.loaded.models.items()}


def forget_run(run: str, attempt: str | None = None, dask_worker: Any = None) -> int:
    """Drop all that this worker keeps of a run; return how much was in a step.

    Parameters
    ----------
    attempt : str, optional
        Drop it only if it is in this one: another may have begun meanwhile.
    dask_worker : distributed.Worker, optional
        Given by `distributed.Client.run`.
    """
    kept_of_runs = kept_here(dask_worker)
    kept: Kept | None = kept_of_runs.get(run)
    if kept is None:
        return 0
    running = kept.running
    if attempt is not None and (running is None or running.plan.attempt != attempt):
        return 0
    kept_of_runs.pop(run, None)
    return 0 if running is None else running.drop()


def held_here(dask_worker: Any = None) -> int:
    """Return how many micro-batches this worker holds of all runs."""
    found = kept_here(dask_worker).values()
    running = [kept.running for kept in found if kept.running]
    return sum(len(work.passed) for run in running for work in run.work.values())
