"""Where task graphs run: on a Dask cluster, or in this process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from dask.base import annotate
from dask.local import get_sync
from dask.task_spec import DataNode
from distributed import wait

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
    ) -> None:
        """Start `graph` and keep the results of `keys`."""

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

    def num_workers(self) -> int:
        """Return how many workers there are (0: this process)."""

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

    def worker_of(self, part: int) -> str:
        """Return the one place there is."""
        return "local"

    def num_workers(self) -> int:
        """Return 0: no worker, this process does all."""
        return 0

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
    ) -> None:
        """Send `graph` to the scheduler and hold the futures of `keys`."""
        addresses = self._addresses

        def workers(key: Any) -> list[str]:
            return [addresses[part_of(key)]]

        with annotate(workers=workers, allow_other_workers=True, priority=priority):
            futures = self.client.get(dict(graph), list(keys), sync=False)
        self._kept.update(zip(keys, futures, strict=True))

    def result(self, keys: Sequence[Any]) -> list[Any]:
        """Wait for the futures of `keys` and bring their results here."""
        results = self.client.gather([self._kept[key] for key in keys])
        return list(results)

    def wait(self, keys: Sequence[Any]) -> None:
        """Wait for the futures of `keys`."""
        wait([self._kept[key] for key in keys])

    def kept(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """Return a graph of futures, as persisted collections have."""
        return {key: self._kept[key] for key in keys}

    def release(self, keys: Iterable[Any]) -> None:
        """Let the scheduler forget the results of `keys` that nobody else holds."""
        for key in keys:
            self._kept.pop(key, None)

    def worker_of(self, part: int) -> str:
        """Return the address that the tasks of a part are pinned to."""
        return self._addresses[part]

    def num_workers(self) -> int:
        """Return how many workers there were when the parts were placed."""
        return self._count

    def memory_limit(self) -> int:
        """Return the smallest worker's memory limit in bytes (0: none)."""
        return self._memory_limit

    def dashboard(self) -> str | None:
        """Return the address of the dashboard."""
        link = self.client.dashboard_link
        return str(link) if link else None
