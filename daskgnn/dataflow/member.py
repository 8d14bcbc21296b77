"""One member's work in a window that a gang runs: its parts' steps, in order."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from daskgnn.dataflow.peers import CARRIED
from daskgnn.dataflow.sums import SUMS
from daskgnn.sizeof import array_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.dataflow.chain import Chain
    from daskgnn.dataflow.clock import Clock
    from daskgnn.dataflow.peers import Exchange
    from daskgnn.dataflow.shares import PartGradient
    from daskgnn.dataflow.sums import Sum


class Member:
    """Runs the steps of its parts and exchanges sums with the other members."""

    def __init__(
        self,
        chain: Chain,
        exchange: Exchange,
        state: Any,
        programs: Sequence[Any],
        batches: Sequence[Any],
        clock: Clock,
    ) -> None:
        self.chain, self.exchange, self.clock = chain, exchange, clock
        self.program, self.state = programs[0], state
        self.batches = dict(zip(exchange.parts, batches, strict=True))
        self._took = dict.fromkeys(self.batches, 0.0)
        self._done = getattr(state, "step", 0)
        self._session = chain.begin(self.program, state)
        self._carried: dict[int, Any] = {}
        if chain.packing is not None:
            for part in self.batches:
                self._carried[part] = chain.packing.begin(self.program, state, part)

    @property
    def part_seconds(self) -> list[float]:
        """Seconds of the gradients of each of its parts so far."""
        return list(self._took.values())

    def run(self, options: Sequence[Any]) -> Any:
        """Run the window's steps; return the state after them, as all members do.

        Parameters
        ----------
        options : sequence
            What the driver says of each step's update.
        """
        waiting: deque[tuple[int, Sum, Any]] = deque()
        for step, step_options in enumerate(options):
            waiting.append((step, self._sum(step), step_options))
            if len(waiting) > self.chain.staleness:
                self._update(*waiting.popleft())
        for each in waiting:
            self._update(*each)
        with self.clock.phase("state"):
            state = self._session.state()
        self.clock.include(self._session.clock.take())
        if self.chain.packing is not None:
            state = self.chain.packing.keep(state, self._all_of(self._carried))
        return state

    def _sum(self, step: int) -> Sum:
        """Compute this member's shares of a step and begin their sum."""
        shares = {}
        behind = max(self.chain.staleness - step, 0)
        for part, batch in self.batches.items():
            began = time.perf_counter()
            share = self._session.gradient(batch, step, behind)
            shares[part] = self._packed(part, share)
            self._took[part] += time.perf_counter() - began
        return self._add(step, shares)

    def _add(self, step: int, shares: dict[int, PartGradient]) -> Sum:
        """Begin the sum of a step's shares."""
        kind = "packed" if self.chain.packing is not None else self.chain.sums
        return SUMS[kind](self.exchange, step, shares, self.clock)

    def _packed(self, part: int, share: PartGradient) -> PartGradient:
        packing = self.chain.packing
        if packing is None:
            return share
        with self.clock.phase("compress"):
            share, self._carried[part] = packing.pack(
                self.program, share, self._carried[part]
            )
        return share

    def _update(self, step: int, total: Sum, options: Any) -> None:
        self._session.update(*total.take(), options)
        done = self._done + step + 1
        if self.chain.checks(done):
            with self.clock.phase("exchange"):
                self.exchange.compare(step, self._session.checksum(), done)

    def _all_of(self, mine: dict[int, Any]) -> list[Any]:
        """Return what all parts have, in order; `mine` are those of this member."""
        everything = dict(mine)
        with self.clock.phase("exchange"):
            count = len(self.exchange.peers)
            self.exchange.count(count * array_bytes(mine), count)
            for theirs in self.exchange.all_gather(CARRIED, mine):
                everything.update(theirs)
        return [everything[part] for part in sorted(everything)]
