"""Two data sets that need no file: ``digits`` and ``karate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.errors import needing
from daskgnn.graph.readers.memory import from_edge_index

if TYPE_CHECKING:
    from daskgnn.graph.memory.data import GraphData

_NEIGHBORS = 10

_KARATE_OFFICER = (9, 14, 15, 18, 20, *range(22, 34))


def load_digits() -> GraphData:
    """Build the graph of scikit-learn's 1,797 images of handwritten digits.

    Features are the 8 x 8 grey values, scaled to 0..1. Each image is joined to its
    10 nearest by Euclidean distance, then edges count both ways. Pixels are whole
    numbers, so distances are exact and the graph is the same on every machine; of
    equally near images the lower numbers are taken. The split is 60/20/20.
    """
    with needing("scikit-learn", "the data set digits"):
        from sklearn.datasets import load_digits as load_images

    pixels, labels = load_images(return_X_y=True)
    num_nodes = len(labels)
    order = np.random.RandomState(0).permutation(num_nodes)
    train, val, test = np.split(order, [num_nodes * 6 // 10, num_nodes * 8 // 10])
    return from_edge_index(
        _nearest(pixels, _NEIGHBORS),
        num_nodes=num_nodes,
        features=pixels / 16,
        labels=labels,
        train=train,
        val=val,
        test=test,
        name="digits",
        metric="accuracy",
    )


def _nearest(points: np.ndarray, count: int) -> np.ndarray:
    """Return edges (2, N * count) from each of N whole-number points to its nearest."""
    num_points = len(points)
    squares = (points**2).sum(axis=1)
    distance = squares[:, None] + squares[None] - 2 * points @ points.T
    key = distance.astype(np.int64) * num_points + np.arange(num_points)
    np.fill_diagonal(key, np.iinfo(np.int64).max)
    near = np.argpartition(key, count, axis=1)[:, :count]
    return np.stack([np.repeat(np.arange(num_points), count), near.ravel()])


def load_karate() -> GraphData:
    """Build the karate club: 34 members, 78 friendships, the two clubs after.

    Features are the identity, one number a member.
    """
    lines = Path(__file__).with_name("karate.txt").read_text().splitlines()[2:]
    rows = [np.array(line.split(), dtype=np.int64) for line in lines]
    source = np.repeat([row[0] for row in rows], [len(row) - 1 for row in rows])
    labels = np.zeros(34, dtype=np.int64)
    labels[list(_KARATE_OFFICER)] = 1
    train, val = np.array([0, 1, 32, 33]), np.array([2, 5, 8, 13, 23, 24, 27, 30])
    return from_edge_index(
        np.stack([source, np.concatenate([row[1:] for row in rows])]),
        num_nodes=34,
        features=np.eye(34),
        labels=labels,
        train=train,
        val=val,
        test=np.setdiff1d(np.arange(34), np.concatenate([train, val])),
        name="karate",
        metric="accuracy",
    )
