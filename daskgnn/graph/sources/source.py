"""Where a graph comes from: a store, memory, or whatever a user's class reads.

A source says once what there is (`GraphSchema`) and answers for runs of rows and for
single rows. N nodes, E entries, F features, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.graph.sources.rows import SourceRows, degrees_only
from daskgnn.partition.book import Clusters, equal_clusters
from daskgnn.seams import required

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.graph.memory.data import GraphData
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.features import RowReader
    from daskgnn.partition.traffic import Holdings

RUN = 1 << 16
"""Rows that are loaded at once where only few numbers of each are wanted."""


@dataclass(frozen=True, eq=False, kw_only=True)
class GraphSchema:
    """What a source says of its graph before any row is read.

    Ids are storage ids: a node's place in the order in which rows are stored. Parts
    are runs of that order, so neighbours should be near each other in it.
    """

    num_nodes: int
    """N."""
    num_edges: int
    """E: an undirected edge counts twice."""
    version: str
    """Names this content, in this order: another content has another one."""
    num_features: int = 0
    """F, 0 without features."""
    num_classes: int = 0
    """C."""
    name: str = "graph"
    """What reports call it."""
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    """Sorted int64 storage ids of "train", "val", "test"."""
    tables: tuple[str, ...] = ("features", "labels")
    """The tables of nodes that `GraphSource.rows` has. "original_ids" is one where a
    node's id is not its storage id."""
    directed: bool = False
    """Whether rows may lack the reverse of an edge."""
    weighted: bool = False
    """Whether entries have weights."""
    multilabel: bool = False
    """Whether labels are float32 (N, C) with NaN, not int64 (N,) with -1."""
    metric: str | None = None
    """How predictions are scored: as of `GraphData`."""
    index_dtype: np.dtype = field(default_factory=lambda: np.dtype(np.int32))
    """Of storage ids in blocks."""
    feature_dtype: str = "float32"
    """What features are stored as: "float32", "float16" or "bfloat16"."""
    sparse_features: bool = False
    """Whether features are CSR blocks, of float32."""
    feature_row_bytes: float | None = None
    """Mean bytes of a feature row as it is stored, where that is not 4 F."""
    max_degree: int = 0
    """The most in-neighbours of a node, where that is known."""
    cluster_bounds: np.ndarray | None = None
    """int64 [C+1], runs of the order that stay in one part; `equal_clusters` if not
    given."""
    cluster_edges: np.ndarray | None = None
    """int64 [C], entries of each cluster; summed from the degrees of all nodes, once
    when the graph is opened, if not given."""
    cluster_crossing: np.ndarray | None = None
    """int64 [C+1], entries whose ends lie on different sides of each bound, where an
    older store counts them."""
    on_demand: bool = False
    """Whether parts hold degrees alone, and ask for entries as they are drawn."""
    split_bounds: np.ndarray | None = None
    """int64 [C+1], of a vertex-cut: the first entry of split rows that each cluster
    holds."""
    split_rows_bytes: int = 0
    """Of what a vertex-cut keeps of split rows beside their entries."""
    graph_hash: str = ""
    """Names the content whatever its order; `version` if not given."""
    report: dict[str, int] = field(default_factory=dict)
    """What the builder met."""
    partitioner: dict[str, Any] = field(default_factory=dict)
    """How the clusters were made."""


