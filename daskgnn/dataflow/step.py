"""The chain of a window that depends on parameters, as a task graph.

``state -> grad (one a part) -> tree over parts -> state``. The tree's shape is a
function of the number of parts alone; its last sum is one task with the update.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dask.task_spec import DataNode, List, Task, TaskRef

from daskgnn.dataflow.chain import Chain
from daskgnn.dataflow.clock import Clock, Work, here, together
from daskgnn.dataflow.peers import check_copies
from daskgnn.dataflow.ring import add_ring
from daskgnn.dataflow.shares import PartGradient, PartStep, add_gradients
from daskgnn.dataflow.tree import reduce_known, reduction_tree

__all__ = ["Chain", "add_sums", "chain_window"]


def reduce_gradients(left: PartGradient, right: PartGradient) -> PartGradient:
    """Return the sum of two shares, and what it took: a task."""
    clock = Clock()
    with clock.phase("reduce"):
        total = add_gradients(left, right)
    return replace(total, work=together(total.work, {here(): Work(clock.spent)}))


def chain_window(
    chain: Chain,
    run: str,
    window: int,
    state: Any,
    programs: list[Any],
    batches: list[Any],
    options: list[Any],
) -> tuple[dict[Any, Any], Any]:
    """Return the graph of a window's steps, and the key of its last state.

    Parameters
    ----------
    state : object
        The state before the window: a literal of the graph, so that the window can
        be computed again without anything before it.
    programs, batches : list
        Keys, by part, of the model's program and of the prepared window.
    options : list
        What the driver says of each step's update (learning rates).
    """
    kind = _Graph if chain.local is None else _LocalGraph
    graph = kind(chain, run, window, state, programs, batches)
    for step, step_options in enumerate(options):
        graph.add_step(step, step_options)
    return graph.tasks, graph.last()


class _Graph:
    """The graph of a window's steps, as it is made."""

    def __init__(
        self,
        chain: Chain,
        run: str,
        window: int,
        state: Any,
        programs: list[Any],
        batches: list[Any],
    ) -> None:
        self.chain, self.name = chain, (run, window)
        self.programs, self.batches = programs, batches
        first: Any = ("state", run, window, 0, 0)
        self.tasks: dict[Any, Any] = {first: DataNode(first, state)}
        self.states = [first]
        self._done = getattr(state, "step", 0)
        self._carrying: list[Any] = []
        self._checks: list[Any] = []

    def add_step(self, step: int, options: Any) -> None:
        """Add one step: gradients, their sum, the update."""
        left, right = add_sums(
            self.tasks, self.chain.sums, (*self.name, step), self._shares(step)
        )
        update = ("state", *self.name, step + 1, 0)
        self.tasks[update] = Task(
            update,
            self.chain.update,
            TaskRef(self.programs[0]),
            TaskRef(self.states[-1]),
            TaskRef(left),
            None if right is None else TaskRef(right),
            options,
        )
        self.states.append(update)
        if self.chain.checks(self._done + step + 1):
            self._check(step, update)

    def last(self) -> Any:
        """Return the key of the last state; end the graph."""
        last: Any = self.states[-1]
        if self._carrying:
            assert self.chain.packing is not None
            carried = []
            for part, grad in enumerate(self._carrying):
                key = ("carried", *self.name, part)
                self.tasks[key] = Task(key, carried_of, TaskRef(grad))
                carried.append(TaskRef(key))
            whole = ("state", *self.name, "carried", 0)
            keep = self.chain.packing.keep
            self.tasks[whole] = Task(whole, keep, TaskRef(last), List(*carried))
            last = whole
        return self._checked(last)

    def _checked(self, last: Any) -> Any:
        """Return the key of a state that is there when all copies are compared."""
        if self._checks:
            sound = ("state", *self.name, "checked", 0)
            checks = List(*map(TaskRef, self._checks))
            self.tasks[sound] = Task(sound, first_of, TaskRef(last), checks)
            last = sound
        return last

    def _shares(self, step: int) -> list[Any]:
        """Add the parts' gradients; return the keys of what they send."""
        chain, shares = self.chain, []
        state = self.states[max(step - chain.staleness, 0)]
        behind = max(chain.staleness - step, 0)
        function = chain.packed_gradient if chain.packing else chain.gradient
        carrying = self._carrying or [None] * len(self.batches)
        self._carrying = []
        for part, batch in enumerate(self.batches):
            key = ("grad", *self.name, step, part)
            needed = (self.programs[part], state, batch)
            given: list[Any] = [TaskRef(k) for k in needed]
            if chain.packing:
                before = carrying[part] and TaskRef(carrying[part])
                given += [step, behind, part, before]
                self.tasks[key] = Task(key, function, *given)
                self._carrying.append(key)
                share = ("share", *self.name, step, part)
                self.tasks[share] = Task(share, share_of, TaskRef(key))
                shares.append(share)
            else:
                self.tasks[key] = Task(key, function, *given, step, behind)
                shares.append(key)
        return shares

    def _check(self, step: int, state: Any) -> None:
        """Add a comparison of the copies that the parts' workers have of a state."""
        copies = []
        for part, program in enumerate(self.programs):
            key = ("checksum", *self.name, step, part)
            self.tasks[key] = Task(
                key, self.chain.checksum, TaskRef(program), TaskRef(state)
            )
            copies.append(TaskRef(key))
        check = ("check", *self.name, step, 0)
        done = self._done + step + 1
        self.tasks[check] = Task(check, compare_copies, List(*copies), done)
        self._checks.append(check)


