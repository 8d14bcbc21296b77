"""Local numbers of the nodes that a step meets, in discovery order.

A node's number is looked up by its id, in one of two tables with the same result:

- *dense*: one int32 for each node of the graph. A number is stored as ``base +
  number``, and `base` grows from call to call, so that what earlier calls left is
  below it and the table never has to be cleared.
- *hash*: open addressing, for graphs with far more nodes than a step meets.

Tables are kept between calls and lent to one call at a time: fresh pages for them
would cost more than the look-ups.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.counter import GOLDEN
from daskgnn.kernels.jit import njit
from daskgnn.kernels.neighbor import ALL
from daskgnn.kernels.prefetch import prefetch_entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DENSE_NODES = 2**24
"""Graphs of at most so many nodes have a dense table, of 4 bytes a node.

It is the faster one for larger graphs, too, but by less and less, and it is kept: at
this size 64 MiB for each thread that samples.
"""

_AHEAD = 32
"""How many entries ahead the kernels prefetch."""
_LAST_BASE = 2**31 - 1
_NUMBER_BITS = np.uint64(31)
_NUMBER = np.uint64(2**31 - 1)
_ONE = np.uint64(1)
_NONE = np.uint64(0)


@dataclass
class Scratch:
    """Tables that are reused between calls; their content is not."""

    dense: np.ndarray
    """int32 [nodes], every entry below `base`."""
    base: int
    hashed: np.ndarray
    """uint64 [*]"""
    ids: np.ndarray
    """uint8 [*], room for ids."""

    def table_for(self, num_nodes: int, numbers: int) -> tuple[np.ndarray, Any]:
        """Return a table without valid entries for so many numbers, and its mark."""
        if num_nodes <= DENSE_NODES:
            return self._dense_for(num_nodes, numbers)
        return self._hashed_for(numbers)

    def _dense_for(self, num_nodes: int, numbers: int) -> tuple[np.ndarray, int]:
        """Return the table and a base above its entries."""
        if len(self.dense) < num_nodes or self.base + numbers > _LAST_BASE:
            self.dense = np.zeros(max(num_nodes, len(self.dense)), np.int32)
            self.base = 1
        base = self.base
        # Taken before it is used, so that a call that fails leaves no valid entry.
        self.base += numbers
        return self.dense, base

    def _hashed_for(self, numbers: int) -> tuple[np.ndarray, np.uint64]:
        """Return a cleared table, at most half full, and the shift of its hash."""
        bits = max(2 * numbers - 1, 15).bit_length()
        if len(self.hashed) < 1 << bits:
            self.hashed = np.empty(1 << bits, np.uint64)
        table = self.hashed[: 1 << bits]
        table[:] = 0
        return table, np.uint64(64 - bits)

    def ids_for(self, numbers: int, dtype: np.dtype[Any]) -> np.ndarray:
        """Return room for so many ids, not initialised."""
        nbytes = numbers * dtype.itemsize
        if len(self.ids) < nbytes:
            self.ids = np.empty(nbytes, np.uint8)
        return self.ids[:nbytes].view(dtype)


_free: list[Scratch] = []


@contextmanager
def borrow_workspace() -> Iterator[Scratch]:
    """Lend a scratch that no other thread has."""
    try:
        scratch = _free.pop()
    except IndexError:
        nothing = np.empty(0, np.uint8)
        scratch = Scratch(nothing.view(np.int32), 1, nothing.view(np.uint64), nothing)
    try:
        yield scratch
    finally:
        _free.append(scratch)


class RowColumns(NamedTuple):
    """Rows ``columns[starts[i] : starts[i] + counts[i]]``, as kernels take them."""

    columns: np.ndarray
    """int [*], storage ids."""
    starts: np.ndarray
    """int64 [r]"""
    counts: np.ndarray
    """int64 [r]"""

    @classmethod
    def of(
        cls, columns: np.ndarray, starts: np.ndarray, counts: np.ndarray, some: slice
    ) -> RowColumns:
        """Return some of the rows."""
        return cls(frozen(columns), frozen(starts[some]), frozen(counts[some]))


def number_nodes(
    ids: np.ndarray,
    rows: Sequence[RowColumns],
    limit: int,
    num_nodes: int,
    *,
    numbered: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Append to `ids` the columns that are not there yet, in discovery order.

    Parameters
    ----------
    ids : int [n]
        Distinct node ids; local number = position.
    rows : sequence of RowColumns
        Whose columns, of the dtype of `ids`, are met, in this order.
    limit : int
        Only the first `limit` columns of a row are met.
    num_nodes : int
        Ids are below it.
    numbered : bool
        Whether local numbers are wanted. Then the columns beyond `limit` must be
        among `ids`, or be met too.

    Returns
    -------
    ids : int [>= n]
        `ids` with the new ones behind.
    local : int32 [sum(counts)] or [0]
        The local number of every column, row after row.
    """
    met = [met_columns(r.counts, limit) for r in rows]
    bound = len(ids) + sum(met)
    sizes = [met_columns(r.counts, ALL) if numbered else 0 for r in rows]
    local = np.empty(sum(sizes), np.int32)
    with borrow_workspace() as scratch:
        table, mark = scratch.table_for(num_nodes, bound)
        # One more element, since the kernel writes before it checks.
        out = scratch.ids_for(bound + 1, ids.dtype)
        _enter(table, mark, frozen(ids), out)
        count = len(ids)
        begin = 0
        for row, size in zip(rows, sizes, strict=True):
            numbers = local[begin : begin + size]
            count = number_rows(table, mark, row, limit, count, out, numbers)
            begin += size
        return out[:count].copy(), local


