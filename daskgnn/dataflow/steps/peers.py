"""Messages between the members of a gang while they run a window."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from daskgnn.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from daskgnn.dataflow.steps.clock import Work
    from daskgnn.dataflow.steps.gang import GangWorkerPlugin

HELLO = -1
GIVE_UP = -2
GOODBYE = -3
CARRIED = -4
_GOODBYE_SECONDS = 1.0
"""How long to wait for the peers' reports at the end: nothing else depends on them."""


class PeerLost(Exception):
    """A member of the gang is gone, or did not answer in time."""


class CopiesDiffer(TrainingError):
    """Some members' copies of the parameters differ from the others'."""


@dataclass(frozen=True)
class Gang:
    """The members that run a window together."""

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
    prepared: Mapping[int, Any] = field(default_factory=dict)
    """What the driver is told of the preparation of its parts."""


class Exchange:
    """A member's end of the gang."""

    def __init__(self, plugin: GangWorkerPlugin | None, gang: Gang, me: int) -> None:
        self._plugin: Any = plugin  # of one that has no peers it is not needed
        self.gang = gang
        self.me = me
        self.address = gang.members[me][0]
        self.parts = gang.members[me][1]
        self.peers = [a for i, (a, _) in enumerate(gang.members) if i != me]
        # Messages: two per sum in a tree, one per part in a ring; one for checksums.
        self._turns = max(gang.num_parts, 2) + 2
        self._meetings: list[tuple[float, float]] = []
        self._sent_bytes = self._messages = 0
        self._sent: dict[tuple[int, int], list[Future[None]]] = {}
        self._posted: list[Future[None]] = []
        self._inner: list[Exchange] = []

    def among(self, name: Any, members: Mapping[str, tuple[int, ...]]) -> Exchange:
        """Return an exchange of some members, which ends with this one.

        Parameters
        ----------
        name : object
            Tells it from others of the same gang.
        members : mapping
            The parts of each member, by address; this one is among them.
        """
        attempt = f"{self.gang.attempt}/{name}"
        gang = replace(self.gang, attempt=attempt, members=tuple(members.items()))
        inner = Exchange(self._plugin, gang, list(members).index(self.address))
        self._inner.append(inner)
        return inner

    def owners(self) -> list[int]:
        """Return the member of each part."""
        found = {p: i for i, (_, held) in enumerate(self.gang.members) for p in held}
        return [found[part] for part in range(self.gang.num_parts)]

    def send(self, step: int, turn: int, shares: Sequence[Mapping[Any, Any]]) -> None:
        """Send every peer its shares of gradients, in one of a step's turns."""
        self.send_to(step, turn, dict(zip(self.peers, shares, strict=True)))

    def send_to(
        self, step: int, turn: int, shares: Mapping[str, Mapping[Any, Any]]
    ) -> None:
        """Send some peers, by address, shares of gradients."""
        number = self._number(step, turn)
        self._sent[step, turn] = [self._send(a, number, s) for a, s in shares.items()]
        self._messages += len(shares)
        for known in shares.values():
            self._sent_bytes += sum(share.nbytes for share in known.values())

    def post(self, peer: str, number: int, content: Any) -> None:
        """Send one peer something, under a number of the caller's, from 0."""
        self._posted.append(self._send(peer, number, content))

    def collect(self, peer: str, number: int) -> Any:
        """Return what one peer has posted under a number.

        Raises
        ------
        PeerLost
        """
        return self._take(number, [peer], [], self.gang.step_seconds)[0]

    def wait_for_posted(self) -> None:
        """Return when all that was posted is sent.

        Raises
        ------
        PeerLost
        """
        sent, self._posted = self._posted, []
        self._take(0, [], sent, self.gang.step_seconds)

    def count(self, nbytes: int, messages: int) -> None:
        """Count what was sent beside shares."""
        self._sent_bytes += nbytes
        self._messages += messages

    def receive(self, step: int, turn: int) -> list[Any]:
        """Return what each peer has sent in a turn of a step."""
        came = time.time()
        received = self.receive_from(step, turn, self.peers)
        self.met(came)
        return received

    def receive_from(self, step: int, turn: int, peers: Sequence[str]) -> list[Any]:
        """Return what some peers, by address, have sent in a turn of a step."""
        sent = self._sent.pop((step, turn), [])
        number = self._number(step, turn)
        return self._take(number, peers, sent, self.gang.step_seconds)

    def met(self, came: float) -> None:
        """Take note of an exchange that ends now, and of when it was waited for."""
        self._meetings.append((came, time.time()))

    def compare(self, step: int, digest: str, done: int) -> None:
        """Make sure that all members have the same parameters after a step.

        Parameters
        ----------
        digest : str
            Of this member's.
        done : int
            Steps of the run that are done: named if not.

        Raises
        ------
        CopiesDiffer
            Naming the members whose copies differ.
        """
        others = self.all_gather(self._number(step, self._turns - 1), digest)
        digests = dict(zip(self.peers, others, strict=True))
        check_copies({self.address: digest, **digests}, done)

    def all_reports(
        self, work: Work, part_seconds: tuple[float, ...], prepared: Mapping[int, Any]
    ) -> tuple[MemberReport, ...]:
        """Exchange the members' reports; return those that came in time."""
        sent = tuple(self._meetings), self._sent_bytes, self._messages
        mine = MemberReport(self.address, work, *sent, part_seconds, prepared)
        try:
            others = self.all_gather(GOODBYE, mine, _GOODBYE_SECONDS)
        except PeerLost:
            others = []
        return mine, *others

    def all_gather(
        self, number: int, content: Any, seconds: float | None = None
    ) -> list[Any]:
        """Send `content` to all peers and return what each of them sends."""
        sent = [self._send(peer, number, content) for peer in self.peers]
        seconds = self.gang.step_seconds if seconds is None else seconds
        return self._take(number, self.peers, sent, seconds)

    def give_up(self) -> None:
        """Tell the peers not to wait."""
        for peer in self.peers:
            self._send(peer, GIVE_UP, None)
        for inner in self._inner:
            inner.give_up()

    def close(self) -> None:
        """Forget what has come and was not taken."""
        self._plugin.mailbox.close(self.gang.attempt)
        for inner in self._inner:
            inner.close()

    def _number(self, step: int, turn: int) -> int:
        """Return what a letter of a turn of a step is called."""
        return step * self._turns + turn

    def _take(
        self,
        number: int,
        peers: Sequence[str],
        sent: list[Future[None]],
        seconds: float,
    ) -> list[Any]:
        """Wait for what each peer sends, and for what was sent to them."""
        deadline = time.monotonic() + seconds
        try:
            received = [
                self._plugin.mailbox.take(self.gang.attempt, number, peer, deadline)
                for peer in peers
            ]
            for future in sent:
                future.result(max(deadline - time.monotonic(), 0.001))
        except (OSError, TimeoutError) as error:
            raise PeerLost(str(error)) from error
        return received

    def _send(self, peer: str, number: int, content: Any) -> Future[None]:
        from distributed.protocol.serialize import to_serialize

        message = self._plugin.send(
            peer,
            attempt=self.gang.attempt,
            step=number,
            sender=self.address,
            content=to_serialize(content),
        )
        loop = self._plugin.worker.loop.asyncio_loop
        return asyncio.run_coroutine_threadsafe(message, loop)


def check_copies(digests: Mapping[str, str], done: int) -> None:
    """Make sure that copies of the parameters have the same digest.

    Parameters
    ----------
    digests : mapping
        By the name of who holds the copy.
    done : int
        Steps of the run that are done.

    Raises
    ------
    CopiesDiffer
        Naming the step, and who has another copy than most (of two, both).
    """
    counts = Counter(digests.values())
    if len(counts) < 2:
        return
    (most, votes), (_, second) = counts.most_common(2)
    wrong = [n for n, d in digests.items() if d != most or votes == second]
    raise CopiesDiffer(
        f"the parameters after step {done} are not the same everywhere: those of "
        f"{', '.join(sorted(wrong))} differ; a worker's memory, processor or torch is "
        "at fault: continue without it from the last checkpoint"
    )
