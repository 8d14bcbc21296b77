"""One part's neighbourhoods for a window of steps, hop by hop.

A part asks the owners of its frontier for rows (`request`), owners sample and
answer (`answer`), and the part merges the answers and finds the next frontier
(`merge`). Everything is a pure function of arrays; who carries the arrays from
part to part is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.kernels.neighbor import (
    FanOut,
    discover,
    row_keys,
    sample_rows,
    sample_rows_weighted,
    take_rows,
)

if TYPE_CHECKING:
    from daskgnn.kernels.adjacency import AdjacencyBlock


@dataclass(frozen=True)
class Sampling:
    """How rows are sampled: the same for every task of a run."""

    fan_out: FanOut
    bounds: np.ndarray
    """int64 [P + 1], the partition book: first storage id of each part."""

    @property
    def num_parts(self) -> int:
        """Number of parts."""
        return len(self.bounds) - 1

    def owner(self, ids: np.ndarray) -> np.ndarray:
        """Return the part that owns each storage id."""
        return np.searchsorted(self.bounds, ids, side="right") - 1

    def owned(self, ids: np.ndarray, part: int) -> np.ndarray:
        """Return which storage ids `part` owns, as bool."""
        return (ids >= self.bounds[part]) & (ids < self.bounds[part + 1])


@dataclass(frozen=True)
class StepNodes:
    """The nodes that one step of one part has met."""

    ids: np.ndarray
    """int [n], storage ids in discovery order."""
    sizes: tuple[int, ...]
    """Nodes within 0, 1, ... hops: prefixes of `ids`."""
    starts: np.ndarray
    """int64 [r], where the row of each of the first r nodes begins."""
    counts: np.ndarray
    """int64 [r], its sampled length."""
    original_ids: np.ndarray
    """int64 [r]"""
    degree: np.ndarray
    """int64 [r], in-neighbours in the whole graph."""
    strength: np.ndarray
    """float32 [r], sum of the in-edges' weights in the whole graph."""
    labels: np.ndarray
    """[seeds] or [seeds, classes]"""
    indices: np.ndarray | None = None
    """int32 [sum(counts)], after the last hop: local numbers, row after row."""
    weights: np.ndarray | None = None
    """float32 [sum(counts)], edge weights beside `indices`."""

    @property
    def frontier(self) -> np.ndarray:
        """The nodes whose rows are not known yet."""
        return self.ids[len(self.starts) :]


@dataclass(frozen=True)
class Traffic:
    """What one part exchanged with each other part (its own entry is zero)."""

    rows: np.ndarray
    """int64 [P], feature rows received."""
    nbytes: np.ndarray
    """int64 [P], of requests and answers."""
    messages: np.ndarray
    """int64 [P]"""

    @classmethod
    def none(cls, num_parts: int) -> Traffic:
        """Return the traffic before anything was received."""
        return cls(*(np.zeros(num_parts, np.int64) for _ in range(3)))

    def received(self, part: int, rows: int, nbytes: int) -> Traffic:
        """Return the traffic with one more answer from `part`."""
        here = np.arange(len(self.rows)) == part
        return Traffic(
            self.rows + here * rows, self.nbytes + here * nbytes, self.messages + here
        )


@dataclass(frozen=True)
class WindowNodes:
    """All steps of a window for one part, and the rows they point into."""

    steps: tuple[StepNodes, ...]
    step_keys: np.ndarray
    """uint64 [W]"""
    columns: np.ndarray
    """int [*], storage ids; empty after the last hop."""
    weights: np.ndarray | None
    """float32 [*], edge weights beside `columns`."""
    traffic: Traffic


@dataclass(frozen=True)
class Request:
    """Rows wanted from one owner, for every step of a window."""

    ids: np.ndarray
    """int [n], storage ids, step after step."""
    offsets: np.ndarray
    """int64 [W + 1], where each step's ids begin."""


@dataclass(frozen=True)
class Rows:
    """An owner's answer: sampled rows and what belongs to their nodes."""

    counts: np.ndarray
    columns: np.ndarray
    weights: np.ndarray | None
    original_ids: np.ndarray
    degree: np.ndarray
    strength: np.ndarray
    labels: np.ndarray | None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (getattr(self, name) for name in self.__dataclass_fields__)
        return sum(a.nbytes for a in arrays if a is not None)


def first_nodes(
    seeds: list[np.ndarray],
    step_keys: np.ndarray,
    labels: np.ndarray,
    num_parts: int,
) -> WindowNodes:
    """Return the window before its first hop.

    Parameters
    ----------
    seeds : list of int [run]
        This part's seeds of each step, storage ids.
    step_keys : uint64 [W]
    labels : array
        An empty array of the labels' dtype and trailing shape.
    """
    none = np.empty(0, np.int64)
    steps = tuple(
        StepNodes(
            run, (len(run),), none, none, none, none, none.astype(np.float32), labels
        )
        for run in seeds
    )
    dtype = seeds[0].dtype if seeds else np.dtype(np.int64)
    traffic = Traffic.none(num_parts)
    return WindowNodes(steps, step_keys, np.empty(0, dtype), None, traffic)


def request(window: WindowNodes, sampling: Sampling, part: int) -> Request:
    """Return the rows that the frontier of `window` needs from `part`."""
    wanted = []
    for step in window.steps:
        ids = step.frontier
        wanted.append(ids[sampling.owned(ids, part)])
    return Request(np.concatenate(wanted), _offsets([len(ids) for ids in wanted]))


