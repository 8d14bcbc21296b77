"""The steps of a window as a task graph: gradients, sums and updates.

``state -> grad (one a part) -> sum over parts -> state``. The sum's shape is a function
of the number of parts alone; its last addition is one task with the update.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dask.task_spec import DataNode, List, TaskRef

from daskgnn.dataflow.steps.clock import Clock, Work, here, together
from daskgnn.dataflow.steps.gradients import PartGradient, PartStep, add_gradients
from daskgnn.dataflow.steps.method import run_steps
from daskgnn.dataflow.steps.peers import check_copies
from daskgnn.dataflow.steps.ring import add_ring
from daskgnn.dataflow.steps.tasks import add_task
from daskgnn.dataflow.steps.tree import reduce_known, reduction_tree
from daskgnn.monitor.counters import count

if TYPE_CHECKING:
    from daskgnn.dataflow.steps.method import Step, StepMethod, WindowSteps


def chain_window(steps: WindowSteps) -> tuple[dict[Any, Any], Any]:
    """Return the graph of a window's steps, and the key of its last state.

    The state before the window is a literal of the graph, so that the window can be
    computed again without anything before it.
    """
    runner = TaskRunner(steps)
    return runner.tasks, run_steps(steps.method, runner, steps.options)


class TaskRunner:
    """Adds the tasks of a window's steps to a graph, and returns their keys."""

    def __init__(self, steps: WindowSteps) -> None:
        self.method, self.name = steps.method, steps.name
        self.programs, self.batches = steps.programs, steps.batches
        self.parts, self.num_parts = range(len(steps.batches)), len(steps.batches)
        self.done = getattr(steps.state, "step", 0)
        self.state: Any = ("state", *steps.name, 0, 0)
        self.tasks: dict[Any, Any] = {self.state: DataNode(self.state, steps.state)}
        self._checks: list[Any] = []

    def part_step(self, step: Step, part: int, carried: Any) -> tuple[Any, Any]:
        """Add a part's step; return the keys of its share and of what it carries."""
        # Local steps replace the state; they need it only to start from.
        needed = carried is None or not self.method.begins_anew
        given = TaskRef(self.programs[part]), _ref(self.state if needed else None)
        work = step, part, TaskRef(self.batches[part]), _ref(carried)
        name = (step.number, part)
        done = self._add("grad", name, part_step, self.method, *given, *work)
        if not self.method.carries:
            return done.key, None
        if self.method.adds(step.options):
            self._add("share", name, share_of, done)
        return ("share", *self.name, *name), done.key

    def begin_sum(self, step: Step, shares: dict[int, Any]) -> tuple[Any, Any]:
        """Add the sum of shares; return the keys of the last two, or one and None."""
        name, tasks = (*self.name, step.number), self.tasks
        if self.method.sums == "ring":
            return add_ring(tasks, name, list(shares.values())), None
        tree = reduction_tree(len(shares))
        known = {(part, part + 1): share for part, share in shares.items()}

        def add(left: Any, right: Any) -> Any:
            total = ("reduce", *name, len(tasks), left[-1])
            add_task(tasks, total, reduce_gradients, TaskRef(left), TaskRef(right))
            return total

        reduce_known(tree, known, add)
        return tree.rest(known)

    def update(self, step: Step, total: tuple[Any, Any], carried: Any) -> None:
        """Add the update."""
        left, right = total
        given = self.method, TaskRef(self.programs[0]), TaskRef(self.state), step
        sums = TaskRef(left), _ref(right), _ref(carried)
        self.state = self._add("state", (step.number + 1, 0), update, *given, *sums).key

    def compare(self, step: Step, done: int) -> None:
        """Add a comparison of the copies that the parts' workers have of the state."""
        copies = []
        for part, program in enumerate(self.programs):
            given = self.method, TaskRef(program), TaskRef(self.state)
            copies.append(self._add("checksum", (step.number, part), checksum, *given))
        self._checks.append(
            self._add("check", (step.number, 0), compare_copies, List(*copies), done)
        )

    def end(self, carried: dict[int, Any]) -> Any:
        """Return the key of the last state, once all copies are compared."""
        if carried:
            kept = [
                self._add("carried", (part,), carried_of, TaskRef(step))
                for part, step in carried.items()
            ]
            self._replace_state("carried", self.method.keep, kept)
        if self._checks:
            self._replace_state("checked", first_of, self._checks)
        return self.state

    def _replace_state(self, word: str, function: Any, given: list[TaskRef]) -> None:
        known = TaskRef(self.state), List(*given)
        self.state = self._add("state", (word, 0), function, *known).key

    def _add(self, word: str, name: Any, function: Any, *given: Any) -> TaskRef:
        return add_task(self.tasks, (word, *self.name, *name), function, *given)


def _ref(key: Any) -> TaskRef | None:
    return None if key is None else TaskRef(key)


# -- the tasks


def part_step(
    method: StepMethod,
    program: Any,
    state: Any,
    step: Step,
    part: int,
    batch: Any,
    before: PartStep | None,
) -> PartStep | PartGradient | None:
    """Return a part's step, or its share alone where it carries nothing."""
    began, clock = time.time(), Clock()
    with clock.phase("state"):
        session = method.begin(program, state)
    carried = None if before is None else before.carried
    found = method.part_step(session, step, part, batch, carried)
    clock.include(session.clock.take())
    count("gradients")
    for phase, (seconds, _) in clock.spent.items():
        count("busy_seconds", phase, seconds)
    share = found.share
    if share is not None and not share.work:
        share = replace(share, work={here(): Work(clock.spent, began, time.time())})
    return replace(found, share=share) if method.carries else share


def reduce_gradients(left: PartGradient, right: PartGradient) -> PartGradient:
    """Return the sum of two shares, and what it took."""
    clock = Clock()
    with clock.phase("reduce"):
        total = add_gradients(left, right)
    return replace(total, work=together(total.work, {here(): Work(clock.spent)}))


def update(
    method: StepMethod,
    program: Any,
    state: Any,
    step: Step,
    left: PartGradient,
    right: PartGradient | None,
    some: PartStep | None,
) -> Any:
    """Return the state after a step."""
    session = method.begin(program, state)
    carried = None if some is None else some.carried
    method.update(session, step, left, right, carried)
    return session.state()


def checksum(method: StepMethod, program: Any, state: Any) -> tuple[str, str]:
    """Return where a copy of the parameters is, and its digest."""
    return here(), method.begin(program, state).checksum()


def share_of(step: PartStep) -> PartGradient | None:
    """Return what a part sends."""
    return step.share


def carried_of(step: PartStep) -> Any:
    """Return what a part carries."""
    return step.carried


def compare_copies(copies: list[tuple[str, str]], done: int) -> None:
    """Compare the digests of all parts' copies."""
    named = {f"{where} (part {p})": digest for p, (where, digest) in enumerate(copies)}
    check_copies(named, done)


def first_of(state: Any, _: list[None]) -> Any:
    """Return a state once its copies have been compared."""
    return state
