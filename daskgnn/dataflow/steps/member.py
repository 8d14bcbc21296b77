"""A window's steps in order, in one process: alone, or as one of several members.

The state stays in hand between steps. Members exchange sums of their parts' shares; one
that has all parts exchanges nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daskgnn.dataflow.steps.clock import Clock, Work, here
from daskgnn.dataflow.steps.method import run_steps
from daskgnn.dataflow.steps.peers import CARRIED, HELLO, Exchange, Gang
from daskgnn.dataflow.steps.sums import SUMS
from daskgnn.kernels.record import array_bytes

if TYPE_CHECKING:
    from daskgnn.dataflow.steps.gradients import PartGradient
    from daskgnn.dataflow.steps.method import Step, WindowSteps
    from daskgnn.dataflow.steps.peers import MemberReport
    from daskgnn.dataflow.steps.sums import Sum


@dataclass(frozen=True)
class Outcome:
    """What a member has after a window."""

    state: Any
    """The last state: every member has the same."""
    reports: tuple[MemberReport, ...]
    """Of this member and of those peers whose reports have come."""


def run_in_order(steps: WindowSteps, exchange: Exchange) -> Outcome:
    """Run a window's steps, with the other members if there are any.

    Parameters
    ----------
    programs, batches : sequence
        Of this member's parts.
    options : sequence
        What the driver says of each step's update.

    Raises
    ------
    PeerLost
        If a member does not come, or is lost.
    """
    clock, began, cpu = Clock(), time.time(), time.thread_time()
    with clock.phase("state"):
        runner = InOrderRunner(steps, exchange, clock)
    with clock.phase("form"):
        exchange.all_gather(HELLO, None, exchange.gang.form_seconds)
    after = run_steps(steps.method, runner, steps.options)
    ended, counted = time.time(), clock.total()
    rest = (ended - began - counted[0], time.thread_time() - cpu - counted[1])
    clock.add("other", *(max(seconds, 0.0) for seconds in rest))
    work = Work(clock.take(), began, ended)
    reports = map(steps.report_of, steps.batches)
    prepared = dict(zip(exchange.parts, reports, strict=True))
    told = work, tuple(runner.part_seconds), prepared
    return Outcome(after, exchange.all_reports(*told))


def alone(num_parts: int) -> Exchange:
    """Return the exchange of a process that has all parts, which is with no other."""
    return Exchange(None, Gang("", ((here(), tuple(range(num_parts))),), 0, 0), 0)


class InOrderRunner:
    """Computes the steps of its parts and exchanges sums with the other members."""

    def __init__(self, steps: WindowSteps, exchange: Exchange, clock: Clock) -> None:
        self.method, self.exchange, self.clock = steps.method, exchange, clock
        self.parts, self.num_parts = exchange.parts, exchange.gang.num_parts
        self.done = getattr(steps.state, "step", 0)
        self._batches = dict(zip(self.parts, steps.batches, strict=True))
        self._took = dict.fromkeys(self.parts, 0.0)
        self._session = self.method.begin(steps.programs[0], steps.state)

    @property
    def part_seconds(self) -> list[float]:
        """Seconds of the gradients of each of its parts so far."""
        return list(self._took.values())

    def part_step(self, step: Step, part: int, carried: Any) -> tuple[Any, Any]:
        """Compute a part's share at the present state, and what it carries on."""
        began = time.perf_counter()
        batch = self._batches[part]
        found = self.method.part_step(self._session, step, part, batch, carried)
        self._took[part] += time.perf_counter() - began
        return found.share, found.carried

    def begin_sum(self, step: Step, shares: dict[int, PartGradient]) -> Sum:
        """Begin to add shares, by part."""
        return SUMS[self.method.sums](self.exchange, step.number, shares, self.clock)

    def update(self, step: Step, total: Sum, carried: Any) -> None:
        """Change the state by a sum that was begun."""
        self.method.update(self._session, step, *total.take(), carried)

    def compare(self, step: Step, done: int) -> None:
        """Compare all members' copies of the parameters."""
        with self.clock.phase("exchange"):
            self.exchange.compare(step.number, self._session.checksum(), done)

    def end(self, carried: dict[int, Any]) -> Any:
        """Return the state after the steps, as all members do."""
        with self.clock.phase("state"):
            state = self._session.state()
        self.clock.include(self._session.clock.take())
        return self.method.keep(state, self._all_of(carried)) if carried else state

    def _all_of(self, mine: dict[int, Any]) -> list[Any]:
        """Return what all parts have, in order; `mine` are those of this member."""
        everything = dict(mine)
        with self.clock.phase("exchange"):
            count = len(self.exchange.peers)
            self.exchange.count(count * array_bytes(mine), count)
            for theirs in self.exchange.all_gather(CARRIED, mine):
                everything.update(theirs)
        return [everything[part] for part in sorted(everything)]