def answer(
    block: AdjacencyBlock,
    labels: np.ndarray | None,
    asked: Request,
    step_keys: np.ndarray,
    sampling: Sampling,
    hop: int,
    draw_weights: np.ndarray | None = None,
) -> Rows:
    """Sample the rows that `asked` names from the block that owns them.

    `labels` are those of the block's rows: the seeds' go with hop 0, later hops
    are given none.
    `draw_weights` (float32 [E], positive) makes the draws weighted.
    """
    fan_out = sampling.fan_out
    rows = asked.ids.astype(np.int64) - block.start
    degree = block.indptr[rows + 1] - block.indptr[rows]
    counts = np.minimum(degree, fan_out.width(hop))
    offsets = _offsets(counts)
    slots = np.empty(offsets[-1], np.int64)
    original_ids = block.original_ids[rows]
    keys = row_keys(original_ids, asked.offsets, step_keys)
    if draw_weights is None:
        sample_rows(
            block.indptr,
            rows,
            keys,
            fan_out.width(hop),
            fan_out.whole,
            fan_out.drawn,
            counts,
            offsets[:-1],
            slots,
        )
    else:
        sample_rows_weighted(
            block.indptr,
            draw_weights,
            rows,
            keys,
            fan_out.whole,
            counts,
            offsets[:-1],
            slots,
        )
    return Rows(
        counts,
        block.indices[slots],
        None if block.weights is None else block.weights[slots],
        original_ids,
        degree,
        block.strength[rows],
        None if labels is None else labels[rows],
    )


def merge(
    window: WindowNodes,
    answers: dict[int, Rows],
    sampling: Sampling,
    hop: int,
    part: int,
) -> WindowNodes:
    """Add the owners' `answers` to the window of `part` and find the next hop.

    `answers` maps every part to its rows, in the order of `request`. After the
    last hop the columns become local numbers.
    """
    parts = sorted(answers)
    replies = [answers[part] for part in parts]
    bases = len(window.columns) + _offsets([len(r.columns) for r in replies])
    columns = np.concatenate([window.columns, *(r.columns for r in replies)])
    weights = _join_weights(window.weights, replies)
    row_starts = [
        base + _offsets(r.counts)[:-1] for base, r in zip(bases, replies, strict=False)
    ]
    taken = [0] * len(parts)
    steps = []
    for step in window.steps:
        owner = sampling.owner(step.frontier)
        picks = []
        for i, owner_part in enumerate(parts):
            here = np.flatnonzero(owner == owner_part)
            picks.append((here, slice(taken[i], taken[i] + len(here))))
            taken[i] += len(here)
        grown = _add_rows(step, picks, replies, row_starts, hop)
        steps.append(_next_hop(grown, columns, weights, sampling.fan_out, hop))
    traffic = window.traffic
    for owner_part, rows in answers.items():
        if owner_part != part and len(rows.counts):
            asked = len(rows.counts) * columns.itemsize
            traffic = traffic.received(owner_part, 0, asked + rows.nbytes)
    if hop + 1 == sampling.fan_out.num_hops:
        columns, weights = columns[:0].copy(), None
    return WindowNodes(tuple(steps), window.step_keys, columns, weights, traffic)


def _next_hop(
    step: StepNodes,
    columns: np.ndarray,
    weights: np.ndarray | None,
    fan_out: FanOut,
    hop: int,
) -> StepNodes:
    """Find the nodes of the next hop; after the last, number the columns."""
    last = hop + 1 == fan_out.num_hops
    local = np.empty(step.counts.sum() if last else 0, np.int32)
    ids = discover(
        step.ids, step.starts, step.counts, fan_out.limits[hop], columns, local
    )
    step = replace(step, ids=ids, sizes=(*step.sizes, len(ids)))
    if not last:
        return step
    own_weights = None
    if weights is not None:
        own_weights = np.empty(len(local), np.float32)
        take_rows(weights, step.starts, step.counts, own_weights)
    starts = _offsets(step.counts)[:-1]
    return replace(step, starts=starts, indices=local, weights=own_weights)


def _add_rows(
    step: StepNodes,
    picks: list[tuple[np.ndarray, slice]],
    replies: list[Rows],
    row_starts: list[np.ndarray],
    hop: int,
) -> StepNodes:
    """Put the owners' rows into the frontier's order, behind the known rows."""
    n = len(step.frontier)

    def joined(old: np.ndarray, values: list[np.ndarray]) -> np.ndarray:
        new = np.empty((n, *values[0].shape[1:]), values[0].dtype)
        for (here, span), value in zip(picks, values, strict=True):
            new[here] = value[span]
        return np.concatenate([old.astype(new.dtype), new])

    labels = step.labels
    if hop == 0:
        given = [r.labels for r in replies if r.labels is not None]
        labels = joined(labels[:0], given)
    return StepNodes(
        step.ids,
        step.sizes,
        joined(step.starts, row_starts),
        joined(step.counts, [r.counts for r in replies]),
        joined(step.original_ids, [r.original_ids for r in replies]),
        joined(step.degree, [r.degree for r in replies]),
        joined(step.strength, [r.strength for r in replies]),
        labels,
    )


def _join_weights(old: np.ndarray | None, replies: list[Rows]) -> np.ndarray | None:
    new = [r.weights for r in replies if r.weights is not None]
    if not new:
        return None
    return np.concatenate([*([] if old is None else [old]), *new])


def _offsets(counts: np.ndarray | list[int]) -> np.ndarray:
    out = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=out[1:])
    return out
