"""Feature rows that are computed or read on request."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class RowSource(ABC):
    """Dense float32 features (N, F) that are not in memory: indexed like an array.

    They are finite, and not so full of zeros that CSR would be the smaller form.
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(self, num_rows: int, num_columns: int) -> None:
        self.shape = (num_rows, num_columns)

    @abstractmethod
    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Return float32 [n, F], the rows of nodes, int64 [n]."""

    def __len__(self) -> int:
        """N."""
        return self.shape[0]

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        """Return rows by a slice or by their numbers."""
        if isinstance(which, slice):
            return self.rows(np.arange(*which.indices(len(self)), dtype=np.int64))
        return self.rows(np.asarray(which, np.int64))
