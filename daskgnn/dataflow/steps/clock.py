"""Where time goes: seconds by phase, measured inside the tasks that spend it.

Times are reported beside results and never read by a computation.
"""

from __future__ import annotations

import math
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Spent = dict[str, tuple[float, float]]
"""By phase: seconds on the wall, and of this thread's processor time."""


class Clock:
    """Adds up the seconds of phases in one thread."""

    def __init__(self) -> None:
        self.spent: Spent = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time until the end of the block to `name`."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - wall, time.thread_time() - cpu)

    def add(self, name: str, wall: float, cpu: float) -> None:
        """Count some seconds to `name`."""
        before = self.spent.get(name, (0.0, 0.0))
        self.spent[name] = (before[0] + wall, before[1] + cpu)

    def include(self, spent: Spent) -> None:
        """Count what another clock has counted."""
        for name, (wall, cpu) in spent.items():
            self.add(name, wall, cpu)

    def total(self) -> tuple[float, float]:
        """Return wall and processor seconds of all phases."""
        walls, cpus = zip(*self.spent.values(), strict=True) if self.spent else ((), ())
        return sum(walls), sum(cpus)

    def take(self) -> Spent:
        """Return what was counted, and begin again."""
        spent, self.spent = self.spent, {}
        return spent


def added(*spent: Spent) -> Spent:
    """Return the sums of several counts."""
    total = Clock()
    for each in spent:
        total.include(each)
    return total.spent


@dataclass(frozen=True)
class Work:
    """What one worker did of something."""

    spent: Spent
    began: float = math.inf
    """Seconds since the epoch, by the worker's clock; inf where it does not matter."""
    ended: float = -math.inf


Works = dict[str, Work]
"""By worker's address."""


def together(*works: Works) -> Works:
    """Return what each worker did of all of it, from the first to the last."""
    total: Works = {}
    for each in works:
        for address, work in each.items():
            before = total.get(address, Work({}))
            total[address] = Work(
                added(before.spent, work.spent),
                min(before.began, work.began),
                max(before.ended, work.ended),
            )
    return total


def here() -> str:
    """Return the address of the worker that runs this task, or "local"."""
    if "distributed" not in sys.modules:
        return "local"
    from distributed import get_worker

    try:
        return str(get_worker().address)
    except ValueError:
        return "local"
