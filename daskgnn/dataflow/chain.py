"""What is computed in a chain of steps, unknown to who builds or runs it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from daskgnn.dataflow.clock import Clock, Work, here, together
from daskgnn.dataflow.shares import PartGradient, PartStep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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

    def checksum(self) -> str:
        """Return a digest of the parameters as they are now."""


class Packing(Protocol):
    """Compresses parts' shares; what it leaves out is carried to the next step."""

    def begin(self, program: Any, state: Any, part: int) -> Any:
        """Return what a part carries at a window's begin."""

    def pack(
        self, program: Any, share: PartGradient, carried: Any
    ) -> tuple[PartGradient, Any]:
        """Return a share as it is sent, and what is carried on."""

    def keep(self, state: Any, carried: Sequence[Any]) -> Any:
        """Return a state with what all parts carry, in order."""


class Local(Protocol):
    """Steps that each part takes by itself, on a replica of the state."""

    def begin(self, state: Any, part: int) -> Any:
        """Return a part's replica."""

    def step(
        self,
        program: Any,
        replica: Any,
        batch: Any,
        step: int,
        options: Any,
        num_parts: int,
    ) -> Any:
        """Return a replica after a step."""

    def share(self, replica: Any) -> PartGradient:
        """Return what is averaged of a replica."""

    def average(
        self,
        base: Any,
        replica: Any,
        left: PartGradient,
        right: PartGradient | None,
        num_parts: int,
    ) -> Any:
        """Return the averaged state: of some replica, and the last two sums."""

    def keep(self, base: Any, replicas: Sequence[Any]) -> Any:
        """Return a state that holds all parts' replicas, in order."""


@dataclass(frozen=True)
class Chain:
    """What a chain computes, unknown to the graph."""

    begin: Callable[[Any, Any], Session]
    """(program, state) -> Session"""
    staleness: int = 0
    """Updates that a step's gradient does not wait for: those of the steps right
    before it."""
    sums: str = "tree"
    """How shares are added: "tree" or "ring"."""
    packing: Packing | None = None
    """How shares are compressed, if they are."""
    checksum_every: int = 0
    """Steps between comparisons of all copies of the parameters; 0: none."""
    local: Local | None = None
    """How parts take steps of their own, if they do."""
    together_every: int = 1
    """Steps between averages of parts that do."""

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

    def packed_gradient(
        self,
        program: Any,
        state: Any,
        batch: Any,
        step: int,
        behind: int,
        part: int,
        before: PartStep | None,
    ) -> PartStep:
        """Return a part's share of a step, compressed, and what it carries on."""
        assert self.packing is not None
        share = self.gradient(program, state, batch, step, behind)
        if before is None:
            carried = self.packing.begin(program, state, part)
        else:
            carried = before.carried
        clock = Clock()
        with clock.phase("compress"):
            share, carried = self.packing.pack(program, share, carried)
        work = together(share.work, {here(): Work(clock.spent)})
        return PartStep(replace(share, work=work), carried)

    def local_step(
        self,
        program: Any,
        before: Any,
        part: int | None,
        batch: Any,
        step: int,
        options: Any,
        num_parts: int,
    ) -> Any:
        """Return a part's replica after a step; from a state, if a part is named."""
        assert self.local is not None
        replica = before if part is None else self.local.begin(before, part)
        return self.local.step(program, replica, batch, step, options, num_parts)

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

    def checks(self, done: int) -> bool:
        """Return whether copies are compared when so many steps are done."""
        every = self.checksum_every
        return every > 0 and done % every < min(self.together_every, every)

    def checksum(self, program: Any, state: Any) -> tuple[str, str]:
        """Return where a copy of the parameters is, and its digest: a task."""
        return here(), self.begin(program, state).checksum()
