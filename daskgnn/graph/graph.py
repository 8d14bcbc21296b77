"""A stored graph as aligned, lazy Dask arrays: row chunk p is part p.

N nodes, E entries, F features, C classes, P parts.
"""

from __future__ import annotations

import os
from functools import cached_property, partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, cast

import dask.array as da
import numpy as np
import scipy.sparse as sp
from dask.task_spec import DataNode, Task, TaskRef

from daskgnn.display import graph_table
from daskgnn.errors import InputError, StoreError
from daskgnn.graph.sources.check import check_source
from daskgnn.graph.sources.gcxs import NO_ROWS, csr_block, ones
from daskgnn.graph.sources.packed import opened, pack
from daskgnn.graph.sources.rows import check_feature_place
from daskgnn.graph.sources.source import GraphSchema, GraphSource, clusters_of, csr_rows
from daskgnn.graph.sources.stored import MemorySource, ZarrSource
from daskgnn.partition.book import cut_clusters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparse import GCXS

    from daskgnn.graph.memory.data import GraphData
    from daskgnn.graph.memory.partitioned import PartitionedGraph
    from daskgnn.partition.quality import Quality

T = TypeVar("T")


def open_graph(
    graph: str | os.PathLike[str] | GraphSource | PartitionedGraph,
    num_parts: int = 1,
    features: str = "memory",
) -> Graph:
    """Open a stored graph, or another source of one, with any number of parts.

    Of a store, reads the metadata and sees to it that every chunk is there with its
    size; the arrays are read, and their checksums compared, when they are computed.

    Parameters
    ----------
    graph
        The path of a store written by ``graph.partition(...).save(path)``; what
        ``graph.partition(...)`` returned; or a `GraphSource`.
    num_parts
        Runs of whole clusters, balanced by training nodes and edges.
    features : {"memory", "disk"}
        Where training has feature rows: in the workers' memory, or where the source
        has them, read when a step needs them. The results are the same.

    Raises
    ------
    StoreError
        If there is no store, one of a newer format, or an incomplete one.
    InputError
        If features are to stay on the disk and are not dense; if it is no graph.
    PartitionError
        If `num_parts` is not in 1..the number of clusters.
    """
    source = _source_of(graph)
    check_source(source)
    source.check()
    return Graph(source, num_parts, check_feature_place(features, source))


def _source_of(graph: Any) -> GraphSource:
    """Return the source that is meant."""
    kind = graph if isinstance(graph, type) else type(graph)
    if issubclass(kind, GraphSource):  # of a class `check_source` says what is wrong
        return graph
    if isinstance(graph, str | os.PathLike):
        return ZarrSource(graph)
    if hasattr(graph, "stored_arrays"):
        return MemorySource(graph)
    raise InputError(
        f"open_graph got {type(graph).__name__}, expected the path of a store, a "
        "partitioned graph or a GraphSource: open_graph(graph.partition(), num_parts=2)"
    )


def _of_schema(kind: type[T], name: str) -> T:
    """Return a property of graphs: a field of their schema."""
    return cast("T", property(attrgetter(f"schema.{name}")))


