"""The rows of one part of a graph, as arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.kernels.record import ArrayRecord

if TYPE_CHECKING:
    from daskgnn.kernels.split import SplitRows


class EntryReader(ABC):
    """Reads edges of a block's rows when they are needed."""

    @abstractmethod
    def entries(
        self, rows: np.ndarray, slots: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return what stands in slot ``slots[i]`` of row ``rows[i]`` of the block.

        Parameters
        ----------
        rows, slots : int64 [m]

        Returns
        -------
        tuple
            int [m] storage ids, in the type of `AdjacencyBlock.indices`, and float32
            [m] weights, None where every edge weighs 1.
        """


@dataclass(frozen=True)
class AdjacencyBlock(ArrayRecord):
    """CSR rows ``start`` to ``start + num_rows - 1`` of a graph in storage order.

    Row *v* lists the in-neighbours of *v*, ordered by their original ids, so that slot
    *j* of a node is the same neighbour under every partition.

    Examples
    --------
    Two nodes of a path, 10 with the neighbours 9 and 11, and 11 with 10 and 12:

    >>> import numpy as np
    >>> import daskgnn
    >>> block = daskgnn.AdjacencyBlock(
    ...     start=10,
    ...     indptr=np.array([0, 2, 4]),
    ...     indices=np.array([9, 11, 10, 12], np.int32),
    ...     original_ids=np.array([10, 11]),
    ... )
    >>> block.num_rows, block.degree, block.weighted_degree
    (2, array([2, 2]), array([2., 2.], dtype=float32))
    >>> block.is_whole, block.nbytes
    (True, 56)
    """

    start: int
    """Storage id of the first row."""
    indptr: np.ndarray
    """int64 [n + 1], CSR row pointers from 0."""
    indices: np.ndarray
    """int32 or int64 [E], storage ids of the in-neighbours."""
    original_ids: np.ndarray
    """int64 [n], original id of each row."""
    weights: np.ndarray | None = None
    """float32 [E], edge weights; None if every edge has weight 1."""
    split_rows: SplitRows | None = None
    """Rows of a vertex-cut that are split over several parts; `indices` and `weights`
    then hold the edges of the other rows, followed by those of split rows that are held
    here."""
    reader: EntryReader | None = None
    """Reads edges on demand where the block holds only degrees: `indices` and `weights`
    are then empty."""

    @property
    def is_whole(self) -> bool:
        """Whether the block holds all edges of its rows."""
        return self.split_rows is None and self.reader is None

    @property
    def num_rows(self) -> int:
        """Number of rows, n."""
        return len(self.indptr) - 1

    @property
    def degree(self) -> np.ndarray:
        """Number of in-neighbours of each row, int64 [n]."""
        return np.diff(self.indptr)

    @cached_property
    def weighted_degree(self) -> np.ndarray:
        """Sum of the weights of each row's edges, float32 [n]."""
        if self.weights is None:
            return self.degree.astype(np.float32)
        degree, kept = self.degree, self.weights
        if self.split_rows is not None:
            degree[self.split_rows.rows] = 0
            kept = kept[: len(kept) - self.split_rows.count]
        rows = np.repeat(np.arange(self.num_rows), degree)
        sums = np.bincount(rows, kept, self.num_rows).astype(np.float32)
        if self.split_rows is not None:
            sums[self.split_rows.rows] = self.split_rows.weighted_degree
        return sums
