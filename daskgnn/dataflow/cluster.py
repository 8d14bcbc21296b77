"""The executor of a Dask cluster."""

from __future__ import annotations

import concurrent.futures
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self
from uuid import uuid4

from dask.task_spec import List, TaskRef
from distributed import Client, wait
from distributed.comm.addressing import get_address_host

from daskgnn.cluster.connection import begin_gather, has_lost_scheduler
from daskgnn.cluster.persisted import PersistedResults, send
from daskgnn.cluster.placement import PartPlacement
from daskgnn.cluster.ready import LIMIT, check_client, is_closed
from daskgnn.dataflow.executor import (
    Executor,
    PartsLost,
    ResultsLost,
    last_entry,
)
from daskgnn.dataflow.steps.gang import AHEAD, LeftState, install, run_member
from daskgnn.dataflow.steps.peers import Gang
from daskgnn.dataflow.steps.tasks import add_task
from daskgnn.errors import InputError
from daskgnn.monitor.plugin import page_link
from daskgnn.values import in_short

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from daskgnn.cluster.placement import Event
    from daskgnn.dataflow.executor import Graph, PartOf
    from daskgnn.dataflow.steps.member import Outcome
    from daskgnn.dataflow.steps.method import WindowSteps

_POLL_SECONDS = 0.5
"""How often it is looked whether the workers of a window are still there."""
_NEWS_SECONDS = 5.0
"""That a client may take to hear of a restart of its cluster."""
_FORGOTTEN = ("cancelled", "lost")
"""What the futures say whose results nobody will compute."""


