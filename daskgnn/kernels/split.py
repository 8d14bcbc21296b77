"""Split rows of a vertex-cut: high-degree rows whose edges many parts hold.

Such a row stays with its master as a degree and, for each slot, the cluster that holds
the entry there. The held entries of all rows are one array, ordered by cluster, row and
slot, so that a part's are a run of it and the place of an entry follows from what the
master knows. A master that samples a slot which lies elsewhere answers with the entry's
place, as ``~place``, in the column's stead; who has asked looks it up where it is held.

Shapes: R split rows of a block with S slots, C clusters, P parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.coefficients import weights_or_empty
from daskgnn.kernels.jit import njit
from daskgnn.kernels.neighbor import prefetch_row, read_row
from daskgnn.kernels.record import ArrayRecord

if TYPE_CHECKING:
    from daskgnn.kernels.adjacency import AdjacencyBlock

_RUN = 64
"""Rows whose entries are named together, then read together."""
_FEW = 32
"""Slots of a row that are counted one by one; more are counted in one pass."""


@dataclass(frozen=True)
class SplitRows(ArrayRecord):
    """A block's split rows, and the entries of split rows that it holds.

    The held entries are the last of the block's `indices` and `weights`; the rows that
    are not split lie before them without gaps.
    """

    rows: np.ndarray
    """int64 [R], rows of the block, ascending."""
    indptr: np.ndarray
    """int64 [R + 1], where the slots of each begin in `holders`."""
    holders: np.ndarray
    """uint8 or uint16 [S], the cluster of each slot."""
    starts: np.ndarray
    """int32 or int64 [R, C], the place of a row's first entry with each cluster."""
    first: int
    """The place of the first entry that the block holds."""
    count: int
    """Entries that the block holds."""
    weighted_degree: np.ndarray | None = None
    """float32 [R], sums of the rows' weights; None where every edge weighs 1."""

    def locate(
        self, rows: np.ndarray, first: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return which split row each row is, and where the others' entries begin.

        Parameters
        ----------
        rows, first : int64 [m]
            Rows of the block, and where they would begin if none were split.

        Returns
        -------
        tuple
            int64 [m] numbers in 0..R-1, or -1; int64 [m] places in `indices`.
        """
        before = np.searchsorted(self.rows, rows)
        known = np.append(self.rows, -1)[before] == rows
        return np.where(known, before, -1), first - self.indptr[before]

    def all_places(self) -> np.ndarray:
        """Return int64 [S], the place of the entry in each slot."""
        places = np.empty(len(self.holders), np.int64)
        _all_places(self.indptr, self.holders, self.starts, places)
        return places


@njit(cache=True, nogil=True)
def _all_places(indptr: Any, holders: Any, starts: Any, places: Any) -> None:
    """Write the place of every slot."""
    following = np.empty(starts.shape[1], np.int64)
    for row in range(len(indptr) - 1):
        following[:] = starts[row]
        for slot in range(indptr[row], indptr[row + 1]):
            places[slot] = following[holders[slot]]
            following[holders[slot]] += 1


@njit(cache=True, nogil=True)
def _few_places(holders: Any, starts: Any, slots: Any, places: Any) -> None:
    """Write the places of some slots of a row, counting for each."""
    for i in range(len(slots)):
        here = holders[slots[i]]
        rank = 0
        for slot in range(slots[i]):
            rank += holders[slot] == here
        places[i] = starts[here] + rank


@njit(cache=True, nogil=True)
def _many_places(
    holders: Any, starts: Any, slots: Any, following: Any, row: Any, places: Any
) -> None:
    """Write the places of some slots of a row from those of all of them.

    `following` [C] and `row` [degree] are room for these.
    """
    following[:] = starts
    for slot in range(len(holders)):
        here = holders[slot]
        row[slot] = following[here]
        following[here] += 1
    for i in range(len(slots)):
        places[i] = row[slots[i]]


@njit(cache=True, nogil=True)
def _room(indptr: Any, counts: Any, numbers: Any, begin: int, end: int) -> Any:
    """Return room for the places of any one of some rows: sampled ones, and all."""
    widest = longest = np.int64(0)
    for i in range(begin, end):
        number = numbers[i]
        if number >= 0:
            widest = max(widest, counts[i])
            if counts[i] > _FEW:
                longest = max(longest, indptr[number + 1] - indptr[number])
    return np.empty(widest, np.int64), np.empty(longest, np.int64)


@njit(cache=True, nogil=True, inline="always")
def _read_held(
    indices: Any,
    weights: Any,
    places: Any,
    first: int,
    count: int,
    columns: Any,
    out_weights: Any,
) -> None:
    """Write the entries at some places, and ``~place`` of those held elsewhere."""
    kept = len(indices) - count
    for e in range(len(columns)):
        place = places[e] - first
        here = 0 <= place < count
        columns[e] = indices[kept + place] if here else ~places[e]
        if len(weights) > 0:
            out_weights[e] = weights[kept + place] if here else 0


@njit(cache=True, nogil=True)
def read_slots(
    entries: Any, rows: Any, split: Any, held: Any, where: Any, out: Any
) -> None:
    """Replace the sampled slots of some rows by what is there.

    Parameters
    ----------
    entries : int [E], float32 [E] or [0]
        Neighbours and weights of the block.
    rows : int64 [m]
        Where rows begin (if not split), how many slots of each were sampled, and
        which split row each is, or -1.
    split, held
        ``indptr``, ``holders`` and ``starts``, ``first`` and ``count`` of `SplitRows`.
    where : int
        The first and the last row, and where the slots of the first are.
    out : int [*], float32 [*] or [0]
        Slots, and outputs: entries, or ``~place`` (weight 0) of those held elsewhere.
    """
    indices, weights = entries
    first, counts, numbers = rows
    indptr, holders, starts = split
    held_first, held_count = held
    begin, end, base = where
    columns, out_weights = out
    places, row = _room(indptr, counts, numbers, begin, end)
    following = np.empty(starts.shape[1], np.int64)
    for run in range(begin, end, _RUN):
        stop = min(run + _RUN, end)
        place = base
        for i in range(run, stop):
            if numbers[i] < 0:
                prefetch_row(indices, weights, first[i], columns, place, counts[i])
            place += counts[i]
        for i in range(run, stop):
            number, here, k = numbers[i], base, counts[i]
            base += k
            if number < 0:
                read_row(indices, weights, first[i], columns, here, k, out_weights)
                continue
            slots, weighed = columns[here:base], out_weights[here:base]
            found, begins = places[:k], starts[number]
            own = holders[indptr[number] : indptr[number + 1]]
            if k > _FEW:
                _many_places(own, begins, slots, following, row, found)
            else:
                _few_places(own, begins, slots, found)
            _read_held(indices, weights, found, held_first, held_count, slots, weighed)


def slot_arguments(
    block: AdjacencyBlock, rows: np.ndarray, first: np.ndarray, counts: np.ndarray
) -> tuple[Any, Any, Any, Any]:
    """Return what `read_slots` takes of a block, some of whose rows are split.

    Parameters
    ----------
    rows, first, counts : int64 [m]
        Rows of the block, where they would begin if none were split, and how many
        slots of each were sampled.
    """
    split_rows = block.split_rows
    assert split_rows is not None
    numbers, first = split_rows.locate(rows, first)
    groups = (
        (block.indices, weights_or_empty(block.weights)),
        (first, counts, numbers),
        (split_rows.indptr, split_rows.holders, split_rows.starts),
    )
    entries, known, split = (tuple(map(frozen, group)) for group in groups)
    return entries, known, split, (split_rows.first, split_rows.count)


@njit(cache=True, nogil=True)
def fill_columns(
    held: Any, entries: Any, weights: Any, following: Any, columns: Any, out: Any
) -> None:
    """Replace each place by the next entry of the part that holds it."""
    for i in range(len(columns)):
        if columns[i] < 0:
            part = np.searchsorted(held, ~np.int64(columns[i]), side="right") - 1
            columns[i] = entries[following[part]]
            if len(out) > 0:
                out[i] = weights[following[part]]
            following[part] += 1