class GraphSource:
    """Where a graph comes from; a user's source is a subclass.

    `schema`, `load_rows` and `rows` are required; the others are built on these, and
    a subclass may have quicker ones. A source is pickled and sent to every worker, so
    it holds paths and addresses, and opens what it reads from when it first reads.
    Several threads may call it at once.
    """

    in_memory = False
    """Whether it cannot be opened elsewhere: parts are then sent to workers whole."""
    path = ""
    """Of the store that it reads, if it is one."""
    schema: GraphSchema
    """What there is: an attribute, or a property."""

    @required
    def load_rows(self, start: int, stop: int) -> AdjacencyBlock:
        """Return the in-neighbours of nodes ``start`` to ``stop - 1``.

        Those of a row are ordered by their original id.
        """
        raise NotImplementedError

    @required
    def rows(self, table: str, ids: np.ndarray) -> np.ndarray:
        """Return the rows of some nodes, int64 [m], in a table, in their order.

        "features" are float32 [m, F] (or of the schema's dtype), "labels" int64 [m] or
        float32 [m, C], "original_ids" int64 [m].
        """
        raise NotImplementedError

    def open(self) -> None:
        """Open it in this process; raise what is wrong if that cannot be."""
        self.schema  # noqa: B018

    def check(self) -> None:
        """Look whether all is there; called when the graph is opened."""
        self.open()

    def load_part(self, start: int, stop: int) -> AdjacencyBlock:
        """Return what a part holds of its rows."""
        if self.schema.on_demand:
            return degrees_only(self, start, stop)
        return self.load_rows(start, stop)

    def load_table(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a run of rows of a table other than the features."""
        ids = np.arange(start, stop)
        if name == "original_ids" and name not in self.schema.tables:
            return ids
        return np.require(self.rows(name, ids), requirements=["C", "W"])

    def load_features(
        self, start: int, stop: int, dtype: str = "float32", normalize: bool = False
    ) -> Any:
        """Return a run of feature rows.

        Parameters
        ----------
        dtype : {"float32", "float16", "bfloat16"}
            What dense rows become, whatever they are stored as.
        normalize
            Whether to divide each row by its sum, in float32 before it is rounded.

        Returns
        -------
        numpy.ndarray or sparse.GCXS
            A table [n, F] of `daskgnn.kernels.half`'s dtypes, or CSR.

        Raises
        ------
        InputError
            If a number is too large for the dtype, naming its node.
        """
        reader = self.row_reader(start, stop, dtype, normalize)
        return reader.take(np.arange(stop - start))

    def row_reader(
        self, start: int, stop: int, dtype: str, normalize: bool
    ) -> RowReader:
        """Return what reads the feature rows of a run when they are wanted."""
        known = self.schema
        kinds = (known.num_features, known.feature_dtype, dtype, normalize)
        return SourceRows(self, start, stop, *kinds)

    def degrees(self, ids: np.ndarray) -> np.ndarray:
        """Return the number of in-neighbours of nodes, int64 [m], in their order."""
        found = np.empty(len(ids), np.int64)
        for start, mine in _runs(ids, RUN):
            stop = min(start + RUN, self.schema.num_nodes)
            found[mine] = self.load_rows(start, stop).degree[ids[mine] - start]
        return found

    def entries(
        self,
        ids: np.ndarray,
        slots: np.ndarray,
        columns: Sequence[str] = ("source", "weight"),
    ) -> dict[str, np.ndarray]:
        """Return the entries at places of rows.

        Parameters
        ----------
        ids, slots : int64 [m]
            The node of each entry, and its place in that node's row, from 0.
        columns
            "source": storage ids of the neighbours; "weight": float32 weights.

        Returns
        -------
        dict
            An array [m] for each column.
        """
        schema = self.schema
        found = {"source": np.empty(len(ids), schema.index_dtype)}
        found["weight"] = np.ones(len(ids), np.float32)
        for start, mine in _runs(ids, 1):
            block = self.load_rows(start, start + 1)
            found["source"][mine] = block.indices[slots[mine]]
            if block.weights is not None:
                found["weight"][mine] = block.weights[slots[mine]]
        return {name: found[name] for name in columns}

    def row_bytes(self) -> float | np.ndarray:
        """Return the bytes of a feature row: of all, or [N] where they differ."""
        known = self.schema.feature_row_bytes
        return 4.0 * self.schema.num_features if known is None else known

    def node_ids(self) -> np.ndarray | None:
        """Return what the user calls each node, by original id; None for 0..N-1."""
        return None

    def holdings(self) -> Holdings | None:
        """Return what the clusters of a vertex-cut hold."""
        return None

    def to_data(self) -> GraphData:
        """Return the whole graph in memory, in original order."""
        raise InputError(
            f"{type(self).__name__} has no to_data(): store the graph to read it back "
            "whole (graph.partition().save('graph.zarr'))"
        )


def _runs(ids: np.ndarray, length: int) -> list[tuple[int, np.ndarray]]:
    """Return the first id of each run of so many, and the places of its ids."""
    number = ids.astype(np.int64) // length
    return [(int(n) * length, np.flatnonzero(number == n)) for n in np.unique(number)]


def csr_rows(
    source: GraphSource, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the row pointers and storage ids of a run of a source's rows."""
    block = source.load_rows(start, stop)
    return block.indptr, block.indices


def clusters_of(source: GraphSource) -> Clusters:
    """Return the clusters that a source gives; what it leaves out is counted."""
    schema = source.schema
    bounds, edges = schema.cluster_bounds, schema.cluster_edges
    if bounds is None:
        bounds = equal_clusters(schema.num_nodes)
    if edges is None:
        degrees = source.degrees(np.arange(schema.num_nodes))
        edges = np.add.reduceat(degrees, bounds[:-1])
    return Clusters(bounds, edges, schema.cluster_crossing)
