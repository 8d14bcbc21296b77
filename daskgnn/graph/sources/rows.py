"""Feature rows and entries that stay in a source until they are needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.adjacency import AdjacencyBlock, EntryReader
from daskgnn.kernels.features import (
    RowReader,
    SparseReader,
    SparseTable,
    normalize_rows,
    rows_of_table,
    table,
)
from daskgnn.kernels.half import TABLE_DTYPES, check_range, narrow, widen
from daskgnn.paths import is_url
from daskgnn.seams import is_array, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.graph.sources.source import GraphSource

PIECE = 1 << 16
"""Rows whose weights are summed at once."""
FEATURES = ("auto", "memory", "disk")
"""Where a run has feature rows: "auto" is on demand where edges are, too."""


@dataclass(frozen=True)
class SourceRows(RowReader):
    """Features of a part, read row by row; what `load_features` holds in memory."""

    source: GraphSource
    start: int
    """Storage id of the first row."""
    stop: int
    """That after the last."""
    columns: int
    """F."""
    stored_dtype: str
    """What rows are stored as: "float32", "float16" or "bfloat16"."""
    feature_dtype: str
    """What rows are returned as."""
    normalize: bool
    """Whether each row is divided by its sum."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and F."""
        return self.stop - self.start, self.columns

    @property
    def dtype(self) -> np.dtype:
        """Of the rows that are returned."""
        return np.dtype(TABLE_DTYPES[self.feature_dtype])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return rows int [m], counted from the part's first, as a table [m, F].

        Raises
        ------
        StoreError
            If a store was replaced, or a chunk of it cannot be read.
        InputError
            If a number is too large for the dtype, naming its node.
        """
        ids = np.asarray(rows, np.int64) + self.start
        if len(ids) and not self.start <= ids.min() <= ids.max() < self.stop:
            raise IndexError(f"rows of {self.start}:{self.stop} were asked for")
        # Ids usually ascend; otherwise read in ascending order and reorder.
        if (ids[1:] < ids[:-1]).any():
            distinct, place = np.unique(ids, return_inverse=True)
            return self.take(distinct - self.start)[place]
        found = self.source.rows("features", ids)

        if found.shape != (len(ids), self.columns):
            raise InputError(
                f"graph: {type(self.source).__name__}.rows returns "
                f"{list(found.shape)} for {len(ids)} nodes of 'features', expected "
                f"{[len(ids), self.columns]}"
            )
        found = np.require(found, requirements=["C", "W"])  # torch takes no other
        if self.stored_dtype == self.feature_dtype and not self.normalize:
            return found.view(self.dtype)

        def name(row: int) -> int:
            node = int(ids[row])
            return int(self.source.load_table("original_ids", node, node + 1)[0])

        return in_dtype(found, self.feature_dtype, self.normalize, name)

    def of_graph(self, num_nodes: int) -> SourceRows:
        """Return what reads the rows of all N nodes, by their storage ids."""
        return replace(self, start=0, stop=num_nodes)


@dataclass(frozen=True)
class SourceTable:
    """Rows of a part in a table, read when they are asked for."""

    source: GraphSource
    name: str
    start: int
    """Storage id of the part's first row."""

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return rows int [m], counted from the part's first."""
        found = self.source.rows(self.name, np.asarray(rows, np.int64) + self.start)
        return np.require(found, requirements=["C", "W"])


@dataclass(frozen=True)
class SourceSparseRows(SparseReader):
    """CSR features of a part, read row by row; what `load_features` holds in memory."""

    source: Any
    """A source that has ``sparse_rows(ids)``."""
    start: int
    """Storage id of the first row."""
    stop: int
    """That after the last."""
    columns: int
    """F."""
    feature_dtype: str
    """What entries are returned as."""
    normalize: bool
    """Whether each row is divided by its sum."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and F."""
        return self.stop - self.start, self.columns

    def take(self, rows: np.ndarray) -> SparseTable:
        """Return rows int [m], counted from the part's first."""
        ids = np.asarray(rows, np.int64) + self.start
        if (ids[1:] <= ids[:-1]).any():
            distinct, place = np.unique(ids, return_inverse=True)
            return rows_of_table(self.take(distinct - self.start), place)
        from daskgnn.graph.sources.gcxs import csr_block

        indptr, indices, data = self.source.sparse_rows(ids)
        found = csr_block(indptr, indices, data, (len(ids), self.columns))
        if self.normalize:
            found = normalize_rows(found)
        return SparseTable.of(found, self.feature_dtype)


