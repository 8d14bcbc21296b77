"""Where task graphs run: on a Dask cluster, or in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import dask
from dask.base import annotate
from dask.local import get_sync
from dask.task_spec import DataNode, List, Task, TaskRef
from distributed import Client, get_client, wait
from distributed.comm.addressing import get_address_host

from daskgnn.dataflow.gang import AHEAD, Gang, Outcome, install, run_member
from daskgnn.dataflow.placement import (
    GAIN,
    GAIN_OF_IDLE,
    Timings,
    balance,
    in_runs,
    place,
)
from daskgnn.dataflow.residents import Copy, Residents
from daskgnn.dataflow.workers import Workers
from daskgnn.errors import InputError, NoWorkerError

if TYPE_CHECKING:
    from daskgnn.dataflow.step import Chain

Key = Hashable
Graph = Mapping[Any, Any]
PartOf = Callable[[Any], int]
Event = dict[str, Any]
"""What a line of ``metrics.jsonl`` says: ``event`` is its name."""

_POLL_SECONDS = 0.5
"""How often it is looked whether the workers of a window are still there."""

PERSISTENT = (5, 3.0)
"""Windows, and seconds, for which parts must be better off elsewhere to move."""


def last_entry(key: Any) -> int:
    """Return the part a key belongs to: by convention its last entry."""
    return int(key[-1])


class Executor(Protocol):
    """Runs graphs whose keys name parts, and keeps results until released."""

    def submit(
        self,
        graph: Graph,
        keys: Sequence[Any],
        *,
        priority: int = 0,
        part_of: PartOf = last_entry,
        ahead: bool = False,
        lasting: bool = False,
    ) -> None:
        """Start `graph` and keep the results of `keys`.

        `ahead` says that it prepares later steps, which gives way to present ones;
        `lasting` that the results belong to parts for the whole run, and go with them.
        """

    def result(self, keys: Sequence[Any]) -> list[Any]:
        """Wait for kept results and return them."""

    def kept(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """Return a graph of kept results, which outlives their release."""

    def wait(self, keys: Sequence[Any]) -> None:
        """Wait for kept results without bringing them here."""

    def wait_any(self, keys: Sequence[Any]) -> list[Any]:
        """Wait for some of the kept results; return the keys of those that are there.

        What has failed counts: `result` raises it.
        """

    def release(self, keys: Iterable[Any]) -> None:
        """Forget kept results."""

    def worker_of(self, part: int) -> str:
        """Return where the tasks of a part are meant to run."""

    def memories(self, num_parts: int) -> list[Any]:
        """Return, by part, the memory it lies in: parts of one can be read there."""

    def run_gang(
        self,
        chain: Chain,
        name: tuple[Any, ...],
        state: Any,
        programs: Sequence[Any],
        batches: Sequence[Any],
        options: Sequence[Any],
    ) -> list[Outcome]:
        """Run a window as one task a worker; [] where that cannot be."""

    def settle(self, seconds: Sequence[float]) -> list[Event]:
        """Place the parts anew where workers came, went or are slow.

        Parameters
        ----------
        seconds : sequence of float
            What each part took a step in the window that has ended.

        Returns
        -------
        list of dict
            What happened since the last call: see `ClusterExecutor.settle`.
        """

    takeovers: int
    """How many times standbys have taken lost parts over."""

    def take_over(self) -> None:
        """Let standbys take lost parts over, if they have copies of all of them.

        What is in flight refers to what was lost: it is to be submitted again.
        """

    def num_workers(self) -> int:
        """Return how many workers there are (0: this process)."""

    def num_hosts(self) -> int:
        """Return how many machines hold parts."""

    def memory_limit(self) -> int:
        """Return the smallest worker's memory limit in bytes (0: none)."""

    def dashboard(self) -> str | None:
        """Return the address of the dashboard."""


class PartsLost(Exception):
    """What was submitted lacks parts that standbys can take over at once."""


