"""Feature rows of a part: a dense table, or CSR where that is smaller.

A dense table is float32, or of half precision: see `daskgnn.kernels.half`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.frontier import offsets
from daskgnn.kernels.half import dtype_name, narrow, widen
from daskgnn.kernels.record import ArrayRecord
from daskgnn.kernels.sparse import take_entries


@dataclass(frozen=True)
class SparseTable(ArrayRecord):
    """Rows of sparse features, as CSR arrays."""

    indptr: np.ndarray
    """int64 [m + 1]"""
    indices: np.ndarray
    """int32 [nnz], columns."""
    data: np.ndarray
    """[nnz], float32 or the bits of half precision; [0] where all entries are 1."""
    shape: tuple[int, int]

    @classmethod
    def of(cls, features: Any, dtype: str = "float32") -> SparseTable:
        """Return CSR features as a table, whose entries are of a dtype.

        Raises
        ------
        InputError
            If a number is too large for the dtype.
        """
        if isinstance(features, cls):
            return features
        entries = features.data[:0]
        if not (features.data == 1).all():
            entries = narrow(features.data[:, None], dtype)[:, 0]
        indptr = np.ascontiguousarray(features.indptr, np.int64)
        indices = np.ascontiguousarray(features.indices, np.int32)
        return cls(indptr, indices, entries, features.shape)

    @classmethod
    def joined(cls, tables: list[SparseTable]) -> SparseTable:
        """Return the rows of some tables, one after the other; at least one."""
        indptr = offsets(np.concatenate([np.diff(t.indptr) for t in tables]))
        indices = np.concatenate([t.indices for t in tables])
        known = [t.data for t in tables if len(t.data)]
        data = tables[0].data[:0]
        if known:
            kind = known[0].dtype
            pieces = [t.data if len(t.data) else one(t, kind) for t in tables]
            data = np.concatenate(pieces)
        shape = sum(t.shape[0] for t in tables), tables[0].shape[1]
        return cls(indptr, indices, data, shape)

    @property
    def dtype(self) -> np.dtype:
        """Of the entries, as they are or would be held."""
        return self.data.dtype

    def __len__(self) -> int:
        return self.shape[0]


@dataclass(frozen=True)
class SparseInput(ArrayRecord):
    """Rows of a table in an order of their own: the input of a step."""

    table: SparseTable
    """Of a whole window: its steps share it."""
    rows: np.ndarray
    """int32 [n]"""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and F."""
        return len(self.rows), self.table.shape[1]

    def __len__(self) -> int:
        return len(self.rows)


def one(table: SparseTable, kind: np.dtype) -> np.ndarray:
    """Return the entries of a table that holds none: ones, of a dtype."""
    name = dtype_name(np.empty(0, kind))
    value = narrow(np.ones((1, 1), np.float32), name)[0, 0]
    return np.full(len(table.indices), value, kind)


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


class SparseReader(ABC):
    """Sparse rows that are read on request and not kept."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and F."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> SparseTable:
        """Return the given rows."""


def is_dense(features: Any) -> bool:
    """Return whether `features` is a dense table in memory, of any of its dtypes."""
    return isinstance(features, np.ndarray)


def some_rows(features: Any, rows: np.ndarray) -> np.ndarray | SparseTable:
    """Return the given rows in the form and dtype that `features` has."""
    if is_dense(features):
        return np.take(features, rows, axis=0)
    if isinstance(features, RowReader | SparseReader):
        return features.take(rows)
    return rows_of_table(features, rows)


def rows_of_table(features: Any, rows: np.ndarray) -> SparseTable:
    """Return the given rows of CSR features."""
    counts = features.indptr[rows + 1].astype(np.int64) - features.indptr[rows]
    indptr = offsets(counts)
    indices = np.empty(indptr[-1], features.indices.dtype)
    data = np.empty(indptr[-1] if len(features.data) else 0, features.data.dtype)
    take_entries(csr_arrays(features), frozen(rows), indptr, indices, data)
    return SparseTable(indptr, indices, data, (len(rows), features.shape[1]))


def csr_arrays(features: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return indptr, indices and entries of CSR features, as kernels take them."""
    return frozen(features.indptr), frozen(features.indices), frozen(features.data)


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
    # A table without entries has ones.
    entries = widen(features.data[:, None])[:, 0] if len(features.data) else 1
    out[rows, features.indices] = entries
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
