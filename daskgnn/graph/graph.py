"""A stored graph as aligned, lazy Dask arrays: row chunk p is part p.

N nodes, E entries, F features, C classes, P parts.
"""

from __future__ import annotations

from functools import cached_property, partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from dask.task_spec import DataNode, Task, TaskRef

from daskgnn.display import graph_table
from daskgnn.graph.absent import no_attribute
from daskgnn.graph.sources.ids import original_ids_of
from daskgnn.graph.sources.packed import pack
from daskgnn.graph.sources.source import GraphSource, clusters_of, csr_rows
from daskgnn.partition.book import cut_clusters
from daskgnn.registry import STARTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array as da

    from daskgnn.graph.memory.data import GraphData
    from daskgnn.graph.sources.schema import GraphSchema
    from daskgnn.partition.quality import Quality

T = TypeVar("T")


def _of_schema(kind: type[T], name: str) -> T:
    """Return a property of graphs: a field of their schema."""
    return cast("T", property(attrgetter(f"schema.{name}")))


class Graph:
    """A graph of N nodes, opened with P parts, as lazy Dask arrays in storage order.

    `daskgnn.open_graph` makes one. Row chunk p of every array is part p.

    Parameters
    ----------
    source : GraphSource
        Where the graph is read from.
    num_parts : int
        P.
    features_in : {"memory", "disk"}, default "memory"
        Where training reads feature rows.

    Attributes
    ----------
    source, num_parts, features_in
        As given.
    schema : GraphSchema
        What the source says of the graph.
    partition_book : numpy.ndarray
        int64 [P+1]; part p has storage ids ``book[p]`` to ``book[p+1] - 1``.
    held_book : numpy.ndarray or None
        int64 [P+1] of a vertex-cut: which edges of split rows each part holds.
    token : str
        A short name of content and partition, used in Dask keys.

    Raises
    ------
    PartitionError
        If `num_parts` is not in 1..num_clusters.

    Examples
    --------
    >>> import daskgnn, numpy as np
    >>> clusters = [0] * 17 + [1] * 17
    >>> partitioned = daskgnn.load_dataset("karate").partition(method=clusters)
    >>> graph = daskgnn.open_graph(partitioned, num_parts=2)
    >>> graph.name, graph.num_nodes, graph.num_edges, graph.num_features
    ('karate', 34, 156, 34)
    >>> graph.features.chunks, graph.labels.compute()[:4].tolist()
    (((17, 17), (34,)), [0, 0, 0, 0])
    >>> rows = graph.adjacency.blocks[0].compute()  # those of one part
    >>> rows.shape, rows.nnz, np.diff(rows.indptr)[:3].tolist()  # degrees
    ((17, 34), 80, [16, 9, 10])

    What the source says of the graph:

    >>> graph.num_classes, graph.num_clusters, graph.max_degree, graph.metric
    (2, 2, 17, 'accuracy')
    >>> graph.directed, graph.weighted, graph.multilabel, graph.sparse_features
    (False, False, False, True)
    >>> graph.has_features, graph.has_labels
    (True, True)
    >>> graph.feature_dtype, graph.index_dtype, graph.split_rows_bytes
    ('float32', dtype('int32'), 0)
    >>> graph.partitioner["method"], graph.report["isolated_nodes"], graph.path
    ('assignment', 0, None)
    >>> len(graph.graph_hash), len(graph.checksum)
    (64, 64)

    Storage ids, original ids and the user's own:

    >>> graph.original_ids_of(graph.splits["train"])[:3]
    array([...])
    >>> graph.original_ids.compute().shape, graph.node_ids(), graph.class_names
    ((34,), None, None)
    >>> graph.to_data()
    GraphData('karate', 34 nodes, 156 edges, 34 features, 2 classes, ...)
    """

    name = _of_schema(str, "name")
    """Name of the graph in reports and messages."""
    num_nodes = _of_schema(int, "num_nodes")
    """Number of nodes, N."""
    num_edges = _of_schema(int, "num_edges")
    """Number of directed edges, E: an undirected edge counts twice."""
    num_features = _of_schema(int, "num_features")
    """Number of features of a node, F; 0 without features."""
    num_classes = _of_schema(int, "num_classes")
    """Number of classes, or of yes/no labels, C."""
    max_degree = _of_schema(int, "max_degree")
    """Largest number of in-neighbours of a node; 0 if it is not known."""
    multilabel = _of_schema(bool, "multilabel")
    """Whether a node can have several labels: `labels` is then [N, C]."""
    directed = _of_schema(bool, "directed")
    """Whether an edge may lack its reverse."""
    weighted = _of_schema(bool, "weighted")
    """Whether edges have weights."""
    report = _of_schema(dict[str, int], "report")
    """Counts from reading the input: see `GraphData.report`."""
    partitioner = _of_schema(dict[str, Any], "partitioner")
    """The method that made the clusters, its seed, and the edge cut."""
    splits = _of_schema(dict[str, np.ndarray], "splits")
    """Sorted int64 storage ids of "train", "val" and "test", as far as given."""
    index_dtype = _of_schema(np.dtype, "index_dtype")
    """Type of storage ids in blocks: int32, or int64 where the source has it so."""
    split_rows_bytes = _of_schema(int, "split_rows_bytes")
    """Bytes of the index of a vertex-cut's split rows; 0 of other graphs."""
    sparse_features = _of_schema(bool, "sparse_features")
    """Whether features are stored as CSR, always in float32."""
    has_features = _of_schema(bool, "has_features")
    """Whether nodes have features."""
    has_labels = _of_schema(bool, "has_labels")
    """Whether nodes have labels."""
    metric: str | None = _of_schema(str, "metric")
    """How predictions are scored: see `GraphData.metric`."""
    class_names: tuple[str, ...] | None = _of_schema(tuple, "class_names")
    """Names of the classes; None where they are called by their numbers."""
    checksum = _of_schema(str, "version")
    """Identifies the content and the order of the nodes."""

    def __init__(
        self, source: GraphSource, num_parts: int, features_in: str = "memory"
    ) -> None:
        self.source = source
        self.schema: GraphSchema = source.schema
        self.features_in = features_in
        self.clusters = clusters_of(source)
        """Bounds of the clusters in storage ids, and how many edges each has."""
        self.num_parts = num_parts
        self.partition_book = self._cut(num_parts)
        self.held_book: np.ndarray | None = None
        if self.schema.split_bounds is not None:
            first = np.searchsorted(self.clusters.bounds, self.partition_book)
            self.held_book = self.schema.split_bounds[first]
        self.token = f"{self.graph_hash[:8]}{self.checksum[:16]}-{num_parts}"

    @property
    def path(self) -> str | None:
        """Absolute path of the store; None of a graph from another source."""
        return self.source.path or None

    @property
    def graph_hash(self) -> str:
        """Identifies the content in any order: SHA-256 in hexadecimal, of a store."""
        return self.schema.graph_hash or self.schema.version

    @property
    def feature_dtype(self) -> str | None:
        """Type of stored features, "float32", "float16" or "bfloat16", or None."""
        return self.schema.feature_dtype if self.has_features else None

    @property
    def num_clusters(self) -> int:
        """Number of clusters: the graph can be opened with at most that many parts."""
        return len(self.clusters)

    @cached_property
    def adjacency(self) -> da.Array:
        """The adjacency matrix: float32 [N, N] of `sparse.GCXS` CSR chunks.

        Row v has the in-neighbours of v. Elements are edge weights, or ones; columns
        are storage ids.
        """
        return self._rows("adjacency", (self.num_nodes,))

    @cached_property
    def features(self) -> da.Array | None:
        """The features: float32 [N, F] of numpy or `sparse.GCXS` chunks, or None.

        Features stored in half precision are converted when chunks are computed.
        """
        if not self.has_features:
            return None
        meta = None if self.sparse_features else np.zeros((0, 0), np.float32)
        return self._rows("features", (self.num_features,), meta)

    @cached_property
    def labels(self) -> da.Array | None:
        """The labels: int64 [N] with -1, or float32 [N, C] with NaN, for unknown."""
        if not self.has_labels:
            return None
        if self.multilabel:
            meta = np.zeros((0, 0), np.float32)
            return self._rows("labels", (self.num_classes,), meta)
        return self._rows("labels", (), np.zeros(0, np.int64))

    @cached_property
    def original_ids(self) -> da.Array:
        """The original id of each storage id: int64 [N]."""
        return self._rows("original_ids", (), np.zeros(0, np.int64))

    def quality(
        self,
        num_parts: int | None = None,
        num_neighbors: Sequence[int] = (15, 10),
        batch_size: int = 1024,
        window: int = 1,
    ) -> Quality:
        """Measure the partition: edge cut, balance, halos and the traffic of a step.

        Parameters
        ----------
        num_parts : int, optional
            Number of parts; by default those the graph was opened with.
        num_neighbors : sequence of int, default (15, 10)
            Fan-outs of the training whose traffic is estimated; -1 for all neighbours.
        batch_size : int, default 1024
            Seeds a step, over all parts.
        window : int, default 1
            Steps that are prepared together and fetch a remote row once.

        Returns
        -------
        Quality
            The figures; ``print(quality)`` shows them.

        Raises
        ------
        PartitionError
            If `num_parts` is not in 1..num_clusters, or a setting of the training is
            invalid.

        Examples
        --------
        >>> import daskgnn
        >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition(8))
        >>> graph.quality(num_parts=1).edge_cut
        0.0
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
        """Return the ids of the nodes in the input, by original id.

        Returns
        -------
        numpy.ndarray or None
            int64 or text of variable width [N]; None if they are 0..N-1.

        Raises
        ------
        StoreError
            If the store is damaged or was replaced.
        """
        return self.source.node_ids()

    def original_ids_of(self, storage_ids: np.ndarray) -> np.ndarray:
        """Return the original ids of storage ids, reading part by part.

        Parameters
        ----------
        storage_ids : numpy.ndarray
            int [m].

        Returns
        -------
        numpy.ndarray
            int64 [m].

        Raises
        ------
        StoreError
            If the store is damaged or was replaced.
        """
        return original_ids_of(self.source, self.partition_book, storage_ids)

    def to_data(self) -> GraphData:
        """Load the whole graph into memory, in its original order.

        Returns
        -------
        GraphData
            The graph, equal to the one that was partitioned.

        Raises
        ------
        StoreError
            If some part of the store is missing or damaged.
        InputError
            If the graph comes from a source that cannot do this.
        """
        return self.source.to_data()

    def minibatches(
        self, sampler: Any, seeds: Any = "train", batch_size: int = 1024, **options: Any
    ) -> Any:
        """Return minibatches to loop over in this process, for a loop of your own.

        Parameters
        ----------
        sampler : Sampler or sequence of int
            How neighbours are sampled; fan-outs stand for a `NeighborSampler`.
        seeds : str, array of bool or sequence, default "train"
            The nodes to compute: a split, a mask [N], or ids as the input had them.
        batch_size : int, default 1024
            Seeds of a minibatch.
        **options : dict
            `shuffle`, `seed` and `normalize_features`, as of `daskgnn.Minibatches`.

        Returns
        -------
        Minibatches
            Each pass over it is an epoch of `Minibatch` objects.

        Raises
        ------
        InputError
            If an argument is invalid, or the graph has no features.

        Examples
        --------
        >>> import daskgnn
        >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition())
        >>> for batch in graph.minibatches([5, 5], "val"):
        ...     print(batch.x.shape[1], len(batch.blocks), len(batch.labels))
        34 2 8
        """
        return STARTED["minibatches"](self, sampler, seeds, batch_size, **options)

    def _cut(self, num_parts: int) -> np.ndarray:
        """Return the row bounds of `num_parts` parts."""
        return cut_clusters(self.clusters, self.splits.get("train"), num_parts)

    def _rows(self, what: str, columns: tuple[int, ...], meta: Any = None) -> da.Array:
        """Return an array whose row chunk p is loaded by one task: sparse ones."""
        import dask.array as da

        from daskgnn.graph.sources.chunks import NO_ROWS, load_chunk

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
        chunks = (tuple(int(n) for n in np.diff(book)), *((n,) for n in columns))
        return da.Array(tasks, name, chunks, meta=NO_ROWS if meta is None else meta)

    if not TYPE_CHECKING:
        __getattr__ = no_attribute

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
