"""Which worker gets which part: pure functions of workers and measured times.

What is decided here changes how fast a run is, never a bit of its result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SMOOTHING = 0.3
"""Weight of the newest measurement."""
MEMORY_SECONDS = 60.0
"""How long it is remembered what a part took where it no longer is."""
GAIN = 1.3
"""How many times faster parts must be elsewhere before any of them moves."""
GAIN_OF_IDLE = 1.1
"""The same where a worker has just joined."""
_ALIKE = 1.0
"""Weight of believing that parts cost the same: their seeds are equal in number."""
_EQUAL = 0.05
"""Weight of believing that workers are equally fast."""
_ROUNDS = 30


@dataclass(frozen=True)
class Loads:
    """What is expected of parts and workers, relative to an average of 1."""

    costs: tuple[float, ...] = ()
    """Of each part, on an average worker."""
    slowness: Mapping[str, float] = field(default_factory=dict)
    """Of the workers that have been measured."""

    def seconds(self, part: int, worker: str) -> float:
        """Return what a part takes on a worker."""
        cost = self.costs[part] if self.costs else 1.0
        return cost * self.slowness.get(worker, 1.0)


class Timings:
    """Remembers how long each part took on each worker."""

    def __init__(self, num_parts: int) -> None:
        self.num_parts = num_parts
        self._seconds: dict[tuple[int, str], tuple[float, float]] = {}

    def add(self, places: Sequence[str], seconds: Sequence[float], now: float) -> None:
        """Take what each part took a step, where it was, in a window ended `now`."""
        for part, (worker, new) in enumerate(zip(places, seconds, strict=True)):
            if not new > 0:
                continue
            old, _ = self._seconds.get((part, worker), (new, now))
            self._seconds[part, worker] = (old + SMOOTHING * (new - old), now)
        oldest = now - MEMORY_SECONDS
        self._seconds = {k: v for k, v in self._seconds.items() if v[1] >= oldest}

    def forget(self, worker: str) -> None:
        """Forget a worker that is gone: another one may get its address."""
        self._seconds = {k: v for k, v in self._seconds.items() if k[1] != worker}

    def loads(self) -> Loads:
        """Tell dear parts and slow workers apart, as far as they have met.

        A part's time is its cost times its worker's slowness. Where parts have not
        been on several workers, parts are taken for alike and workers for unequal.
        """
        if not self._seconds:
            return Loads()
        workers = sorted({worker for _, worker in self._seconds})
        logs = np.full((self.num_parts, len(workers)), np.nan)
        for (part, worker), (seconds, _) in self._seconds.items():
            logs[part, workers.index(worker)] = np.log(seconds)
        seen = ~np.isnan(logs)
        logs = np.where(seen, logs - logs[seen].mean(), 0.0)
        cost, slow = np.zeros(self.num_parts), np.zeros(len(workers))
        for _ in range(_ROUNDS):
            left = np.where(seen, logs - cost[:, None], 0.0).sum(axis=0)
            slow = left / (seen.sum(axis=0) + _EQUAL)
            left = np.where(seen, logs - slow, 0.0).sum(axis=1)
            cost = left / (seen.sum(axis=1) + _ALIKE)
        return Loads(
            tuple(np.exp(cost).tolist()),
            dict(zip(workers, np.exp(slow).tolist(), strict=True)),
        )


def in_runs(num_parts: int, workers: Iterable[str]) -> list[str]:
    """Return each part's worker: runs of equal length, neighbours together."""
    names = sorted(workers)
    return [names[part * len(names) // num_parts] for part in range(num_parts)]


def finish_time(places: Sequence[str], workers: Iterable[str], loads: Loads) -> float:
    """Return when the last of the workers has done a step of all its parts."""
    return max(_busy(places, workers, loads).values(), default=0.0)


def place(
    places: Sequence[str | None], workers: Iterable[str], loads: Loads
) -> list[str]:
    """Return a worker for each part: those whose worker is gone get another.

    Each goes where it is done first; of equals, beside a part that is its neighbour
    in storage order. Other parts stay.

    Parameters
    ----------
    places : sequence of str or None
        Each part's worker so far.
    workers : iterable of str
        Those that may hold parts; at least one.
    """
    names = sorted(workers)
    found = [place if place in names else None for place in places]
    busy = dict.fromkeys(names, 0.0)
    for part, worker in enumerate(found):
        if worker is not None:
            busy[worker] += loads.seconds(part, worker)
    homeless = [part for part, worker in enumerate(found) if worker is None]
    for part in sorted(homeless, key=lambda p: (-loads.seconds(p, ""), p)):

        def price(worker: str, part: int = part) -> tuple[float, bool, str]:
            beside = worker in _neighbours(found, part)
            return (busy[worker] + loads.seconds(part, worker), not beside, worker)

        best = min(names, key=price)
        busy[best] += loads.seconds(part, best)
        found[part] = best
    return [worker for worker in found if worker is not None]


def balance(
    places: Sequence[str], workers: Iterable[str], loads: Loads, gain: float = GAIN
) -> list[str]:
    """Return places from which no single move makes a step faster.

    They are the old ones unless the step gets `gain` times faster: a part that moves
    has to be loaded again.
    """
    names = sorted(workers)
    found = list(places)
    for _ in range(4 * len(found)):
        move = _best_move(found, names, loads)
        if move is None:
            break
        found[move[0]] = move[1]
    before, after = (finish_time(p, names, loads) for p in (places, found))
    return found if before >= gain * after > 0 else list(places)


def _best_move(
    places: Sequence[str], names: Sequence[str], loads: Loads
) -> tuple[int, str] | None:
    """Return the part of the busiest worker, and where it would end earliest."""
    busy = _busy(places, names, loads)
    busiest = max(names, key=lambda name: (busy[name], name))
    prices = []
    for part, worker in enumerate(places):
        if worker != busiest:
            continue
        left = busy[busiest] - loads.seconds(part, busiest)
        for other in names:
            ends = max(left, busy[other] + loads.seconds(part, other))
            if other != busiest and ends < busy[busiest] * (1 - 1e-9):
                beside = other in _neighbours(places, part)
                prices.append((ends, not beside, part, other))
    return min(prices)[2:] if prices else None


def _busy(
    places: Sequence[str], workers: Iterable[str], loads: Loads
) -> dict[str, float]:
    """Return the seconds of each worker's parts."""
    busy = dict.fromkeys(workers, 0.0)
    for part, worker in enumerate(places):
        busy[worker] = busy.get(worker, 0.0) + loads.seconds(part, worker)
    return busy


def _neighbours(places: Sequence[str | None], part: int) -> set[str | None]:
    around = {part - 1, part + 1} & set(range(len(places)))
    return {places[other] for other in around}
