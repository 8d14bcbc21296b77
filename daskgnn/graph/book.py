"""The partition book: where the order of the nodes is cut into parts."""

from __future__ import annotations

import numpy as np

from daskgnn.errors import PartitionError


def cut_clusters(
    bounds: np.ndarray, edges: np.ndarray, seeds: np.ndarray | None, num_parts: int
) -> np.ndarray:
    """Cut the order of the nodes into parts of whole clusters, balanced by work.

    The work of a cluster is its share of the training nodes, if there are any, plus
    its share of the edges. A part ends where the work so far comes closest to its
    due, so the cuts for P parts are among those for 2P.

    Parameters
    ----------
    bounds
        int64 [C+1], bounds of the clusters, none of them empty.
    edges
        int64 [C], entries in the rows of each cluster.
    seeds
        Sorted storage ids of the training nodes, or None.

    Returns
    -------
    np.ndarray
        int64 [num_parts + 1], the row bounds of the parts.

    Raises
    ------
    PartitionError
        If `num_parts` is not in 1..C.
    """
    clusters = len(bounds) - 1
    check_num_parts(num_parts, clusters)
    work = np.cumsum(_work(bounds, edges, seeds))
    due = np.arange(1, num_parts) * (work[-1] / num_parts)
    # After which cluster the work is nearest to what is due, the first of equals.
    after = np.searchsorted(work, due)
    before = np.maximum(after - 1, 0)
    nearer = (after > 0) & (due - work[before] <= work[after] - due)
    cuts = np.where(nearer, before, after) + 1
    # Every part gets at least one cluster.
    steps = np.arange(1, num_parts)
    cuts = np.maximum.accumulate(np.maximum(cuts - steps, 0)) + steps
    cuts = np.minimum(cuts, clusters - num_parts + steps)
    return bounds[np.concatenate(([0], cuts, [clusters]))].astype(np.int64)


def check_num_parts(num_parts: int, clusters: int) -> None:
    """Raise `PartitionError` unless `num_parts` is in 1..clusters."""
    whole = isinstance(num_parts, int | np.integer) and not isinstance(num_parts, bool)
    if not whole or num_parts < 1:
        raise PartitionError(
            f"num_parts={num_parts!r}: give a whole number in 1..{clusters}"
        )
    if num_parts > clusters:
        raise PartitionError(
            f"num_parts={num_parts} exceeds the {clusters} clusters of the stored "
            f"graph: use num_parts <= {clusters} or partition it into more clusters"
        )


def _work(
    bounds: np.ndarray, edges: np.ndarray, seeds: np.ndarray | None
) -> np.ndarray:
    """Return float64 [C], the share of the work of each cluster."""
    work = edges / max(int(edges.sum()), 1)
    if seeds is not None and len(seeds):
        work = work + np.diff(np.searchsorted(seeds, bounds)) / len(seeds)
    # A little for each node, so that clusters without edges or seeds count too.
    return work + 1e-6 * np.diff(bounds) / bounds[-1]