class _LocalGraph(_Graph):
    """The graph of steps that parts take by themselves."""

    def add_step(self, step: int, options: Any) -> None:
        """Add one step of every part, and the average where one is due."""
        local, count = self.chain.local, len(self.batches)
        assert local is not None
        before = self._carrying
        self._carrying = []
        for part, batch in enumerate(self.batches):
            key = ("grad", *self.name, step, part)
            self.tasks[key] = Task(
                key,
                self.chain.local_step,
                TaskRef(self.programs[part]),
                TaskRef(before[part] if before else self.states[-1]),
                None if before else part,
                TaskRef(batch),
                step,
                options,
                count,
            )
            self._carrying.append(key)
        if not options.averages:
            return
        shares = []
        for part, replica in enumerate(self._carrying):
            key = ("share", *self.name, step, part)
            self.tasks[key] = Task(key, local.share, TaskRef(replica))
            shares.append(key)
        left, right = add_sums(self.tasks, self.chain.sums, (*self.name, step), shares)
        average = ("state", *self.name, step + 1, 0)
        given: list[Any] = [
            TaskRef(k) for k in (self.states[-1], self._carrying[0], left)
        ]
        given.append(None if right is None else TaskRef(right))
        self.tasks[average] = Task(average, local.average, *given, count)
        self.states.append(average)
        self._carrying = []
        if self.chain.checks(self._done + step + 1):
            self._check(step, average)

    def last(self) -> Any:
        """Return the key of the last state; end the graph."""
        last = self.states[-1]
        if self._carrying:
            assert self.chain.local is not None
            whole = ("state", *self.name, "carried", 0)
            replicas = List(*map(TaskRef, self._carrying))
            self.tasks[whole] = Task(
                whole, self.chain.local.keep, TaskRef(last), replicas
            )
            last = whole
        return self._checked(last)


def add_sums(
    tasks: dict[Any, Any], kind: str, name: tuple[Any, ...], shares: list[Any]
) -> tuple[Any, Any]:
    """Add the sum of a step's shares, by part, to a graph.

    Returns
    -------
    left, right
        Keys of the last two sums, or of the one and None.
    """
    if kind == "ring":
        return add_ring(tasks, name, shares), None
    tree = reduction_tree(len(shares))
    known = {(part, part + 1): share for part, share in enumerate(shares)}

    def add(left: Any, right: Any) -> Any:
        total = ("reduce", *name, len(tasks), left[-1])
        tasks[total] = Task(total, reduce_gradients, TaskRef(left), TaskRef(right))
        return total

    reduce_known(tree, known, add)
    left, *right = (known[r] for r in tree.last)
    return left, right[0] if right else None


def share_of(step: PartStep) -> PartGradient:
    """Return what a part sends: a task."""
    return step.share


def carried_of(step: PartStep) -> Any:
    """Return what a part carries: a task."""
    return step.carried


def compare_copies(copies: list[tuple[str, str]], done: int) -> None:
    """Compare the digests of all parts' copies: a task."""
    named = {f"{where} (part {p})": digest for p, (where, digest) in enumerate(copies)}
    check_copies(named, done)


def first_of(state: Any, _: list[None]) -> Any:
    """Return a state once its copies have been compared: a task."""
    return state
