"""A step as one task an operation, seen one by one on the dashboard.

Activations stay on their worker, where the tasks of the backward pass find them, so no
task can be run again by itself: tasks are pinned to their workers strictly, and a step
that loses one is dropped whole.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dask.task_spec import List, TaskRef

from daskgnn.dataflow.steps.gradients import PartGradient, add_gradients
from daskgnn.dataflow.steps.tasks import add_task
from daskgnn.dataflow.steps.tree import reduce_known, reduction_tree
from daskgnn.pipeline.run import begin_step, end_step, running_step
from daskgnn.pipeline.schedules import BACKWARD, FORWARD, WEIGHTS
from daskgnn.train.compute.arithmetic import computing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from daskgnn.pipeline.plan import (
        Assignment,
        Load,
        Pieces,
        StepPlan,
        WorkerOutcome,
    )
    from daskgnn.pipeline.schedules import Operation

_WORDS = {FORWARD: "forward", BACKWARD: "backward", WEIGHTS: "weights"}
"""How keys begin: names and colours on the dashboard."""


class OperationGraph:
    """The tasks of a step, and the worker of each.

    Parameters
    ----------
    plan : StepPlan
    given : sequence of Assignment
        By worker.
    pieces : sequence
        What each worker is given of the batch, or futures of that.
    """

    def __init__(
        self, plan: StepPlan, given: Sequence[Assignment], pieces: Sequence[Any]
    ) -> None:
        self.plan = plan
        self.tasks: dict[Any, Any] = {}
        self.home: dict[Any, int] = {}
        """The worker of each task, by key."""
        self.order: dict[Any, int] = {}
        """The place of each task among those that are added."""
        last: list[List] = []
        for each, mine in zip(given, pieces, strict=True):
            bare = replace(each, operations=(), load=None)
            with_what = begin, plan, bare, mine, each.load
            begun = self._add(each.worker, "begin", (each.worker,), *with_what)
            last.append(self._operations(each, begun))
        # Of one copy there is nothing to add.
        totals = self._totals(last) if plan.training and plan.copies > 1 else {}
        self.outcomes = []
        for each in given:
            stages = sorted({s for _, s in plan.shape.slots_of(each.worker)})
            wanted = List(*(List(*totals[s]) for s in stages)) if totals else List()
            work = plan, stages if totals else [], wanted, last[each.worker]
            name = (each.worker,)
            done = self._add(each.worker, "update", name, finish, *work)
            self.outcomes.append(done.key)

    def _operations(self, given: Assignment, begun: TaskRef) -> List:
        """Add a worker's operations; return the last two.

        Each may be sent to the worker while the one before still runs there, so that
        the way through the scheduler takes no time of its own. Once it is there, so is
        what the one before needs: it does not have the worker's only thread for itself
        while that one waits.
        """
        added, sources = [begun], list[TaskRef | None]([None])
        for turn, operation in enumerate(given.operations):
            kind, copy, stage, m = operation
            source = self.plan.shape.source_of(operation)
            received = None if source is None else TaskRef(self._key(source))
            after = List(*added[max(turn - 1, 0) : turn or 1], *_given(sources[-1]))
            work = self.plan, turn, operation, received, after
            name = (copy, stage, m)
            added.append(self._add(given.worker, _WORDS[kind], name, do, *work))
            sources.append(received)
        return List(*added[-2:])

    def _totals(self, last: list[List]) -> dict[int, list[TaskRef]]:
        """Add the sums over copies; return, by stage, the last one or two."""
        found = {}
        for stage in range(self.plan.cut.stages):
            owners = self.plan.owners(stage)
            known = {}
            for copy, worker in enumerate(owners):
                work = self.plan, copy, stage, last[worker]
                share = self._add(worker, "share", (copy, stage), share_of, *work)
                known[copy, copy + 1] = share
            tree = reduction_tree(len(owners))

            def add(left: TaskRef, right: TaskRef, stage: int = stage) -> TaskRef:
                worker = self.home[left.key]
                name = (stage, len(self.tasks))
                return self._add(worker, "reduce", name, add_gradients, left, right)

            reduce_known(tree, known, add)
            left, right = tree.rest(known)
            found[stage] = [left] if right is None else [left, right]
        return found

    def _key(self, operation: Operation) -> Any:
        kind, copy, stage, m = operation
        return self._named(_WORDS[kind], (copy, stage, m))

    def _named(self, word: str, name: tuple[int, ...]) -> tuple[Any, ...]:
        return (word, self.plan.run, self.plan.step, self.plan.attempt, *name)

    def _add(
        self, worker: int, word: str, name: tuple[int, ...], *call: Any
    ) -> TaskRef:
        key = self._named(word, name)
        self.home[key], self.order[key] = worker, len(self.order)
        return add_task(self.tasks, key, *call)


def _given(ref: TaskRef | None) -> list[TaskRef]:
    return [] if ref is None else [ref]


# -- the tasks


def begin(plan: StepPlan, given: Assignment, pieces: Pieces, load: Load | None) -> None:
    """Have a worker begin a step."""
    begin_step(plan, given, pieces, load)


def do(
    plan: StepPlan,
    turn: int,
    operation: Operation,
    received: np.ndarray | None,
    after: Any,
) -> np.ndarray | None:
    """Do one operation when it is its turn on this worker."""
    run = running_step(plan)
    run.wait_for(turn)
    with computing(run.loaded.program.threads):
        return run.do(operation, received)


def share_of(plan: StepPlan, copy: int, stage: int, after: Any) -> PartGradient:
    """Return a copy's share of a stage's gradient, after the worker's operations."""
    return running_step(plan).work[copy, stage].share()


def finish(
    plan: StepPlan,
    stages: list[int],
    totals: list[list[PartGradient]],
    after: Any,
) -> WorkerOutcome:
    """Update a worker's layers; return what it has then."""
    run = running_step(plan)
    sums = run.shares() if plan.training and plan.copies == 1 else {}
    for stage, total in zip(stages, totals, strict=True):
        sums[stage] = add_gradients(*total) if len(total) > 1 else total[0]
    with computing(run.loaded.program.threads):
        outcome = run.finish(sums)
    end_step(plan)
    return outcome
