"""The clusters of a source, from which the partition book is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from daskgnn.partition.book import Clusters, equal_clusters

if TYPE_CHECKING:
    from daskgnn.graph.sources.source import GraphSource


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