@dataclass(frozen=True)
class DenseRows(RowReader):
    """Sparse rows that are made dense when they are read."""

    sparse: SourceSparseRows

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and F."""
        return self.sparse.shape

    @property
    def dtype(self) -> np.dtype:
        """Of the rows that are returned."""
        return np.dtype(np.float32)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return rows int [m], counted from the part's first, as a table [m, F]."""
        return table(self.sparse.take(rows))

    def of_graph(self, num_nodes: int) -> DenseRows:
        """Return what reads the rows of all N nodes, by their storage ids."""
        return DenseRows(replace(self.sparse, start=0, stop=num_nodes))


def in_dtype(
    stored: np.ndarray, dtype: str, normalize: bool, name: Callable[[int], Any]
) -> np.ndarray:
    """Return feature rows as `dtype`, each divided by its sum if `normalize`.

    Raises
    ------
    InputError
        If a number is too large for the dtype, naming its node: ``name(row)``.
    """
    values = widen(stored)
    if normalize:
        values = normalize_rows(values)
    if dtype == "float32":
        return values
    check_range(values, dtype, "node", name)
    return narrow(values, dtype)


def check_feature_place(where: str, source: GraphSource) -> str:
    """Return where features are, "memory" or "disk", if they can be left there.

    Raises
    ------
    InputError
        If it is no such place, or features are CSR, in memory, or at an address.
    """
    if where not in FEATURES:
        words = ", ".join(map(repr, FEATURES))
        raise InputError(f"features={where!r}, expected one of {words}")
    schema = source.schema
    if where == "auto":
        there = source.reads_sparse_rows
        if not schema.sparse_features:
            there = "features" in schema.tables
        return "disk" if schema.on_demand and there else "memory"
    if where == "memory":
        return where
    lack = "are in this process's memory" if source.in_memory else ""
    if is_url(source.path) and not schema.on_demand:
        lack = "are at an address, a request away"
    if schema.sparse_features:
        lack = "" if source.reads_sparse_rows else "are stored as CSR"
    elif "features" not in schema.tables:
        lack = "are missing"
    if lack:
        raise InputError(
            f"features='disk': those of {source.path or schema.name!r} {lack}, and "
            "only dense rows of files can be read one by one: leave features='disk' "
            "out"
        )
    return where


@dataclass(frozen=True)
class SourceEntries(EntryReader):
    """The entries of a part's rows."""

    source: GraphSource
    start: int
    """Storage id of the first row."""
    weighted: bool

    def entries(
        self, rows: np.ndarray, slots: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the entries in slots of rows: see `EntryReader.entries`.

        Raises
        ------
        InputError
            If the source returns something else, naming it.
        """
        columns = ("source", "weight") if self.weighted else ("source",)
        found = self.source.entries(rows + self.start, slots, columns)
        schema = self.source.schema
        kinds = {"source": schema.index_dtype, "weight": np.dtype(np.float32)}
        for column in columns:
            check_entries(self.source, column, found, kinds[column], len(rows))
        ids = found["source"]
        if len(ids) and not 0 <= ids.min() <= ids.max() < schema.num_nodes:
            raise InputError(
                f"graph: {type(self.source).__name__}.entries returns neighbours "
                f"{ids.min()} to {ids.max()}, expected 0..{schema.num_nodes - 1}"
            )
        return ids, found.get("weight") if self.weighted else None


def check_entries(
    source: GraphSource, column: str, found: object, dtype: np.dtype, count: int
) -> None:
    """Refuse what `GraphSource.entries` has returned if it is not a column."""
    array = found.get(column) if isinstance(found, dict) else None
    if not is_array(array, (count,), dtype):
        given = type(found).__name__ if array is None else shown(array)
        raise InputError(
            f"graph: {type(source).__name__}.entries returns {given}, expected a dict "
            f"whose {column!r} is {dtype} [{count}]"
        )


def degrees_only(source: GraphSource, start: int, stop: int) -> AdjacencyBlock:
    """Return a part's rows as degrees; entries are read when they are drawn."""
    schema = source.schema
    indptr = np.zeros(stop - start + 1, np.int64)
    np.cumsum(source.degrees(np.arange(start, stop)), out=indptr[1:])
    block = AdjacencyBlock(
        start,
        indptr,
        np.empty(0, schema.index_dtype),
        source.load_table("original_ids", start, stop),
        np.empty(0, np.float32) if schema.weighted else None,
        reader=SourceEntries(source, start, schema.weighted),
    )
    if schema.weighted:
        pieces = [
            source.load_rows(first, min(first + PIECE, stop)).weighted_degree
            for first in range(start, stop, PIECE)
        ]
        vars(block)["weighted_degree"] = np.concatenate(
            [np.empty(0, np.float32), *pieces]
        )
    return block
