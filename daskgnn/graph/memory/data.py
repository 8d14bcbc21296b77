"""A whole graph in memory, in the user's node order; features may be elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.display import graph_table
from daskgnn.graph.memory import checks
from daskgnn.graph.memory.absent import not_opened
from daskgnn.graph.memory.origin import Origin

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
    """A graph of N nodes and E directed edges in memory, in the user's node order.

    The adjacency is CSR: row *v* lists the nodes that send messages to *v*. Graphs are
    usually made by `load_dataset`, `from_edge_index`, `read_edge_list` and the other
    readers. Every array is checked when the object is created.

    Raises
    ------
    GraphFormatError
        If an array is not as described here.

    Examples
    --------
    >>> import daskgnn
    >>> data = daskgnn.load_dataset("karate")
    >>> data.num_nodes, data.num_edges, data.num_features
    (34, 156, 34)
    >>> data.indices[data.indptr[11] : data.indptr[12]]  # who sends messages to node 11
    array([0], dtype=int32)
    >>> data.multilabel, data.has_features, data.has_labels
    (False, True, True)
    """

    indptr: np.ndarray
    """int64 [N+1], CSR row pointers."""
    indices: np.ndarray
    """int32 [E], in-neighbours: sorted within each row, without repeats."""
    edge_weight: np.ndarray | None = None
    """float32 [E], not negative; None if every edge has weight 1."""
    edge_attr: dict[str, np.ndarray] = field(default_factory=dict)
    """Further edge attributes by name, each [E, ...]."""
    features: np.ndarray | RowSource | sp.csr_array | None = None
    """float32 [N, F]: a numpy array, a scipy CSR matrix, or rows computed on demand."""
    labels: np.ndarray | None = None
    """Class numbers, int64 [N] with -1 for unlabelled nodes; or several yes/no labels a
    node, float32 [N, C] with NaN for unknown ones."""
    num_classes: int = 0
    """Number of classes, or of yes/no labels, C."""
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    """Sorted int64 node ids of the splits "train", "val" and "test"."""
    directed: bool = False
    """Whether an edge may lack its reverse."""
    name: str = "graph"
    """Name of the graph in reports and messages."""
    metric: str | None = None
    """How predictions are scored: "accuracy", "rocauc", "f1_micro", "f1_macro", "ap" or
    "ogb:<data set>"; None means accuracy."""
    node_ids: np.ndarray | None = None
    """int64, or text of variable width (``numpy.dtypes.StringDType``), [N]: the ids in
    the input, where they were mapped to 0..N-1."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes [C], where labels were words; None where classes are called
    by their numbers."""
    report: dict[str, int] = field(default_factory=dict)
    """Counts from reading the input: input_edges, self_loops_dropped, isolated_nodes,
    ..."""
    origin: Origin = field(default_factory=Origin)
    """The names of the columns and the file of a table of nodes, for messages."""

    def __post_init__(self) -> None:
        """Check every array."""
        num_nodes = checks.check_rows(self.indptr, self.indices)
        if self.node_ids is not None:
            checks.check_node_ids(self.node_ids, num_nodes)
        origin = origin_of(self)
        rows = self.indptr, self.indices
        checks.check_edge_values(self.edge_weight, self.edge_attr, rows, origin)
        if self.features is not None:
            checks.check_features(self.features, num_nodes, origin)
        if self.labels is not None:
            checks.check_labels(self.labels, num_nodes, self.num_classes, origin)
        checks.check_splits(self.splits, self.labels, num_nodes, origin)
        if self.class_names is not None:
            checks.check_class_names(self.class_names, self.num_classes)

    @property
    def num_nodes(self) -> int:
        """Number of nodes, N."""
        return len(self.indptr) - 1

    @property
    def num_edges(self) -> int:
        """Number of directed edges, E; an undirected edge counts twice."""
        return len(self.indices)

    @property
    def num_features(self) -> int:
        """Number of features of a node, F; 0 without features."""
        return 0 if self.features is None else int(self.features.shape[1])

    @property
    def has_features(self) -> bool:
        """Whether nodes have features."""
        return self.features is not None

    @property
    def has_labels(self) -> bool:
        """Whether nodes have labels."""
        return self.labels is not None

    @property
    def multilabel(self) -> bool:
        """Whether a node can have several labels: `labels` is then [N, C]."""
        return self.labels is not None and self.labels.ndim == 2

    def partition(
        self, num_clusters: int | None = None, method: Any = "auto", seed: int = 0
    ) -> PartitionedGraph:
        """Partition the graph: group its nodes into clusters of neighbours.

        A partitioned graph can be opened with any number of parts up to the number of
        clusters; each part is a run of whole clusters.

        Parameters
        ----------
        num_clusters : int, optional
            Number of clusters; by default 64, or N // 4 where that is less. Clusters of
            your own may be fewer, which a warning says.
        method : str, array of int, path or callable, default "auto"
            The partitioner: a name from `daskgnn.partition.PARTITIONERS`; "dbh" or
            "hdrf", which split the rows of nodes of high degree over several parts; or
            "auto", which is METIS, or for 10 million directed edges and more KaMinPar
            where it is installed. Alternatively the cluster of each node, integers [N],
            or the path of an ``.npy`` or text file of them; or a function ``(adjacency,
            num_clusters, seed) -> integers [N]`` of a scipy CSR matrix.
        seed : int, default 0
            Seed of the partitioner: the same seed gives the same clusters.

        Returns
        -------
        PartitionedGraph
            The graph with its nodes ordered by cluster.

        Raises
        ------
        PartitionError
            If the method is unknown or not installed, or `num_clusters` is not in 1..N;
            if rows would be split and edges have attributes.

        Examples
        --------
        >>> import daskgnn
        >>> data = daskgnn.load_dataset("karate")
        >>> partitioned = data.partition(num_clusters=4, method="metis")
        >>> partitioned.num_clusters
        4
        >>> data.partition(method=[0] * 17 + [1] * 17).cluster_bounds
        array([ 0, 17, 34])
        """
        from daskgnn.graph.memory.partitioning import partition_graph

        return partition_graph(self, num_clusters, method, seed)

    def split(
        self,
        train: int | float | None = None,
        val: int | float | None = None,
        test: int | float | None = None,
        *,
        by: str | None = None,
        per_class: int | None = None,
        seed: int = 0,
    ) -> GraphData:
        """Return the graph with training, validation and test nodes drawn anew.

        They are drawn from the nodes whose labels are known.

        Parameters
        ----------
        train, val, test : float or int, optional
            A share of these nodes, as in 0.6, or a number of them. Without `test`, all
            that is left is the test split.
        by : str, optional
            "label": every class has the same share in each split.
        per_class : int, optional
            Training nodes of each class, instead of `train`.
        seed : int, default 0
            The same seed gives the same splits.

        Returns
        -------
        GraphData
            The same graph with other splits.

        Raises
        ------
        InputError
            If there are fewer nodes than asked for, or settings contradict each other.

        Examples
        --------
        >>> import daskgnn
        >>> data = daskgnn.load_dataset("karate").split(train=0.6, val=0.2, by="label")
        >>> {name: len(ids) for name, ids in data.splits.items()}
        {'train': 20, 'val': 7, 'test': 7}
        >>> len(data.split(per_class=5, val=10).splits["train"])
        10
        """
        from daskgnn.graph.memory.splitting import draw_splits

        sizes = {"train": train, "val": val, "test": test}
        known = self.labels, self.num_nodes, sizes
        return replace(self, splits=draw_splits(*known, by, per_class, seed))

    if not TYPE_CHECKING:  # mypy would let any name pass
        __getattr__ = not_opened

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


def origin_of(data: GraphData) -> Origin:
    """Return what messages call a graph's nodes and columns."""
    return replace(data.origin, node_ids=data.node_ids)
