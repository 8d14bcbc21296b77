"""The steps of a window as one task a worker: the parameter chain's fast form.

A *gang* is one running task on every worker that holds parts. Its members run the
window's steps in order and exchange sums of gradients through Dask's own
worker-to-worker comms. All sums have the shape of `daskgnn.dataflow.tree`, so the
bits are those of the chain of tasks. A member's inputs make it pure: if a peer is
lost, all give up and the window is run again from the same inputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from distributed import get_worker
from distributed.comm.core import CommClosedError
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin
from distributed.protocol.serialize import to_serialize

from daskgnn.config import HUGE_PAGES  # and the defaults, on workers too
from daskgnn.dataflow.clock import Clock, Work
from daskgnn.dataflow.step import Chain, PartGradient, add_gradients
from daskgnn.dataflow.tree import Range, Tree, reduce_known, reduction_tree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

PLUGIN = "daskgnn-gang"
AHEAD = "daskgnn-ahead"
"""The executor of tasks that prepare later steps."""
AHEAD_NICENESS = 10
_TRIM_THRESHOLD, _MMAP_MAX, _ARENAS = -1, -4, -8
HELLO = -1
GIVE_UP = -2
GOODBYE = -3
SLICED_BYTES = 600_000
"""What slices are to save a member, at least: bytes cost 0.8 ms a megabyte, a message
0.5 ms (docs/scaling.md)."""
_GOODBYE_SECONDS = 1.0
"""How long to wait for the peers' reports at the end: nothing else depends on them."""


class PeerLost(Exception):
    """A member of the gang is gone, or did not answer in time."""


@dataclass(frozen=True)
class Gang:
    """Who runs a window together."""

    attempt: str
    """Names this try: a message of another one is never taken for one of it."""
    members: tuple[tuple[str, tuple[int, ...]], ...]
    """(address, parts) of each member."""
    form_seconds: float
    """How long to wait for all members to begin."""
    step_seconds: float
    """How long to wait for a peer's sums of a step."""

    @property
    def num_parts(self) -> int:
        """Number of parts."""
        return sum(len(parts) for _, parts in self.members)


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
            # Who writes is alive, perhaps at the address of one that died.
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
                given_up = attempt in self._given_up
                if given_up or sender in self._lost or left <= 0:
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

    def setup(self, worker: Any) -> None:
        """Register the handlers."""
        if dask.config.get("gnn.keep-freed-memory"):
            keep_freed_memory()
            os.environ.setdefault(HUGE_PAGES, "1")
        self.worker = worker
        self.mailbox = Mailbox()
        self.links: dict[str, _Link] = {}
        worker.handlers["gnn_listen"] = self.listen
        worker.stream_handlers["gnn_lost"] = self.lost
        worker.executors[AHEAD] = ThreadPoolExecutor(
            worker.state.nthreads,
            thread_name_prefix="daskgnn-ahead",
            initializer=_yield_to_others,
        )

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
            # A worker may come back at the address of one that died: try anew.
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
    """Let this thread run when no other wants to: the chain of steps goes first."""
    with contextlib.suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), AHEAD_NICENESS)


def keep_freed_memory() -> bool:
    """Have glibc keep what this process frees, for its next allocations.

    Dask's nanny asks for the opposite. Handing memory back and taking it again costs
    a page fault every 4 KiB: more than the arithmetic of a short step. Returns whether
    the C library could be told.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    told = [
        mallopt(option, value)
        for option, value in (
            (_MMAP_MAX, 0),
            # -1 is never: a window of a large graph ends above any other limit.
            (_TRIM_THRESHOLD, -1),
            (_ARENAS, 1),
        )
    ]
    return all(told)


class GangSchedulerPlugin(SchedulerPlugin):
    """Tells workers at once when one of them is gone."""

    name = PLUGIN
    idempotent = True

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Tell the others."""
        message = {"op": "gnn_lost", "address": worker}
        others = {address: [message] for address in scheduler.workers}
        others.pop(worker, None)
        scheduler.send_all({}, others)


def install(client: Any) -> None:
    """Register both plugins; again is harmless."""
    client.register_plugin(GangSchedulerPlugin())
    client.register_plugin(GangWorkerPlugin())


