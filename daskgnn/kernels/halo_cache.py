"""Halo caches: rows of remote nodes that a part keeps.

A static cache is filled once, with the nodes that a part's steps are expected to visit
most. A least-recently-used one is a pure function of the cache before a window and the
window's rows. Neither changes a result, only what is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.features import table
from daskgnn.kernels.idset import IdSet, rank_of
from daskgnn.kernels.record import ArrayRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.exchange import FeatureReply, FeatureRequest

Array = np.ndarray


@dataclass(frozen=True)
class HaloCache(ArrayRecord):
    """Rows of some remote nodes."""

    ids: np.ndarray
    """int [C], storage ids, ascending."""
    values: np.ndarray
    """[C, F] of the features' own dtype."""
    original_ids: np.ndarray | None
    """int64 [C], where the model's first layer may need them."""
    weighted_degree: np.ndarray | None
    """float32 [C], likewise."""
    used: np.ndarray | None = None
    """int64 [C], the window that each row was last wanted in; None if that plays no
    part."""

    @property
    def row_bytes(self) -> int:
        """Bytes that a row takes on its way: with its id and what belongs to it."""
        one = self.values.itemsize * self.values.shape[1] + self.ids.itemsize
        for array in (self.original_ids, self.weighted_degree):
            one += 0 if array is None else array.itemsize
        return one


@njit(cache=True, nogil=True)
def _split_rows(
    indptr: Array,
    indices: Array,
    start: int,
    chance: Array,
    fan_out: int,
    words: Array,
    before: Array,
    own: Array,
    remote: Array,
) -> None:
    """Add to each node's expected visits those by the rows of the own part.

    A row in the frontier with probability `chance` [n] visits each of its neighbours
    with probability ``min(1, fan_out / degree)`` then.
    """
    size = np.uint64(len(indptr) - 1)
    for row in range(len(indptr) - 1):
        degree = indptr[row + 1] - indptr[row]
        if degree == 0 or chance[row] == 0:
            continue
        visit = chance[row] * min(1.0, fan_out / degree)
        for e in range(indptr[row], indptr[row + 1]):
            node = np.int64(indices[e])
            if np.uint64(node - start) < size:
                own[node - start] += visit
            else:
                remote[rank_of(words, before, node)] += visit


def expected_visits(
    block: AdjacencyBlock,
    book: PartitionBook,
    limits: Sequence[int],
    seeds: Array,
    seeds_per_step: float,
) -> tuple[Array, Array]:
    """Return the remote nodes next to a part, and how often a step visits each.

    Chances go from the part's own training nodes outwards over its own rows, hop by
    hop, as if neighbours were drawn independently. Rows of other parts play no part:
    on a good partition that changes the choice of a cache's rows little, and it needs
    no other part's edges.

    Parameters
    ----------
    limits : sequence of int
        How many of a node's neighbours each hop visits at most.
    seeds : int [t]
        Storage ids of the part's training nodes.
    seeds_per_step : float
        How many of them a step takes.

    Returns
    -------
    tuple
        int [H] storage ids, ascending, and float64 [H].
    """
    start, stop = block.start, block.start + block.num_rows
    nodes = book.num_nodes
    halo = IdSet.of(
        [block.indices], 0, nodes, without=[np.arange(start, stop, dtype=np.int64)]
    )
    visits = np.zeros(block.num_rows)
    if len(seeds):
        visits[seeds - start] = min(1.0, seeds_per_step / len(seeds))
    remote = np.zeros(halo.size)
    chance = visits
    for limit in limits:
        own, remote = np.zeros(block.num_rows), np.zeros(halo.size)
        _split_rows(
            frozen(block.indptr),
            frozen(block.indices),
            start,
            frozen(chance),
            limit,
            frozen(halo.words),
            frozen(halo.before),
            own,
            remote,
        )
        visits = visits + own
        chance = -np.expm1(-visits)
    return halo.members(block.indices.dtype), remote


