"""Partition a graph in memory by any method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import PartitionError
from daskgnn.graph.memory.partitioned import PartitionedGraph
from daskgnn.graph.memory.vertexcut import VertexCutGraph, check_splittable
from daskgnn.partition import check_installed, choose_method, find_partitioner
from daskgnn.partition.assignment import (
    assigned_clusters,
    called_clusters,
    check_clusters,
    check_partitioner,
    is_assignment,
    partitioner_name,
)
from daskgnn.partition.methods.vertexcut import VERTEX_CUTS

if TYPE_CHECKING:
    from daskgnn.graph.memory.data import GraphData


def partition_graph(
    graph: GraphData, num_clusters: int = 64, method: Any = "auto", seed: int = 0
) -> PartitionedGraph:
    """Cut a graph into clusters and put its nodes into storage order.

    Parameters
    ----------
    graph
        The graph in its original order.
    num_clusters
        How many clusters to ask for; those that stay empty are left out. An
        assignment has its own.
    method
        A name from `PARTITIONERS` or `VERTEX_CUTS`; "auto", which is METIS, or from
        `AUTO_EDGES` entries on what fits of KaMinPar, its compressed form, and
        "cluster"; or an assignment: integers (N,), or the path of an ``.npy`` or text
        file of them; nodes with equal numbers stay together; or a function
        ``(adjacency, num_clusters, seed) -> integers (N,)`` of a scipy CSR matrix, see
        `daskgnn.partition.assignment.called_clusters`.
    seed
        Of the method's own choices: the same seed gives the same clusters.

    Raises
    ------
    PartitionError
        If the method is unknown, ``num_clusters`` is not in 1..N, the method or the
        assignment gives something else than one cluster for each node, or a vertex-cut
        is to split what it cannot.
    """
    _check_seed(seed)
    method = choose_method(method, graph.num_edges, graph.num_nodes)
    if is_assignment(method):
        clusters = assigned_clusters(graph, method)
        partitioner = {"method": "assignment", "seed": int(seed)}
        return PartitionedGraph.from_clusters(graph, clusters, partitioner)
    if callable(method):
        check_partitioner(method)
    elif method not in VERTEX_CUTS:
        find = find_partitioner(method)
        check_installed(method)
    _check_count(graph, num_clusters)
    asked = int(num_clusters), int(seed)
    name = partitioner_name(method) if callable(method) else method
    partitioner = {"method": name, "seed": int(seed), "asked": int(num_clusters)}
    if callable(method):
        clusters = called_clusters(graph, method, *asked)
        return PartitionedGraph.from_clusters(graph, clusters, partitioner)
    if method in VERTEX_CUTS:
        check_splittable(graph, 0, partitioner)
        cut = VERTEX_CUTS[method](graph, *asked)
        return VertexCutGraph.from_cut(graph, cut, partitioner)
    clusters = np.asarray(find(graph, *asked))
    check_clusters(clusters, f"method {method!r} gave", graph.num_nodes)
    return PartitionedGraph.from_clusters(graph, clusters, partitioner)


def _check_count(graph: GraphData, num_clusters: int) -> None:
    """Refuse a number of clusters that cannot be made."""
    if isinstance(num_clusters, bool) or not isinstance(num_clusters, int | np.integer):
        raise PartitionError(
            f"num_clusters={num_clusters!r} is no whole number: give one in "
            f"1..{graph.num_nodes}"
        )
    if not 1 <= num_clusters <= graph.num_nodes:
        raise PartitionError(
            f"num_clusters={num_clusters} for a graph of {graph.num_nodes} nodes: "
            f"give a number in 1..{graph.num_nodes}"
        )


def _check_seed(seed: int) -> None:
    """Refuse a seed that a method may not take."""
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**31:
        raise PartitionError(f"seed={seed!r}: give a whole number in 0..{2**31 - 1}")
