"""The workers of a cluster, and those that have left it."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed.comm.core import CommClosedError
from distributed.core import Status
from distributed.diagnostics.plugin import SchedulerPlugin

from daskgnn.cluster.connection import begin_gather
from daskgnn.kernels.shared import memory_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distributed.client import Future

PLUGIN = "daskgnn-workers"
_REMEMBERED = 10_000
_ANSWER_SECONDS = 30.0
"""That a scheduler has to answer which workers it has: it may have much to do."""
_URGENT = 300
"""Priority of a question that takes no time."""
_MEMORY_KILLS = "worker-restart-memory"
"""The topic on which nannies tell that they have killed a worker for its memory."""


@dataclass(frozen=True)
class Departure:
    """A worker that is gone."""

    address: str
    time: float
    """Seconds since the epoch, by the scheduler's clock."""
    expected: bool
    """Whether it was retired or has closed by itself; else it was lost."""


class WorkersPlugin(SchedulerPlugin):
    """Keeps the list of workers that left, and lets their tasks run elsewhere.

    A task that becomes ready when none of its workers is alive would wait for one of
    them even after another has joined (distributed 2026.8).
    """

    name = PLUGIN
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        """Offer the list to clients."""
        self.scheduler = scheduler
        self.count = self.restarts = 0
        self.gone: deque[tuple[int, str, float, bool]] = deque(maxlen=_REMEMBERED)
        scheduler.handlers["gnn_workers"] = self.workers

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Let tasks that wait for the dead run on the newcomer."""
        _loosen(scheduler, scheduler.unrunnable)

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Take note of a departure."""
        _loosen(scheduler, scheduler.tasks.values(), worker)
        self.count += 1
        expected = _was_expected(scheduler, worker)
        self.gone.append((self.count, worker, time.time(), expected))

    def restart(self, scheduler: Any) -> None:
        """Take note that all tasks were forgotten."""
        self.restarts += 1

    async def workers(self, after: int) -> dict[str, Any]:
        """Tell which workers there are, and who went since the departure `after`."""
        return {
            "workers": {
                address: {
                    "usable": state.status in (Status.running, Status.paused),
                    "memory_limit": state.memory_limit,
                    "memory": int(state.metrics.get("memory", 0)),
                    "nanny": state.nanny,
                    "name": str(state.name),
                }
                for address, state in self.scheduler.workers.items()
            },
            "gone": [entry for entry in self.gone if entry[0] > after],
            "count": self.count,
            "restarts": self.restarts,
            "id": self.scheduler.id,
            "memory_kills": len(self.scheduler.get_events(_MEMORY_KILLS)),
        }


def _told(future: Future) -> str | None:
    """Return a worker's answer; None if it is lost with the worker."""
    with suppress(Exception):
        done = future.status == "finished"
        return begin_gather(future.client, future).result(1) if done else None
    return None


def _loosen(scheduler: Any, tasks: Iterable[Any], dead: str | None = None) -> None:
    """Take the dead out of loose restrictions."""
    for task in tasks:
        pinned = task.worker_restrictions
        if not pinned or not task.loose_restrictions:
            continue
        if dead is None:
            task.worker_restrictions = pinned & scheduler.workers.keys()
        elif dead in pinned:
            task.worker_restrictions = pinned - {dead}


def _was_expected(scheduler: Any, worker: str) -> bool:
    """Return what the scheduler has just logged of a removal."""
    for _, event in reversed(scheduler.get_events("all")):
        if not isinstance(event, dict):
            continue
        if event.get("action") == "remove-worker" and event.get("worker") == worker:
            return bool(event["expected"])
    return False


class Workers:
    """The driver's view of a cluster's workers."""

    def __init__(self, client: Any) -> None:
        self.client = client
        client.register_plugin(WorkersPlugin())
        self.known: dict[str, dict[str, Any]] = {}
        self._count: int | None = None
        self._departures: list[Departure] = []
        self.scheduler_id: str | None = None
        """The name that the scheduler gave itself; known after the first look."""
        self._memory_kills = self._restarts = (0, 0)
        self._asked: dict[str, Future] = {}
        """Addresses of workers whose `memory_name` is not known yet."""
        self._memories: dict[str, str | None] = {}

    def look(self, seconds: float = _ANSWER_SECONDS) -> dict[str, dict[str, Any]]:
        """Ask the scheduler; return what it knows of each worker, by address.

        Parameters
        ----------
        seconds : float
            That it has to answer.

        Raises
        ------
        CommClosedError
            If the client has lost it: Dask would search for it for long.
        TimeoutError
            If it does not answer in time.
        """
        if self.client.status != "running":
            raise CommClosedError("the client is not connected to its scheduler")
        after = -1 if self._count is None else self._count
        how = {"after": after, "callback_timeout": seconds}
        told = self.client.sync(self.client.scheduler.gnn_workers, **how)
        if self._count is not None:
            self._departures += [Departure(*entry[1:]) for entry in told["gone"]]
        self._count = told["count"]
        self.known = told["workers"]
        self.scheduler_id = told["id"]
        kills = told["memory_kills"]
        self._memory_kills = (kills if after < 0 else self._memory_kills[0], kills)
        restarts = told.get("restarts", 0)
        self._restarts = (restarts if after < 0 else self._restarts[0], restarts)
        return self.known

    @property
    def usable(self) -> list[str]:
        """Addresses of those that may be given work, as last seen."""
        return sorted(a for a, facts in self.known.items() if facts["usable"])

    def memories(self) -> dict[str, str]:
        """Return the memory of each worker that can share it, as far as is known.

        Nobody is waited for: who has not answered yet shares nothing.
        """
        for address in self.known.keys() - self._memories.keys() - self._asked.keys():
            self._asked[address] = self.client.submit(
                memory_name,
                key=f"memory-name-{uuid4().hex}",
                workers=[address],
                allow_other_workers=False,
                priority=_URGENT,
            )
        for address, future in list(self._asked.items()):
            if future.done() or address not in self.known:
                del self._asked[address]
                self._memories[address] = _told(future)
        for address in self._memories.keys() - self.known.keys():
            del self._memories[address]  # another may come to this address
        return {a: name for a, name in self._memories.items() if name is not None}

    @property
    def memory_kills(self) -> int:
        """How many workers were killed for their memory since the first look."""
        before, now = self._memory_kills
        return now - before

    @property
    def restarts(self) -> int:
        """How many times all tasks were forgotten since the first look."""
        before, now = self._restarts
        return now - before

    def take_departures(self) -> list[Departure]:
        """Return who has gone since this was called last."""
        gone, self._departures = self._departures, []
        return gone
