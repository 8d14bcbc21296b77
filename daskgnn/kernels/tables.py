"""Find the feature rows of a window's nodes: own block, replies, cache."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import Sources, frozen
from daskgnn.kernels.exchange import (
    FeatureReply,
    FeatureRequest,
    HeldPart,
    answer_rows,
    bytes_beside,
)
from daskgnn.kernels.features import is_dense, table
from daskgnn.kernels.frontier import owner_of
from daskgnn.kernels.idset import IdSet, rank_of
from daskgnn.kernels.jit import njit
from daskgnn.kernels.rows import TAG, copy_items

if TYPE_CHECKING:
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.halo_cache import HaloCache

Array = np.ndarray


@njit(cache=True, nogil=True)
def _locate(
    ids: Array,
    part: int,
    owners: tuple[Array, Array, Array, Array],
    width: int,
    known: IdSet,
    cached: IdSet,
    cached_base: int,
    hits: Array,
    out: Array,
) -> None:
    """Write to `out` [n] each node's owner and the address of its row.

    Parameters
    ----------
    ids : int [n]
    part
        The own part.
    owners
        The parts' bounds (int64 [P + 1]); of which the table has all rows (bool [P]);
        the address of each one's table and how many asked rows come before its own
        (int64 [P]).
    width
        Bytes of a row.
    known
        The rows that tables of selected rows hold, in the order of their ids.
    cached, cached_base
        The same of the cache; no words where there is none.
    hits : uint8 [cached rows]
        Marked where a cached row is used.
    """
    bounds, whole, bases, ranks = owners
    words, before = known.words, known.before
    cached_words, cached_before = cached.words, cached.before
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


class Tables:
    """The tables of a window; addresses in them are valid as long as it exists.

    Parameters
    ----------
    part : int
        Whose window it is.
    held_parts : dict
        By part: those that lie here.
    ids : list of int [n]
        The nodes of each step.
    asked, answers : dict
        By each other part.
    """

    def __init__(
        self,
        book: PartitionBook,
        part: int,
        held_parts: dict[int, HeldPart],
        ids: list[np.ndarray],
        asked: dict[int, FeatureRequest],
        answers: dict[int, FeatureReply],
        cache: HaloCache | None,
    ) -> None:
        self.book, self.part, self.cache = book, part, cache
        self.ids = {other: what.ids for other, what in asked.items()}
        """By part: the rows' ids, ascending, unless the table is whole."""
        self.rows = {other: _with_dense(answer) for other, answer in answers.items()}
        """By part: rows that lie here, and what the others have answered."""
        self.whole = np.zeros(book.num_parts, np.bool_)
        """Of which parts the table has all rows."""
        for owner, held in held_parts.items():
            block, features = held.adjacency, held.features
            self.whole[owner] = is_dense(features)
            if self.whole[owner]:
                beside = block.original_ids, block.weighted_degree
                found = FeatureReply(features, *beside)
            else:
                self.ids[owner] = members_of(book, owner, ids).members(ids[0].dtype)
                found = answer_rows(held, FeatureRequest(self.ids[owner]))
            self.rows[owner] = _with_dense(found)
        self.known = IdSet.of(list(self.ids.values()), 0, book.num_nodes)
        """All these ids."""
        cached = [] if cache is None else [cache.ids]
        self.cached = IdSet.of(cached, 0, book.num_nodes if cached else 0)
        """The cache's ids."""
        self.hits = np.zeros(self.cached.size, np.uint8)
        """uint8 [cached rows], 1 where a step has used the row."""
        self.ready = np.zeros((book.num_parts, 2), np.int64)
        """int64 [P, 2]: where the groups that owners have reduced lie; what is taken
        is counted in it."""
        for owner, reply in self.rows.items():
            if reply.ready is not None:
                first = reply.ready.ctypes.data
                self.ready[owner] = first, first + reply.ready.nbytes

    def read_in_place(
        self, owner: int, ids: list[np.ndarray], first_aggregation: str | None
    ) -> tuple[int, int]:
        """Return how many rows of a whole table a window reads, and their bytes.

        The bytes are those of asking the owner for them and of its answer.
        """
        count = members_of(self.book, owner, ids).size
        rows = table(self.rows[owner].values)
        row = rows.shape[1] * rows.itemsize + ids[0].itemsize
        return count, count * (row + bytes_beside(first_aggregation))

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
        bounds = frozen(self.book.bounds, np.int64)
        owners = (bounds, frozen(self.whole), bases, ranks)
        width = own.itemsize * (own.shape[1] if own.ndim > 1 else 1)
        cache = (self.cached, cached, self.hits)
        _locate(frozen(ids), self.part, owners, width, self.known, *cache, out)
        return out

    def sources(self, ids: np.ndarray) -> Sources:
        """Return where the nodes' feature rows lie."""
        numbers = self.numbers(ids, "values")
        parts = [self.part, *(part for part in self.rows if part != self.part)]
        held: list[Any] = [self.rows[part].values for part in parts]
        return Sources(numbers, tuple(held), self.ready)

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
