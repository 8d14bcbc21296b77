"""Feature rows of a part: a dense table, or CSR where that is smaller.

A dense table is float32, or of half precision: see `daskgnn.kernels.half`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskgnn.kernels.frontier import offsets
from daskgnn.kernels.half import dtype_name, narrow, widen
from daskgnn.kernels.record import ArrayRecord


@dataclass(frozen=True)
class SparseRows(ArrayRecord):
    """Some rows of sparse features, as CSR arrays."""

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]


class RowReader(ABC):
    """Dense rows that are read on request and not kept."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and F."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype:
        """Of the rows that are returned."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the given rows as a dense table [m, F]."""

    @abstractmethod
    def of_graph(self, num_nodes: int) -> RowReader:
        """Return what reads the rows of all N nodes, by their storage ids."""

    def __len__(self) -> int:
        return self.shape[0]


def is_dense(features: Any) -> bool:
    """Return whether `features` is a dense table in memory, of any of its dtypes."""
    return isinstance(features, np.ndarray)


def some_rows(features: Any, rows: np.ndarray) -> np.ndarray | SparseRows:
    """Return the given rows in the form and dtype that `features` has."""
    if is_dense(features):
        return np.take(features, rows, axis=0)
    if isinstance(features, RowReader):
        return features.take(rows)
    first = features.indptr[rows].astype(np.int64)
    counts = features.indptr[rows + 1].astype(np.int64) - first
    indptr = offsets(counts)
    within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], counts)
    slots = np.repeat(first, counts) + within
    shape = (len(rows), features.shape[1])
    return SparseRows(indptr, features.indices[slots], features.data[slots], shape)


def dense(features: Any) -> np.ndarray:
    """Return all rows as a float32 array, without a copy where they are one."""
    return widen(table(features))


def table(features: Any) -> np.ndarray:
    """Return all rows as a dense table, without a copy where they are one.

    It may be of half precision, for kernels that read such tables themselves.
    """
    if is_dense(features):
        dense_table: np.ndarray = features
        return dense_table
    if isinstance(features, RowReader):
        return features.take(np.arange(len(features)))
    out = np.zeros(features.shape, np.float32)
    rows = np.repeat(np.arange(features.shape[0]), np.diff(features.indptr))
    out[rows, features.indices] = features.data
    return out


def normalize_rows(features: Any) -> Any:
    """Return `features` with every row divided by its sum (rows of zeros kept).

    Computed in float32 and rounded to the dtype that `features` has.
    """
    if is_dense(features):
        values = widen(features)
        sums = values.sum(axis=1, keepdims=True)
        values = values / np.where(sums == 0, np.float32(1), sums)
        return narrow(values, dtype_name(features))
    counts = np.diff(features.indptr)
    rows = np.repeat(np.arange(len(counts)), counts)
    sums = np.bincount(rows, features.data, len(counts)).astype(np.float32)
    # The constructor would compile its checks, for a second in every new process.
    scaled = copy(features)
    scaled.data = features.data / np.where(sums == 0, np.float32(1), sums)[rows]
    return scaled
