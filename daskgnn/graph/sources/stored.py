"""The sources of a stored graph and of a partitioned graph in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import StoreError
from daskgnn.graph.edges.packids import unpack_ids
from daskgnn.graph.memory.origin import Origin
from daskgnn.graph.sources.rows import in_dtype
from daskgnn.graph.sources.schema import GraphSchema
from daskgnn.graph.sources.source import GraphSource
from daskgnn.graph.store.splitrows import (
    holder_counts,
    is_vertex_cut,
    read_part_rows,
    read_whole_rows,
    split_rows_bytes,
    stored_block,
)
from daskgnn.graph.store.store import Arrays, Store, open_store, read_stored_rows
from daskgnn.graph.store.writer import ArraySource, chunk_rows
from daskgnn.kernels.features import RowReader, normalize_rows
from daskgnn.kernels.half import TABLE_DTYPES
from daskgnn.paths import is_url, store_place

if TYPE_CHECKING:
    import os

    from daskgnn.graph.memory.data import GraphData
    from daskgnn.graph.memory.partitioned import PartitionedGraph
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.partition.traffic import Holdings

_TABLES = ("features", "labels", "original_ids")
_SAID = (
    *("num_nodes", "num_edges", "num_features", "num_classes", "name", "metric"),
    *("directed", "weighted", "multilabel", "feature_row_bytes", "max_degree"),
    *("graph_hash", "report", "partitioner"),
)
"""What a store says in its attributes as a schema does."""


class StoredSource(GraphSource):
    """A graph in the arrays of a store, wherever they are."""

    @property
    def arrays(self) -> Arrays:
        """What is stored.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        raise NotImplementedError

    @cached_property
    def schema(self) -> GraphSchema:  # type: ignore[override]
        """What there is."""
        return _schema_of(self.arrays)

    def load_rows(self, start: int, stop: int) -> AdjacencyBlock:
        """Return rows of the graph, whole, neighbours by their original id.

        Raises
        ------
        StoreError
            As for `Store.read`, as all methods.
        """
        arrays = self.arrays
        if is_vertex_cut(arrays):
            return read_whole_rows(arrays, start, stop)
        indptr = arrays.read("indptr", start, stop + 1)
        entries = partial(arrays.read_entries, start=start, indptr=indptr)
        return stored_block(arrays, start, indptr, entries)

    def load_part(self, start: int, stop: int) -> AdjacencyBlock:
        """Return what a part holds: of a vertex-cut, with rows that are split."""
        if is_vertex_cut(self.arrays):
            return read_part_rows(self.arrays, start, stop)
        return self.load_rows(start, stop)

    def load_table(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a run of rows of a table other than the features."""
        self._require(name, name)
        return self.arrays.read(name, start, stop)

    def load_features(
        self, start: int, stop: int, dtype: str = "float32", normalize: bool = False
    ) -> Any:
        """Return a run of feature rows: see `GraphSource.load_features`."""
        arrays = self.arrays
        if "features" not in arrays.arrays:
            rows = self._sparse_features(start, stop)
            return normalize_rows(rows) if normalize else rows
        if dtype != "float32":
            return self._half_features(start, stop, dtype, normalize)
        name = partial(_called, arrays, start)
        return in_dtype(arrays.read("features", start, stop), dtype, normalize, name)

    def rows(self, table: str, ids: np.ndarray) -> np.ndarray:
        """Return the rows of some nodes in a table."""
        first = int(ids.min()) if len(ids) else 0
        stop = int(ids.max()) + 1 if len(ids) else 0
        return self.load_table(table, first, stop)[ids - first]

    def degrees(self, ids: np.ndarray) -> np.ndarray:
        """Return the number of in-neighbours of nodes, int64 [m]."""
        if not len(ids):
            return np.zeros(0, np.int64)
        first = int(ids.min())
        indptr = self.arrays.read("indptr", first, int(ids.max()) + 2)
        return np.diff(indptr)[ids - first]

    def row_bytes(self) -> float | np.ndarray:
        """Return the bytes of a feature row: of all, or [N] where they differ."""
        if "features_indptr" in self.arrays.arrays:
            return 8.0 * np.diff(self.arrays.read("features_indptr")) + 8
        return float(self.arrays.attributes["feature_row_bytes"])

    def node_ids(self) -> np.ndarray | None:
        """Return what the user calls each node, by original id."""
        return unpack_ids(self.arrays.read, self.arrays.arrays)

    def holdings(self) -> Holdings | None:
        """Return what the clusters of a vertex-cut hold."""
        arrays = self.arrays
        if not is_vertex_cut(arrays):
            return None
        from daskgnn.partition.traffic import Holdings

        def stored(start: int, stop: int) -> np.ndarray:
            return read_part_rows(arrays, start, stop).indices

        counts = (holder_counts(arrays), arrays.read("cluster_bounds"))
        return Holdings(arrays.read("spread_rows"), *counts, stored)

    def to_data(self) -> GraphData:
        """Return the whole graph in memory, in original order."""
        from daskgnn.graph.sources.restore import read_graph_data

        return read_graph_data(self.arrays)

    def _sparse_features(self, start: int, stop: int) -> Any:
        """Return feature rows that are stored as CSR."""
        from daskgnn.graph.sources.gcxs import csr_block

        self._require("features_indptr", "features")
        arrays = self.arrays
        indptr = arrays.read("features_indptr", start, stop + 1)
        return csr_block(
            indptr - indptr[0],
            arrays.read_entries("features_indices", start, indptr),
            arrays.read_entries("features_data", start, indptr),
            (stop - start, int(arrays.attributes["num_features"])),
        )

    def _half_features(
        self, start: int, stop: int, dtype: str, normalize: bool
    ) -> np.ndarray:
        """Return dense feature rows as a half-precision table."""
        arrays = self.arrays
        if arrays.feature_dtype == dtype and not normalize:
            return arrays.read("features", start, stop).view(TABLE_DTYPES[dtype])
        array = arrays.arrays["features"]
        out: np.ndarray = np.empty((stop - start, array.shape[1]), TABLE_DTYPES[dtype])
        # A chunk at a time, so that no part is in memory as float32.
        step = chunk_rows(array.shape, array.dtype.itemsize)
        for first in range(start - start % step, stop, step):
            begin, end = max(first, start), min(first + step, stop)
            rows = arrays.read("features", begin, end)
            name = partial(_called, arrays, begin)
            out[begin - start : end - start] = in_dtype(rows, dtype, normalize, name)
        return out

    def _require(self, name: str, what: str) -> None:
        """Raise `StoreError` if the graph was stored without something."""
        if name not in self.arrays.arrays:
            raise StoreError(
                f"the graph in {self.path!r} has no {what}: build it with {what}=..."
            )


class ZarrSource(StoredSource):
    """The graph of a store that `PartitionedGraph.save` wrote.

    Parameters
    ----------
    path
        Of the store, or its address.
    checksum
        The store that is expected there, if it matters; the one that is there now.
    """

    def __init__(
        self, path: str | os.PathLike[str], checksum: str | None = None
    ) -> None:
        self.path = store_place(path)
        self.checksum = checksum or open_store(self.path).checksum

    def __reduce__(self) -> Any:
        return ZarrSource, (self.path, self.checksum)

    @property
    def arrays(self) -> Store:
        """The store, opened on first use.

        Raises
        ------
        StoreError
            If it is not there any more, or was replaced.
        """
        return open_store(self.path, self.checksum)

    def open(self) -> None:
        """Open the store in this process."""
        self.arrays  # noqa: B018

    def check(self) -> None:
        """Raise `StoreError` unless every file is still there, chunks by size."""
        self.arrays.check()

    def rows(self, table: str, ids: np.ndarray) -> np.ndarray:
        """Return the rows of some nodes in a table; features of ascending ids."""
        if table == "features" and not is_url(self.path):
            return read_stored_rows(self.arrays, ids)
        return super().rows(table, ids)

    def row_reader(
        self, start: int, stop: int, dtype: str, normalize: bool
    ) -> RowReader:
        """Return what reads feature rows from the store's files when wanted."""
        self.arrays.check_chunks("features", start, stop)
        return super().row_reader(start, stop, dtype, normalize)


class MemorySource(StoredSource):
    """A partitioned graph in memory, equal to a store written from it.

    Parts are cut out here and sent to the workers, each once: the graph has to fit
    into this process's memory beside what training needs, and workers of a machine
    do not read each other's parts in place.

    Parameters
    ----------
    partitioned
        What ``graph.partition(...)`` returns.
    feature_dtype : {"float32", "float16", "bfloat16"}
        What dense features are rounded to.
    """

    in_memory = True

    def __init__(
        self, partitioned: PartitionedGraph, feature_dtype: str = "float32"
    ) -> None:
        self.partitioned = partitioned
        self.feature_dtype = feature_dtype

    def __reduce__(self) -> Any:
        return MemorySource, (self.partitioned, self.feature_dtype)

    @cached_property
    def arrays(self) -> HeldArrays:
        """What a store of the graph would hold."""
        sources, attributes = self.partitioned.stored_arrays(self.feature_dtype)
        return HeldArrays({source.name: source for source in sources}, attributes)


@dataclass(eq=False)
class HeldArrays(Arrays):
    """Arrays of a store that are made of a graph in memory, a run of rows at a time."""

    arrays: dict[str, ArraySource]
    attributes: dict[str, Any]

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start`` to ``stop - 1`` of an array, whole if not given."""
        array = self.arrays[name]
        found = array.rows(start, array.shape[0] if stop is None else stop)
        return np.array(found, array.dtype)

    @cached_property
    def checksum(self) -> str:
        """Names the content and its order."""
        found = hashlib.sha256(str(self.attributes["graph_hash"]).encode())
        for name in sorted(self.arrays):
            if name == "original_ids" or name.startswith(("cluster_", "spread_")):
                found.update(np.ascontiguousarray(self.read(name)).data)
        return found.hexdigest()


def _schema_of(arrays: Arrays) -> GraphSchema:
    """Return what a store says of its graph."""
    said, there = arrays.attributes, arrays.arrays
    clusters, names = arrays.clusters(), said.get("class_names")
    return GraphSchema(
        version=arrays.checksum,
        splits=arrays.group("splits"),
        tables=tuple(t for t in _TABLES if t in there),
        index_dtype=np.dtype(there["indices"].dtype),
        feature_dtype=arrays.feature_dtype or "float32",
        sparse_features="features_indptr" in there,
        cluster_bounds=clusters.bounds,
        cluster_edges=clusters.edges,
        cluster_crossing=clusters.crossing,
        split_bounds=arrays.read("spread_bounds") if is_vertex_cut(arrays) else None,
        split_rows_bytes=split_rows_bytes(arrays),
        class_names=None if names is None else tuple(names),
        **{name: said[name] for name in _SAID},
    )


def _called(arrays: Arrays, start: int, row: int) -> str:
    """Return what the user calls a row, counted from a storage id."""
    original = int(arrays.read("original_ids", start + row, start + row + 1)[0])
    node_ids = unpack_ids(arrays.read, arrays.arrays)
    return Origin(node_ids).shown(original)
