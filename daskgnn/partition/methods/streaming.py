"""The streaming methods "ldg" and "fennel": nodes are placed as rows are read.

Linear deterministic greedy (Stanton and Kliot, "Streaming graph partitioning for large
distributed graphs", KDD 2012) and Fennel (Tsourakakis et al., WSDM 2014), both passed
over the rows again (Nishimura and Ugander, "Restreaming graph partitioning", KDD 2013).
The state is one number a node and one a cluster; rows come a chunk at a time, so they
may come from a disk. N nodes, C clusters.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from daskgnn.kernels.jit import njit
from daskgnn.partition.methods.hierarchy import order_clusters
from daskgnn.partition.methods.structure import Structure, work_of

SLACK = 0.1
"""How much more work than the mean a cluster may hold."""
PASSES = 10
"""How often the rows come by."""
CHUNK_ENTRIES = 1 << 22
"""Entries of the rows that are looked at together."""
GAMMA = 1.5
"""Fennel's exponent of what a cluster's size costs."""


def ldg_clusters(graph: Structure, num_clusters: int, seed: int) -> np.ndarray:
    """Return int64 [N] by linear deterministic greedy, ten passes over the rows.

    A node goes where most of its neighbours are, times the share of that cluster that
    is still empty. Cost: linear, about 0.3 s a million entries. Memory: 60 bytes a
    node and 32 MB besides the graph. When: the graph is too large for METIS and balance
    matters more than the last of the cut; Fennel is mostly as good or better.
    """
    return _stream_graph(graph, num_clusters, fennel=False)


def fennel_clusters(graph: Structure, num_clusters: int, seed: int) -> np.ndarray:
    """Return int64 [N] by Fennel, ten passes over the rows.

    A node goes where the neighbours it finds exceed what the cluster's size costs.
    Cost and memory as of LDG. When: the graph is too large for METIS or KaMinPar.
    """
    return _stream_graph(graph, num_clusters, fennel=True)


def _stream_graph(graph: Structure, num_clusters: int, fennel: bool) -> np.ndarray:
    """Pass a graph in memory by, and order its clusters."""
    work = work_of(graph)
    rule = placement_rule(num_clusters, work, graph.num_edges / 2, fennel)
    clusters = np.full(graph.num_nodes, -1, np.int32)
    state = (work, clusters, np.zeros(num_clusters))
    for _ in range(PASSES):
        moved = 0
        for start, stop in row_chunks(graph.indptr, CHUNK_ENTRIES):
            indptr = graph.indptr[start : stop + 1]
            indices = graph.indices[indptr[0] : indptr[-1]]
            moved += place(start, indptr, indices, state, rule)
        if moved <= graph.num_nodes // 1000:
            break
    return order_clusters(graph, clusters, num_clusters, work)


def placement_rule(
    num_clusters: int, work: np.ndarray, num_links: float, fennel: bool = True
) -> tuple[float, float]:
    """Return the most work of a cluster, and what its size costs.

    Parameters
    ----------
    work
        float64 [N], what each node weighs; the mean is 1.
    num_links
        Edges of the graph, each counted once.
    fennel
        Whether a cluster's size is a cost (Fennel) or a factor (LDG).
    """
    total = float(len(work))
    # The paper's alpha, at which an even spread costs as much as all edges.
    cost = GAMMA * np.sqrt(num_clusters) * num_links / total**1.5 if fennel else 0.0
    return (1 + SLACK) * total / num_clusters, float(cost)


def row_chunks(indptr: np.ndarray, entries: int) -> list[tuple[int, int]]:
    """Cut CSR rows into runs of about so many entries, at least one row each."""
    num_rows, bounds = len(indptr) - 1, [0]
    while bounds[-1] < num_rows:
        goal = int(indptr[bounds[-1]]) + entries
        stop = int(np.searchsorted(indptr, goal, side="right")) - 1
        bounds.append(min(max(stop, bounds[-1] + 1), num_rows))
    return list(pairwise(bounds))


@njit(cache=True, nogil=True)
def place(first: int, indptr: Any, indices: Any, state: Any, rule: Any) -> int:
    """Place the nodes of a run of CSR rows, and return how many changed cluster.

    Parameters
    ----------
    first
        The node of the first row.
    indptr, indices
        int [n+1], row pointers; int, the neighbours from ``indptr[0]`` on.
    state
        The nodes' work float64 [N]; their clusters int32 [N], -1 before a node came by,
        and the clusters' work float64 [C], which are updated.
    rule
        See `placement_rule`.
    """
    work, clusters, loads = state
    limit, cost = rule
    count = len(loads)
    hits = np.zeros(count, np.int32)
    touched = np.empty(count, np.int32)
    lightest = np.argmin(loads)
    moved = 0
    for row in range(len(indptr) - 1):
        node = first + row
        old = clusters[node]
        if old >= 0:
            loads[old] -= work[node]
            if _lighter(loads, old, lightest):
                lightest = old
        begin, end = indptr[row] - indptr[0], indptr[row + 1] - indptr[0]
        met = _count_hits(indices[begin:end], node, clusters, hits, touched)
        best = lightest
        worth = _worth(hits[lightest], loads[lightest], limit, cost)
        for i in range(met):
            c = touched[i]
            if loads[c] + work[node] <= limit:
                here = _worth(hits[c], loads[c], limit, cost)
                if here > worth or (here == worth and _lighter(loads, c, best)):
                    best, worth = c, here
            hits[c] = 0
        clusters[node] = best
        loads[best] += work[node]
        moved += best != old
        if best == lightest:
            lightest = np.argmin(loads)
    return moved


@njit(cache=True, nogil=True)
def _count_hits(row: Any, node: int, clusters: Any, hits: Any, touched: Any) -> int:
    """Count a node's neighbours by cluster; return how many clusters were met."""
    met = 0
    for other in row:
        c = clusters[other]
        if other == node or c < 0:
            continue
        if hits[c] == 0:
            touched[met] = c
            met += 1
        hits[c] += 1
    return met


@njit(cache=True, nogil=True, inline="always")
def _lighter(loads: Any, one: Any, other: Any) -> Any:
    """Tell whether a cluster holds less than another, or as much and comes first."""
    return (loads[one], one) < (loads[other], other)


@njit(cache=True, nogil=True, inline="always")
def _worth(hits: Any, load: Any, limit: float, cost: float) -> Any:
    """Return how good a cluster of some load and some neighbours is for a node."""
    if cost > 0:
        return hits - cost * np.sqrt(max(load, 0.0))
    return hits * (1 - load / limit)
