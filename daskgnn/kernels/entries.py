"""Look up neighbours by row and slot, also if another part holds them.

A sampler needs a row's degree to draw slots of it, then just the entries in these.
`PartRows.entries` gives them. Of a vertex-cut some lie with another part: these are
references, ``~place`` for a place among the held entries of all parts, until the
answers that hold them are completed with what that part says of its places.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.coefficients import weights_or_empty
from daskgnn.kernels.frontier import offsets
from daskgnn.kernels.record import ArrayRecord
from daskgnn.kernels.split import fill_columns, read_slots, slot_arguments

if TYPE_CHECKING:
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook


@dataclass(frozen=True)
class Entries(ArrayRecord):
    """Edges that were looked up by row and slot.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn.sampling import Entries
    >>> Entries(columns=np.array([9, 11], np.int32), weights=None).nbytes
    8
    """

    columns: np.ndarray
    """int [m], storage ids of the neighbours. Of a vertex-cut some may be negative:
    references to edges that other parts hold, which are resolved before answers are
    merged."""
    weights: np.ndarray | None
    """float32 [m]; None if every edge has weight 1."""


@dataclass(frozen=True)
class PartRows:
    """The rows of one part, as a sampler sees them.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn import AdjacencyBlock
    >>> from daskgnn.sampling import PartRows
    >>> block = AdjacencyBlock(
    ...     start=10,
    ...     indptr=np.array([0, 2, 4]),
    ...     indices=np.array([9, 11, 10, 12], np.int32),
    ...     original_ids=np.array([10, 11]),
    ... )
    >>> rows = PartRows(block)
    >>> rows.entries(rows=np.array([0, 1]), slots=np.array([1, 0])).columns
    array([11, 10], dtype=int32)
    """

    block: AdjacencyBlock
    """The rows of the graph that the part owns."""
    data: dict[str, np.ndarray] = field(default_factory=dict)
    """What the sampler's `part_data` has returned for the part."""

    def entries(self, rows: np.ndarray, slots: np.ndarray) -> Entries:
        """Return the edges in given slots of given rows.

        Parameters
        ----------
        rows : numpy.ndarray
            int64 [m], rows counted from the block's first one.
        slots : numpy.ndarray
            int64 [m], place in that row, from 0.

        Returns
        -------
        Entries
            The neighbours [m], and the weights of the edges.
        """
        block = self.block
        if block.reader is not None:
            return Entries(*block.reader.entries(rows, slots))
        first = block.indptr[rows]
        if block.split_rows is None:
            there = first + slots
            weights = None if block.weights is None else block.weights[there]
            return Entries(block.indices[there], weights)
        given = slot_arguments(block, rows, first, np.ones(len(rows), np.int64))
        columns = slots.astype(block.indices.dtype)
        weights = np.empty(0 if block.weights is None else len(rows), np.float32)
        read_slots(*given, (0, len(rows), 0), (columns, weights))
        return Entries(columns, None if block.weights is None else weights)

    def held(self, places: np.ndarray) -> Entries:
        """Return edges of split rows that this part of a vertex-cut holds.

        Parameters
        ----------
        places : numpy.ndarray
            int [m], places among the held edges of all parts.

        Returns
        -------
        Entries
            The neighbours [m], and the weights of the edges.
        """
        block = self.block
        assert block.split_rows is not None
        begin = len(block.indices) - block.split_rows.count - block.split_rows.first
        there = places.astype(np.int64) + begin
        weights = None if block.weights is None else block.weights[there]
        return Entries(block.indices[there], weights)


def references(answers: dict[int, Any], book: PartitionBook, part: int) -> np.ndarray:
    """Return the places that `part` holds of those that answers refer to.

    Parameters
    ----------
    answers : dict
        By part; entries are in their `columns` and `weights`, if they have such.

    Returns
    -------
    int [m]
        Answer after answer, in the order of parts.
    """
    assert book.held is not None  # of a vertex-cut
    first, last = (int(place) for place in book.held[part : part + 2])
    found = []
    for owner in sorted(answers):
        columns = getattr(answers[owner], "columns", None)
        if columns is not None:
            asked = ~columns[columns < 0]
            found.append(asked[(asked >= first) & (asked < last)])
    return np.concatenate(found) if found else np.empty(0, np.int64)


def completed(
    answers: dict[int, Any], book: PartitionBook, entries: dict[int, Entries]
) -> dict[int, Any]:
    """Return answers with the `entries` of all parts where they had references."""
    assert book.held is not None
    given = [entries[part] for part in range(book.num_parts)]
    following = offsets([len(part.columns) for part in given[:-1]])
    columns = np.concatenate([e.columns for e in given])
    weights = [e.weights for e in given if e.weights is not None]
    weight = weights_or_empty(np.concatenate(weights) if weights else None)
    return {
        owner: _filled(answers[owner], book.held, following, columns, weight)
        for owner in sorted(answers)
    }


def _filled(
    answer: Any,
    held: np.ndarray,
    following: np.ndarray,
    entries: np.ndarray,
    entry_weights: np.ndarray,
) -> Any:
    """Return an answer with the next entries of each part where references were.

    `following` [P + 1] moves on.
    """
    columns = getattr(answer, "columns", None)
    if columns is None or not len(columns) or columns.min() >= 0:
        return answer
    columns, weights = columns.copy(), getattr(answer, "weights", None)
    filled = weights_or_empty(weights).copy()
    given = (frozen(held), frozen(entries), frozen(entry_weights))
    fill_columns(*given, following, columns, filled)
    if weights is None:
        return replace(answer, columns=columns)
    return replace(answer, columns=columns, weights=filled)
