"""Clusters of points by recursive two-means, balanced by weight."""

from __future__ import annotations

import numpy as np

_ROUNDS = 12
_STRAY = 0.1
"""Weight, in clusters, by which a cut may miss equal halves."""


def bisect_points(
    points: np.ndarray, weights: np.ndarray, num_clusters: int, seed: int
) -> np.ndarray:
    """Cut points into balanced clusters by two-means, each half again.

    Each half gets clusters in proportion to the weight that two-means gave it; the cut
    then moves along the line between the two means until the weight fits.

    Parameters
    ----------
    points
        float [N, D].
    weights
        float or int [N].

    Returns
    -------
    np.ndarray
        int64 [N], numbers in 0..C-1.
    """
    clusters = np.zeros(len(points), np.int64)
    rng = np.random.default_rng(seed)
    todo = [(np.arange(len(points)), 0, num_clusters)]
    while todo:
        ids, first, count = todo.pop()
        clusters[ids] = first
        if count < 2 or len(ids) < 2:
            continue
        place = _along(points[ids], weights[ids], rng)
        order = np.argsort(place, kind="stable")
        share = np.cumsum(weights[ids][order])
        share = share / share[-1]
        cut = int(np.searchsorted(place[order], 0.0))
        before = share[cut - 1] if cut else 0.0
        left = int(np.clip(round(before * count), 1, count - 1))
        if abs(before - left / count) > _STRAY / count:
            cut = int(np.searchsorted(share, left / count - 1e-9)) + 1
        cut = int(np.clip(cut, 1, len(ids) - 1))
        todo.append((ids[order[:cut]], first, left))
        todo.append((ids[order[cut:]], first + left, count - left))
    return clusters


def _along(
    points: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return float [N], places along the line between two means; 0 is the middle."""
    middle = np.average(points, axis=0, weights=weights)
    start = points[rng.choice(len(points), min(len(points), 32), replace=False)]
    # The first mean is far from the middle, the second far from the first.
    one = start[((start - middle) ** 2).sum(axis=1).argmax()]
    two = start[((start - one) ** 2).sum(axis=1).argmax()]
    place = np.zeros(len(points))
    for _ in range(_ROUNDS):
        place = points @ (two - one) - (two - one) @ (one + two) / 2
        side = place > 0
        if side.all() or not side.any():
            break
        means = [
            np.average(points[half], axis=0, weights=weights[half])
            for half in (~side, side)
        ]
        if np.array_equal(means, (one, two)):
            break
        one, two = means
    return place
