"""What a graph source knows before any row is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, eq=False, kw_only=True)
class GraphSchema:
    """What a source knows of its graph before any row is read.

    Ids are storage ids: positions in the order in which the source has the nodes. Parts
    are runs of this order, so neighbours should be near each other in it.

    Examples
    --------
    >>> import numpy as np
    >>> import daskgnn
    >>> schema = daskgnn.GraphSchema(
    ...     num_nodes=100,
    ...     num_edges=200,
    ...     version="ring-1",
    ...     num_features=4,
    ...     num_classes=2,
    ...     splits={"train": np.arange(60)},
    ... )
    >>> schema.tables
    ('features', 'labels')
    >>> schema.has_features, schema.has_labels
    (True, True)
    """

    num_nodes: int
    """Number of nodes, N."""
    num_edges: int
    """Number of directed edges, E: an undirected edge counts twice."""
    version: str
    """Identifies this content in this order: change it when the content changes."""
    num_features: int = 0
    """Number of features of a node, F; 0 without features."""
    num_classes: int = 0
    """Number of classes, or of yes/no labels, C."""
    name: str = "graph"
    """Name of the graph in reports and messages."""
    splits: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Sorted int64 storage ids of "train", "val" and "test"."""
    tables: tuple[str, ...] = ("features", "labels")
    """The tables that `GraphSource.rows` can read. Add "original_ids" if a node's id is
    not its storage id."""
    directed: bool = False
    """Whether an edge may lack its reverse."""
    weighted: bool = False
    """Whether edges have weights."""
    multilabel: bool = False
    """Whether labels are float32 [N, C] with NaN for unknown, not int64 [N] with -1."""
    metric: str | None = None
    """How predictions are scored: see `GraphData.metric`."""
    index_dtype: np.dtype = field(default_factory=lambda: np.dtype(np.int32))
    """Type of storage ids in blocks: int32 or int64."""
    feature_dtype: str = "float32"
    """Type of stored features: "float32", "float16" or "bfloat16"."""
    sparse_features: bool = False
    """Whether features are CSR blocks, in float32."""
    feature_row_bytes: float | None = None
    """Mean size of a stored feature row in bytes, if it is not 4 F."""
    max_degree: int = 0
    """Largest number of in-neighbours of a node; 0 if it is not known."""
    cluster_bounds: np.ndarray | None = None
    """int64 [num_clusters + 1]: runs of nodes that stay in one part; by default up to
    64 equal runs."""
    cluster_edges: np.ndarray | None = None
    """int64 [num_clusters], directed edges of each cluster; by default the degrees of
    all nodes are summed once, when the graph is opened."""
    cluster_crossing: np.ndarray | None = None
    """int64 [num_clusters + 1], edges that cross each bound; stores of older versions
    have it."""
    on_demand: bool = False
    """Whether parts hold only degrees and read edges from the source as they are
    sampled."""
    split_bounds: np.ndarray | None = None
    """int64 [num_clusters + 1] of a vertex-cut: the first edge of split rows that each
    cluster holds."""
    split_rows_bytes: int = 0
    """Bytes of the index of a vertex-cut's split rows."""
    graph_hash: str = ""
    """Identifies the content in any order; by default `version`."""
    report: dict[str, int] = field(default_factory=dict)
    """Counts from reading the input: see `GraphData.report`."""
    partitioner: dict[str, Any] = field(default_factory=dict)
    """How the clusters were made: the method and its seed."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes; None where they are called by their numbers."""

    @property
    def has_features(self) -> bool:
        """Whether nodes have features."""
        return self.sparse_features or "features" in self.tables

    @property
    def has_labels(self) -> bool:
        """Whether nodes have labels."""
        return "labels" in self.tables