class LocalExecutor:
    """Runs graphs at once in this process, one task at a time."""

    takeovers = 0

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def submit(
        self,
        graph: Graph,
        keys: Sequence[Any],
        *,
        priority: int = 0,
        part_of: PartOf = last_entry,
        ahead: bool = False,
        lasting: bool = False,
    ) -> None:
        """Run `graph` to its end and keep the results of `keys`."""
        needed: set[Any] = set()
        for node in graph.values():
            needed |= node.dependencies
        known = {
            key: DataNode(key, self._kept[key])
            for key in needed
            if key not in graph and key in self._kept
        }
        results = get_sync({**graph, **known}, list(keys))
        self._kept.update(zip(keys, results, strict=True))

    def result(self, keys: Sequence[Any]) -> list[Any]:
        """Return kept results."""
        return [self._kept[key] for key in keys]

    def wait(self, keys: Sequence[Any]) -> None:
        """Return at once: all is done when it is submitted."""

    def wait_any(self, keys: Sequence[Any]) -> list[Any]:
        """Return all keys: all is done when it is submitted."""
        return list(keys)

    def kept(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """Return a graph of the results themselves."""
        return {key: DataNode(key, self._kept[key]) for key in keys}

    def release(self, keys: Iterable[Any]) -> None:
        """Forget kept results."""
        for key in keys:
            self._kept.pop(key, None)

    def memories(self, num_parts: int) -> list[Any]:
        """Return the same for all: this process's."""
        return ["local"] * num_parts

    def run_gang(self, *_: Any) -> list[Outcome]:
        """Return nothing: there is no worker."""
        return []

    def settle(self, seconds: Sequence[float]) -> list[Event]:
        """Return nothing: nobody comes or goes."""
        return []

    def take_over(self) -> None:
        """Do nothing: there is no standby."""

    def worker_of(self, part: int) -> str:
        """Return the one place there is."""
        return "local"

    def num_workers(self) -> int:
        """Return 0: no worker, this process does all."""
        return 0

    def num_hosts(self) -> int:
        """Return 1: this machine."""
        return 1

    def memory_limit(self) -> int:
        """Return 0: this process has no limit of its own."""
        return 0

    def dashboard(self) -> str | None:
        """Return None: there is none."""
        return None


class ClusterExecutor:
    """Runs graphs on a cluster; parts are pinned to workers, loosely.

    Parameters
    ----------
    client : distributed.Client
    num_parts : int
    standby : int
        Workers that hold copies of all residents and no part, as far as there are
        more workers than that.
    """

    def __init__(self, client: Any, num_parts: int, standby: int = 0) -> None:
        self.client = client
        self.num_parts = num_parts
        self._kept: dict[Any, Any] = {}
        self._residents = Residents(client, self._kept)
        install(client)
        self._workers = Workers(client)
        self._timings = Timings(num_parts)
        self._better_since: tuple[int, float] | None = None
        self.num_standbys = standby
        self._standbys: list[str] = []
        self._copies: dict[int, Copy] = {}
        self.takeovers = 0
        self._addresses: list[str] = []
        workers = self._wait_for_workers()
        self._addresses = in_runs(num_parts, self._without_standbys(workers))
        self._usable = set(workers)
        self._workers.memories()  # asked now, they have answered by the first window

    @property
    def scheduler_id(self) -> str | None:
        """The name that the scheduler has given itself."""
        return self._workers.scheduler_id

    def memory_kills(self) -> int:
        """Return how many workers were killed for their memory since the run began."""
        with suppress(Exception):  # of a scheduler that is gone, for instance
            self._workers.look()
        return self._workers.memory_kills

    def _wait_for_workers(self) -> list[str]:
        """Return the workers that may hold parts, once there is one.

        Raises
        ------
        NoWorkerError
            If none comes in the time that the scheduler's settings give.
        """
        self._workers.look()
        if not self._workers.usable:
            limit = dask.config.get("distributed.scheduler.no-workers-timeout")
            try:
                self.client.wait_for_workers(1, timeout=limit)
            except TimeoutError as error:
                raise NoWorkerError(f"no worker came within {limit}") from error
            self._workers.look()
        return self._workers.usable

    def settle(self, seconds: Sequence[float]) -> list[Event]:
        """Place the parts anew where workers came, went or are slow.

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
            self._timings.add(self._addresses, seconds, now)
        everybody = self._wait_for_workers()
        events: list[Event] = []
        for gone in self._workers.take_departures():
            self._timings.forget(gone.address)
            name = "worker_left" if gone.expected else "worker_lost"
            parts = [p for p, a in enumerate(self._addresses) if a == gone.address]
            event = {"event": name, "worker": gone.address, "parts": parts}
            events.append({**event, "time": round(gone.time, 3)})
        joined = sorted(set(everybody) - self._usable)
        events += [{"event": "worker_joined", "worker": a} for a in joined]
        self._usable = set(everybody)
        self.take_over()
        workers = self._without_standbys(everybody)
        loads = self._timings.loads()
        places = place(self._addresses, workers, loads)
        lost = {p for p, a in enumerate(self._addresses) if a not in self._usable}
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

    def _without_standbys(self, workers: list[str]) -> list[str]:
        """Return the workers that are to hold parts; choose standbys if some lack."""
        free = [w for w in workers if w not in self._addresses]
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
            copy = self._copies.get(part)
            if copy is None or copy.worker not in self._standbys:
                worker = self._standbys[part % len(self._standbys)]
                copy = self._residents.copy(part, worker, self._addresses)
                self._copies[part] = copy
            else:
                self._residents.complete(copy, part, self._addresses)

    def take_over(self) -> None:
        """Let standbys take lost parts over, if they have copies of all of them."""
        copies = self._copies_of_lost()
        for part, copy in copies.items():
            self._addresses[part] = copy.worker
            self._residents.adopt(self._copies.pop(part))
        self.takeovers += bool(copies)

    def _copies_of_lost(self) -> dict[int, Copy]:
        """Return the copies of lost parts; none if a part has none."""
        if not self._copies:
            return {}
        alive = self._workers.look().keys()
        lost = [p for p, a in enumerate(self._addresses) if a not in alive]
        found = {p: self._copies[p] for p in lost if p in self._copies}
        whole = len(found) == len(lost)
        return found if whole and all(c.worker in alive for c in found.values()) else {}

    def _wait_for(self, futures: list[Any]) -> None:
        """Wait for futures, unless standbys can go on for a worker that is lost.

        Raises
        ------
        PartsLost
        """
        while self._copies:
            with suppress(TimeoutError):
                wait(futures, timeout=_POLL_SECONDS)
            missing = any(future.status != "finished" for future in futures)
            if missing and self._copies_of_lost():
                raise PartsLost
            if all(future.done() for future in futures):
                return

    def _persists(self, now: float) -> bool:
        """Return whether parts have been better off elsewhere for some time."""
        count, since = self._better_since or (0, now)
        self._better_since = (count + 1, since)
        return count + 1 >= PERSISTENT[0] and now - since >= PERSISTENT[1]

    def _where_they_are(self, lost: set[int], places: list[str]) -> list[str]:
        """Leave lost parts where Dask has loaded them, if that is one worker."""
        futures = self._residents.futures(lost)
        held = self.client.who_has([f for part in lost for f in futures[part]])
        found = list(places)
        for part in lost:
            homes = [set(held.get(future.key, ())) for future in futures[part]]
            common = set.intersection(*homes) & self._usable if homes else set()
            if common and places[part] not in common:
                found[part] = min(common)
            if common:
                self._addresses[part] = found[part]
        return found

    def _move(self, places: list[str]) -> None:
        """Have the parts that live elsewhere now loaded there."""
        before, self._addresses = self._addresses, places
        for part, worker in enumerate(places):
            if before[part] != worker:
                self._residents.adopt(self._residents.copy(part, worker, places))
        if before != places:
            self._better_since = None

    def submit(
        self,
        graph: Graph,
        keys: Sequence[Any],
        *,
        priority: int = 0,
        part_of: PartOf = last_entry,
        ahead: bool = False,
        lasting: bool = False,
    ) -> None:
        """Send `graph` to the scheduler and hold the futures of `keys`."""
        addresses = self._addresses

        def workers(key: Any) -> list[str]:
            return [addresses[part_of(key)]]

        how: dict[str, Any] = {"executor": AHEAD} if ahead else {}
        how |= {"workers": workers, "allow_other_workers": True, "priority": priority}
        tasks = self._residents.renamed(graph)
        with annotate(**how):
            futures = self.client.get(tasks, list(keys), sync=False)
        self._kept.update(zip(keys, futures, strict=True))
        if lasting:
            self._residents.add(graph, keys, part_of)

    def result(self, keys: Sequence[Any]) -> list[Any]:
        """Wait for the futures of `keys` and bring their results here."""
        futures = [self._kept[key] for key in keys]
        self._wait_for(futures)
        try:
            return list(self.client.gather(futures))
        except Exception:
            # What was there may have gone with its worker on the way here.
            if self._copies_of_lost():
                raise PartsLost from None
            raise

    def wait(self, keys: Sequence[Any]) -> None:
        """Wait for the futures of `keys`; raise what one of them has raised."""
        futures = [self._kept[key] for key in keys]
        self._wait_for(futures)
        wait(futures)
        for future in futures:
            if future.status == "error":
                future.result()

    def wait_any(self, keys: Sequence[Any]) -> list[Any]:
        """Wait for some of the futures of `keys`; return the keys of those done."""
        futures = {key: self._kept[key] for key in keys}
        while True:
            with suppress(TimeoutError):
                wait(
                    list(futures.values()),
                    timeout=_POLL_SECONDS,
                    return_when="FIRST_COMPLETED",
                )
            done = [key for key, future in futures.items() if future.done()]
            if self._copies and self._copies_of_lost():
                raise PartsLost
            if done:
                return done

    def kept(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """Return a graph of futures, as persisted collections have."""
        return {key: self._kept[key] for key in keys}

    def release(self, keys: Iterable[Any]) -> None:
        """Let the scheduler forget the results of `keys` that nobody else holds."""
        for key in keys:
            self._kept.pop(key, None)
            self._residents.drop(key)

    def run_gang(
        self,
        chain: Chain,
        name: tuple[Any, ...],
        state: Any,
        programs: Sequence[Any],
        batches: Sequence[Any],
        options: Sequence[Any],
    ) -> list[Outcome]:
        """Run a window as one task on each worker that holds parts.

        Returns
        -------
        list of Outcome
            Of the members whose results are here; none if the gang did not form or
            lost a member, and the window is to be run in another way.
        """
        gang = self._new_gang()
        keys = [(*name, gang.attempt, i) for i in range(len(gang.members))]
        tasks = {
            key: Task(
                key,
                run_member,
                chain,
                gang,
                i,
                state,
                List(*(TaskRef(programs[p]) for p in parts)),
                List(*(TaskRef(batches[p]) for p in parts)),
                options,
            )
            for i, (key, (_, parts)) in enumerate(zip(keys, gang.members, strict=True))
        }
        addresses = [address for address, _ in gang.members]

        def workers(key: Any) -> list[str]:
            return [addresses[key[-1]]]

        tasks = self._residents.renamed(tasks)
        with annotate(workers=workers, allow_other_workers=False, priority=200):
            futures = self.client.get(tasks, keys, sync=False)
        outcomes = self._gang_result(futures)
        if not outcomes and self._copies_of_lost():
            raise PartsLost
        return outcomes

    def _gang_result(self, futures: list[Any]) -> list[Outcome]:
        """Wait for a gang's end: any member's state will do."""
        patience = _POLL_SECONDS
        while True:
            with suppress(TimeoutError):
                wait(futures, timeout=_POLL_SECONDS, return_when="FIRST_COMPLETED")
            done = [future for future in futures if future.done()]
            failed = [future for future in done if future.status == "error"]
            if failed and self._copies_of_lost():
                return []
            if failed:
                failed[0].result()
            if any(future.status != "finished" for future in done):
                return []
            for future in done:
                # Its worker may die before the result is here; it is not run again.
                with suppress(TimeoutError):
                    outcome = future.result(timeout=patience)
                    return [] if outcome is None else [outcome]
                patience *= 2
            if self._lost_workers():
                return []

    def _new_gang(self) -> Gang:
        parts: dict[str, list[int]] = {}
        for part, address in enumerate(self._addresses):
            parts.setdefault(address, []).append(part)
        members = tuple((address, tuple(held)) for address, held in parts.items())
        return Gang(uuid4().hex[:8], members, form_seconds=30, step_seconds=600)

    def _lost_workers(self) -> bool:
        """Return whether a worker that parts are placed on is gone."""
        return not set(self._addresses) <= self._workers.look().keys()

    def worker_of(self, part: int) -> str:
        """Return the address that the tasks of a part are pinned to."""
        return self._addresses[part]

    def memories(self, num_parts: int) -> list[Any]:
        """Return the machine's memory where a worker can share it, else its own."""
        machines = self._workers.memories()
        return [machines.get(a, a) for a in self._addresses[:num_parts]]

    def num_workers(self) -> int:
        """Return how many workers there were last, without standbys."""
        return len(self._usable) - len(self._standbys)

    def num_hosts(self) -> int:
        """Return how many machines the workers that hold parts are on."""
        return len({get_address_host(address) for address in self._addresses})

    def memory_limit(self) -> int:
        """Return the smallest worker's memory limit in bytes (0: none)."""
        limits = [facts["memory_limit"] for facts in self._workers.known.values()]
        return min((limit for limit in limits if limit), default=0)

    def dashboard(self) -> str | None:
        """Return the address of the dashboard."""
        link = self.client.dashboard_link
        return str(link) if link else None


def make_executor(client: Any, num_parts: int, standby: int = 0) -> Executor:
    """Return the executor for a client, the current one ("auto"), or none (None).

    Raises
    ------
    InputError
        If `client` is anything else.
    """
    if isinstance(client, str) and client == "auto":
        try:
            client = get_client()
        except ValueError:
            client = None
    if client is None:
        return LocalExecutor()
    if not isinstance(client, Client):
        raise InputError(
            f"client={client!r} is no Dask client: give distributed.Client(...), or "
            "None to train in this process"
        )
    return ClusterExecutor(client, num_parts, standby)
