"""A stored graph as aligned, lazy Dask arrays: row chunk p is part p.

N nodes, E entries, F features, C classes, P parts.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import scipy.sparse as sp
from dask.task_spec import Task

from daskgnn.errors import StoreError
from daskgnn.graph.book import cut_clusters
from daskgnn.graph.diskrows import check_features
from daskgnn.graph.gcxs import csr_block, ones
from daskgnn.graph.identify import unpack_ids
from daskgnn.graph.spread import (
    held_book,
    holder_counts,
    read_part_rows,
    spread_bytes,
)
from daskgnn.graph.store import (
    Store,
    load_adjacency,
    load_features,
    load_labels,
    load_original_ids,
    open_store,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from sparse import GCXS

    from daskgnn.graph.data import GraphData
    from daskgnn.partition.holdings import Holdings
    from daskgnn.partition.quality import Quality


def open_graph(
    path: str | os.PathLike[str], num_parts: int = 1, features: str = "memory"
) -> Graph:
    """Open a stored graph with any number of parts.

    Reads the metadata and sees to it that every chunk is there with its size; the
    arrays are read, and their checksums compared, when they are computed.

    Parameters
    ----------
    path
        Of a store written by ``graph.partition(...).save(path)``.
    num_parts
        Runs of whole clusters, balanced by training nodes and edges.
    features : {"memory", "disk"}
        Where training has feature rows: in the workers' memory, or in the store's
        files, read when a step needs them. The results are the same.

    Raises
    ------
    StoreError
        If there is no store, one of a newer format, or an incomplete one.
    InputError
        If features are to stay on the disk and are not dense.
    PartitionError
        If `num_parts` is not in 1..the number of clusters.
    """
    store = open_store(path)
    store.check()
    return Graph(store, num_parts, check_features(features, store))


class Graph:
    """A stored graph of N nodes, opened with P parts. Made by `open_graph`.

    Attributes
    ----------
    path : str
        Absolute path of the store.
    num_parts : int
        P.
    partition_book : numpy.ndarray
        int64 [P+1]; part p holds storage ids ``book[p]`` to ``book[p+1] - 1``.
    held_book : numpy.ndarray or None
        int64 [P+1] of a vertex-cut: which entries of spread rows each part holds.
    splits : dict of numpy.ndarray
        Sorted int64 storage ids of "train", "val", "test", where given.
    num_nodes, num_edges, num_features, num_classes, max_degree : int
        Counts; `num_edges` counts an undirected edge twice.
    multilabel, directed, weighted : bool
        What kind of graph it is.
    name, graph_hash : str
        Its name, and the SHA-256 of its content in original order.
    checksum : str
        Names the content of this store, partition included.
    index_dtype : numpy.dtype
        Of storage ids in blocks: int32, or int64 from 2**31 nodes on.
    spread_bytes : int
        Of what is kept of a vertex-cut's spread rows beside the entries; else 0.
    feature_dtype : str or None
        What features are stored as: "float32", "float16" or "bfloat16".
    token : str
        Part of Dask keys: `checksum` and P, shortened.
    features_in : str
        Where training has feature rows: "memory" or "disk".
    metric : str or None
        How predictions are scored.
    report, partitioner : dict
        What the builder met; how the clusters were made.
    """

    def __init__(
        self, store: Store, num_parts: int, features_in: str = "memory"
    ) -> None:
        found = store.attributes
        self.path = store.path
        self.checksum = store.checksum
        self.graph_hash = str(found["graph_hash"])
        self.name = str(found["name"])
        self.metric: str | None = found["metric"]
        self.num_nodes = int(found["num_nodes"])
        self.num_edges = int(found["num_edges"])
        self.num_features = int(found["num_features"])
        self.num_classes = int(found["num_classes"])
        self.max_degree = int(found["max_degree"])
        self.multilabel = bool(found["multilabel"])
        self.directed = bool(found["directed"])
        self.weighted = bool(found["weighted"])
        self.report: dict[str, int] = dict(found["report"])
        self.partitioner: dict[str, Any] = dict(found["partitioner"])
        self.splits = {
            name.removeprefix("splits/"): store.read(name)
            for name in store.arrays
            if name.startswith("splits/")
        }
        self.index_dtype = np.dtype(store.arrays["indices"].dtype)
        self.feature_dtype = store.feature_dtype
        self.spread_bytes = spread_bytes(store)
        self.features_in = features_in
        self._row_bytes = float(found["feature_row_bytes"])
        self._names = frozenset(store.arrays)
        self._clusters = store.clusters()
        self.num_parts = num_parts
        self.partition_book = self._cut(num_parts)
        self.held_book = held_book(store, self.partition_book)
        self.token = f"{self.graph_hash[:8]}{self.checksum[:16]}-{num_parts}"

    @property
    def num_clusters(self) -> int:
        """How many clusters the order has: the most parts it can be opened with."""
        return len(self._clusters)

    @cached_property
    def adjacency(self) -> da.Array:
        """(N, N) float32 of `sparse.GCXS` CSR chunks: row v = in-neighbours of v.

        Elements are edge weights, or ones; columns are storage ids.
        """
        nothing = np.zeros(0, np.int32)
        meta = csr_block(np.zeros(1, np.int64), nothing, ones(0), (0, 0))
        return self._rows("adjacency", load_matrix, (self.num_nodes,), meta)

    @cached_property
    def features(self) -> da.Array | None:
        """(N, F) float32, of numpy or `sparse.GCXS` chunks.

        Features stored in half precision are widened when chunks are computed.
        """
        meta: Any = np.zeros((0, 0), np.float32)
        if self.sparse_features:
            nothing = np.zeros(0, np.int32)
            empty = np.zeros(0, np.float32)
            meta = csr_block(np.zeros(1, np.int64), nothing, empty, (0, 0))
        elif "features" not in self._names:
            return None
        return self._rows("features", load_features, (self.num_features,), meta)

    @property
    def sparse_features(self) -> bool:
        """Whether features are stored as CSR, always of float32."""
        return "features_indptr" in self._names

    @cached_property
    def labels(self) -> da.Array | None:
        """(N,) int64 with -1, or (N, C) float32 with NaN, for "not given"."""
        if "labels" not in self._names:
            return None
        if self.multilabel:
            meta = np.zeros((0, 0), np.float32)
            return self._rows("labels", load_labels, (self.num_classes,), meta)
        return self._rows("labels", load_labels, (), np.zeros(0, np.int64))

    @cached_property
    def original_ids(self) -> da.Array:
        """(N,) int64, the original id at each storage id."""
        return self._rows("original-ids", load_original_ids, (), np.zeros(0, np.int64))

    def quality(
        self,
        num_parts: int | None = None,
        num_neighbors: Sequence[int] = (15, 10),
        batch_size: int = 1024,
        window: int = 1,
    ) -> Quality:
        """Measure the partition: cut, balance, halo, and what a step will send.

        Parameters
        ----------
        num_parts
            Instead of the parts the graph was opened with.
        num_neighbors, batch_size, window
            Of the training whose traffic is estimated; `window` steps fetch a row once.

        Raises
        ------
        PartitionError
            If `num_parts` is not in 1..num_clusters, or the sampling cannot be.
        """
        from daskgnn.partition.quality import measure

        return measure(
            self._block,
            self.partition_book if num_parts is None else self._cut(num_parts),
            self.splits.get("train"),
            num_neighbors=num_neighbors,
            batch_size=batch_size,
            row_bytes=self._each_row_bytes(),
            window=window,
            holdings=self._holdings(),
        )

    def _holdings(self) -> Holdings | None:
        """Return what the clusters of a vertex-cut hold."""
        if self.held_book is None:
            return None
        from daskgnn.partition.holdings import Holdings

        store = open_store(self.path, self.checksum)

        def stored(start: int, stop: int) -> np.ndarray:
            return read_part_rows(store, start, stop).indices

        bounds = store.read("cluster_bounds")
        return Holdings(store.read("spread_rows"), holder_counts(store), bounds, stored)

    def _each_row_bytes(self) -> float | np.ndarray:
        """Return the bytes of a feature row: of all rows, or [N] where they differ."""
        store = open_store(self.path, self.checksum)
        if "features_indptr" in store.arrays:
            return 8.0 * np.diff(store.read("features_indptr")) + 8
        return self._row_bytes

    def node_ids(self) -> np.ndarray | None:
        """Return what the user calls each node, int64 or str [N] by original id.

        None where nodes are called by their numbers 0..N-1.

        Raises
        ------
        StoreError
            If the store is damaged or was replaced.
        """
        store = open_store(self.path, self.checksum)
        return unpack_ids(store.read, store.arrays)

    def original_ids_of(self, storage_ids: np.ndarray) -> np.ndarray:
        """Return the original ids, int64 [m], of storage ids [m], read part by part.

        Raises
        ------
        StoreError
            If the store is damaged or was replaced.
        """
        found = np.empty(len(storage_ids), np.int64)
        owners = np.searchsorted(self.partition_book, storage_ids, side="right") - 1
        for p in np.unique(owners):
            start, stop = (int(b) for b in self.partition_book[p : p + 2])
            ids = load_original_ids(self.path, start, stop, self.checksum)
            mine = owners == p
            found[mine] = ids[storage_ids[mine] - start]
        return found

    def to_data(self) -> GraphData:
        """Read the whole graph back into memory, in original order.

        Raises
        ------
        StoreError
            If a part of it is missing or damaged.
        """
        from daskgnn.graph.restore import read_graph_data

        return read_graph_data(self.path)

    def _cut(self, num_parts: int) -> np.ndarray:
        """Return the row bounds of `num_parts` parts."""
        return cut_clusters(self._clusters, self.splits.get("train"), num_parts)

    def _block(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the CSR rows of a run of storage ids."""
        block = load_adjacency(self.path, start, stop, self.checksum)
        return block.indptr, block.indices

    def _rows(
        self, what: str, load: Callable[..., Any], columns: tuple[int, ...], meta: Any
    ) -> da.Array:
        """Return an array whose row chunk p is loaded by one task."""
        name = f"{what}-{self.token}"
        book, zeros = self.partition_book, (0,) * len(columns)
        tasks = {}
        for p in range(self.num_parts):
            key = (name, p, *zeros)
            start, stop = int(book[p]), int(book[p + 1])
            tasks[key] = Task(key, load, self.path, start, stop, self.checksum)
        sizes = tuple(int(n) for n in np.diff(book))
        chunks = (sizes, *((n,) for n in columns))
        return da.Array(tasks, name, chunks, meta=meta)

    def __repr__(self) -> str:
        """Return one line of counts."""
        return (
            f"Graph({self.name!r}, {self.num_nodes} nodes, {self.num_edges} edges, "
            f"{self.num_features} features, {self.num_classes} classes, "
            f"{self.num_parts} of at most {self.num_clusters} parts)"
        )


def load_matrix(path: str, start: int, stop: int, checksum: str | None = None) -> GCXS:
    """Read rows of the graph as a CSR block, columns of each row sorted.

    Raises
    ------
    StoreError
        As for `Store.read`.
    """
    block = load_adjacency(path, start, stop, checksum)
    num_nodes = int(open_store(path, checksum).attributes["num_nodes"])
    count = len(block.indices)
    data = np.ones(count, np.int8) if block.weights is None else block.weights
    shape = (stop - start, num_nodes)
    rows = sp.csr_array((data, block.indices, block.indptr), shape=shape)
    if len(rows.indices) != count:
        raise StoreError(f"array 'indptr' in {path!r} does not fit 'indices'")
    rows.sort_indices()
    data = ones(count) if block.weights is None else rows.data
    return csr_block(block.indptr, rows.indices, data, shape)
