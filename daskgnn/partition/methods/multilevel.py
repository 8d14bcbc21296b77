"""The methods "metis", "kaminpar" and "terapart", whose numbers are hierarchical.

METIS bisects recursively, which numbers the clusters by the cuts that made them: runs
of consecutive clusters are as good parts as METIS makes directly. Nodes are weighted by
work, the measure that later balances the parts, so that balanced cuts of the order fall
on METIS's own.

KaMinPar (Gottesbüren et al., "Deep multilevel graph partitioning", 2021) has METIS's
quality in a fraction of its time and memory. It doubles the number of clusters level by
level: runs of consecutive clusters are about as good parts as it makes directly. Its
Python binding reads graphs from files; the binary one here is ParHIP's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from daskgnn.kernels.jit import njit
from daskgnn.partition.methods.silence import silent_library
from daskgnn.partition.methods.structure import Structure, folder_of, node_work

WEIGHT_SCALE = 100
"""METIS's whole-number weight of the mean node, in work of the edges alone."""
IMBALANCE = 0.03
"""How much heavier than the mean a cluster may be."""

_HEADER_BYTES = 24
_STEP = 1 << 24
# Flags of ParHIP's header: set where something is absent or takes 32 bits.
_NO_EDGE_WEIGHTS, _SHORT_NODE_IDS, _SHORT_NODE_WEIGHTS = 1, 8, 16


def metis_clusters(graph: Structure, num_clusters: int, seed: int) -> np.ndarray:
    """Return int64 [N], the cluster of each node by METIS's recursive bisection.

    Edges count in both directions; self-loops do not. Nodes without edges fill up
    the smallest clusters. Cost: 0.3 to 0.8 s a million entries. Memory: about 130
    bytes an entry. When: graphs of up to some ten million entries.
    """
    indptr, indices = linked_structure(graph)
    linked = np.diff(indptr) > 0
    clusters = np.zeros(graph.num_nodes, np.int64)
    count = int(linked.sum())
    if num_clusters > 1 and count > 1:
        clusters[linked] = cut_recursively(
            min(num_clusters, count),
            np.append(indptr[:-1][linked], indptr[-1]),
            (np.cumsum(linked) - 1)[indices],
            scaled_work(graph)[linked].astype(np.int64),
            seed=seed,
        )
    if count < graph.num_nodes:
        sizes = np.bincount(clusters[linked], minlength=num_clusters)
        clusters[~linked] = fill_clusters(sizes, graph.num_nodes - count)
    return clusters


def scaled_work(graph: Structure) -> np.ndarray:
    """Return float64 [N], whole numbers: what the nodes weigh."""
    work = node_work(np.diff(graph.indptr), graph.splits.get("train"))
    return np.rint(WEIGHT_SCALE * graph.num_nodes * work)


