"""A whole graph in memory, in the user's node order; features may be elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.display import graph_table
from daskgnn.graph.memory import checks

if TYPE_CHECKING:
    import scipy.sparse as sp

    from daskgnn.graph.memory.partitioned import PartitionedGraph


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


@dataclass(frozen=True, repr=False)
class GraphData:
    """A graph of N nodes and E entries in memory, in original order.

    Row *v* lists the nodes that send messages to *v*. Made by ``from_edge_index``,
    ``from_scipy``, ``from_networkx``, ``from_pyg``, ``read_npz`` or
    ``load_dataset``; making one checks every array.

    Raises
    ------
    GraphFormatError
        If an array breaks what is said of it here.
    """

    indptr: np.ndarray
    """int64 [N+1], CSR row pointers."""
    indices: np.ndarray
    """int32 [E], in-neighbours: each row sorted, without repeats."""
    edge_weight: np.ndarray | None = None
    """float32 [E], not negative, or None where every edge weighs 1."""
    edge_attr: dict[str, np.ndarray] = field(default_factory=dict)
    """Further values of the edges by name, each [E, ...]."""
    features: np.ndarray | RowSource | sp.csr_array | None = None
    """float32 (N, F), dense, made when asked for, or CSR."""
    labels: np.ndarray | None = None
    """int64 (N,) with -1, or float32 (N, C) with NaN, for "not given"."""
    num_classes: int = 0
    """C."""
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    """Sorted int64 node ids of "train", "val", "test"."""
    directed: bool = False
    """Whether rows may lack the reverse of an edge."""
    name: str = "graph"
    """What reports call it."""
    metric: str | None = None
    """"accuracy", "rocauc", "f1_micro", "f1_macro", "ap" or "ogb:<data set>"."""
    node_ids: np.ndarray | None = None
    """int64 or str (N,), what the user calls each node, where ids were mapped."""
    report: dict[str, int] = field(default_factory=dict)
    """What the builder met: input_edges, self_loops_dropped, isolated_nodes, ..."""

    def __post_init__(self) -> None:
        """Check every array."""
        num_nodes = checks.check_rows(self.indptr, self.indices)
        checks.check_edge_values(self.edge_weight, self.edge_attr, len(self.indices))
        if self.features is not None:
            checks.check_features(self.features, num_nodes)
        if self.labels is not None:
            checks.check_labels(self.labels, num_nodes, self.num_classes)
        checks.check_splits(self.splits, self.labels, num_nodes)
        if self.node_ids is not None:
            checks.check_node_ids(self.node_ids, num_nodes)

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.indptr) - 1

    @property
    def num_edges(self) -> int:
        """E, the entries: an undirected edge counts twice, a self-loop once."""
        return len(self.indices)

    @property
    def num_features(self) -> int:
        """F, 0 without features."""
        return 0 if self.features is None else int(self.features.shape[1])

    @property
    def multilabel(self) -> bool:
        """Whether labels are (N, C) yes/no targets."""
        return self.labels is not None and self.labels.ndim == 2

    def partition(
        self, num_clusters: int | None = None, method: Any = "auto", seed: int = 0
    ) -> PartitionedGraph:
        """Cut the graph into clusters and put its nodes into storage order.

        Parameters
        ----------
        num_clusters
            How many clusters; 64, or N // 4 where that is less, if not given.
        method
            A name from ``daskgnn.partition.PARTITIONERS``; "dbh" or "hdrf", which
            split rows of high degree; "auto", which is METIS, or for many edges
            KaMinPar where it is installed; or an assignment: integers (N,), or the
            path of an ``.npy`` or text file of them; or a function of your own,
            ``(adjacency, num_clusters, seed) -> integers (N,)``.

        Raises
        ------
        PartitionError
            If the method is unknown or ``num_clusters`` is not in 1..N; if rows are to
            be split and edges have attributes.
        """
        from daskgnn.graph.memory.partitioning import partition_graph
        from daskgnn.partition.book import default_clusters

        if num_clusters is None:
            num_clusters = default_clusters(self.num_nodes)
        return partition_graph(self, num_clusters, method, seed)

    def __repr__(self) -> str:
        """Return one line of counts."""
        sizes = ", ".join(f"{len(ids)} {name}" for name, ids in self.splits.items())
        return (
            f"GraphData({self.name!r}, {self.num_nodes} nodes, {self.num_edges} edges, "
            f"{self.num_features} features, {self.num_classes} classes"
            f"{', ' + sizes if sizes else ''}{', directed' if self.directed else ''})"
        )

    def _repr_html_(self) -> str:
        """Return a table of counts."""
        return graph_table("GraphData", self, "num_features", "num_classes", "directed")
