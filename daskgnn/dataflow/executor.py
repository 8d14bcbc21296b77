"""Where task graphs run: on a Dask cluster, or in this process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from dask.base import annotate
from dask.local import get_sync
from dask.task_spec import DataNode, List, Task, TaskRef
from distributed import Client, get_client, wait
from distributed.comm.addressing import get_address_host

from daskgnn.dataflow.gang import AHEAD, Gang, Outcome, install, run_member
from daskgnn.errors import InputError

if TYPE_CHECKING:
    from daskgnn.dataflow.step import Chain

Key = Hashable
Graph = Mapping[Any, Any]
PartOf = Callable[[Any], int]


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
    ) -> None:
        """Start `graph` and keep the results of `keys`.

        `ahead` says that it prepares later steps, which gives way to present ones.
        """

    def result(self, keys: Sequence[Any]) -> list[Any]:
        """Wait for kept results and return them."""

    def kept(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """Return a graph of kept results, which outlives their release."""

    def wait(self, keys: Sequence[Any]) -> None:
        """Wait for kept results without bringing them here."""

    def release(self, keys: Iterable[Any]) -> None:
        """Forget kept results."""

    def worker_of(self, part: int) -> str:
        """Return where the tasks of a part are meant to run."""

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

    def num_workers(self) -> int:
        """Return how many workers there are (0: this process)."""

    def num_hosts(self) -> int:
        """Return how many machines hold parts."""

    def memory_limit(self) -> int:
        """Return the smallest worker's memory limit in bytes (0: none)."""

    def dashboard(self) -> str | None:
        """Return the address of the dashboard."""


class LocalExecutor:
    """Runs graphs at once in this process, one task at a time."""

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

    def kept(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """Return a graph of the results themselves."""
        return {key: DataNode(key, self._kept[key]) for key in keys}

    def release(self, keys: Iterable[Any]) -> None:
        """Forget kept results."""
        for key in keys:
            self._kept.pop(key, None)

    def run_gang(self, *_: Any) -> list[Outcome]:
        """Return nothing: there is no worker."""
        return []

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
    """Runs graphs on a cluster; parts are pinned to workers, loosely."""

    def __init__(self, client: Any, num_parts: int) -> None:
        self.client = client
        self.num_parts = num_parts
        self._kept: dict[Any, Any] = {}
        self._addresses: list[str] = []
        install(client)
        self.place()

    def place(self) -> None:
        """Assign the parts to the workers there are, in runs of equal length."""
        known = self.client.scheduler_info(n_workers=-1)["workers"]
        if not known:
            self.client.wait_for_workers(1)
            known = self.client.scheduler_info(n_workers=-1)["workers"]
        workers = sorted(known)
        limits = [worker.get("memory_limit") for worker in known.values()]
        self._memory_limit = min((limit for limit in limits if limit), default=0)
        self._addresses = [
            workers[part * len(workers) // self.num_parts]
            for part in range(self.num_parts)
        ]
        self._count = len(workers)

    def submit(
        self,
        graph: Graph,
        keys: Sequence[Any],
        *,
        priority: int = 0,
        part_of: PartOf = last_entry,
        ahead: bool = False,
    ) -> None:
        """Send `graph` to the scheduler and hold the futures of `keys`."""
        addresses = self._addresses

        def workers(key: Any) -> list[str]:
            return [addresses[part_of(key)]]

        how: dict[str, Any] = {"executor": AHEAD} if ahead else {}
        how |= {"workers": workers, "allow_other_workers": True, "priority": priority}
        with annotate(**how):
            futures = self.client.get(dict(graph), list(keys), sync=False)
        self._kept.update(zip(keys, futures, strict=True))

    def result(self, keys: Sequence[Any]) -> list[Any]:
        """Wait for the futures of `keys` and bring their results here."""
        results = self.client.gather([self._kept[key] for key in keys])
        return list(results)

    def wait(self, keys: Sequence[Any]) -> None:
        """Wait for the futures of `keys`; raise what one of them has raised."""
        futures = [self._kept[key] for key in keys]
        wait(futures)
        for future in futures:
            if future.status == "error":
                future.result()

    def kept(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """Return a graph of futures, as persisted collections have."""
        return {key: self._kept[key] for key in keys}

    def release(self, keys: Iterable[Any]) -> None:
        """Let the scheduler forget the results of `keys` that nobody else holds."""
        for key in keys:
            self._kept.pop(key, None)

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
        if self._lost_workers():
            self.place()
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

        with annotate(workers=workers, allow_other_workers=False, priority=200):
            futures = self.client.get(tasks, keys, sync=False)
        return self._gang_result(futures)

    def _gang_result(self, futures: list[Any]) -> list[Outcome]:
        """Wait for a gang's end: any member's state will do."""
        try:
            while True:
                try:
                    wait(futures, timeout=1, return_when="FIRST_COMPLETED")
                except TimeoutError:
                    if self._lost_workers():
                        return []
                    continue
                done = [future for future in futures if future.done()]
                failed = [future for future in done if future.status == "error"]
                if failed:
                    failed[0].result()
                if any(future.status != "finished" for future in done):
                    return []
                outcome = done[0].result(timeout=30)
                return [] if outcome is None else [outcome]
        except TimeoutError:
            return []

    def _new_gang(self) -> Gang:
        parts: dict[str, list[int]] = {}
        for part, address in enumerate(self._addresses):
            parts.setdefault(address, []).append(part)
        members = tuple((address, tuple(held)) for address, held in parts.items())
        return Gang(uuid4().hex[:8], members, form_seconds=30, step_seconds=600)

    def _lost_workers(self) -> bool:
        """Return whether a worker that parts are placed on is gone."""
        known = self.client.scheduler_info(n_workers=-1)["workers"]
        return not set(self._addresses) <= set(known)

    def worker_of(self, part: int) -> str:
        """Return the address that the tasks of a part are pinned to."""
        return self._addresses[part]

    def num_workers(self) -> int:
        """Return how many workers there were when the parts were placed."""
        return self._count

    def num_hosts(self) -> int:
        """Return how many machines the workers that hold parts are on."""
        return len({get_address_host(address) for address in self._addresses})

    def memory_limit(self) -> int:
        """Return the smallest worker's memory limit in bytes (0: none)."""
        return self._memory_limit

    def dashboard(self) -> str | None:
        """Return the address of the dashboard."""
        link = self.client.dashboard_link
        return str(link) if link else None


def make_executor(client: Any, num_parts: int) -> Executor:
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
    return ClusterExecutor(client, num_parts)
