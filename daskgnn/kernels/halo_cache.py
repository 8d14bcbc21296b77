"""Halo caches: rows of remote nodes that a part keeps.

A static cache is filled once, with the nodes that a part's steps are expected to visit
most. A least-recently-used one is a pure function of the cache before a window and the
window's rows. Neither changes a result, only what is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.features import SparseTable, some_rows, table
from daskgnn.kernels.idset import IdSet, rank_of
from daskgnn.kernels.jit import njit
from daskgnn.kernels.record import ArrayRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.exchange import FeatureReply, FeatureRequest
    from daskgnn.kernels.sampled import SampledWindow

Array = np.ndarray


@dataclass(frozen=True)
class HaloCache(ArrayRecord):
    """Rows of some remote nodes."""

    ids: np.ndarray
    """int [C], storage ids, ascending."""
    values: np.ndarray | SparseTable
    """[C, F] of the features' own dtype; sparse where features stay so."""
    original_ids: np.ndarray | None
    """int64 [C], where the model's first layer may need them."""
    weighted_degree: np.ndarray | None
    """float32 [C], likewise."""
    used: np.ndarray | None = None
    """int64 [C], the window that each row was last wanted in; None if that plays no
    part."""

    @property
    def row_bytes(self) -> int:
        """Bytes that a row takes on its way: with its id and what belongs to it.

        Sparse rows differ: see `daskgnn.kernels.sparsebatch.row_bytes`.
        """
        assert isinstance(self.values, np.ndarray)
        one = self.values.itemsize * self.values.shape[1] + self.ids.itemsize
        for array in (self.original_ids, self.weighted_degree):
            one += 0 if array is None else array.itemsize
        return one


@njit(cache=True, nogil=True)
def _pass_visits_on(
    indptr: Array,
    indices: Array,
    start: int,
    chance: Array,
    fan_out: int,
    halo: IdSet,
    own: Array,
    remote: Array,
) -> None:
    """Add to each node's expected visits those by the rows of the own part.

    A row in the frontier with probability `chance` [n] visits each of its neighbours
    with probability ``min(1, fan_out / degree)`` then.
    """
    words, before = halo.words, halo.before
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
        rows = (frozen(block.indptr), frozen(block.indices), start)
        _pass_visits_on(*rows, frozen(chance), limit, halo, own, remote)
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


def fill_cache(
    ids: Array, answers: list[FeatureReply], sparse: bool = False
) -> HaloCache:
    """Return the cache of some ids; `answers` are the owners', in part order.

    Rows that stay `sparse` are kept so.
    """
    return HaloCache(
        ids,
        _rows_of(answers, sparse),
        _joined([a.original_ids for a in answers]),
        _joined([a.weighted_degree for a in answers]),
    )


def _rows_of(answers: list[FeatureReply], sparse: bool) -> Any:
    """Return the feature rows of all answers."""
    if sparse and answers:
        return SparseTable.joined([a.values for a in answers])  # type: ignore[misc]
    return _joined([table(a.values) for a in answers])


def _kept(values: list[Any], keep: Array) -> Any:
    """Return some of the rows of several caches."""
    if isinstance(values[0], SparseTable):
        return some_rows(SparseTable.joined(values), keep)
    return _joined(values, keep)


def _joined(arrays: list[Any], places: Array | None = None) -> Any:
    """Return some entries, or all, of arrays in a row; None where there are none."""
    known = [array for array in arrays if array is not None]
    if not known or places is None:
        return np.concatenate(known) if known else None
    out = np.empty((len(places), *known[0].shape[1:]), known[0].dtype)
    begin = 0
    for array in known:  # what is left out is not copied
        here = np.flatnonzero((places >= begin) & (places < begin + len(array)))
        out[here] = array[places[here] - begin]
        begin += len(array)
    return out


def update_lru(
    before: HaloCache | None,
    window: SampledWindow,
    asked: list[FeatureRequest],
    answers: list[FeatureReply],
    number: int,
    capacity: int,
    sparse: bool = False,
) -> HaloCache:
    """Return the cache after a window: the rows that were wanted last.

    Of rows that were last wanted in the same window, those that more of its steps
    wanted stay, then those with the smaller ids.

    Parameters
    ----------
    before : HaloCache or None
    window : SampledWindow
        Whose steps want rows.
    asked, answers : list
        By each other part, in order.
    number : int
        The window's.
    capacity : int
        Rows that are kept, at most.
    sparse : bool
        Whether rows stay so.
    """
    wanted = np.concatenate([request.ids for request in asked])
    new = fill_cache(wanted, answers, sparse)
    held = [new] if before is None else [before, new]
    ids = np.concatenate([cache.ids for cache in held])
    wanting = _steps_wanting([graph.ids for graph in window.graphs], ids)
    used = np.where(wanting > 0, number, -1)
    if before is not None and before.used is not None:
        stale = wanting[: len(before.ids)] == 0
        used[: len(before.ids)][stale] = before.used[stale]
    keep = np.lexsort((ids, -wanting, -used))[:capacity]
    keep = keep[np.argsort(ids[keep])]
    return HaloCache(
        ids[keep],
        _kept([cache.values for cache in held], keep),
        _joined([cache.original_ids for cache in held], keep),
        _joined([cache.weighted_degree for cache in held], keep),
        used[keep],
    )


def _steps_wanting(steps: Sequence[Array], ids: Array) -> Array:
    """Return in how many steps each of the ids occurs, int64 [n]."""
    last = int(ids.max()) + 1 if len(ids) else 0
    known = IdSet.of([ids], 0, last)
    counts = np.zeros(known.size, np.int64)
    for step in steps:
        _count(frozen(step), known, counts)
    order = np.argsort(ids)
    out = np.empty(len(ids), np.int64)
    out[order] = counts
    return out


@njit(cache=True, nogil=True)
def _count(ids: Array, known: IdSet, counts: Array) -> None:
    """Count the ids that are in a set."""
    last, words, before = known.last, known.words, known.before
    for j in range(len(ids)):
        if ids[j] < last:
            rank = rank_of(words, before, np.int64(ids[j]))
            if rank >= 0:
                counts[rank] += 1
