"""Where task graphs run, and the executor of this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeGuard

import psutil
from dask.local import get_sync
from dask.task_spec import DataNode

from daskgnn.dataflow.steps.member import alone, run_in_order
from daskgnn.errors import InputError

if TYPE_CHECKING:
    from daskgnn.cluster.placement import Event
    from daskgnn.dataflow.cluster import ClusterExecutor
    from daskgnn.dataflow.steps.member import Outcome
    from daskgnn.dataflow.steps.method import WindowSteps

Graph = Mapping[Any, Any]
PartOf = Callable[[Any], int]


def last_entry(key: Any) -> int:
    """Return the part a key belongs to: by convention its last entry."""
    return int(key[-1])


class Executor(Protocol):
    """Runs graphs whose keys name parts, and keeps results until released.

    The defaults about workers are those of a single process.
    """

    has_cluster: ClassVar[bool] = False
    """Whether it is a `ClusterExecutor`."""

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

    def wait_for(self, kept: Graph) -> None:
        """Wait for a graph that `kept` has returned, also if it was released since."""
        return  # what is computed in this process is there

    def wait_any(self, keys: Sequence[Any]) -> list[Any]:
        """Wait for some of the kept results; return the keys of those that are there.

        What has failed counts: `result` raises it.
        """

    def release(self, keys: Iterable[Any]) -> None:
        """Forget kept results."""

    def worker_of(self, part: int) -> str:
        """Return where the tasks of a part are meant to run."""
        return "local"

    def memories(self, num_parts: int) -> list[Any]:
        """Return, by part, the memory it lies in: parts of one can be read there."""
        return ["local"] * num_parts

    def run_in_order(self, steps: WindowSteps) -> list[Outcome]:
        """Run a window's steps in order where the parts are; [] if that cannot be."""

    def rebalance(self, seconds: Sequence[float]) -> list[Event]:
        """Move parts if workers came, left or are slow.

        Parameters
        ----------
        seconds : sequence of float
            What each part took a step in the window that has ended.

        Returns
        -------
        list of dict
            What happened since the last call: see `PartPlacement.rebalance`.
        """
        return []

    @property
    def takeovers(self) -> int:
        """How many times standbys have taken lost parts over."""
        return 0

    def take_over(self) -> None:
        """Let standbys take lost parts over, if they have copies of all of them.

        What is in flight refers to what was lost: it is to be submitted again.
        """
        return

    def num_workers(self) -> int:
        """Return how many workers there are (0: this process)."""
        return 0

    def num_hosts(self) -> int:
        """Return how many machines hold parts."""
        return 1

    def memory_limit(self) -> int:
        """Return the smallest worker's memory limit in bytes (0: none)."""
        return 0

    def memory_used(self) -> int:
        """Return the resident memory of the largest worker in bytes."""
        return int(psutil.Process().memory_info().rss)

    def dashboard(self) -> str | None:
        """Return the address of the dashboard."""
        return None

    def page(self) -> str | None:
        """Return the address of the live page."""
        return None


def has_cluster(executor: Executor) -> TypeGuard[ClusterExecutor]:
    """Return whether an executor is that of a cluster; imports nothing to tell."""
    return executor.has_cluster


def make_executor(client: Any, num_parts: int, standby: int = 0) -> Executor:
    """Return the executor for a client, the current one ("auto"), or none (None).

    Raises
    ------
    InputError
        If `client` is anything else.
    """
    if isinstance(client, str) and client == "auto":
        client = current_client()
    if client is None and standby:
        raise InputError(
            f"standby={standby} needs a cluster with more workers than that: give "
            "client=distributed.Client(...), or leave standby out"
        )
    if client is None:
        return LocalExecutor()
    from daskgnn.dataflow.cluster import ClusterExecutor

    return ClusterExecutor.of(client, num_parts, standby)


def current_client() -> Any:
    """Return Dask's current client; None where there is none."""
    if "distributed" not in sys.modules:  # nobody has made a client
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


class PartsLost(Exception):
    """Submitted tasks lack parts that standbys can take over at once."""


class ResultsLost(Exception):
    """What was kept is forgotten: all workers were restarted."""


class LocalExecutor(Executor):
    """Runs graphs at once in this process, one task at a time."""

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def submit(self, graph: Graph, keys: Sequence[Any], **how: Any) -> None:
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

    def run_in_order(self, steps: WindowSteps) -> list[Outcome]:
        """Run a window's steps in this process, which has all parts."""
        programs, batches = self.result(steps.programs), self.result(steps.batches)
        steps = replace(steps, programs=programs, batches=batches)
        return [run_in_order(steps, alone(len(batches)))]


class CollectingExecutor(Executor):
    """Runs nothing: collects tasks for a graph that is computed some day, anywhere."""

    def __init__(self) -> None:
        self._graph: dict[Any, Any] = {}

    def submit(self, graph: Graph, keys: Sequence[Any], **how: Any) -> None:
        """Take the tasks."""
        self._graph.update(graph)

    def wait(self, keys: Sequence[Any]) -> None:
        """Return at once: there is nothing to wait for."""

    def kept(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """Return all tasks that were collected."""
        return dict(self._graph)

    def release(self, keys: Iterable[Any]) -> None:
        """Keep all: what comes later may refer to it."""

    def result(self, keys: Sequence[Any]) -> list[Any]:
        """Refuse: there are no results."""
        raise NotImplementedError

    def wait_any(self, keys: Sequence[Any]) -> list[Any]:
        """Refuse: nothing will be there."""
        raise NotImplementedError

    def run_in_order(self, steps: WindowSteps) -> list[Outcome]:
        """Refuse: nothing is run."""
        raise NotImplementedError
