"""A member of a gang whose parts take steps of their own between averages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from daskgnn.dataflow.member import Member

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.dataflow.chain import Local


class LocalMember(Member):
    """Runs its parts' own steps, and averages with the other members."""

    def run(self, options: Sequence[Any]) -> Any:
        """Run the window's steps; return the state after them, as all members do."""
        assert self.chain.local is not None
        local, state = self.chain.local, self.state
        replicas: dict[int, Any] = {}
        for step, step_options in enumerate(options):
            replicas = self._step(local, state, replicas, step, step_options)
            if step_options.averages:
                state = self._average(local, state, replicas, step)
                replicas = {}
        if replicas:
            state = local.keep(state, self._all_of(replicas))
        return state

    def _step(
        self,
        local: Local,
        state: Any,
        replicas: dict[int, Any],
        step: int,
        options: Any,
    ) -> dict[int, Any]:
        """Return the parts' replicas after a step of each."""
        after = {}
        count = self.exchange.gang.num_parts
        for part, batch in self.batches.items():
            began = time.perf_counter()
            before = replicas.get(part) or local.begin(state, part)
            found = local.step(self.program, before, batch, step, options, count)
            for work in found.work[-1].values():
                self.clock.include(work.spent)
            after[part] = found
            self._took[part] += time.perf_counter() - began
        return after

    def _average(
        self, local: Local, state: Any, replicas: dict[int, Any], step: int
    ) -> Any:
        """Average all parts' replicas; return the state."""
        shares = {part: local.share(replica) for part, replica in replicas.items()}
        left, right = self._add(step, shares).take()
        some = next(iter(replicas.values()))
        with self.clock.phase("reduce"):
            count = self.exchange.gang.num_parts
            state = local.average(state, some, left, right, count)
        if self.chain.checks(self._done + step + 1):
            digest = self.chain.begin(self.program, state).checksum()
            with self.clock.phase("exchange"):
                self.exchange.compare(step, digest, self._done + step + 1)
        return state
