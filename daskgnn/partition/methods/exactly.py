"""As many clusters as were asked for: what a method leaves empty gets nodes.

METIS leaves clusters empty where few nodes (those of a small training split) weigh as
much as a cluster; moves of single nodes and hashes of few nodes leave some empty, too.
N nodes, C clusters.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from daskgnn.partition.methods.hierarchy import bisect_links, order_clusters
from daskgnn.partition.methods.structure import work_of

if TYPE_CHECKING:
    from daskgnn.partition.methods.structure import Structure


def exactly(graph: Structure, clusters: np.ndarray, num_clusters: int) -> np.ndarray:
    """Return int64 [N], clusters none of which is empty, numbered hierarchically.

    Parameters
    ----------
    clusters
        int [N], numbers in 0..C-1; returned as they are where all occur.
    """
    filled = fill_empty(graph, clusters, num_clusters)
    if filled is clusters:
        return clusters
    return order_clusters(graph, filled, num_clusters, work_of(graph))


def fill_empty(graph: Structure, clusters: np.ndarray, num_clusters: int) -> np.ndarray:
    """Return int64 [N]: each empty cluster gets a half of what is then the heaviest.

    Clusters are halved where that cuts few edges and balances work.
    """
    sizes = np.bincount(clusters, minlength=num_clusters)
    empty = np.flatnonzero(sizes == 0)
    if not len(empty):
        return clusters
    clusters, work = np.array(clusters, np.int64), work_of(graph)
    members = np.split(np.argsort(clusters, kind="stable"), np.cumsum(sizes)[:-1])
    heap = [_entry(number, ids, work) for number, ids in enumerate(members)]
    heap = [entry for entry in heap if len(entry[2]) > 1]
    heapq.heapify(heap)
    for number in empty.tolist():
        _, old, ids = heapq.heappop(heap)
        second = bisect_links(inner_links(graph, ids), work[ids])
        clusters[ids[second]] = number
        for which, half in ((old, ids[~second]), (number, ids[second])):
            if len(half) > 1:
                heapq.heappush(heap, _entry(which, half, work))
    return clusters


def _entry(
    number: int, ids: np.ndarray, work: np.ndarray
) -> tuple[float, int, np.ndarray]:
    """Return what sorts a cluster before lighter ones; numbers differ."""
    return -float(work[ids].sum()), number, ids


def inner_links(graph: Structure, ids: np.ndarray) -> sp.csr_array:
    """Return float64 (n, n), symmetric: the edges among n nodes, without self-loops.

    Parameters
    ----------
    ids
        int [n], ascending.
    """
    begin = np.asarray(graph.indptr[ids])
    counts = np.asarray(graph.indptr[ids + 1]) - begin
    row = np.repeat(np.arange(len(ids)), counts)
    before = np.cumsum(counts) - counts
    near = np.asarray(graph.indices[np.arange(len(row)) + (begin - before)[row]])
    column = np.minimum(np.searchsorted(ids, near), len(ids) - 1)
    inner = (ids[column] == near) & (column != row)
    entries = (np.ones(int(inner.sum())), (row[inner], column[inner]))
    links = sp.coo_array(entries, shape=(len(ids), len(ids))).tocsr()
    return (links + links.T).tocsr()