@dataclass(frozen=True)
class Outcome:
    """What a member has after a window."""

    state: Any
    """The last state: every member has the same."""
    reports: tuple[MemberReport, ...]
    """Of this member and of those peers whose reports have come."""


@dataclass(frozen=True)
class MemberReport:
    """Where a member's time went, and what it sent."""

    address: str
    work: Work
    meetings: tuple[tuple[float, float], ...]
    """Of each step's exchange: when the member came and when it had everything,
    seconds since the epoch by its clock."""
    sent_bytes: int
    """Of sums of gradients."""
    messages: int
    part_seconds: tuple[float, ...] = ()
    """Of the gradients of each of its parts, in all steps."""


def run_member(
    chain: Chain,
    gang: Gang,
    me: int,
    state: Any,
    programs: Sequence[Any],
    batches: Sequence[Any],
    options: Sequence[Any],
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
        None if the gang did not form or lost a member.
    """
    plugin: Any = get_worker().plugins.get(PLUGIN)
    if plugin is None:
        return None
    exchange = _Exchange(plugin, gang, me)
    clock, began, cpu = Clock(), time.time(), time.thread_time()
    try:
        with clock.phase("state"):
            session = chain.begin(programs[0], state)
        with clock.phase("form"):
            exchange.all_gather(HELLO, None, gang.form_seconds)
        tree = reduction_tree(gang.num_parts)
        took = [0.0] * len(batches)
        sums: deque[tuple[_Sum, Any]] = deque()
        for step, step_options in enumerate(options):
            known = {}
            for i, part in enumerate(gang.members[me][1]):
                start = time.perf_counter()
                known[part, part + 1] = session.gradient(
                    batches[i], step, max(chain.staleness - step, 0)
                )
                took[i] += time.perf_counter() - start
            sums.append((_Sum(exchange, tree, step, known, clock), step_options))
            if len(sums) > chain.staleness:
                total, its_options = sums.popleft()
                session.update(*total.take(), its_options)
        for total, its_options in sums:
            session.update(*total.take(), its_options)
        with clock.phase("state"):
            after = session.state()
        clock.include(session.clock.take())
        ended, counted = time.time(), clock.total()
        rest = (ended - began - counted[0], time.thread_time() - cpu - counted[1])
        clock.add("other", *(max(seconds, 0.0) for seconds in rest))
        work = Work(clock.take(), began, ended)
        return Outcome(after, exchange.all_reports(work, tuple(took)))
    except PeerLost:
        exchange.give_up()
        return None
    except BaseException:
        exchange.give_up()
        raise
    finally:
        plugin.mailbox.close(gang.attempt)


class _Sum:
    """The sum of a step's shares over all parts: what is ours is sent at once.

    Own pairs are added first, then what the peers have. Where each member sums a slice
    (reduce-scatter, then all-gather), numbers are added in the tree's order as well:
    the same bits.
    """

    def __init__(
        self,
        exchange: _Exchange,
        tree: Tree,
        step: int,
        known: dict[Range, PartGradient],
        clock: Clock,
    ) -> None:
        self._exchange, self._tree, self._step = exchange, tree, step
        self._known, self._clock = known, clock
        with clock.phase("reduce"):
            reduce_known(tree, known, add_gradients)
        # A peer needs a range only if its other side is not with us.
        self._sliced = exchange.takes_slices(known)
        with clock.phase("exchange"):
            if self._sliced:
                cuts = exchange.slices(len(next(iter(known.values())).gradient))
                shares = [
                    {r: replace(s, gradient=s.gradient[cut]) for r, s in known.items()}
                    for cut in cuts
                ]
                self._known = shares.pop(exchange.me)
            else:
                shares = [known] * len(exchange.peers)
            exchange.send(step, 0, shares)

    def take(self) -> tuple[PartGradient, PartGradient | None]:
        """Wait for the peers' shares; return the last two sums."""
        with self._clock.phase("exchange"):
            received = self._exchange.receive(self._step, 0)
        for theirs in received:
            self._known.update(theirs)
        with self._clock.phase("reduce"):
            reduce_known(self._tree, self._known, add_gradients)
        left, *right = (self._known[r] for r in self._tree.last)
        if self._sliced:
            return self._whole(add_gradients(left, right[0]) if right else left), None
        return left, right[0] if right else None

    def _whole(self, piece: PartGradient) -> PartGradient:
        """Return the sum of all slices' sums, of which one is ours."""
        exchange, name = self._exchange, self._tree.last[0]
        with self._clock.phase("exchange"):
            exchange.send(self._step, 1, [{name: piece}] * len(exchange.peers))
            pieces = exchange.receive(self._step, 1)
        with self._clock.phase("reduce"):
            sums = [each[name].gradient for each in pieces]
            sums.insert(exchange.me, piece.gradient)
            return replace(piece, gradient=np.concatenate(sums))


class _Exchange:
    """A member's end of the gang."""

    def __init__(self, plugin: GangWorkerPlugin, gang: Gang, me: int) -> None:
        self.plugin = plugin
        self.gang = gang
        self.me = me
        self.address = gang.members[me][0]
        self.peers = [a for i, (a, _) in enumerate(gang.members) if i != me]
        self._meetings: list[tuple[float, float]] = []
        self._sent_bytes = 0
        self._sent: dict[tuple[int, int], list[Future[None]]] = {}

    def takes_slices(self, known: dict[Range, PartGradient]) -> bool:
        """Return whether each member had better sum a slice of the gradient.

        That sends fewer bytes, twice as many messages.
        """
        nbytes = next(iter(known.values())).gradient.nbytes
        return nbytes * (1 - 2 / len(self.gang.members)) > SLICED_BYTES

    def slices(self, length: int) -> list[slice]:
        """Return each member's slice of a gradient."""
        count = len(self.gang.members)
        cuts = [length * i // count for i in range(count + 1)]
        return [slice(*pair) for pair in pairwise(cuts)]

    def send(
        self, step: int, turn: int, shares: list[dict[Range, PartGradient]]
    ) -> None:
        """Send sums of a step, `shares` by peer, in its first or second turn."""
        self._sent[step, turn] = self._send_all(2 * step + turn, shares)
        self._sent_bytes += sum(
            share.gradient.nbytes for known in shares for share in known.values()
        )

    def receive(self, step: int, turn: int) -> list[dict[Range, PartGradient]]:
        """Return what each peer has sent in a turn of a step."""
        came = time.time()
        sent = self._sent.pop((step, turn))
        received = self._take_all(2 * step + turn, sent, self.gang.step_seconds)
        self._meetings.append((came, time.time()))
        return received

    def all_reports(
        self, work: Work, part_seconds: tuple[float, ...]
    ) -> tuple[MemberReport, ...]:
        """Exchange the members' reports; return those that came in time."""
        meetings = tuple(self._meetings)
        messages = len(meetings) * len(self.peers)
        mine = MemberReport(
            self.address, work, meetings, self._sent_bytes, messages, part_seconds
        )
        try:
            others = self.all_gather(GOODBYE, mine, _GOODBYE_SECONDS)
        except PeerLost:
            others = []
        return mine, *others

    def all_gather(self, step: int, content: Any, seconds: float) -> list[Any]:
        """Send `content` to all peers and return what each of them sends."""
        sent = self._send_all(step, [content] * len(self.peers))
        return self._take_all(step, sent, seconds)

    def _send_all(self, number: int, contents: Sequence[Any]) -> list[Future[None]]:
        """Send each peer its content."""
        return [
            self._send(peer, number, content)
            for peer, content in zip(self.peers, contents, strict=True)
        ]

    def _take_all(
        self, number: int, sent: list[Future[None]], seconds: float
    ) -> list[Any]:
        """Wait for what each peer sends, and for what was sent to them."""
        deadline = time.monotonic() + seconds
        try:
            received = [
                self.plugin.mailbox.take(self.gang.attempt, number, peer, deadline)
                for peer in self.peers
            ]
            for future in sent:
                future.result(max(deadline - time.monotonic(), 0.001))
        except (OSError, TimeoutError) as error:
            raise PeerLost(str(error)) from error
        return received

    def give_up(self) -> None:
        """Tell the peers not to wait."""
        for peer in self.peers:
            self._send(peer, GIVE_UP, None)

    def _send(self, peer: str, step: int, content: Any) -> Future[None]:
        message = self.plugin.send(
            peer,
            attempt=self.gang.attempt,
            step=step,
            sender=self.address,
            content=to_serialize(content),
        )
        loop = self.plugin.worker.loop.asyncio_loop
        return asyncio.run_coroutine_threadsafe(message, loop)
