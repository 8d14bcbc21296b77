"""Find the feature rows of a window's nodes: own block, replies, cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from daskgnn.kernels.aggregate import Sources, frozen
from daskgnn.kernels.exchange import (
    FeatureReply,
    FeatureRequest,
    HeldPart,
    answer_rows,
    needs_ids,
    needs_weighted_degree,
)
from daskgnn.kernels.features import is_dense, table
from daskgnn.kernels.frontier import owner_of
from daskgnn.kernels.grouped import TAG, copy_items
from daskgnn.kernels.idset import IdSet, rank_of

if TYPE_CHECKING:
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.halo_cache import HaloCache

Array = np.ndarray


@njit(cache=True, nogil=True)
def _locate(
    ids: Array,
    bounds: Array,
    part: int,
    whole: Array,
    bases: Array,
    ranks: Array,
    width: int,
    words: Array,
    before: Array,
    cached_words: Array,
    cached_before: Array,
    cached_base: int,
    hits: Array,
    out: Array,
) -> None:
    """Write to `out` [n] each node's owner and the address of its row.

    Parameters
    ----------
    ids : int [n]
    bounds : int64 [P + 1]
    part
        The own part.
    whole : bool [P]
        Of which owners the table has all rows.
    bases, ranks : int64 [P]
        Address of each owner's table; how many asked rows come before the owner's.
    width
        Bytes of a row.
    words, before
        The set of rows that tables of selected rows hold, in the order of their ids.
    cached_words, cached_before, cached_base
        The same of the cache; no words where there is none.
    hits : uint8 [cached rows]
        Marked where a cached row is used.
    """
    first, size = bounds[part], np.uint64(bounds[part + 1] - bounds[part])
    own, own_base, own_whole = part << TAG, bases[part], whole[part]
    for j in range(len(ids)):
        node = np.int64(ids[j])
        if own_whole and np.uint64(node - first) < size:
            out[j] = own | (own_base + (node - first) * width)
            continue
        owner = owner_of(bounds, node)
        if whole[owner]:
            out[j] = (owner << TAG) | (bases[owner] + (node - bounds[owner]) * width)
            continue
        rank = rank_of(words, before, node)
        address = 0
        if rank >= 0:
            address = bases[owner] + (rank - ranks[owner]) * width
        elif len(cached_words):
            rank = rank_of(cached_words, cached_before, node)
            if rank >= 0:
                address = cached_base + rank * width
                hits[rank] = 1
        out[j] = (owner << TAG) | address


@dataclass(frozen=True)
class Tables:
    """The tables of a window; addresses in them are valid as long as it exists."""

    book: PartitionBook
    part: int
    whole: np.ndarray
    """bool [P], of which parts the table has all rows."""
    rows: dict[int, FeatureReply]
    """By part: rows that lie here, and what the others have answered."""
    ids: dict[int, np.ndarray]
    """By part: the rows' ids, ascending, unless the table is whole."""
    known: IdSet
    """All these ids."""
    cache: HaloCache | None
    cached: IdSet
    """The cache's ids."""
    hits: np.ndarray
    """uint8 [cached rows], 1 where a step has used the row."""

    @classmethod
    def of(
        cls,
        book: PartitionBook,
        part: int,
        held_parts: dict[int, HeldPart],
        ids: list[np.ndarray],
        asked: dict[int, FeatureRequest],
        answers: dict[int, FeatureReply],
        cache: HaloCache | None,
    ) -> Tables:
        """Return the tables of a window of `part`.

        Parameters
        ----------
        held_parts : dict
            By part: those that lie here.
        ids : list of int [n]
            The nodes of each step.
        asked, answers : dict
            By each other part.
        cache : HaloCache or None
        """
        given = {other: what.ids for other, what in asked.items()}
        rows = {other: _with_dense(answer) for other, answer in answers.items()}
        whole = np.zeros(book.num_parts, np.bool_)
        for owner, part_here in held_parts.items():
            block, features = part_here.adjacency, part_here.features
            whole[owner] = is_dense(features)
            if whole[owner]:
                dense = np.ascontiguousarray(features)
                rows[owner] = FeatureReply(
                    dense, block.original_ids, block.weighted_degree
                )
                continue
            given[owner] = members_of(book, owner, ids).members(ids[0].dtype)
            some = answer_rows(block, features, FeatureRequest(given[owner]))
            rows[owner] = _with_dense(some)
        nodes = book.num_nodes
        known = IdSet.of(list(given.values()), 0, nodes)
        held = [] if cache is None else [cache.ids]
        cached = IdSet.of(held, 0, nodes if held else 0)
        hits = np.zeros(cached.size, np.uint8)
        return cls(book, part, whole, rows, given, known, cache, cached, hits)

    def read_in_place(
        self, owner: int, ids: list[np.ndarray], first_aggregation: str | None
    ) -> tuple[int, int]:
        """Return how many rows of a whole table a window reads, and their bytes.

        The bytes are those of asking the owner for them and of its answer.
        """
        count = members_of(self.book, owner, ids).size
        rows = table(self.rows[owner].values)
        row = rows.shape[1] * rows.itemsize + ids[0].itemsize
        row += 8 * needs_ids(first_aggregation) + 4 * needs_weighted_degree(
            first_aggregation
        )
        return count, count * row

    def numbers(self, ids: np.ndarray, name: str) -> np.ndarray:
        """Return int64 [n], where each node's entry of the rows' field `name` lies."""
        parts = self.book.num_parts
        bases, ranks = np.zeros(parts, np.int64), np.zeros(parts, np.int64)
        for part, rows in self.rows.items():
            bases[part] = getattr(rows, name).ctypes.data
        total = 0
        for part in sorted(self.ids):
            ranks[part] = total
            total += len(self.ids[part])
        own = getattr(self.rows[self.part], name)
        cached = 0 if self.cache is None else getattr(self.cache, name).ctypes.data
        out = np.empty(len(ids), np.int64)
        _locate(
            frozen(ids),
            frozen(self.book.bounds, np.int64),
            self.part,
            frozen(self.whole),
            bases,
            ranks,
            own.itemsize * (own.shape[1] if own.ndim > 1 else 1),
            frozen(self.known.words),
            frozen(self.known.before),
            frozen(self.cached.words),
            frozen(self.cached.before),
            cached,
            self.hits,
            out,
        )
        return out

    def sources(self, ids: np.ndarray, ready: np.ndarray) -> Sources:
        """Return where the nodes' feature rows lie; `ready` is that of `groups`."""
        numbers = self.numbers(ids, "values")
        parts = [self.part, *(part for part in self.rows if part != self.part)]
        held: list[Any] = [self.rows[part].values for part in parts]
        return Sources(numbers, tuple(held), ready)

    def groups(self) -> np.ndarray:
        """Return int64 [P, 2]: where the groups that owners have reduced lie."""
        out = np.zeros((self.book.num_parts, 2), np.int64)
        for part, rows in self.rows.items():
            if rows.ready is not None:
                first = rows.ready.ctypes.data
                out[part] = first, first + rows.ready.nbytes
        return out

    def cache_hits(self) -> np.ndarray:
        """Return how many cached rows of each owner were used, int64 [P]."""
        used = self.cached.members(np.int64)[self.hits > 0]
        return np.diff(np.searchsorted(used, self.book.bounds))

    def take(self, ids: np.ndarray, name: str) -> np.ndarray:
        """Return the nodes' entries [n] of `original_ids` or `weighted_degree`.

        It is 0 for a node of which nothing is known.
        """
        out = np.empty(len(ids), getattr(self.rows[self.part], name).dtype)
        copy_items(self.numbers(ids, name), out)
        return out


def members_of(book: PartitionBook, owner: int, ids: list[np.ndarray]) -> IdSet:
    """Return the set of those of `ids` that `owner` has."""
    first, last = (int(bound) for bound in book.bounds[owner : owner + 2])
    return IdSet.of(ids, first, last)


def _with_dense(rows: FeatureReply) -> FeatureReply:
    """Return rows whose values are a C-contiguous dense table."""
    return replace(rows, values=np.ascontiguousarray(table(rows.values)))
