"""The vertex-cuts "dbh" and "hdrf": edges, not nodes, are assigned to clusters.

Degree-based hashing (Xie, Yan, Li and Zhang, "Distributed power-law graph computing",
NIPS 2014) and HDRF (Petroni et al., "HDRF: stream-based partitioning for power-law
graphs", CIKM 2015). Each node has a master: the cluster of its number in the order, as
with the other methods; the entries of its row may lie elsewhere. In an undirected graph
both entries of an edge lie together. N nodes, E entries, C clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.counter import derive_key, keys_below
from daskgnn.kernels.jit import njit
from daskgnn.partition.methods.exactly import fill_empty

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.partition.methods.structure import Structure

BALANCE = 1.1
"""HDRF's lambda: what an even spread of the edges is worth, in copies of a node."""


@dataclass(frozen=True, eq=False)
class VertexCut:
    """The clusters of nodes and edges."""

    masters: np.ndarray
    """int64 [N], the cluster of each node."""
    holders: np.ndarray
    """int32 [E], the cluster of each entry of the graph's rows."""


def dbh_cut(graph: Structure, num_clusters: int, seed: int) -> VertexCut:
    """Put each edge where the hash of its end of lower degree says.

    Hubs are split, and nodes of low degree stay whole. Cost: linear, about 0.02 s a
    million entries. Memory: 16 bytes a node and 4 an entry. When: degrees follow a
    power law so steep that no edge-cut helps (social networks), and speed matters.
    """
    degree = np.diff(graph.indptr) + _out_degree(graph)
    masters = keys_below(np.uint64(derive_key(seed)), np.arange(graph.num_nodes))
    masters %= np.uint64(num_clusters)
    masters = fill_empty(graph, masters.view(np.int64), num_clusters)
    holders = np.empty(graph.num_edges, np.int32)
    _hash_edges(graph.indptr, graph.indices, degree, masters, holders)
    return VertexCut(masters, holders)


def hdrf_cut(graph: Structure, num_clusters: int, seed: int) -> VertexCut:
    """Put each edge where its ends are already, rather splitting the higher degree.

    A node belongs to the cluster that holds most of its row. Cost: linear in the
    entries times the clusters, about 0.6 s a million entries with 64. Memory: 16 bytes
    a node, 4 an entry, and a bit for each node and cluster. When: as of dbh, where
    fewer copies are worth the time. The order of the edges decides, not the seed.
    """
    count = graph.num_nodes
    held = np.zeros((count, -(-num_clusters // 64)), np.uint64)
    holders = np.full(graph.num_edges, -1, np.int32)
    loads = np.zeros(num_clusters, np.int64)
    degree = np.diff(graph.indptr) + _out_degree(graph)
    rows, both = (graph.indptr, graph.indices), not graph.directed
    _hdrf_edges(rows, degree, held, loads, both, holders)
    masters = np.empty(count, np.int64)
    _most_held(graph.indptr, holders, num_clusters, masters)
    return VertexCut(fill_empty(graph, masters, num_clusters), holders)


VERTEX_CUTS: dict[str, Callable[[Structure, int, int], VertexCut]] = {
    "dbh": dbh_cut,
    "hdrf": hdrf_cut,
}
"""The methods by name."""


def _out_degree(graph: Structure) -> Any:
    """Return int64 [N] the out-degrees of a directed graph, else 0: rows hold them."""
    if not graph.directed:
        return 0
    return np.bincount(graph.indices, minlength=graph.num_nodes)


@njit(cache=True, nogil=True)
def _hash_edges(
    indptr: Any, indices: Any, degree: Any, masters: Any, holders: Any
) -> None:
    """Write each entry's cluster: that of the end of lower degree, then lower id."""
    for node in range(len(degree)):
        for slot in range(indptr[node], indptr[node + 1]):
            other = indices[slot]
            lower = (degree[node], node) < (degree[other], np.int64(other))
            holders[slot] = masters[node] if lower else masters[other]


@njit(cache=True, nogil=True)
def _hdrf_edges(
    rows: Any, degree: Any, held: Any, loads: Any, both: bool, holders: Any
) -> None:
    """Write each entry's cluster by HDRF, row after row; the reverse entry's too."""
    indptr, indices = rows
    most, least = 0, 0
    for node in range(len(degree)):
        for slot in range(indptr[node], indptr[node + 1]):
            if holders[slot] >= 0:
                continue
            other = indices[slot]
            best = _best_cluster(node, other, degree, held, loads, most, least)
            holders[slot] = best
            weight = 1
            if both and other != node:
                holders[_find(indptr, indices, other, node)] = best
                weight = 2
            before = loads[best]
            loads[best] += weight
            most = max(most, loads[best])
            if before == least:
                least = loads.min()
            word, bit = best >> 6, np.uint64(1) << np.uint64(best & 63)
            held[node, word] |= bit
            held[other, word] |= bit


@njit(cache=True, nogil=True)
def _best_cluster(
    node: int, other: int, degree: Any, held: Any, loads: Any, most: int, least: int
) -> int:
    """Return the cluster that HDRF prefers for an edge; the first of equal ones."""
    share = degree[node] / (degree[node] + degree[other])
    best, worth = 0, -1.0
    for c in range(len(loads)):
        word, place = c >> 6, np.uint64(c & 63)
        here = BALANCE * (most - loads[c]) / (1.0 + most - least)
        if (held[node, word] >> place) & np.uint64(1):
            here += 2 - share
        if (held[other, word] >> place) & np.uint64(1):
            here += 1 + share
        if here > worth:
            best, worth = c, here
    return best


@njit(cache=True, nogil=True)
def _find(indptr: Any, indices: Any, row: int, column: int) -> int:
    """Return where a sorted row holds a column."""
    low, high = indptr[row], indptr[row + 1] - 1
    while low < high:
        middle = (low + high) >> 1
        if indices[middle] < column:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _most_held(indptr: Any, holders: Any, count: int, masters: Any) -> None:
    """Write the cluster that holds most of each row; by number for an empty row."""
    hits = np.zeros(count, np.int64)
    for node in range(len(masters)):
        best = node % count
        for slot in range(indptr[node], indptr[node + 1]):
            hits[holders[slot]] += 1
            if hits[holders[slot]] > hits[best]:
                best = holders[slot]
        for slot in range(indptr[node], indptr[node + 1]):
            hits[holders[slot]] = 0
        masters[node] = best
