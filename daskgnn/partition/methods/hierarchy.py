"""Order clusters so that consecutive ones are close in the graph.

Methods that give clusters no meaningful number get one here: the graph of the clusters
is cut in two, each half again, and so on; clusters are numbered as they end up. Runs of
consecutive numbers are then good parts for any number of parts. C clusters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from daskgnn.partition.methods.multilevel import cut_recursively

if TYPE_CHECKING:
    from daskgnn.partition.methods.structure import Structure

_CHUNK_ENTRIES = 1 << 20
_DENSE = 2048
"""Clusters up to which their links are one dense matrix."""
_STRAY = 0.05
"""Share of the work of a piece that its two halves may differ from a half."""
_ROUNDS = 4


def order_clusters(
    graph: Structure, clusters: np.ndarray, num_clusters: int, work: np.ndarray
) -> np.ndarray:
    """Renumber clusters so that runs of consecutive ones are good parts.

    Parameters
    ----------
    clusters
        int [N], numbers in 0..C-1.
    work
        float64 [N], what each node weighs.

    Returns
    -------
    np.ndarray
        int64 [N], the same clusters under other numbers.
    """
    links = cluster_links(graph.indptr, graph.indices, clusters, num_clusters)
    weights = np.bincount(clusters, work, minlength=num_clusters)
    return np.argsort(hierarchical_order(links, weights))[clusters]


def cluster_links(
    indptr: np.ndarray, indices: np.ndarray, clusters: np.ndarray, count: int
) -> sp.csr_array:
    """Return float64 (C, C): entries between clusters, both directions added."""
    total = sp.csr_array((count, count))
    for start in range(0, len(indices), _CHUNK_ENTRIES):
        stop = min(start + _CHUNK_ENTRIES, len(indices))
        first = int(np.searchsorted(indptr, start, side="right")) - 1
        last = int(np.searchsorted(indptr, stop, side="left"))
        bounds = np.clip(indptr[first : last + 1], start, stop)
        rows = np.repeat(clusters[first:last], np.diff(bounds))
        columns = clusters[indices[start:stop]]
        apart = rows != columns
        entries = (np.ones(int(apart.sum())), (rows[apart], columns[apart]))
        total = total + sp.coo_array(entries, shape=(count, count)).tocsr()
    return (total + total.T).tocsr()


def hierarchical_order(links: sp.csr_array, weights: np.ndarray) -> np.ndarray:
    """Return int64 [C], the clusters as repeated bisection leaves them.

    Parameters
    ----------
    links
        (C, C) symmetric, not negative.
    weights
        float64 [C], by which halves are balanced.
    """
    order = np.arange(len(weights))
    todo = [(0, len(weights))]
    while todo:
        start, stop = todo.pop()
        if stop - start < 2:
            continue
        piece = order[start:stop]
        second = bisect_links(links[piece][:, piece], weights[piece])
        left, right = piece[~second], piece[second]
        # The half that is closer to the preceding clusters comes first.
        pull = _pull(links, left, order, start, stop)
        if pull < _pull(links, right, order, start, stop):
            left, right = right, left
        order[start:stop] = np.concatenate([left, right])
        todo += [(start + len(left), stop), (start, start + len(left))]
    return order


def _pull(
    links: sp.csr_array, half: np.ndarray, order: np.ndarray, start: int, stop: int
) -> float:
    """Return the mean link of a half to what lies before it, less to what follows."""
    to = np.asarray(links[half].sum(axis=0)).ravel()[order]
    return float(to[:start].sum() - to[stop:].sum()) / len(half)


def bisect_links(links: sp.csr_array, weights: np.ndarray) -> np.ndarray:
    """Return bool [C], which clusters are in the second of two balanced halves.

    The first cut is along the second eigenvector of the normalised Laplacian; single
    clusters then move as long as that lowers what is cut.
    """
    count = len(weights)
    if count == 2:
        return np.array([False, True])
    if count > _DENSE:
        return _bisect_large(links, weights)
    dense = links.toarray()
    return _refine(dense, weights, _split_along(_fiedler(dense), weights))


def _fiedler(links: np.ndarray) -> np.ndarray:
    """Return the second eigenvector of the normalised Laplacian of dense links."""
    import scipy.linalg  # workers never need it

    # A weak link between all clusters gives disconnected pieces an order.
    links = links + links.mean() * 1e-3 + 1e-9
    np.fill_diagonal(links, 0)
    scale = 1 / np.sqrt(links.sum(axis=1))
    last = len(links) - 1
    matrix = scale[:, None] * links * scale
    _, vectors = scipy.linalg.eigh(matrix, subset_by_index=[last - 1, last - 1])
    if not vectors.size:  # among equal eigenvalues LAPACK now and then finds none
        vectors = scipy.linalg.eigh(matrix)[1][:, [last - 1]]
    vector: np.ndarray = vectors[:, 0] * scale
    # The sign is arbitrary: fix it, or another run might number backwards.
    return vector if vector[np.abs(vector).argmax()] > 0 else -vector


def _split_along(place: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return bool [C]: beyond the middle of the weight along `place`."""
    order = np.argsort(place, kind="stable")
    before = np.cumsum(weights[order]) - weights[order] / 2
    cut = int(np.searchsorted(before, weights.sum() / 2))
    second = np.zeros(len(place), bool)
    second[order[min(max(cut, 1), len(place) - 1) :]] = True
    return second


def _refine(links: np.ndarray, weights: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Move clusters between the halves, best first, each once a round.

    A round goes on through moves that cost and keeps the best state it met (Fiduccia
    and Mattheyses, 1982).
    """
    total = float(weights.sum())
    room = max(_STRAY * total, float(weights.max()) / 2)
    for _ in range(_ROUNDS):
        trial, gained, best, kept = second.copy(), 0.0, 0.0, second
        side = np.where(trial, 1.0, -1.0)
        gains = -side * (links @ side)
        free = np.ones(len(weights), bool)
        heavy = float(weights[trial].sum())
        for _ in range(len(weights)):
            after = heavy - side * weights
            allowed = free & (np.abs(after - total / 2) <= room)
            if not allowed.any():
                break
            move = int(np.where(allowed, gains, -np.inf).argmax())
            gained += float(gains[move])
            heavy = float(after[move])
            gains += 2 * links[:, move] * side * side[move]
            gains[move] = -gains[move]
            side[move], free[move] = -side[move], False
            if gained > best + 1e-9 and 0 < (side > 0).sum() < len(side):
                best, kept = gained, side > 0
        if best == 0:
            break
        second = kept.copy()
    return second


def _bisect_large(links: sp.csr_array, weights: np.ndarray) -> np.ndarray:
    """Bisect where a dense matrix would be too large: by METIS."""
    if not links.nnz:
        return _split_along(np.arange(len(weights)), weights)
    scaled = np.maximum(np.rint(weights * (1000 / weights.mean())), 1)
    largest = max(float(links.data.max(initial=0)), 1.0)
    cuts = np.maximum(np.rint(links.data * min(1.0, 1e6 / largest)), 1)
    weigh = (scaled.astype(np.int64), cuts.astype(np.int64))
    second = cut_recursively(2, links.indptr, links.indices, *weigh, seed=0) == 1
    if second.all() or not second.any():
        return _split_along(np.arange(len(weights)), weights)
    return second
