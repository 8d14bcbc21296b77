"""Partition a graph in memory by any method, or compare what methods give."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import PartitionError
from daskgnn.graph.memory.partitioned import PartitionedGraph
from daskgnn.graph.memory.vertexcut import VertexCutGraph, check_splittable
from daskgnn.partition.assignment import (
    assigned_clusters,
    called_clusters,
    check_clusters,
    check_partitioner,
    is_assignment,
    partitioner_name,
)
from daskgnn.partition.book import default_clusters
from daskgnn.partition.measured import Measured, run_measured
from daskgnn.partition.methods.vertexcut import VERTEX_CUTS, VertexCut
from daskgnn.partition.partitioners import (
    PARTITIONERS,
    check_installed,
    choose_method,
    find_partitioner,
)
from daskgnn.values import is_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.graph.memory.data import GraphData

COMPARABLE = (*PARTITIONERS, *VERTEX_CUTS)
"""Names that `compare` knows: partitioners, and vertex-cuts."""


def partition_graph(
    graph: GraphData,
    num_clusters: int | None = None,
    method: Any = "auto",
    seed: int = 0,
) -> PartitionedGraph:
    """Cut a graph into clusters and put its nodes into storage order.

    Parameters
    ----------
    graph
        The graph in its original order.
    num_clusters
        How many clusters there are to be; by default `default_clusters`. An assignment
        has its own, and a function may leave some empty: if there are fewer than asked
        for, a warning says so.
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
        found = PartitionedGraph.from_clusters(graph, clusters, partitioner)
        return _told("the assignment has", found, num_clusters)
    if num_clusters is None:
        num_clusters = default_clusters(graph.num_nodes)
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
        found = PartitionedGraph.from_clusters(graph, clusters, partitioner)
        return _told(f"{name} gave", found, num_clusters)
    if method in VERTEX_CUTS:
        check_splittable(graph, 0, partitioner)
        cut = VERTEX_CUTS[method](graph, *asked)
        return VertexCutGraph.from_cut(graph, cut, partitioner)
    clusters = np.asarray(find(graph, *asked))
    check_clusters(clusters, f"method {method!r} gave", graph.num_nodes)
    found = PartitionedGraph.from_clusters(graph, clusters, partitioner)
    return _told(f"method {method!r} gave", found, num_clusters)


def _told(said: str, found: PartitionedGraph, asked: int | None) -> PartitionedGraph:
    """Warn if a user's own clusters are not as many as were asked for."""
    if asked is not None and found.num_clusters != asked:
        warnings.warn(
            f"{said} {found.num_clusters} clusters, asked for were {asked}: the graph "
            f"can be opened with at most {found.num_clusters} parts",
            stacklevel=4,
        )
    return found


def _check_count(graph: GraphData, num_clusters: int) -> None:
    """Refuse a number of clusters that cannot be made."""
    said, most = f"num_clusters={num_clusters!r}", graph.num_nodes
    if not is_whole(num_clusters):
        raise PartitionError(f"{said} is not a whole number: give one in 1..{most}")
    if not 1 <= num_clusters <= most:
        raise PartitionError(
            f"{said} for a graph of {most} nodes: give a number in 1..{most}"
        )


def _check_seed(seed: int) -> None:
    """Refuse a seed that a method may not take."""
    if not is_whole(seed) or not 0 <= seed < 2**31:
        raise PartitionError(f"seed={seed!r}: give a whole number in 0..{2**31 - 1}")


@dataclass(frozen=True)
class Compared:
    """One method's numbers, when its clusters are opened as some number of parts."""

    method: str
    """Its name."""
    num_parts: int
    """P."""
    num_clusters: int
    """C, those that are not empty."""
    edge_cut: float
    """Share of the entries whose ends' masters lie in different parts."""
    halo_share: float
    """Halo nodes over all nodes that the parts hold."""
    replication_factor: float
    """Nodes that the parts hold, own and others', over N; of a vertex-cut, a node is
    held by its master's part and by every part that holds one of its edges, as they
    are stored."""
    node_balance: float
    """Largest part over the mean, in nodes."""
    edge_balance: float
    """In entries; of a vertex-cut, by the part that holds them."""
    seed_balance: float | None
    """In training nodes; None without any."""
    remote_rows_per_step: float
    """Feature rows of other parts a step needs, estimated (see `Quality`)."""
    remote_bytes_per_step: float
    """Their bytes."""
    seconds: float
    """Of the method alone, on this machine."""
    peak_bytes: int
    """Memory besides the graph itself."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers, for JSON."""
        return asdict(self)


def compare(
    graph: GraphData,
    methods: Sequence[str],
    *,
    num_parts: int = 2,
    num_clusters: int | None = None,
    seed: int = 0,
    started: Callable[[str], None] | None = None,
    **traffic: Any,
) -> list[Compared]:
    """Run methods on a graph, each in a process of its own, and measure their cuts.

    Parameters
    ----------
    graph
        The graph; it is not changed and nothing is stored.
    methods
        Names from `COMPARABLE`.
    num_parts
        P, the number of parts that the numbers are for.
    num_clusters
        As for ``graph.partition``.
    started
        Called with the name of each method before it runs.
    traffic
        Of the training whose traffic is estimated: num_neighbors, batch_size, window,
        as of `PartitionedGraph.quality`.

    Raises
    ------
    PartitionError
        If a method is unknown, not installed, or fails; if `num_parts` exceeds the
        clusters; or if the sampling cannot be.
    """
    for method in methods:
        if method not in VERTEX_CUTS:
            find_partitioner(method, COMPARABLE)
            check_installed(method)
    count = default_clusters(graph.num_nodes) if num_clusters is None else num_clusters
    found = []
    for method in methods:
        if started is not None:
            started(method)
        run = run_measured(graph, method, count, seed)
        ordered = _ordered(graph, method, run)
        quality = ordered.quality(num_parts, **traffic)
        told: dict[str, Any] = {
            field.name: getattr(source, field.name)
            for source in (quality, run)
            for field in fields(Compared)
            if hasattr(source, field.name)
        }
        found.append(Compared(method, num_clusters=ordered.num_clusters, **told))
    return found


def _ordered(graph: GraphData, method: str, run: Measured) -> PartitionedGraph:
    """Put a graph into the order that a method gave."""
    partitioner = {"method": method}
    if run.holders is None:
        return PartitionedGraph.from_clusters(graph, run.clusters, partitioner)
    cut = VertexCut(run.clusters, run.holders)
    return VertexCutGraph.from_cut(graph, cut, partitioner)
