"""The steps of a window as one task per worker, which exchange sums directly.

A *gang* is one running task on every worker that holds parts. Its members run the
window's steps in order and exchange sums of gradients through Dask's own
worker-to-worker comms. All sums have the shape of `daskgnn.dataflow.steps.tree`, so the
bits are those of the chain of tasks. A member's inputs make it pure: if a peer is
lost, all give up and the window is run again from the same inputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import dask
from distributed import get_worker
from distributed.comm.core import CommClosedError
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

from daskgnn.cluster.ready import importing
from daskgnn.config import HUGE_PAGES  # and the defaults, on workers too
from daskgnn.dataflow.steps.member import run_in_order
from daskgnn.dataflow.steps.peers import GIVE_UP, CopiesDiffer, Exchange, PeerLost
from daskgnn.kernels.allocator import keep_freed_memory
from daskgnn.monitor.counters import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.dataflow.steps.member import Outcome
    from daskgnn.dataflow.steps.method import WindowSteps
    from daskgnn.dataflow.steps.peers import Gang

T = TypeVar("T")

PLUGIN = "daskgnn-gang"
AHEAD = "daskgnn-ahead"
"""The executor of tasks that prepare later steps."""
AHEAD_NICENESS = 10
STATE_SECONDS = 30.0
"""How long a state is kept at least for a window that goes on from it."""
INTERVAL = 0.001
"""Seconds from one message on a stream to the next. Dask waits 2 to 10 ms for more
messages, which a short window would spend several times."""


@dataclass(frozen=True)
class LeftState:
    """Stands for the state that a gang has left on each of its members."""

    attempt: str
    """Of the gang: see `Gang`."""


class Mailbox:
    """What peers have sent, by attempt and step; safe between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._letters: dict[str, dict[tuple[int, str], Any]] = {}
        self._lost: set[str] = set()
        self._given_up: deque[str] = deque(maxlen=256)

    def put(self, attempt: str, step: int, sender: str, content: Any) -> None:
        """Keep what a peer sent."""
        with self._changed:
            # The sender is alive, perhaps at the address of one that died.
            self._lost.discard(sender)
            if attempt in self._given_up:
                return
            self._letters.setdefault(attempt, {})[step, sender] = content
            self._changed.notify_all()

    def lose(self, address: str) -> None:
        """Take note that a worker is gone."""
        with self._changed:
            self._lost.add(address)
            self._changed.notify_all()

    def take(self, attempt: str, step: int, sender: str, deadline: float) -> Any:
        """Wait for what `sender` sends at `step`.

        Raises
        ------
        PeerLost
            If it is gone, or nothing comes before `deadline` (``time.monotonic``).
        """
        with self._changed:
            while True:
                letters = self._letters.get(attempt, {})
                if (step, sender) in letters:
                    return letters.pop((step, sender))
                left = deadline - time.monotonic()
                if attempt in self._given_up or sender in self._lost or left <= 0:
                    raise PeerLost(sender)
                self._changed.wait(left)

    def close(self, attempt: str) -> None:
        """Give an attempt up, or forget it when it is done."""
        with self._changed:
            self._letters.pop(attempt, None)
            self._given_up.append(attempt)
            self._changed.notify_all()


class GangWorkerPlugin(WorkerPlugin):
    """Gives a worker a mailbox, the handlers that fill it, and memory it keeps.

    Messages to a peer go over one connection that stays open, without answers: what
    is lost with it is found missing by who waits for it.
    """

    name = PLUGIN
    idempotent = True
    left: tuple[str, Any] = "", None
    """The last gang whose steps ended here, and the state after them: what goes from
    window to window need not be sent again."""
    _seen: str | None = None
    """The gang that had left it at the last look; None where none is due."""

    def setup(self, worker: Any) -> None:
        """Register the handlers."""
        if dask.config.get("gnn.keep-freed-memory"):
            keep_freed_memory()
            os.environ.setdefault(HUGE_PAGES, "1")
        worker.batched_stream.interval = INTERVAL
        self.worker = worker
        self.mailbox = Mailbox()
        self.links: dict[str, _Link] = {}
        self.kept: dict[str, Any] = {}
        """What tasks keep from one to the next, by run: see `kept_here`."""
        worker.handlers["gnn_listen"] = self.listen
        worker.stream_handlers["gnn_lost"] = self.lost
        worker.executors[AHEAD] = ThreadPoolExecutor(
            worker.state.nthreads,
            thread_name_prefix="daskgnn-ahead",
            initializer=_yield_to_others,
        )

    def leave(self, attempt: str, state: Any) -> None:
        """Keep the state that a gang has left here, for the next window."""
        self.left = attempt, state
        if self._seen is None:
            self._seen = ""
            self.worker.loop.asyncio_loop.call_soon_threadsafe(self._forget_old)

    def _forget_old(self) -> None:
        """Forget a state that no window has come for; runs on the loop."""
        attempt, _ = self.left
        if attempt == self._seen:
            self.left, self._seen = ("", None), None
        else:
            self._seen = attempt
            loop = self.worker.loop.asyncio_loop
            loop.call_later(STATE_SECONDS, self._forget_old)

    async def listen(self, comm: Any) -> None:
        """Take a peer's messages until it hangs up."""
        try:
            while True:
                self.put(**await comm.read())
        except (CommClosedError, OSError):
            comm.abort()

    def put(self, attempt: str, step: int, sender: str, content: Any) -> None:
        """Take a peer's message."""
        if step == GIVE_UP:
            self.mailbox.close(attempt)
        else:
            self.mailbox.put(attempt, step, sender, content)

    def lost(self, address: str, **_: Any) -> None:
        """Take the scheduler's word that a worker is gone."""
        self.mailbox.lose(address)
        link = self.links.pop(address, None)
        if link is not None:
            link.close()

    async def send(self, address: str, **message: Any) -> None:
        """Send a message to a peer's mailbox."""
        link = self.links.setdefault(address, _Link(self.worker, address))
        try:
            await link.send(message)
        except (CommClosedError, OSError):
            # A new worker may have the address of one that died: try again.
            link.close()
            self.links.pop(address, None)
            raise

    async def teardown(self, worker: Any) -> None:
        """Close all connections."""
        for link in self.links.values():
            link.close()


