"""Which worker holds which part of a graph, while workers come and go."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from daskgnn.cluster.balance import (
    GAIN,
    GAIN_OF_IDLE,
    Timings,
    balance,
    in_runs,
    place,
)
from daskgnn.cluster.ready import WorkerWatch
from daskgnn.cluster.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.cluster.persisted import Copy, PersistedResults

Event = dict[str, Any]
"""What a line of ``metrics.jsonl`` says: ``event`` is its name."""
PERSISTENT = (5, 3.0)
"""Windows, and seconds, for which parts must be better off elsewhere to move."""


class PartPlacement:
    """Knows the worker of each part, and moves parts to balance the work.

    Parameters
    ----------
    client : distributed.Client
    persisted : PersistedResults
        What moves with the parts.
    num_parts : int
    standby : int
        Workers that hold copies of all residents and no part, as far as there are
        more workers than that.
    """

    def __init__(
        self, client: Any, persisted: PersistedResults, num_parts: int, standby: int
    ) -> None:
        self.client = client
        self.num_parts = num_parts
        self.num_standbys = standby
        self.takeovers = 0
        """How many times standbys have taken lost parts over."""
        self.addresses: list[str] = []
        """By part."""
        self.copies: dict[int, Copy] = {}
        """By part, what a standby holds."""
        self.workers = Workers(client)
        self.watch = WorkerWatch(client, self._count_workers)
        self._persisted = persisted
        self._timings = Timings(num_parts)
        self._better_since: tuple[int, float] | None = None
        self._standbys: list[str] = []
        workers = self._wait_for_workers()
        self.addresses = in_runs(num_parts, self._without_standbys(workers))
        self._usable = set(workers)
        self.workers.memories()  # asked now, they have answered by the first window

    def rebalance(self, seconds: Sequence[float]) -> list[Event]:
        """Move parts if workers came, left or are slow.

        Parameters
        ----------
        seconds : sequence of float
            What each part took a step in the window that has ended; empty if
            nothing is known.

        Returns
        -------
        list of dict
            ``worker_lost``, ``worker_left`` (retired), ``worker_joined``,
            ``rebalanced``.
        """
        now = time.time()
        if seconds:
            self._timings.add(self.addresses, seconds, now)
        everybody = self._wait_for_workers()
        events: list[Event] = []
        for gone in self.workers.take_departures():
            self._timings.forget(gone.address)
            name = "worker_left" if gone.expected else "worker_lost"
            parts = [p for p, a in enumerate(self.addresses) if a == gone.address]
            event = {"event": name, "worker": gone.address, "parts": parts}
            events.append({**event, "time": round(gone.time, 3)})
        joined = sorted(set(everybody) - self._usable)
        events += [{"event": "worker_joined", "worker": a} for a in joined]
        self._usable = set(everybody)
        self.take_over()
        workers = self._without_standbys(everybody)
        loads = self._timings.loads()
        places = place(self.addresses, workers, loads)
        lost = {p for p, a in enumerate(self.addresses) if a not in self._usable}
        if lost:
            places = self._where_they_are(lost, places)
        idle = set(joined) - set(self._standbys)
        better = balance(places, workers, loads, GAIN_OF_IDLE if idle else GAIN)
        if better == places:
            self._better_since = None
        elif idle or self._persists(now):
            facts = {"slowness": {w: round(s, 3) for w, s in loads.slowness.items()}}
            moved = [p for p, a in enumerate(better) if a != places[p]]
            event = {"event": "rebalanced", "parts": moved}
            events.append({**event, "to": [better[p] for p in moved], **facts})
            places = better
        self._move(places)
        self._copy_to_standbys()
        return events

    def settle(self) -> list[Event]:
        """Have parts where workers are, once there is one: `rebalance` if any changed.

        Raises
        ------
        NoWorkerError
        """
        if set(self._wait_for_workers()) == self._usable:
            return []
        return self.rebalance([])

    def surplus(self, wanted: int) -> list[str]:
        """Return those with the fewest parts, without which `wanted` are left."""
        count = Counter(self.addresses)
        free = sorted(self._usable - set(self._standbys), key=lambda a: (count[a], a))
        return free[: max(len(self._usable) - wanted, 0)]

    def take_over(self) -> None:
        """Let standbys take lost parts over, if they have copies of all of them."""
        copies = self.copies_of_lost()
        for part, copy in copies.items():
            self.addresses[part] = copy.worker
            self._persisted.adopt(self.copies.pop(part))
        self.takeovers += bool(copies)

    def copies_of_lost(self) -> dict[int, Copy]:
        """Return the copies of lost parts; none if a part has none."""
        if not self.copies:
            return {}
        alive = self.workers.look().keys()
        lost = [p for p, a in enumerate(self.addresses) if a not in alive]
        found = {p: self.copies[p] for p in lost if p in self.copies}
        whole = len(found) == len(lost)
        return found if whole and all(c.worker in alive for c in found.values()) else {}

    def memories(self) -> list[Any]:
        """Return, by part, the machine's memory if its worker shares it, or its own."""
        machines = self.workers.memories()
        return [machines.get(address, address) for address in self.addresses]

    def num_workers(self) -> int:
        """Return how many workers there were last, without standbys."""
        return len(self._usable) - len(self._standbys)

    def lost_one(self) -> bool:
        """Return whether a worker that parts are placed on is gone."""
        return not set(self.addresses) <= self.workers.look().keys()

    def _wait_for_workers(self) -> list[str]:
        """Return the workers that may hold parts, once there is one.

        Raises
        ------
        NoWorkerError
            If none comes in the time that the scheduler's settings give.
        """
        self.watch.wait()
        return self.workers.usable

    def _count_workers(self) -> int:
        self.workers.look()
        return len(self.workers.usable)

    def _without_standbys(self, workers: list[str]) -> list[str]:
        """Return the workers that are to hold parts; choose standbys if some lack."""
        free = [w for w in workers if w not in self.addresses]
        self._standbys = [w for w in self._standbys if w in free]
        free = [w for w in free if w not in self._standbys]
        while free and len(self._standbys) < self.num_standbys < len(workers):
            self._standbys.append(free.pop())
        return [w for w in workers if w not in self._standbys]

    def _copy_to_standbys(self) -> None:
        """Have standbys load what they have no copy of yet."""
        if not self._standbys:
            return
        for part in range(self.num_parts):
            copy = self.copies.get(part)
            if copy is None or copy.worker not in self._standbys:
                worker = self._standbys[part % len(self._standbys)]
                copy = self._persisted.copy(part, worker, self.addresses)
                self.copies[part] = copy
            else:
                self._persisted.complete(copy, part, self.addresses)

    def _persists(self, now: float) -> bool:
        """Return whether parts have been better off elsewhere for some time."""
        count, since = self._better_since or (0, now)
        self._better_since = (count + 1, since)
        return count + 1 >= PERSISTENT[0] and now - since >= PERSISTENT[1]

    def _where_they_are(self, lost: set[int], places: list[str]) -> list[str]:
        """Leave lost parts where Dask has loaded them, if that is one worker."""
        futures = self._persisted.futures(lost)
        held = self.client.who_has([f for part in lost for f in futures[part]])
        found = list(places)
        for part in lost:
            placement = [set(held.get(future.key, ())) for future in futures[part]]
            common = set.intersection(*placement) & self._usable if placement else set()
            if common and places[part] not in common:
                found[part] = min(common)
            if common:
                self.addresses[part] = found[part]
        return found

    def _move(self, places: list[str]) -> None:
        """Have the parts that live elsewhere now loaded there."""
        before, self.addresses = self.addresses, places
        for part, worker in enumerate(places):
            if before[part] != worker:
                self._persisted.adopt(self._persisted.copy(part, worker, places))
        if before != places:
            self._better_since = None
