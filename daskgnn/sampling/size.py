"""The size of a graph, and of what a step samples of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GraphStats:
    """The size of a graph, from which samples are estimated.

    Examples
    --------
    >>> from daskgnn.sampling import GraphStats
    >>> GraphStats(num_nodes=100, num_edges=500)
    GraphStats(num_nodes=100, num_edges=500)
    """

    num_nodes: int
    """Number of nodes, N."""
    num_edges: int
    """Number of directed edges, E."""


@dataclass(frozen=True)
class SampleSize:
    """Roughly how much one step of one part samples.

    Examples
    --------
    >>> from daskgnn.sampling import GraphStats, NeighborSampler
    >>> size = NeighborSampler([3]).estimate(GraphStats(100, 500), num_seeds=10)
    >>> size.nodes, size.computed, size.edges
    (40.0, 10.0, 30.0)
    """

    nodes: float
    """Number of nodes."""
    computed: float
    """Nodes that some layer computes: all but the outermost."""
    edges: float
    """Number of edges of the outermost layer."""
