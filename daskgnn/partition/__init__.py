"""Order and cut: put the nodes of a graph into clusters of neighbours.

A partitioner is a function ``(graph, num_clusters, seed) -> int64 [N]``, the cluster
of each node. Where it can, neighbouring numbers are neighbouring clusters, so that
runs of clusters make good parts for any number of parts.
"""

from __future__ import annotations

import importlib.util
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import PartitionError
from daskgnn.partition.assignment import (
    assigned_clusters,
    called_clusters,
    check_partitioner,
    is_assignment,
    partitioner_name,
)
from daskgnn.partition.cutgraph import VertexCutGraph, check_spreadable
from daskgnn.partition.estimate import estimate as estimate_cost
from daskgnn.partition.hash import hash_clusters
from daskgnn.partition.kaminpar import kaminpar_clusters, terapart_clusters
from daskgnn.partition.metis import metis_clusters
from daskgnn.partition.order import range_clusters
from daskgnn.partition.ordered import PartitionedGraph
from daskgnn.partition.propagation import propagation_clusters
from daskgnn.partition.quality import Quality
from daskgnn.partition.spectral import spectral_clusters
from daskgnn.partition.streaming import fennel_clusters, ldg_clusters
from daskgnn.partition.vertexcut import VERTEX_CUTS
from daskgnn.partition.walks import walk_clusters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from daskgnn.graph.data import GraphData

PARTITIONERS: dict[str, Callable[[GraphData, int, int], np.ndarray]] = {
    "hash": hash_clusters,
    "range": range_clusters,
    "metis": metis_clusters,
    "kaminpar": kaminpar_clusters,
    "terapart": terapart_clusters,
    "ldg": ldg_clusters,
    "fennel": fennel_clusters,
    "cluster": propagation_clusters,
    "spectral": spectral_clusters,
    "random-walk": walk_clusters,
}
"""The methods by name."""

_PACKAGES = {"kaminpar": "kaminpar", "terapart": "kaminpar", "metis": "pymetis"}


AUTO_EDGES = 10_000_000
"""Entries from which on "auto" takes KaMinPar (docs/measurements/partitioning.md)."""


def settle_method(
    method: Any, num_edges: int, num_nodes: int = 0, free_bytes: int | None = None
) -> Any:
    """Return the method that "auto" means for E entries; others as they are.

    Parameters
    ----------
    free_bytes
        Memory that a large graph's partitioner may take; what is free, if not given.
    """
    if not isinstance(method, str) or method != "auto":
        return method
    if num_edges < AUTO_EDGES:
        return "metis"
    for name in ("kaminpar", "terapart") if _installed("kaminpar") else ("metis",):
        if estimate_cost(name, num_nodes, num_edges, free_bytes).fits:
            return name
    return "cluster"


def fallback_note(method: Any, num_edges: int, used: str = "metis") -> str:
    """Return a line where "auto" would rather take what is not installed, else ""."""
    large = num_edges >= AUTO_EDGES
    if not isinstance(method, str) or method != "auto" or not large:
        return ""
    if _installed("kaminpar"):
        return ""
    return (
        f"{'METIS' if used == 'metis' else used} was used because KaMinPar, which is "
        "faster on a graph of this size, is not installed: pip install "
        "'daskgnn[kaminpar]'"
    )


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
        is to spread what it cannot.
    """
    _check_seed(seed)
    method = settle_method(method, graph.num_edges, graph.num_nodes)
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
    if callable(method):
        clusters = called_clusters(graph, method, int(num_clusters), int(seed))
        name = partitioner_name(method)
        partitioner = {"method": name, "seed": int(seed), "asked": int(num_clusters)}
        return PartitionedGraph.from_clusters(graph, clusters, partitioner)
    partitioner = {"method": method, "seed": int(seed), "asked": int(num_clusters)}
    if method in VERTEX_CUTS:
        check_spreadable(graph, 0, partitioner)
        cut = VERTEX_CUTS[method](graph, int(num_clusters), int(seed))
        return VertexCutGraph.from_cut(graph, cut, partitioner)
    clusters = np.asarray(find(graph, int(num_clusters), int(seed)))
    if clusters.shape != (graph.num_nodes,) or clusters.dtype.kind not in "iu":
        raise PartitionError(
            f"method {method!r} gave an array {clusters.dtype} {clusters.shape}, "
            f"expected the cluster of each node: integers ({graph.num_nodes},)"
        )
    return PartitionedGraph.from_clusters(graph, clusters, partitioner)


def find_partitioner(
    method: Any, known: Iterable[str] = ()
) -> Callable[[GraphData, int, int], np.ndarray]:
    """Return a method by its name; an error lists `known`, or the methods there are.

    Raises
    ------
    PartitionError
        If there is none; near names are listed.
    """
    if method in VERTEX_CUTS and not known:
        raise PartitionError(
            f"method {method!r} is a vertex-cut, which needs the graph in memory: "
            "leave --out-of-core out, or use --method cluster"
        )
    if method not in PARTITIONERS:
        names = list(known) or [*PARTITIONERS, *VERTEX_CUTS]
        near = get_close_matches(str(method), names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise PartitionError(
            f"unknown partition method {method!r}, expected one of "
            f"{', '.join(names)}{'' if known else ', or the path of an assignment'}"
            f"{hint}"
        )
    return PARTITIONERS[method]


def check_installed(method: str) -> None:
    """Raise `PartitionError` if a method needs a package that is not installed."""
    package = _PACKAGES.get(method)
    if package is not None and not _installed(package):
        raise PartitionError(
            f"method {method!r} needs a package that is not installed: pip install "
            f"{package}"
        )


def _installed(package: str) -> bool:
    """Tell whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


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


__all__ = [
    "PARTITIONERS",
    "PartitionedGraph",
    "Quality",
    "check_installed",
    "fallback_note",
    "find_partitioner",
    "partition_graph",
    "settle_method",
]
