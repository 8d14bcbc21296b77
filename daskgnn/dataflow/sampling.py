"""The tasks that run a sampler's rounds between parts.

Nothing here knows how a sampler samples: it asks owners, answers for those whose
blocks lie here, looks up entries that other parts hold, and counts bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daskgnn.graph.sources.packed import unpickled
from daskgnn.kernels.book import ColocatedParts
from daskgnn.kernels.entries import Entries, completed, references
from daskgnn.kernels.sampled import SampledWindow

if TYPE_CHECKING:
    import numpy as np

    from daskgnn.dataflow.part import PartBlocks
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.traffic import Traffic
    from daskgnn.sampling.sampler import Sampler


@dataclass(frozen=True)
class PackedSampler:
    """A sampler as bytes, so that a user's own class can go to any worker."""

    payload: bytes
    """Of cloudpickle."""

    @property
    def sampler(self) -> Sampler:
        """The sampler, unpickled once a process."""
        return unpickled(self.payload)


@dataclass(frozen=True)
class Round:
    """One round of a window: the same for all its parts."""

    packed: PackedSampler
    book: PartitionBook
    number: int
    step_keys: np.ndarray
    """uint64 [W]"""
    threads: int = 1

    @property
    def sampler(self) -> Sampler:
        """The run's sampler."""
        return self.packed.sampler

    @property
    def exchanges(self) -> bool:
        """Whether parts send each other data in this round, instead of requests."""
        return self.number in self.sampler.exchanges

    @property
    def is_last(self) -> bool:
        """Whether the window is sampled then."""
        return self.number + 1 == self.sampler.rounds

    def answer(self, blocks: PartBlocks, asked: Any) -> Any:
        """Return the answer of the part whose blocks these are."""
        how = (self.step_keys, self.number, self.book, self.threads)
        return self.sampler.answer(blocks.rows, asked, *how)


@dataclass(frozen=True)
class Message:
    """A sampler's request or answer as it is sent; None if there is none."""

    value: Any

    @property
    def nbytes(self) -> int:
        """Bytes of the value, as the sampler tells them."""
        return 0 if self.value is None else int(self.value.nbytes)


@dataclass(frozen=True)
class Sampling:
    """A part's window between two rounds."""

    frontier: Any
    traffic: Traffic


@dataclass(frozen=True)
class PendingSample:
    """The answers to a part of a vertex-cut, with references to others' entries."""

    answers: dict[int, Any]
    traffic: Traffic


def ask(window: Sampling, how: Round, owner: int) -> Message:
    """Return what a part asks of `owner`."""
    return Message(how.sampler.request(window.frontier, how.number, owner, how.book))


def serve(blocks: PartBlocks, asked: Message, how: Round) -> Message:
    """Answer what a part is asked, if it is asked for something."""
    if not len(asked.value.ids):
        return Message(None)
    return Message(how.answer(blocks, asked.value))


def sample_round(
    window: Sampling,
    near: ColocatedParts,
    blocks: list[PartBlocks],
    asked: list[Message],
    replies: list[Message],
    how: Round,
) -> Sampling | SampledWindow:
    """Answer for the blocks at hand; merge with the replies of those far away."""
    drawn = draw_round(window, near, blocks, asked, replies, how)
    return _merged(window, drawn, near, how)


def draw_round(
    window: Sampling,
    near: ColocatedParts,
    blocks: list[PartBlocks],
    asked: list[Message],
    replies: list[Message],
    how: Round,
) -> PendingSample:
    """Return all owners' answers to a part."""
    answers, traffic = {}, window.traffic
    requests: dict[int, Any] = {}
    for owner, held in zip(near.parts, blocks, strict=True):
        requests[owner] = ask(window, how, owner).value
        if owner == near.part or len(requests[owner].ids):
            answers[owner] = how.answer(held, requests[owner])
    requests |= {p: a.value for p, a in zip(near.far, asked, strict=True)}
    received = {p: r.value for p, r in zip(near.far, replies, strict=True)}
    answers |= {p: value for p, value in received.items() if value is not None}
    for owner, found in answers.items():
        if owner != near.part:
            traffic = traffic.received(owner, 0, requests[owner].nbytes + found.nbytes)
    return PendingSample(answers, traffic)


def _merged(
    window: Sampling, drawn: PendingSample, near: ColocatedParts, how: Round
) -> Sampling | SampledWindow:
    sampler, part = how.sampler, near.part
    given = (window.frontier, drawn.answers, how.number, part, how.book, how.threads)
    frontier = sampler.merge(*given)
    if how.is_last:
        return SampledWindow(tuple(sampler.finish(frontier)), drawn.traffic)
    return Sampling(frontier, drawn.traffic)


def exchange_round(
    window: Sampling, part: int, given: list[Message], how: Round
) -> Sampling | SampledWindow:
    """Merge what all parts, in their order, have requested of `part`."""
    answers, traffic = {}, window.traffic
    for other, message in enumerate(given):
        answers[other] = message.value
        if other != part and message.nbytes:
            traffic = traffic.received(other, 0, message.nbytes)
    near = ColocatedParts(part, (part,), ())
    return _merged(window, PendingSample(answers, traffic), near, how)


def remote_slots(drawn: PendingSample, book: PartitionBook, other: int) -> np.ndarray:
    """Return the places of the entries that a part needs of another."""
    return references(drawn.answers, book, other)


def look_up(blocks: PartBlocks, places: np.ndarray) -> Entries:
    """Return the entries at some places that a part holds."""
    return blocks.rows.held(places)


def complete_round(
    window: Sampling,
    drawn: PendingSample,
    near: ColocatedParts,
    blocks: list[PartBlocks],
    asked: list[np.ndarray],
    replies: list[Entries],
    how: Round,
) -> Sampling | SampledWindow:
    """Put the entries that were looked up in their places; merge."""
    wanted = {p: remote_slots(drawn, how.book, p) for p in near.parts}
    entries = {
        p: look_up(held, wanted[p]) for p, held in zip(near.parts, blocks, strict=True)
    }
    wanted |= dict(zip(near.far, asked, strict=True))
    entries |= dict(zip(near.far, replies, strict=True))
    traffic = drawn.traffic
    for other, found in entries.items():
        if other != near.part and len(found.columns):
            traffic = traffic.received(other, 0, wanted[other].nbytes + found.nbytes)
    answers = completed(drawn.answers, how.book, entries)
    return _merged(window, PendingSample(answers, traffic), near, how)
