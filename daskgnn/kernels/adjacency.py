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
    """CSR rows ``start`` to ``start + len(indptr) - 1`` of a graph in storage order.

    Row *v* lists the in-neighbours of *v*, ordered by their original id, so that
    slot *j* of a node means the same neighbour under every partition.
    """

    start: int
    """Storage id of the first row."""
    indptr: np.ndarray
    """int64 [n + 1], starts at 0."""
    indices: np.ndarray
    """int32 or int64 [E], storage ids of the in-neighbours."""
    original_ids: np.ndarray
    """int64 [n], original id of each row."""
    weights: np.ndarray | None = None
    """float32 [E], edge weights, or None where every edge weighs 1."""
    split_rows: SplitRows | None = None
    """Split rows, if any: `indices` and `weights` are then those of the
    other rows and those that are held here."""
    reader: EntryReader | None = None
    """What has the entries where the block has degrees alone: `indices` and `weights`
    are then empty."""

    @property
    def is_whole(self) -> bool:
        """Whether all entries of the rows are here."""
        return self.split_rows is None and self.reader is None

    @property
    def num_rows(self) -> int:
        """How many nodes the block holds."""
        return len(self.indptr) - 1

    @property
    def degree(self) -> np.ndarray:
        """int64 [n], in-neighbours of each row."""
        return np.diff(self.indptr)

    @cached_property
    def weighted_degree(self) -> np.ndarray:
        """float32 [n], sum of the weights of each row (its degree if unweighted)."""
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
