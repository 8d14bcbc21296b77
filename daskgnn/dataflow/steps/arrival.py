"""Units of work that free workers pull, and gradients that are applied as they come.

A unit is the run of seeds of one part in one step. Whoever is free takes the next one,
of its own parts if there is one. A gradient's staleness is the number of updates
between the parameters that it was taken at and those that it is applied to; it is never
above a bound, because what would make another one too late waits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Unit = tuple[int, int]
"""(step, part)"""


class Versions:
    """Which versions of the parameters are being worked with, and what may come next.

    Parameters
    ----------
    bound : int
        Largest staleness.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.now = 0
        """Updates so far."""
        self._read: dict[Unit, int] = {}

    def read_at(self, unit: Unit) -> int:
        """Return the version that a unit's gradient is taken at."""
        return self._read[unit]

    def may_start(self) -> bool:
        """Return whether a further gradient can still be applied in time."""
        # The oldest first, it comes after all that are under way.
        return len(self._read) <= self.bound

    def start(self, unit: Unit) -> None:
        """Take note that a unit's gradient is taken at the present parameters."""
        self._read[unit] = self.now

    def may_apply(self, unit: Unit) -> bool:
        """Return whether all others can still be applied in time after a unit."""
        others = sorted(read for other, read in self._read.items() if other != unit)
        last = self.now + 1
        return all(last + i - read <= self.bound for i, read in enumerate(others))

    def apply(self, unit: Unit) -> int:
        """Take note of an update; return its gradient's staleness."""
        late = self.now - self._read.pop(unit)
        self.now += 1
        return late


@dataclass
class _Worker:
    parts: set[int]
    seconds: float | None = None
    """Of a unit, the mean of the last ones."""
    busy: int = 0


@dataclass
class Pool:
    """Which units are still to be done, and by whom next."""

    waiting: dict[int, deque[int]]
    """By part: steps whose units nobody has taken."""
    workers: dict[str, _Worker] = field(default_factory=dict)
    depth: int = 1
    """Units that a worker may have at a time: one is computed, others are on their
    way."""

    @classmethod
    def of(cls, places: Sequence[str], steps: int, bound: int) -> Pool:
        """Return the units of a window, for the workers that hold its parts.

        Parameters
        ----------
        places : sequence of str
            Each part's worker.
        """
        pool = cls({part: deque(range(steps)) for part in range(len(places))})
        for part, place in enumerate(places):
            pool.workers.setdefault(place, _Worker(set())).parts.add(part)
        count = len(pool.workers)
        if count > 1:
            pool.depth = max(1, min(2, (bound + 1) // count))
        return pool

    def __len__(self) -> int:
        return sum(map(len, self.waiting.values()))

    def take(self) -> tuple[str, Unit] | None:
        """Return a worker that is free and its next unit, if there are both."""
        free = [n for n, w in self.workers.items() if w.busy < self.depth]
        for name in sorted(free, key=self._order):
            if self._is_worth_it(name):
                return name, self._next_of(name)
        return None

    def done(self, name: str, seconds: float) -> None:
        """Take note that a worker has done a unit, and what it took."""
        worker = self.workers[name]
        worker.busy -= 1
        before = worker.seconds
        worker.seconds = seconds if before is None else (before + seconds) / 2

    def remember(self, seconds: dict[str, float]) -> None:
        """Take over what units took in an earlier window."""
        for name, worker in self.workers.items():
            worker.seconds = seconds.get(name)

    def seconds(self) -> dict[str, float]:
        """Return what units take, by worker."""
        known = {name: worker.seconds for name, worker in self.workers.items()}
        return {name: took for name, took in known.items() if took is not None}

    def _order(self, name: str) -> tuple[int, float, str]:
        worker = self.workers[name]
        return worker.busy, worker.seconds or 0.0, name

    def _next_of(self, name: str) -> Unit:
        worker = self.workers[name]
        worker.busy += 1
        own = [part for part in worker.parts if self.waiting[part]]
        if own:  # what is to be done first
            part = min(own, key=lambda part: (self.waiting[part][0], part))
        else:  # of who has most to do
            part = max(self.waiting, key=lambda p: (len(self.waiting[p]), -p))
        return self.waiting[part].popleft(), part

    def _is_worth_it(self, name: str) -> bool:
        """Return whether there is a unit that others would not be done with before."""
        if not len(self):
            return False
        mine = self.workers[name].seconds
        others = [w.seconds for n, w in self.workers.items() if n != name]
        if mine is None or not others or None in others:
            return True
        rate = sum(1 / max(took, 1e-6) for took in others if took is not None)
        return mine * (self.workers[name].busy + 1) <= (len(self) + len(others)) / rate