@njit(cache=True, nogil=True)
def met_columns(counts: Any, limit: Any) -> Any:
    """Return how many columns rows of such lengths have, of each at most `limit`."""
    total = np.int64(0)
    for count in counts:
        total += min(count, limit)
    return total


def _number_of(table: Any, mark: Any, node: Any, number: Any) -> Any:
    """Return the number of `node`, which becomes `number` if it has none yet.

    `mark` is the base of a dense table, the shift of a hashed one.
    """
    raise NotImplementedError


def _prefetch_number(table: Any, mark: Any, node: Any) -> Any:
    """Prefetch what `_number_of` reads first."""
    raise NotImplementedError


@overload(_number_of, inline="always")
def _choose_number_of(table: Any, mark: Any, node: Any, number: Any) -> Any:
    def dense(table: Any, mark: Any, node: Any, number: Any) -> Any:
        # No branch: whether a node is new cannot be predicted.
        place = np.uint64(node)
        found = np.int64(table[place]) - mark
        found = number if found < 0 else found
        table[place] = found + mark
        return found

    def hashed(table: Any, mark: Any, node: Any, number: Any) -> Any:
        mask = np.uint64(len(table) - 1)
        name = np.uint64(node) + _ONE
        slot = (name * GOLDEN) >> mark
        while table[slot] != _NONE and table[slot] >> _NUMBER_BITS != name:
            slot = (slot + _ONE) & mask
        if table[slot] == _NONE:
            table[slot] = (name << _NUMBER_BITS) | np.uint64(number)
        return np.int64(table[slot] & _NUMBER)

    return dense if table.dtype == types.int32 else hashed


@overload(_prefetch_number, inline="always")
def _choose_prefetch_number(table: Any, mark: Any, node: Any) -> Any:
    def dense(table: Any, mark: Any, node: Any) -> Any:
        prefetch_entry(table, node)

    def hashed(table: Any, mark: Any, node: Any) -> Any:
        name = np.uint64(node) + _ONE
        prefetch_entry(table, np.int64((name * GOLDEN) >> mark))

    return dense if table.dtype == types.int32 else hashed


@njit(cache=True, nogil=True)
def _enter(table: Any, mark: Any, ids: Any, out: Any) -> None:
    """Number the distinct nodes `ids` from 0, and copy them to `out`."""
    for i in range(len(ids)):
        if i + _AHEAD < len(ids):
            _prefetch_number(table, mark, ids[i + _AHEAD])
        _number_of(table, mark, ids[i], np.int64(i))
        out[i] = ids[i]


@njit(cache=True, nogil=True)
def number_rows(
    table: Any, mark: Any, rows: Any, limit: int, count: int, out: Any, local: Any
) -> int:
    """Number the columns of some rows; return how many nodes there are then.

    New nodes are appended to `out`, which holds `count`. All columns of a row get
    their numbers in `local`, if that is not empty; else `limit` are looked at.
    """
    columns, starts, counts = rows
    place = 0
    whole = len(local) > 0
    for i in range(len(starts)):
        end = starts[i] + (counts[i] if whole else min(counts[i], limit))
        for e in range(starts[i], end):
            if e + _AHEAD < len(columns):
                _prefetch_number(table, mark, columns[e + _AHEAD])
            number = _number_of(table, mark, columns[e], count)
            out[count] = columns[e]
            count += number == count
            if whole:
                local[place] = number
                place += 1
    return count