def choose_static(
    block: AdjacencyBlock,
    book: PartitionBook,
    limits: Sequence[int],
    seeds: Array,
    seeds_per_step: float,
    capacity: int,
) -> Array:
    """Return the ids, ascending, of the `capacity` remote nodes visited most."""
    ids, visits = expected_visits(block, book, limits, seeds, seeds_per_step)
    order = np.argsort(-visits, kind="stable")[:capacity]
    return np.sort(ids[order[visits[order] > 0]])


def fill_cache(ids: Array, answers: list[FeatureReply]) -> HaloCache:
    """Return the cache of some ids; `answers` are the owners', in part order."""
    return HaloCache(
        ids,
        np.concatenate([table(a.values) for a in answers]),
        _joined([a.original_ids for a in answers]),
        _joined([a.weighted_degree for a in answers]),
    )


def _joined(arrays: list[Array | None]) -> Array | None:
    known = [array for array in arrays if array is not None]
    return np.concatenate(known) if known else None


def update_lru(
    before: HaloCache | None,
    steps: Sequence[Array],
    asked: dict[int, FeatureRequest],
    answers: dict[int, FeatureReply],
    number: int,
    capacity: int,
) -> HaloCache:
    """Return the cache after a window: the rows that were wanted last.

    Of rows last wanted in the same window, those that more of its steps wanted stay,
    then those with smaller ids.

    Parameters
    ----------
    before : HaloCache or None
    steps : sequence of int [n]
        Each step's nodes, storage ids.
    asked, answers : dict
        By other part.
    number : int
        The window's.
    capacity : int
        Rows.
    """
    parts = sorted(asked)
    wanted = np.concatenate([asked[q].ids for q in parts])
    new = fill_cache(wanted, [answers[q] for q in parts])
    held = [new] if before is None else [before, new]
    ids = np.concatenate([cache.ids for cache in held])
    wanting = _steps_wanting(steps, ids)
    used = np.where(wanting > 0, number, -1)
    if before is not None and before.used is not None:
        stale = wanting[: len(before.ids)] == 0
        used[: len(before.ids)][stale] = before.used[stale]
    keep = np.lexsort((ids, -wanting, -used))[:capacity]
    keep = keep[np.argsort(ids[keep])]
    return HaloCache(
        ids[keep],
        _pick([cache.values for cache in held], keep),
        _picked([cache.original_ids for cache in held], keep),
        _picked([cache.weighted_degree for cache in held], keep),
        used[keep],
    )


def _steps_wanting(steps: Sequence[Array], ids: Array) -> Array:
    """Return in how many steps each of the ids occurs, int64 [n]."""
    last = int(ids.max()) + 1 if len(ids) else 0
    known = IdSet.of([ids], 0, last)
    counts = np.zeros(known.size, np.int64)
    for step in steps:
        _count(frozen(step), last, frozen(known.words), frozen(known.before), counts)
    order = np.argsort(ids)
    out = np.empty(len(ids), np.int64)
    out[order] = counts
    return out


@njit(cache=True, nogil=True)
def _count(ids: Array, last: int, words: Array, before: Array, counts: Array) -> None:
    """Count the ids that are in a set."""
    for j in range(len(ids)):
        if ids[j] < last:
            rank = rank_of(words, before, np.int64(ids[j]))
            if rank >= 0:
                counts[rank] += 1


def _pick(arrays: list[Array], places: Array) -> Array:
    """Return ``np.concatenate(arrays)[places]`` without the concatenation."""
    out = np.empty((len(places), *arrays[0].shape[1:]), arrays[0].dtype)
    base = 0
    for array in arrays:
        here = np.flatnonzero((places >= base) & (places < base + len(array)))
        out[here] = array[places[here] - base]
        base += len(array)
    return out


def _picked(arrays: list[Array | None], places: Array) -> Array | None:
    known = [array for array in arrays if array is not None]
    return _pick(known, places) if known else None
