"""Synthetic graphs in memory: planted partition with power-law degrees, R-MAT.

They are those that are drawn out of core: see `daskgnn.graph.datasets.synthetic`.
N nodes, E undirected edges, C classes, F features.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import DatasetError
from daskgnn.graph.datasets.synthetic import Synthetic
from daskgnn.graph.readers.memory import from_edge_index

if TYPE_CHECKING:
    from daskgnn.graph.memory.data import GraphData


def planted_partition(
    num_nodes: int,
    num_edges: int,
    num_classes: int = 10,
    *,
    leave: float = 0.24,
    num_features: int = 32,
    exponent: float = 2.65,
    max_degree: float | None = None,
    signal: float = 1.5,
    train: float = 0.5,
    val: float = 0.25,
    test: float = 0.25,
    shuffle: bool = True,
    seed: int = 0,
    name: str = "planted",
) -> GraphData:
    """Draw equal communities whose nodes have power-law degrees.

    Parameters
    ----------
    num_nodes, num_edges
        N, and the undirected edges that are drawn; those drawn twice count once.
    num_classes
        C communities; a node's label is its community.
    leave
        Share of the drawn edges that leave their community.
    num_features
        F; a node's features are its community's centre plus noise. 0 for none.
    exponent
        Of the power law, over 2. The mean degree is ``2 * num_edges / num_nodes``.
    max_degree
        The largest expected degree; sqrt(mean degree * N) if not given, at most half
        of a community.
    signal
        Length of the communities' centres, where the noise of a feature is 1.
    train, val, test
        Shares of the nodes, each node by its own draw.
    shuffle
        Give the nodes random numbers; else communities are runs of node ids.
    seed
        The same seed gives the same graph.

    Raises
    ------
    DatasetError
        If an option is out of its range.
    """
    given = dict(locals())  # called as the fields of `Synthetic`
    del given["name"]
    return drawn_graph(Synthetic("planted", **given), name)


def rmat(
    scale: int,
    num_edges: int,
    *,
    a: float = 0.57,
    b: float = 0.19,
    c: float = 0.19,
    num_features: int = 32,
    num_classes: int = 10,
    signal: float = 1.5,
    train: float = 0.5,
    val: float = 0.25,
    test: float = 0.25,
    shuffle: bool = True,
    seed: int = 0,
    name: str = "rmat",
) -> GraphData:
    """Draw a recursive-matrix graph: skewed degrees, no sharp communities.

    Parameters
    ----------
    scale
        N is ``2 ** scale``.
    num_edges
        Undirected edges that are drawn; self-loops are left out, and those drawn twice
        count once.
    a, b, c
        Chances of the quadrants of the adjacency matrix; the last is 1 - a - b - c.
    num_classes
        C; classes are equal ranges of the ids before these are shuffled. 0 for none.
    num_features, signal, train, val, test, shuffle, seed
        As for :func:`planted_partition`.

    Raises
    ------
    DatasetError
        If an option is out of its range.
    """
    given = dict(locals())  # called as the fields of `Synthetic`
    if not 1 <= scale <= 31:
        raise DatasetError(f"scale is {scale}, expected 1 to 31: N is 2 ** scale")
    for own in ("scale", "a", "b", "c", "name"):
        del given[own]
    given |= {"num_classes": num_classes or 1, "quadrants": (a, b, c)}
    found = drawn_graph(Synthetic("rmat", 2**scale, **given), name)
    if num_classes:
        return found
    return replace(found, labels=None, num_classes=0, metric=None)


def drawn_graph(graph: Synthetic, name: str | None = None) -> GraphData:
    """Return a synthetic graph in memory, called `name`, or by its kind."""
    ends = np.empty((2, graph.num_edges), np.int32)
    done = 0
    for source, destination, _ in graph.chunks():
        ends[:, done : done + len(source)] = source, destination
        done += len(source)
    features, splits = graph.features(), dict[str, Any](graph.splits())
    return from_edge_index(
        ends,
        num_nodes=graph.num_nodes,
        features=None if features is None else features[:],
        labels=graph.classes(np.arange(graph.num_nodes)),
        num_classes=graph.num_classes,
        **splits,
        name=name or graph.kind,
        metric="accuracy",
    )
