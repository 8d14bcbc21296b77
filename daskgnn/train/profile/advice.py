"""Advice on the number of workers, from measured throughput."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from daskgnn.cluster.balance import Loads, balance, finish_time, in_runs
from daskgnn.dataflow.executor import has_cluster
from daskgnn.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.dataflow.executor import Executor

WORTH = 1.1
"""How many times faster a step must be for more workers to be worth it."""
_REMEMBERED = 8
_SETTLED = 2
"""Windows after a change that say little: parts are being loaded."""
_ENOUGH = 3
"""Windows that say something; twice as many whenever it has changed its mind."""


@dataclass(frozen=True)
class Advice:
    """How many workers a run should have, from measured throughput.

    `Trainer.advice` returns one; ``print(advice)`` shows it as a sentence.

    Examples
    --------
    >>> from daskgnn.train.profile.advice import Advice
    >>> print(Advice(workers=2, best=3, step_seconds=0.12, best_seconds=0.09))
    3 workers would help: a step takes 120 ms with 2, and about 90 ms then
    """

    workers: int
    """Number of workers the run has."""
    best: int
    """Number of workers it should have."""
    step_seconds: float
    """Measured seconds a step with `workers`."""
    best_seconds: float
    """Seconds a step with `best`: measured if the run once had that many, otherwise
    expected."""

    def __str__(self) -> str:
        if self.best == self.workers:
            return f"{self.workers} workers are enough: more or fewer would not help"
        verb = "would help" if self.best > self.workers else "would be enough"
        now, then = (t * 1e3 for t in (self.step_seconds, self.best_seconds))
        return (
            f"{self.best} workers {verb}: a step takes {now:.0f} ms with "
            f"{self.workers}, and about {then:.0f} ms then"
        )


def expected_seconds(
    step_seconds: float, part_seconds: Sequence[float], workers: int, wanted: int
) -> float:
    """Return what a step would take with another number of equal workers.

    The parts' time is divided among the workers; the rest is taken as constant.

    Parameters
    ----------
    step_seconds : float
        On the wall.
    part_seconds : sequence of float
        Of each part's work.
    workers, wanted : int
        How many there are, and how many there would be.
    """
    before, after = (_busy(part_seconds, n) for n in (workers, wanted))
    # Work that overlaps with other work adds less than its time to the wall time.
    hidden = min(step_seconds / before, 1.0) if before else 1.0
    return max(step_seconds - hidden * (before - after), 0.0)


def _busy(part_seconds: Sequence[float], workers: int) -> float:
    """Return when the last of so many equal workers is done."""
    names = [f"{i:06}" for i in range(workers)]
    loads = Loads(tuple(part_seconds))
    places = balance(in_runs(len(part_seconds), names), names, loads, gain=1.0)
    return finish_time(places, names, loads)


@dataclass(eq=False)
class Advisor:
    """Remembers throughput by the number of workers, and advises how many to use."""

    least: int = 1
    most: int | None = None
    """Bounds of what it may advise."""
    scale: Callable[[int], object] | None = None
    """Called with the number of workers that is to be; without it, it only advises."""
    _seen: dict[int, list[float]] = field(default_factory=dict)
    _parts: list[float] = field(default_factory=list)
    _workers: int = 0
    _windows: int = 0
    _enough: int = _ENOUGH
    _last_change: int = 0

    def add(
        self, workers: int, step_seconds: float, part_seconds: Sequence[float]
    ) -> Advice | None:
        """Take a window's times; scale, and return why, if it is time for that."""
        if not workers:
            return None
        if workers != self._workers:
            self._workers, self._windows = workers, 0
        self._windows += 1
        if self._windows <= _SETTLED:
            return None
        times = self._seen.setdefault(workers, [])
        times.append(step_seconds)
        del times[:-_REMEMBERED]
        self._parts = list(part_seconds)
        advice = self.advice()
        waited = self._windows - _SETTLED >= self._enough
        if self.scale is None or advice is None or not waited:
            return None
        if advice.best == workers:
            return None
        change = advice.best - workers
        if change * self._last_change < 0:
            # Otherwise noise would make it add and retire workers forever.
            self._enough *= 2
        self._last_change = change
        self._windows = 0
        self.scale(advice.best)
        return advice

    def advice(self) -> Advice | None:
        """Return how many workers are right: the fewest that are nearly the fastest.

        One more or one fewer at a time; None if nothing was measured.
        """
        now = self._seen.get(self._workers)
        if not now:
            return None
        present = median(now)
        most = min(self.most or self._workers + 1, len(self._parts))
        fewer = self._seen.get(self._workers - 1)
        if fewer and median(fewer) < WORTH * present:
            most = self._workers  # the last one did not help as was expected
        times = {
            n: self._time(n, present)
            for n in range(self._workers - 1, self._workers + 2)
            if max(self.least, 1) <= n <= max(most, self.least) or n == self._workers
        }
        fastest = min(times.values())
        best = min(n for n, seconds in times.items() if seconds <= fastest * WORTH)
        # A worker that gains too little stays unless steps are slower with it.
        if best < self._workers and times[best] > present:
            best = self._workers
        return Advice(self._workers, best, present, times[best])

    def _time(self, workers: int, present: float) -> float:
        if workers in self._seen:
            return median(self._seen[workers])
        return expected_seconds(present, self._parts, self._workers, workers)


def advisor_of(
    adapt: Sequence[int] | None, executor: Callable[[], Executor]
) -> Advisor:
    """Return what advises, or between the fewest and the most workers also scales.

    Parameters
    ----------
    executor : callable
        Returns the executor of the moment.

    Raises
    ------
    InputError
        If the cluster cannot start workers.
    """
    if adapt is None:
        return Advisor()
    used = executor()
    if not has_cluster(used) or used.client.cluster is None:
        raise InputError(
            f"adapt={adapt!r} needs a cluster that can start workers: give "
            "client=Client(LocalCluster(...)), or no adapt"
        )

    def scale(workers: int) -> None:
        used = executor()
        assert has_cluster(used)
        used.scale(workers)

    least, most = adapt
    return Advisor(least, most, scale)
