"""The partitioners by name, and which of them "auto" means.

A partitioner is a function ``(graph, num_clusters, seed) -> int64 [N]``, the cluster
of each node. All clusters that were asked for have nodes. Where it can, neighbouring
numbers are neighbouring clusters, so that runs of clusters make good parts for any
number of parts.
"""

from __future__ import annotations

import importlib.util
from difflib import get_close_matches
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from daskgnn.errors import PartitionError
from daskgnn.partition.estimate import estimate as estimate_cost
from daskgnn.partition.methods.embedding import spectral_clusters, walk_clusters
from daskgnn.partition.methods.exactly import exactly
from daskgnn.partition.methods.hash_range import hash_clusters, range_clusters
from daskgnn.partition.methods.multilevel import (
    kaminpar_clusters,
    metis_clusters,
    terapart_clusters,
)
from daskgnn.partition.methods.propagation import propagation_clusters
from daskgnn.partition.methods.streaming import fennel_clusters, ldg_clusters
from daskgnn.partition.methods.vertexcut import VERTEX_CUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np

    from daskgnn.partition.methods.structure import Structure

    Partitioner = Callable[[Structure, int, int], np.ndarray]


def _exact(find: Partitioner) -> Partitioner:
    """Return a method that leaves no cluster empty."""

    def found(graph: Structure, num_clusters: int, seed: int) -> np.ndarray:
        return exactly(graph, find(graph, num_clusters, seed), num_clusters)

    return update_wrapper(found, find)


_METHODS: dict[str, Partitioner] = {
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
PARTITIONERS = {name: _exact(find) for name, find in _METHODS.items()}
"""The partitioners by name: what `GraphData.partition` takes as `method`.

Each is a function ``(graph, num_clusters, seed) -> int64 [N]``, the cluster of each
node, as many as were asked for; neighbouring clusters have neighbouring numbers where
the method can tell."""

_PACKAGES = {"kaminpar": "kaminpar", "terapart": "kaminpar", "metis": "pymetis"}


AUTO_EDGES = 10_000_000
"""Entries from which on "auto" takes KaMinPar (docs/measurements/partitioning.md)."""


def choose_method(
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
    for name in ("kaminpar", "terapart") if is_installed("kaminpar") else ("metis",):
        if estimate_cost(name, num_nodes, num_edges, free_bytes).fits:
            return name
    return "cluster"


def fallback_note(method: Any, num_edges: int, used: str = "metis") -> str:
    """Return a line where "auto" would rather take what is not installed, else ""."""
    auto = isinstance(method, str) and method == "auto"
    if not auto or num_edges < AUTO_EDGES or is_installed("kaminpar"):
        return ""
    return (
        f"{'METIS' if used == 'metis' else used} was used because KaMinPar, which is "
        "faster on a graph of this size, is not installed: pip install "
        "'daskgnn[kaminpar]'"
    )


def find_partitioner(
    method: Any, known: Iterable[str] = ()
) -> Callable[[Structure, int, int], np.ndarray]:
    """Return a method by its name; an error lists `known`, or the methods there are.

    Raises
    ------
    PartitionError
        If there is none; near names are listed.
    """
    if method in VERTEX_CUTS and not known:
        raise PartitionError(
            f"method {method!r} is a vertex-cut, which needs the graph in memory",
            python="use graph.partition(...).save(...), or method='cluster'",
            shell="leave --out-of-core out, or use --method cluster",
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
    if not is_installed(method):
        raise PartitionError(
            f"method {method!r} needs a package that is not installed: pip install "
            f"{_PACKAGES[method]}"
        )


def is_installed(method: str) -> bool:
    """Tell whether what a method needs can be imported."""
    package = _PACKAGES.get(method)
    return package is None or importlib.util.find_spec(package) is not None