class ClusterExecutor(Executor):
    """Runs graphs on a cluster; parts are pinned to workers, loosely.

    Parameters
    ----------
    client : distributed.Client
    num_parts : int
    standby : int
        Workers that hold copies of all residents and no part, as far as there are
        more workers than that.
    """

    has_cluster: ClassVar[bool] = True

    def __init__(self, client: Any, num_parts: int, standby: int = 0) -> None:
        self.client = client
        self.address = client.scheduler.address
        self.cluster = client.cluster
        self._generation = client.generation
        self._kept: dict[Any, Any] = {}
        self._events: list[Event] = []
        """What has happened to workers that nobody was told yet."""
        self._last: tuple[Gang | None, Any] = None, None
        """The last gang, and the state that it has left on each of its members."""
        self._persisted = PersistedResults(client, self._kept)
        install(client)
        self.placement = PartPlacement(client, self._persisted, num_parts, standby)

    @classmethod
    def of(cls, client: Any, num_parts: int, standby: int = 0) -> Self:
        """Return the executor of what a user has given as a client.

        Raises
        ------
        InputError, ClusterError
            If it is none, or cannot be given work.
        """
        if not isinstance(client, Client):
            raise InputError(
                f"client={in_short(client)} is not a Dask client: give "
                "distributed.Client(...), or None to train in this process"
            )
        check_client(client)
        return cls(client, num_parts, standby)

    @property
    def num_standbys(self) -> int:
        """How many workers are to hold copies and no part."""
        return self.placement.num_standbys

    @property
    def takeovers(self) -> int:
        """How many times standbys have taken lost parts over."""
        return self.placement.takeovers

    def rebalance(self, seconds: Sequence[float]) -> list[Event]:
        """Move parts where needed: see `PartPlacement.rebalance`."""
        events, self._events = self._events, []
        return events + self.placement.rebalance(seconds)

    def is_closed(self) -> bool:
        """Return whether somebody has closed the client."""
        return is_closed(self.client, self.cluster, self.address)

    def has_lost_scheduler(self) -> bool:
        """Return whether the scheduler is gone, or is another one."""
        return has_lost_scheduler(self.client, self.address, self.scheduler_id)

    def has_lost_results(self) -> bool:
        """Return whether what is kept was forgotten: all of it, by a restart.

        Raises
        ------
        CommClosedError, TimeoutError
            If the scheduler does not answer.
        """
        self.placement.workers.look(LIMIT)
        if self.placement.workers.restarts:
            return True
        return any(future.status in _FORGOTTEN for future in self._kept.values())

    def another(self) -> ClusterExecutor:
        """Return a new executor on the same cluster, after a restart."""
        restarts = self.placement.workers.restarts
        deadline = time.monotonic() + _NEWS_SECONDS
        # When the client hears of a restart, it forgets what was submitted since.
        while self.client.generation < self._generation + restarts:
            if time.monotonic() > deadline:
                break
            time.sleep(_NEWS_SECONDS / 1000)
        standby = self.placement.num_standbys
        return ClusterExecutor(self.client, self.placement.num_parts, standby)

    def place_parts(self) -> None:
        """Have parts where workers are now, once there is one; keep what happened."""
        self._events += self.placement.settle()

    def scale(self, workers: int) -> None:
        """Have so many workers for parts, on a cluster that can start them.

        Workers that are too many are retired: they hand over what they hold, where
        the cluster's own way would be to end them.
        """
        cluster, wanted = self.client.cluster, workers + self.num_standbys
        surplus = self.placement.surplus(wanted)
        if surplus:
            names = {
                self.placement.workers.known[address]["name"] for address in surplus
            }
            self.client.retire_workers(surplus, close_workers=True, remove=True)
            for name in [n for n in cluster.worker_spec if str(n) in names]:
                del cluster.worker_spec[name]
        cluster.scale(wanted)

    def take_over(self) -> None:
        """Let standbys take lost parts over: see `PartPlacement`."""
        self.placement.take_over()

    @property
    def scheduler_id(self) -> str | None:
        """The name that the scheduler has given itself."""
        return self.placement.workers.scheduler_id

    def memory_kills(self) -> int:
        """Return how many workers were killed for their memory since the run began."""
        with suppress(Exception):  # of a scheduler that is gone, for instance
            self.placement.workers.look()
        return self.placement.workers.memory_kills

    def _wait_a_moment(self, futures: Iterable[Any], until: str) -> bool:
        """Wait for futures, but not for long; return whether what is due is done.

        With this executor's client, whichever is Dask's default.
        """
        with suppress(TimeoutError), self.client.as_current():
            wait(list(futures), timeout=_POLL_SECONDS, return_when=until)
            return True
        return False

    def _wait_for(self, futures: list[Any], until: str = "ALL_COMPLETED") -> None:
        """Wait for futures, as long as there is a worker that may bring them.

        Raises
        ------
        PartsLost
            If standbys can go on for a worker that is lost.
        NoWorkerError
            If there is no worker for too long.
        """
        done = False
        while not done:
            done = self._wait_a_moment(futures, until)
            missing = any(future.status != "finished" for future in futures)
            if missing and self.placement.copies_of_lost():
                raise PartsLost
            if not done:
                self._look_at_workers()

    def _look_at_workers(self) -> None:
        """Say so if what is waited for will not come by itself."""
        with suppress(TimeoutError):  # the scheduler has much to do
            self.placement.watch.look()
        if self.placement.workers.restarts:
            raise ResultsLost

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
        addresses = self.placement.addresses
        how: dict[str, Any] = {"executor": AHEAD} if ahead else {}
        futures = send(
            self.client,
            self._persisted.renamed(graph),
            keys,
            lambda key: addresses[part_of(key)],
            priority=priority,
            **how,
        )
        self._kept.update(zip(keys, futures, strict=True))
        if lasting:
            self._persisted.add(graph, keys, part_of)

    def result(self, keys: Sequence[Any]) -> list[Any]:
        """Wait for the futures of `keys` and bring their results here."""
        futures = [self._kept[key] for key in keys]
        self._wait_for(futures)
        coming = begin_gather(self.client, futures)
        try:
            while not concurrent.futures.wait([coming], _POLL_SECONDS).done:
                self._look_at_workers()
            return list(coming.result())
        except Exception:
            # The result may be lost with its worker while it is being fetched.
            if self.placement.copies_of_lost():
                raise PartsLost from None
            raise

    def wait(self, keys: Sequence[Any]) -> None:
        """Wait for the futures of `keys`; raise what one of them has raised."""
        futures = [self._kept[key] for key in keys]
        self._wait_for(futures)
        for future in futures:
            if future.status == "error":
                future.result()

    def wait_any(self, keys: Sequence[Any]) -> list[Any]:
        """Wait for some of the futures of `keys`; return the keys of those done."""
        futures = {key: self._kept[key] for key in keys}
        self._wait_for(list(futures.values()), "FIRST_COMPLETED")
        return [key for key, future in futures.items() if future.done()]

    def kept(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """Return a graph of futures, as persisted collections have."""
        return {key: self._kept[key] for key in keys}

    def wait_for(self, kept: Graph) -> None:
        """Wait for a graph of futures, as long as there is a worker."""
        self._wait_for(list(kept.values()))

    def release(self, keys: Iterable[Any]) -> None:
        """Release the results of `keys` that no other future refers to."""
        for key in keys:
            self._kept.pop(key, None)
            self._persisted.drop(key)

    def run_in_order(self, steps: WindowSteps) -> list[Outcome]:
        """Run a window as one task on each worker that holds parts.

        Returns
        -------
        list of Outcome
            Of the members whose results are here; none if the gang did not form or
            lost a member, and the window is to be run in another way.
        """
        gang, (last, after) = self._new_gang(), self._last
        given = steps
        continues = getattr(steps.state, "continues", None)
        if last and continues and last.members == gang.members and continues(after):
            given = replace(steps, state=LeftState(last.attempt))
        outcomes = self._run_gang(gang, given)
        if given is not steps and not outcomes and not self.placement.lost_one():
            # Somebody may lack the state.
            gang = self._new_gang()
            outcomes = self._run_gang(gang, steps)
        self._last = (gang, outcomes[0].state) if outcomes else (None, None)
        return outcomes

    def _run_gang(self, gang: Gang, steps: WindowSteps) -> list[Outcome]:
        """Run a window by a gang: see `run_in_order`."""
        name = ("window", *steps.name, gang.attempt)
        keys = [(*name, i) for i in range(len(gang.members))]
        alike = replace(steps, programs=(), batches=())
        tasks: dict[Any, Any] = {}
        for i, (key, (_, parts)) in enumerate(zip(keys, gang.members, strict=True)):
            programs = List(*(TaskRef(steps.programs[p]) for p in parts))
            batches = List(*(TaskRef(steps.batches[p]) for p in parts))
            add_task(tasks, key, run_member, alike, gang, i, programs, batches)
        addresses = [address for address, _ in gang.members]
        how = {"allow_other_workers": False, "priority": 200}
        tasks = self._persisted.renamed(tasks)
        futures = send(self.client, tasks, keys, lambda key: addresses[key[-1]], **how)
        outcomes = self._gang_result(futures)
        if not outcomes and self.placement.copies_of_lost():
            raise PartsLost
        return outcomes

    def _gang_result(self, futures: list[Any]) -> list[Outcome]:
        """Wait for a gang's end: any member's state will do."""
        coming: dict[Any, Any] = {}
        while True:
            self._wait_a_moment(futures, "FIRST_COMPLETED")
            done = [future for future in futures if future.done()]
            failed = [future for future in done if future.status == "error"]
            if failed and self.placement.copies_of_lost():
                return []
            if failed:
                failed[0].result()
            if any(future.status != "finished" for future in done):
                return []
            for future in done:
                if future not in coming:
                    coming[future] = begin_gather(self.client, future)
                # If its worker dies before the result is fetched, it is not run again.
                with suppress(TimeoutError):
                    outcome = coming[future].result(_POLL_SECONDS)
                    return [] if outcome is None else [outcome]
            if self.placement.lost_one():
                return []

    def _new_gang(self) -> Gang:
        parts: dict[str, list[int]] = {}
        for part, address in enumerate(self.placement.addresses):
            parts.setdefault(address, []).append(part)
        members = tuple((address, tuple(held)) for address, held in parts.items())
        return Gang(uuid4().hex[:8], members, form_seconds=30, step_seconds=600)

    def worker_of(self, part: int) -> str:
        """Return the address that the tasks of a part are pinned to."""
        return self.placement.addresses[part]

    def memories(self, num_parts: int) -> list[Any]:
        """Return the machine's memory where a worker can share it, else its own."""
        return self.placement.memories()[:num_parts]

    def num_workers(self) -> int:
        """Return how many workers there were last, without standbys."""
        return self.placement.num_workers()

    def num_hosts(self) -> int:
        """Return how many machines the workers that hold parts are on."""
        return len({get_address_host(address) for address in self.placement.addresses})

    def memory_limit(self) -> int:
        """Return the smallest worker's memory limit in bytes (0: none)."""
        limits = [
            facts["memory_limit"] for facts in self.placement.workers.known.values()
        ]
        return min((limit for limit in limits if limit), default=0)

    def memory_used(self) -> int:
        """Return the bytes that the largest worker has told of last."""
        known = self.placement.workers.known.values()
        return max((int(facts["memory"]) for facts in known), default=0)

    def dashboard(self) -> str | None:
        """Return the address of the dashboard."""
        link = self.client.dashboard_link
        return str(link) if link else None

    def page(self) -> str | None:
        """Return the address of the live page."""
        return page_link(self.client)
