"""The size of a graph, and of what a step samples of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1
from typing import Any

import numpy as np

TRAIN_NODES = 32
"""Training nodes of a step unless its size is given: fewer give a noisy gradient."""
MOST_NODES = 2**15
"""Nodes of a step that may have fewer training nodes than that instead."""

_RUNS, _RUN = 8, 1024
"""Nodes whose degrees are read: runs of them, and how many are in each."""


@dataclass(frozen=True)
class GraphStats:
    """The size of a graph, from which samples are estimated.

    Examples
    --------
    >>> from daskgnn.sampling import GraphStats
    >>> GraphStats(num_nodes=100, num_edges=500)
    GraphStats(num_nodes=100, num_edges=500, num_parts=1)
    """

    num_nodes: int
    """Number of nodes, N."""
    num_edges: int
    """Number of directed edges, E."""
    num_parts: int = 1
    """Number of parts, of about equal size."""


@dataclass(frozen=True)
class SampleSize:
    """Roughly how much one step of one part samples.

    Examples
    --------
    >>> from daskgnn.sampling import GraphStats, NeighborSampler
    >>> size = NeighborSampler([3]).estimate(GraphStats(100, 500), num_seeds=10)
    >>> size.nodes, size.computed, size.edges
    (33.3..., 10.0, 30.0)
    """

    nodes: float
    """Number of nodes."""
    computed: float
    """Nodes that some layer computes: all but the outermost."""
    edges: float
    """Number of edges of the outermost layer."""
    kept: float = 0.0
    """Bytes of what is kept beside the rows of one part, for all steps: see
    `Sampler.part_data`."""


def grown(stats: GraphStats, num_seeds: int, limits: tuple[float, ...]) -> SampleSize:
    """Return what seeds reach if neighbours are anywhere in the graph.

    Parameters
    ----------
    stats : GraphStats
        Size of the graph.
    num_seeds : int
        Seeds of the part.
    limits : tuple of int or float
        Neighbours that each layer visits of a node at most, the seeds' layer first.
    """
    num_nodes = max(stats.num_nodes, 1)
    mean_degree = max(stats.num_edges / num_nodes, 1.0)
    nodes = [float(num_seeds)]
    for limit in limits:
        met = nodes[-1] * min(limit, mean_degree)
        others = max(num_nodes - nodes[-1], 0)
        nodes.append(nodes[-1] + others * -expm1(-met / num_nodes))
    edges = min(nodes[-2] * min(limits[-1], mean_degree), stats.num_edges)
    return SampleSize(nodes[-1], nodes[-2], edges)


def default_share(graph: Any) -> float:
    """Return the share of a graph's nodes that has enough training nodes for a step."""
    enough = TRAIN_NODES / max(len(graph.splits.get("train", ())), 1)
    return float(min(enough, MOST_NODES / max(graph.num_nodes, 1), 1.0))


def some_degrees(graph: Any) -> np.ndarray:
    """Return the degrees of some nodes from all over a graph, int64."""
    firsts = np.linspace(0, max(graph.num_nodes - _RUN, 0), _RUNS).astype(np.int64)
    ends = np.minimum(firsts + _RUN, graph.num_nodes)
    runs = [np.arange(*pair) for pair in zip(firsts, ends, strict=True)]
    return np.concatenate([graph.source.degrees(run) for run in runs])


def expected_draws(degree: np.ndarray, limit: int) -> tuple[float, float]:
    """Return how many neighbours are drawn of a node, and of one that is drawn itself.

    A node is as likely to be drawn as it has neighbours.
    """
    drawn = np.minimum(degree, limit)
    return float(drawn.mean()), float(degree @ drawn / max(degree.sum(), 1))
