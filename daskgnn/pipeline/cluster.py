"""Steps on a Dask cluster: placed on its workers, whole or not at all."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed import Client, get_client, wait

from daskgnn.cluster.connection import (
    RECONNECT_SECONDS,
    begin_gather,
    has_lost_scheduler,
    successor,
)
from daskgnn.cluster.persisted import send
from daskgnn.cluster.ready import LOST, WorkerWatch, check_client
from daskgnn.cluster.workers import Workers
from daskgnn.dataflow.steps.gang import install
from daskgnn.dataflow.steps.peers import Gang, PeerLost
from daskgnn.dataflow.steps.tasks import add_task
from daskgnn.errors import InputError
from daskgnn.pipeline.operations import OperationGraph
from daskgnn.pipeline.plan import Assignment, bytes_of, load_of, pieces_of
from daskgnn.pipeline.run import forget_run, run_worker_step, states_here
from daskgnn.values import in_short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.pipeline.plan import (
        Following,
        Load,
        MicroBatch,
        StepPlan,
        WorkerOutcome,
    )
    from daskgnn.pipeline.program import LayerState
    from daskgnn.pipeline.schedules import Operation

_POLL_SECONDS = 0.25
"""How often it is looked whether the workers of a step are still there."""
_PINNED: dict[str, Any] = {"allow_other_workers": False, "priority": 200}
_FORM_SECONDS = 120.0
"""How long workers wait for each other at first: they load layers meanwhile."""
_LOOK_SECONDS = 1.0
"""How often it is looked whether there are more workers."""
_STEP_SECONDS = 600.0
"""How long one waits for an operation of another."""
_SENT_APART = 256_000
"""Bytes of a batch from which on it goes to its worker directly."""
_GONE = (*LOST, PeerLost, OSError, TimeoutError)
"""What is raised where a worker, or what it held, is lost."""


class PipelineCluster:
    """Runs steps on the workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
    run : str
        Names the run on the workers.
    """

    def __init__(self, client: Any, run: str) -> None:
        check_client(client)
        self.client, self.run = client, run
        self._connect(client)
        self.addresses: list[str] = []
        """Of the workers that have stages."""
        self._held_by: list[str] = []
        """Those that have layers loaded, by their number in the last plan."""
        self._holds = ""
        """The attempt whose outcome these are."""
        self._direct = True
        """Whether workers can be reached from here."""
        self._placed = -math.inf
        self._ahead: tuple[Any, list[str], list[Any]] | None = None
        """A batch that was sent before its step: to whom, and what stands for it."""

    def _connect(self, client: Any) -> None:
        self.client, self.address = client, client.scheduler.address
        install(client)
        self.workers = Workers(client)
        self.watch = WorkerWatch(client, self._count)

    def _count(self) -> int:
        self.workers.look()
        return len(self.workers.usable)

    def place(self, most: int) -> int:
        """Take workers for stages, `most` at most; return how many there are.

        Those that have stages keep them.

        Raises
        ------
        NoWorkerError
            If there is none in time.
        """
        if self.has_layers() and time.monotonic() - self._placed < _LOOK_SECONDS:
            return len(self.addresses)
        self.watch.wait()
        self._placed = time.monotonic()
        usable = self.workers.usable
        kept = [address for address in self.addresses if address in usable]
        others = [address for address in usable if address not in kept]
        self.addresses = (kept + others)[:most]
        return len(self.addresses)

    def run_step(
        self,
        plan: StepPlan,
        lists: Sequence[Sequence[Operation]],
        batches: Sequence[MicroBatch],
        load: Load | None,
        *,
        following: Following,
        by_operation: bool,
    ) -> list[WorkerOutcome] | None:
        """Run a step; None if it was dropped, and workers have to load layers again.

        Parameters
        ----------
        plan : StepPlan
        lists : sequence
            The operations of each worker.
        load : Load or None
            All layers before the step; None where workers have them.
        following : sequence of MicroBatch or callable, optional
            What the next step is to be given: sent while this one runs.
        by_operation : bool
            Whether each operation is a task.
        """
        submit = self._operations if by_operation else self._gang
        try:
            pieces = self._sent_before(batches) or self._sent(plan, batches)
            given = self._given(plan, lists, load)
            futures = submit(plan, given, pieces)
            if following is not None:
                then = following() if callable(following) else following
                sent = self._sent(plan, then)
                self._ahead = then, list(self.addresses), sent
            outcomes = self._results(futures)
        except _GONE:
            outcomes = None
        if outcomes is None:
            self.drop()
            return None
        self._held_by, self._holds = list(self.addresses), plan.attempt
        return outcomes

    def _given(
        self,
        plan: StepPlan,
        lists: Sequence[Sequence[Operation]],
        load: Load | None,
    ) -> list[Assignment]:
        """Return what each worker has to do, and begins with."""
        if load is None:
            pairs = enumerate(lists)
            return [Assignment(i, tuple(o), holds=self._holds) for i, o in pairs]
        loads = [load_of(plan, load, i) for i in range(len(lists))]
        large = sum(s.nbytes for each in loads for s in each.states.values())
        sent = self._scattered(loads) if large >= _SENT_APART else loads
        return [Assignment(i, tuple(o), sent[i]) for i, o in enumerate(lists)]

    def _sent_before(self, batches: Sequence[MicroBatch]) -> list[Any] | None:
        """Return what stands for a batch that was sent ahead, if it is there."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] is not batches or ahead[1] != self.addresses:
            return None
        return ahead[2]

    def _sent(self, plan: StepPlan, batches: Sequence[MicroBatch]) -> list[Any]:
        """Send what is large of a batch; return what stands for each worker's."""
        pieces = pieces_of(plan, batches, len(self.addresses))
        large = sum(map(bytes_of, pieces)) >= _SENT_APART
        return self._scattered(pieces) if large else list(pieces)

    def has_layers(self) -> bool:
        """Return whether the workers that were placed have their layers loaded."""
        return bool(self._holds) and self._held_by == self.addresses

    def drop(self) -> None:
        """Have all workers forget what they hold; they load it for the next step."""
        self._held_by, self._holds = [], ""
        with suppress(*_GONE):
            self.client.run(forget_run, self.run, on_error="ignore")

    def states(self) -> dict[int, LayerState] | None:
        """Return the states of all layers; None if a worker is lost."""
        name = ("states", self.run, uuid4().hex[:8])
        tasks: dict[Any, Any] = {}
        keys = [(*name, i) for i in range(len(self._held_by))]
        for key in keys:
            add_task(tasks, key, states_here, self.run, self._holds)
        try:
            held = list(self._held_by)
            home = [held[key[-1]] for key in keys]
            places = dict(zip(keys, home, strict=True))
            futures = send(self.client, tasks, keys, places.__getitem__, **_PINNED)
            found = self._results(futures)
        except _GONE:
            found = None
        if found is None:
            return None
        return {i: state for each in found for i, state in each.items()}

    def _gang(
        self, plan: StepPlan, given: list[Assignment], pieces: list[Any]
    ) -> list[Any]:
        """Submit one task a worker."""
        members = tuple((address, ()) for address in self.addresses)
        gang = Gang(plan.attempt, members, _FORM_SECONDS, _STEP_SECONDS)
        tasks: dict[Any, Any] = {}
        keys = []
        for each, mine in zip(given, pieces, strict=True):
            key = ("pipeline", plan.run, plan.step, plan.attempt, each.worker)
            work = plan, gang, replace(each, load=None), mine, each.load
            add_task(tasks, key, run_worker_step, *work)
            keys.append(key)
        addresses = list(self.addresses)
        return send(self.client, tasks, keys, lambda key: addresses[key[-1]], **_PINNED)

    def _operations(
        self, plan: StepPlan, given: list[Assignment], pieces: list[Any]
    ) -> list[Any]:
        """Submit one task an operation."""
        graph = OperationGraph(plan, given, pieces)
        addresses, home, order = list(self.addresses), graph.home, graph.order
        # Of two that are ready on a worker, the one that comes first in its list.
        first = _PINNED["priority"] + len(order)
        how = {**_PINNED, "priority": lambda key: first - order[key]}
        return send(
            self.client,
            graph.tasks,
            graph.outcomes,
            lambda key: addresses[home[key]],
            **how,
        )

    def _scattered(self, values: list[Any]) -> list[Any]:
        """Send each worker a value directly; return what stands for each."""
        if not self._direct:
            return values

        async def scatter() -> list[Any]:
            how = {"direct": True, "hash": False, "asynchronous": True}
            pairs = zip(values, self.addresses, strict=True)
            return await asyncio.gather(
                *(self.client.scatter(v, workers=[a], **how) for v, a in pairs)
            )

        try:
            found: list[Any] = self.client.sync(scatter)
        except (OSError, TimeoutError):
            if not self._lost_one():
                self._direct = False  # from here they cannot be reached
            raise
        return found

    def _results(self, futures: list[Any]) -> list[Any] | None:
        """Wait for all results; None if one is lost or was not computed.

        Whatever a task has raised that is no loss is raised here.
        """
        done = False
        while not done:
            with suppress(TimeoutError), self.client.as_current():
                wait(futures, timeout=_POLL_SECONDS)
                done = True
            failed = [future for future in futures if future.status == "error"]
            if failed:
                failed[0].result()
            if any(future.status in ("cancelled", "lost") for future in futures):
                return None
            if not done and self._lost_one():
                return None
        coming = begin_gather(self.client, futures, direct=self._direct)
        while not concurrent.futures.wait([coming], _POLL_SECONDS).done:
            if self._lost_one():
                return None
        found = list(coming.result())
        return None if any(each is None for each in found) else found

    def _lost_one(self) -> bool:
        """Return whether a worker that has stages is gone."""
        return not {*self.addresses, *self._held_by} <= self.workers.look().keys()

    def reconnect(self) -> None:
        """Go over to another cluster where the scheduler is lost.

        Raises
        ------
        ClusterError
            If there is none in time.
        """
        deadline = time.monotonic() + RECONNECT_SECONDS
        while self.client.status == "connecting" and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        known = self.workers.scheduler_id
        if has_lost_scheduler(self.client, self.address, known):
            self._held_by, self._holds, self.addresses = [], "", []
            self._connect(successor(self.client, self.address))

    def close(self) -> None:
        """Have workers forget the run."""
        self.drop()


def cluster_of(client: Any, run: str) -> PipelineCluster | None:
    """Return the cluster of a client, of the current one ("auto"), or none (None).

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
        return None
    if not isinstance(client, Client):
        raise InputError(
            f"client={in_short(client)} is not a Dask client: give "
            "distributed.Client(...), or None to train in this process"
        )
    return PipelineCluster(client, run)