class Graph:
    """A graph of N nodes, opened with P parts. Made by `open_graph`.

    Attributes
    ----------
    source : GraphSource
        What it is read from.
    schema : GraphSchema
        What the source says of it.
    num_parts : int
        P.
    features_in : str
        Where training has feature rows: "memory" or "disk".
    partition_book : numpy.ndarray
        int64 [P+1]; part p holds storage ids ``book[p]`` to ``book[p+1] - 1``.
    held_book : numpy.ndarray or None
        int64 [P+1] of a vertex-cut: which entries of split rows each part holds.
    token : str
        Part of Dask keys: `checksum` and P, shortened.
    """

    name = _of_schema(str, "name")
    """What reports call it."""
    num_nodes = _of_schema(int, "num_nodes")
    """N."""
    num_edges = _of_schema(int, "num_edges")
    """E: an undirected edge counts twice."""
    num_features = _of_schema(int, "num_features")
    """F, 0 without features."""
    num_classes = _of_schema(int, "num_classes")
    """C."""
    max_degree = _of_schema(int, "max_degree")
    """The most in-neighbours of a node; 0 where that is not known."""
    multilabel = _of_schema(bool, "multilabel")
    """Whether labels are (N, C) yes/no targets."""
    directed = _of_schema(bool, "directed")
    """Whether rows may lack the reverse of an edge."""
    weighted = _of_schema(bool, "weighted")
    """Whether edges have weights."""
    report = _of_schema(dict[str, int], "report")
    """What the builder met."""
    partitioner = _of_schema(dict[str, Any], "partitioner")
    """How the clusters were made."""
    splits = _of_schema(dict[str, np.ndarray], "splits")
    """Sorted int64 storage ids of "train", "val", "test", where given."""
    index_dtype = _of_schema(np.dtype, "index_dtype")
    """Of storage ids in blocks: int32, or int64 where the source has it so."""
    split_rows_bytes = _of_schema(int, "split_rows_bytes")
    """Of what is kept of a vertex-cut's split rows beside the entries; else 0."""
    sparse_features = _of_schema(bool, "sparse_features")
    """Whether features are stored as CSR, always of float32."""

    def __init__(
        self, source: GraphSource, num_parts: int, features_in: str = "memory"
    ) -> None:
        self.source = source
        self.schema: GraphSchema = source.schema
        self.features_in = features_in
        self._clusters = clusters_of(source)
        self.num_parts = num_parts
        self.partition_book = self._cut(num_parts)
        self.held_book: np.ndarray | None = None
        if self.schema.split_bounds is not None:
            first = np.searchsorted(self._clusters.bounds, self.partition_book)
            self.held_book = self.schema.split_bounds[first]
        self.token = f"{self.graph_hash[:8]}{self.checksum[:16]}-{num_parts}"

    @property
    def path(self) -> str | None:
        """Absolute path of the store; None of another source."""
        return self.source.path or None

    @property
    def checksum(self) -> str:
        """Names the content, partition included."""
        return self.schema.version

    @property
    def graph_hash(self) -> str:
        """The SHA-256 of the content in original order, or what the source says."""
        return self.schema.graph_hash or self.schema.version

    @property
    def metric(self) -> str | None:
        """How predictions are scored."""
        return self.schema.metric

    @property
    def feature_dtype(self) -> str | None:
        """What features are stored as: "float32", "float16" or "bfloat16"."""
        known = self.schema
        there = known.sparse_features or "features" in known.tables
        return known.feature_dtype if there else None

    @property
    def num_clusters(self) -> int:
        """How many clusters the order has: the most parts it can be opened with."""
        return len(self._clusters)

    @cached_property
    def adjacency(self) -> da.Array:
        """(N, N) float32 of `sparse.GCXS` CSR chunks: row v = in-neighbours of v.

        Elements are edge weights, or ones; columns are storage ids.
        """
        return self._rows("adjacency", (self.num_nodes,), NO_ROWS)

    @cached_property
    def features(self) -> da.Array | None:
        """(N, F) float32, of numpy or `sparse.GCXS` chunks.

        Features stored in half precision are widened when chunks are computed.
        """
        if self.feature_dtype is None:
            return None
        meta = NO_ROWS if self.sparse_features else np.zeros((0, 0), np.float32)
        return self._rows("features", (self.num_features,), meta)

    @cached_property
    def labels(self) -> da.Array | None:
        """(N,) int64 with -1, or (N, C) float32 with NaN, for "not given"."""
        if "labels" not in self.schema.tables:
            return None
        if self.multilabel:
            meta = np.zeros((0, 0), np.float32)
            return self._rows("labels", (self.num_classes,), meta)
        return self._rows("labels", (), np.zeros(0, np.int64))

    @cached_property
    def original_ids(self) -> da.Array:
        """(N,) int64, the original id at each storage id."""
        return self._rows("original_ids", (), np.zeros(0, np.int64))

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
            partial(csr_rows, self.source),
            self.partition_book if num_parts is None else self._cut(num_parts),
            self.splits.get("train"),
            num_neighbors=num_neighbors,
            batch_size=batch_size,
            row_bytes=self.source.row_bytes(),
            window=window,
            holdings=self.source.holdings(),
        )

    def node_ids(self) -> np.ndarray | None:
        """Return what the user calls each node, int64 or str [N] by original id.

        None where nodes are called by their numbers 0..N-1.

        Raises
        ------
        StoreError
            If the store is damaged or was replaced.
        """
        return self.source.node_ids()

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
            ids = self.source.load_table("original_ids", start, stop)
            mine = owners == p
            found[mine] = ids[storage_ids[mine] - start]
        return found

    def to_data(self) -> GraphData:
        """Read the whole graph back into memory, in original order.

        Raises
        ------
        StoreError
            If a part of it is missing or damaged.
        InputError
            If the source cannot.
        """
        return self.source.to_data()

    def _cut(self, num_parts: int) -> np.ndarray:
        """Return the row bounds of `num_parts` parts."""
        return cut_clusters(self._clusters, self.splits.get("train"), num_parts)

    def _rows(self, what: str, columns: tuple[int, ...], meta: Any) -> da.Array:
        """Return an array whose row chunk p is loaded by one task."""
        name = f"{what.replace('_', '-')}-{self.token}"
        book, zeros = self.partition_book, (0,) * len(columns)
        tasks: dict[Any, Any] = {}
        source: Any = pack(self.source)
        if self.source.in_memory:  # it goes once, not with every task
            key: Any = f"source-{self.token}"
            tasks[key], source = DataNode(key, source), TaskRef(key)
        for p in range(self.num_parts):
            key = (name, p, *zeros)
            start, stop = int(book[p]), int(book[p + 1])
            tasks[key] = Task(key, load_chunk, source, start, stop, what)
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

    def _repr_html_(self) -> str:
        """Return a table of counts."""
        names = "num_features feature_dtype num_classes num_parts num_clusters path"
        return graph_table("Graph", self, *names.split())


def load_chunk(source: Any, start: int, stop: int, what: str) -> Any:
    """Load a chunk of one of a graph's arrays: these rows of it."""
    graph = opened(source)
    if what == "adjacency":
        return _load_matrix(graph, start, stop)
    if what == "features":
        return graph.load_features(start, stop)
    return graph.load_table(what, start, stop)


def _load_matrix(source: GraphSource, start: int, stop: int) -> GCXS:
    """Load rows of the graph as a CSR block, columns of each row sorted."""
    block = source.load_rows(start, stop)
    count = len(block.indices)
    data = np.ones(count, np.int8) if block.weights is None else block.weights
    shape = (stop - start, source.schema.num_nodes)
    rows = sp.csr_array((data, block.indices, block.indptr), shape=shape)
    if len(rows.indices) != count:
        raise StoreError(f"array 'indptr' in {source.path!r} does not fit 'indices'")
    rows.sort_indices()
    data = ones(count) if block.weights is None else rows.data
    return csr_block(block.indptr, rows.indices, data, shape)
