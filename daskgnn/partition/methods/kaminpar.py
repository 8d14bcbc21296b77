"""Clusters by KaMinPar: METIS's quality in a fraction of its time and memory.

KaMinPar (Gottesbüren et al., "Deep multilevel graph partitioning", 2021) doubles the
number of clusters level by level, so its numbers are hierarchical: runs of
consecutive clusters are about as good parts as it makes directly. Its Python binding
reads graphs from files; the binary one here is ParHIP's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.partition.methods.metis import linked_structure, scaled_work
from daskgnn.partition.methods.scratch import folder_of

if TYPE_CHECKING:
    from daskgnn.partition.methods.structure import Structure

IMBALANCE = 0.03
"""How much heavier than the mean a cluster may be."""

_HEADER_BYTES = 24
_STEP = 1 << 24
# Flags of ParHIP's header: set where something is absent or takes 32 bits.
_NO_EDGE_WEIGHTS, _SHORT_NODE_IDS, _SHORT_NODE_WEIGHTS = 1, 8, 16


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