def linked_structure(graph: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Return CSR rows of the graph without directions and self-loops.

    They are those of the graph itself where it has neither.
    """
    indptr, indices = graph.indptr, graph.indices
    if not graph.directed and not has_loops(indptr, indices):
        return np.asarray(indptr), np.asarray(indices)
    rows = np.repeat(np.arange(graph.num_nodes, dtype=indices.dtype), np.diff(indptr))
    loops = rows == indices
    rows, columns = rows[~loops], indices[~loops]
    shape = (graph.num_nodes, graph.num_nodes)
    matrix = sp.csr_array((np.ones(len(rows), np.int8), (rows, columns)), shape=shape)
    both = (matrix + matrix.T).tocsr()
    return both.indptr.astype(np.int64), both.indices.astype(np.int64)


@njit(cache=True, nogil=True)
def has_loops(indptr: Any, indices: Any) -> bool:
    """Tell whether a node is among its own neighbours."""
    for row in range(len(indptr) - 1):
        for i in range(indptr[row], indptr[row + 1]):
            if indices[i] == row:
                return True
    return False


def fill_clusters(sizes: np.ndarray, count: int) -> np.ndarray:
    """Return clusters for `count` more nodes so that sizes come out near equal."""
    target = -(-(int(sizes.sum()) + count) // len(sizes))
    room = np.repeat(np.arange(len(sizes)), np.maximum(target - sizes, 0))
    return room[np.arange(count) * len(room) // max(count, 1)]


def cut_recursively(
    count: int,
    indptr: np.ndarray,
    indices: np.ndarray,
    weights: np.ndarray,
    links: np.ndarray | None = None,
    *,
    seed: int,
) -> np.ndarray:
    """Return int [n], the parts of an undirected graph by METIS's recursive bisection.

    Parameters
    ----------
    weights, links
        int64 [n] and [m], what nodes and entries weigh; entries weigh 1 if not given.
    """
    import pymetis

    # METIS complains there of halves without nodes, which is no error.
    with silent_library():
        found = pymetis.part_graph(
            count,
            pymetis.CSRAdjacency(indptr, indices),
            vweights=weights,
            eweights=links,
            recursive=True,
            options=pymetis.Options(seed=seed),
        )
    return np.asarray(found.vertex_part)


def kaminpar_clusters(graph: Structure, num_clusters: int, seed: int) -> np.ndarray:
    """Return int64 [N], the cluster of each node by KaMinPar.

    Edges count in both directions; self-loops do not. One thread: with more of them
    the same seed would not give the same clusters. Cost: about 0.15 s a million
    entries. Memory: 150 bytes a node and 22 an entry, and a copy of the graph in the
    folder of temporary files. When: large graphs, where it is installed.
    """
    return _clusters(graph, num_clusters, seed, compress=False)


def terapart_clusters(graph: Structure, num_clusters: int, seed: int) -> np.ndarray:
    """Return int64 [N], the cluster of each node by KaMinPar on a compressed graph.

    TeraPart (Salwasser, Seemaier, Gottesbüren, Sanders, "Tera-Scale Multilevel Graph
    Partitioning", 2024) keeps rows as differences of a few bytes. Cost: 1.2 to 1.7
    times KaMinPar's, cuts like its; the same seed mostly, not always, gives the same
    clusters. Memory: 110 bytes a node and 14 an entry. When: KaMinPar just does not
    fit.
    """
    return _clusters(graph, num_clusters, seed, compress=True)


def _clusters(
    graph: Structure, num_clusters: int, seed: int, *, compress: bool
) -> np.ndarray:
    """Return int64 [N], the cluster of each node."""
    import kaminpar

    if num_clusters == 1 or not graph.num_edges:
        return np.arange(graph.num_nodes) * num_clusters // max(graph.num_nodes, 1)
    indptr, indices = linked_structure(graph)
    with tempfile.TemporaryDirectory(prefix="daskgnn-", dir=folder_of(graph)) as folder:
        path = Path(folder) / "graph.parhip"
        write_parhip(path, indptr, indices, np.maximum(scaled_work(graph), 1))
        del indptr, indices
        # The copy on disk is as large as the graph: delete it once it is read.
        loaded = kaminpar.load_graph(
            str(path), kaminpar.GraphFileFormat.PARHIP, compress
        )
    kaminpar.reseed(seed)
    context = kaminpar.terapart_context if compress else kaminpar.default_context
    solver = kaminpar.KaMinPar(1, context())
    clusters = solver.compute_partition(loaded, num_clusters, IMBALANCE)
    return np.asarray(clusters, np.int64)


def write_parhip(
    path: Path, indptr: np.ndarray, indices: np.ndarray, weights: np.ndarray
) -> None:
    """Write an undirected graph with node weights in ParHIP's binary format.

    Parameters
    ----------
    path
        The file.
    indptr, indices
        CSR rows without self-loops, every edge in both directions.
    weights
        Whole numbers from 1 below 2**31, one a node.
    """
    num_nodes = len(indptr) - 1
    flags = _NO_EDGE_WEIGHTS | _SHORT_NODE_WEIGHTS | _SHORT_NODE_IDS
    ids = np.dtype(np.uint32)
    first = _HEADER_BYTES + 8 * (num_nodes + 1)
    with path.open("wb") as file:
        np.array([flags, num_nodes, len(indices)], np.uint64).tofile(file)
        (first + indptr.astype(np.uint64) * np.uint64(ids.itemsize)).tofile(file)
        for start in range(0, len(indices), _STEP):
            indices[start : start + _STEP].astype(ids).tofile(file)
        weights.astype(np.int32).tofile(file)
