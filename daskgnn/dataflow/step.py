"""The chain of a window that depends on parameters, as a task graph.

``state -> grad (one a part) -> tree over parts -> state``. The tree's shape is a
function of the number of parts alone; its last sum is one task with the update.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from dask.task_spec import DataNode, Task, TaskRef

from daskgnn.dataflow.clock import Clock, Work, Works, here, together
from daskgnn.dataflow.tree import reduce_known, reduction_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


@dataclass(frozen=True)
class PartGradient:
    """What one part, or several summed, say of a step."""

    gradient: np.ndarray
    """float32 [parameters], of the sum over seeds divided by the global count."""
    loss: float
    """The loss's share, divided likewise."""
    work: Works = field(default_factory=dict)
    """Where the time of computing it went."""


def add_gradients(left: PartGradient, right: PartGradient) -> PartGradient:
    """Return the sum of two shares."""
    return PartGradient(
        left.gradient + right.gradient,
        left.loss + right.loss,
        together(left.work, right.work),
    )


def reduce_gradients(left: PartGradient, right: PartGradient) -> PartGradient:
    """Return the sum of two shares, and what it took: a task."""
    clock = Clock()
    with clock.phase("reduce"):
        total = add_gradients(left, right)
    return replace(total, work=together(total.work, {here(): Work(clock.spent)}))


class Session(Protocol):
    """Steps computed one after another, with the state in hand."""

    clock: Clock

    def gradient(self, batch: Any, step: int, behind: int = 0) -> PartGradient:
        """Return a part's share for one step of its prepared window.

        It is taken at the parameters as they were `behind` updates ago.
        """

    def update(
        self, left: PartGradient, right: PartGradient | None, options: Any
    ) -> None:
        """Add the last two shares and take the optimizer's step."""

    def state(self) -> Any:
        """Return the state after the steps so far."""


@dataclass(frozen=True)
class Chain:
    """What a chain computes, unknown to the graph."""

    begin: Callable[[Any, Any], Session]
    """(program, state) -> Session"""
    staleness: int = 0
    """Updates that a step's gradient does not wait for: those of the steps right
    before it."""

    def gradient(
        self, program: Any, state: Any, batch: Any, step: int, behind: int
    ) -> PartGradient:
        """Return a part's share of a step, and when it was computed."""
        began, clock = time.time(), Clock()
        with clock.phase("state"):
            session = self.begin(program, state)
        share = session.gradient(batch, step, behind)
        clock.include(session.clock.take())
        return replace(share, work={here(): Work(clock.spent, began, time.time())})

    def update(
        self,
        program: Any,
        state: Any,
        left: PartGradient,
        right: PartGradient | None,
        options: Any,
    ) -> Any:
        """Return the state after a step."""
        session = self.begin(program, state)
        session.update(left, right, options)
        return session.state()


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
    tree = reduction_tree(len(batches))
    key = ("state", run, window, 0, 0)
    tasks: dict[Any, Any] = {key: DataNode(key, state)}
    states = [key]
    for step, step_options in enumerate(options):
        shares: dict[Any, Any] = {}
        behind = max(chain.staleness - step, 0)
        known = states[max(step - chain.staleness, 0)]
        for part, (program, batch) in enumerate(zip(programs, batches, strict=True)):
            grad = ("grad", run, window, step, part)
            tasks[grad] = Task(
                grad,
                chain.gradient,
                TaskRef(program),
                TaskRef(known),
                TaskRef(batch),
                step,
                behind,
            )
            shares[part, part + 1] = grad

        def add(left: Any, right: Any, step: int = step) -> Any:
            total = ("reduce", run, window, step, len(tasks), left[-1])
            tasks[total] = Task(total, reduce_gradients, TaskRef(left), TaskRef(right))
            return total

        reduce_known(tree, shares, add)
        left, right = (*(shares[r] for r in tree.last), None)[:2]
        update = ("state", run, window, step + 1, 0)
        tasks[update] = Task(
            update,
            chain.update,
            TaskRef(programs[0]),
            TaskRef(key),
            TaskRef(left),
            None if right is None else TaskRef(right),
            step_options,
        )
        key = update
        states.append(key)
    return tasks, key
