"""What the steps of a window compute, and the loop that all runners share.

A method says what a part does in a step, and how the parts' shares change the state.
A runner carries it out: as tasks of a graph (`daskgnn.dataflow.steps.chain`), or in
order in one process (`daskgnn.dataflow.steps.member`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from daskgnn.dataflow.steps.gradients import PartStep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.dataflow.steps.clock import Clock
    from daskgnn.dataflow.steps.gradients import PartGradient


@dataclass(frozen=True)
class Step:
    """The facts about a step that its gradient and update tasks get."""

    number: int
    """In its window."""
    behind: int = 0
    """How many updates before the window's first state its gradients are taken at."""
    options: Any = None
    """What the driver says of its update."""
    num_parts: int = 1


class Session(Protocol):
    """A state that is changed step by step within one process."""

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

    def checksum(self) -> str:
        """Return a digest of the parameters as they are now."""


@dataclass(frozen=True)
class StepMethod:
    """How a step is taken: every part's gradient, their sum, an update."""

    session: Callable[[Any, Any], Session]
    """(program, state) -> Session"""
    staleness: int = 0
    """Updates that a step's gradient does not wait for: those of the steps right
    before it."""
    sums: str = "tree"
    """How shares are added: see `daskgnn.dataflow.steps.sums`."""
    checksum_every: int = 0
    """Steps between comparisons of all copies of the parameters; 0: none."""

    carries: ClassVar[bool] = False
    """Whether parts keep something from step to step, such as a residual."""
    begins_anew: ClassVar[bool] = False
    """Whether what they carry is replaced by an update's state."""

    def begin(self, program: Any, state: Any) -> Any:
        """Return the session that holds a state."""
        return self.session(program, state)

    def part_step(
        self, session: Any, step: Step, part: int, batch: Any, carried: Any
    ) -> PartStep:
        """Return a part's share of a step, if it has one, and what it carries on.

        Parameters
        ----------
        batch : object
            The part's prepared window.
        carried : object
            From its step before; None in the first one.
        """
        return PartStep(session.gradient(batch, step.number, step.behind))

    def adds(self, options: Any) -> bool:
        """Return whether the parts' shares are added after a step."""
        return True

    def update(
        self,
        session: Any,
        step: Step,
        left: PartGradient,
        right: PartGradient | None,
        carried: Any,
    ) -> None:
        """Change the state in hand by the last two sums of the parts' shares.

        Parameters
        ----------
        carried : object
            What some part carries, if that is replaced.
        """
        session.update(left, right, step.options)

    def keep(self, state: Any, carried: Sequence[Any]) -> Any:
        """Return a state with what all parts carry, in order."""
        return state

    def checks(self, done: int) -> bool:
        """Return whether copies are compared after an update, so many steps done."""
        return self.checksum_every > 0 and done % self.checksum_every == 0


def nothing(_: Any) -> None:
    """Tell nothing of a prepared window."""


@dataclass(frozen=True)
class WindowSteps:
    """A window's steps: how they are taken, from what state, on what."""

    method: StepMethod
    name: tuple[Any, ...]
    """Run and window: what its keys have in common."""
    state: Any
    """The state before the window."""
    programs: Sequence[Any]
    """Keys, by part, of the model's program."""
    batches: Sequence[Any]
    """Keys, by part, of the prepared window."""
    options: Sequence[Any]
    """What the driver says of each step's update (learning rates)."""
    report_of: Callable[[Any], Any] = nothing
    """(a part's prepared window) -> what the driver is told of it."""


def run_steps(method: StepMethod, runner: Any, options: Sequence[Any]) -> Any:
    """Run a window's steps; return the state after them, as the runner has it.

    Parameters
    ----------
    runner : TaskRunner or InOrderRunner
        Carries the steps out: ``num_parts``, ``parts`` (those whose steps are computed
        here) and ``done`` (steps before the window) say what there is;
        ``part_step(step, part, carried)`` returns a part's share at the present state
        and what it carries on, ``begin_sum(step, shares)`` a sum that is begun;
        ``update(step, total, carried)`` changes the state by it;
        ``compare(step, done)`` compares all copies of the parameters;
        ``end(carried)`` returns the state with what parts carry. What it hands out
        only it needs to understand.
    options : sequence
        Of each step's update.
    """
    carried: dict[int, Any] = {}
    waiting: deque[tuple[Step, Any]] = deque()
    for number, said in enumerate(options):
        behind = max(method.staleness - number, 0)
        step = Step(number, behind, said, runner.num_parts)
        found = {p: runner.part_step(step, p, carried.get(p)) for p in runner.parts}
        if method.carries:
            carried = {part: kept for part, (_, kept) in found.items()}
        if method.adds(said):
            shares = {part: share for part, (share, _) in found.items()}
            waiting.append((step, runner.begin_sum(step, shares)))
        if len(waiting) > method.staleness:
            carried = _update(method, runner, *waiting.popleft(), carried)
    for step, total in waiting:
        carried = _update(method, runner, step, total, carried)
    return runner.end(carried)


def _update(
    method: StepMethod, runner: Any, step: Step, total: Any, carried: dict[int, Any]
) -> dict[int, Any]:
    """Change the state, compare copies if it is time; return what parts carry on."""
    some = next(iter(carried.values())) if method.begins_anew else None
    runner.update(step, total, some)
    done = runner.done + step.number + 1
    if method.checks(done):
        runner.compare(step, done)
    return {} if method.begins_anew else carried