class _Link:
    """A connection to a peer, opened when it is needed first."""

    def __init__(self, worker: Any, address: str) -> None:
        self._worker = worker
        self._address = address
        self._turn = asyncio.Lock()
        self._comm: Any = None

    async def send(self, message: dict[str, Any]) -> None:
        """Send one message, after those before it."""
        async with self._turn:
            if self._comm is None:
                self._comm = await self._worker.rpc.connect(self._address)
                await self._comm.write({"op": "gnn_listen", "reply": False})
            await self._comm.write(message)

    def close(self) -> None:
        """Hang up."""
        if self._comm is not None:
            self._comm.abort()
            self._comm = None


def _yield_to_others() -> None:
    """Let other threads run first: training has priority over preparation."""
    with contextlib.suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), AHEAD_NICENESS)


class GangSchedulerPlugin(SchedulerPlugin):
    """Tells workers what concerns them at once, and that one of them is gone."""

    name = PLUGIN
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        """Take the workers that are there already."""
        for worker in scheduler.stream_comms:
            self.add_worker(scheduler, worker)

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Have messages to a worker wait no longer than needed."""
        scheduler.stream_comms[worker].interval = INTERVAL

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Tell the others."""
        message = {"op": "gnn_lost", "address": worker}
        others = {address: [message] for address in scheduler.workers}
        others.pop(worker, None)
        scheduler.send_all({}, others)


def install(client: Any) -> None:
    """Register both plugins, send messages promptly; again is harmless."""
    client.scheduler_comm.interval = INTERVAL
    with importing(client):
        client.register_plugin(GangSchedulerPlugin())
    client.register_plugin(GangWorkerPlugin())


def run_member(
    steps: WindowSteps,
    gang: Gang,
    me: int,
    programs: Sequence[Any],
    batches: Sequence[Any],
) -> Outcome | None:
    """Run a window's steps with the other members.

    Parameters
    ----------
    me : int
        This member's number; `programs` and `batches` are those of its parts.
    options : sequence
        What the driver says of each step's update.

    Returns
    -------
    Outcome or None
        None if the gang did not form or lost a member, or a member lacks the state that
        another gang was to leave.
    """
    plugin: Any = get_worker().plugins.get(PLUGIN)

    def run(exchange: Exchange) -> Outcome:
        state = steps.state
        if isinstance(state, LeftState):
            attempt, after = plugin.left
            if attempt != state.attempt:
                raise PeerLost(exchange.address)
            state = after.cleared()
        mine = replace(steps, state=state, programs=programs, batches=batches)
        return run_in_order(mine, exchange)

    outcome = run_among_peers(gang, me, run)
    if outcome is not None:
        plugin.leave(gang.attempt, outcome.state)
        _count(outcome, len(batches) * len(steps.options))
    return outcome


def _count(outcome: Outcome, gradients: int) -> None:
    """Count what this worker has done, for its metrics."""
    address = get_worker().address
    count("gradients", amount=gradients)
    for report in outcome.reports:
        if report.address == address:
            count("sent_gradient_bytes", amount=report.sent_bytes)
            for phase, (seconds, _) in report.work.spent.items():
                count("busy_seconds", phase, seconds)


def run_among_peers(gang: Gang, me: int, work: Callable[[Exchange], T]) -> T | None:
    """Do a member's work; None if the gang did not form or lost a member.

    Parameters
    ----------
    work : callable
        Is given this member's end of the gang; raises `PeerLost` if a peer is.
    """
    plugin: Any = get_worker().plugins.get(PLUGIN)
    if plugin is None:
        return None
    exchange = Exchange(plugin, gang, me)
    try:
        return work(exchange)
    except PeerLost:
        exchange.give_up()
        return None
    except CopiesDiffer:
        # Only when the others know it, too: a member that gives up does not tell them.
        raise
    except BaseException:
        exchange.give_up()
        raise
    finally:
        exchange.close()


def kept_here(worker: Any = None) -> dict[str, Any]:
    """Return what tasks keep on this worker from one to the next, by run.

    Parameters
    ----------
    worker : distributed.Worker, optional
        Where it is not a task that asks.

    Raises
    ------
    PeerLost
        If the worker does not take part in gangs.
    """
    worker = get_worker() if worker is None else worker
    plugin: Any = worker.plugins.get(PLUGIN)
    if plugin is None:
        raise PeerLost(worker.address)
    return plugin.kept
