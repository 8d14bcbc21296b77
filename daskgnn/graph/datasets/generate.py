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
    """Generate a graph of equal communities whose nodes have power-law degrees.

    Parameters
    ----------
    num_nodes : int
        N.
    num_edges : int
        Number of undirected edges that are drawn; duplicates are merged.
    num_classes : int, default 10
        Number of communities, C; a node's label is its community.
    leave : float, default 0.24
        Share of the edges that leave their community, 0 to 1.
    num_features : int, default 32
        F; a node's features are its community's centre plus noise. 0 for none.
    exponent : float, default 2.65
        Exponent of the power law, above 2. The mean degree is
        ``2 * num_edges / num_nodes``.
    max_degree : float, optional
        Largest expected degree; by default sqrt(mean degree * N), at most half of a
        community.
    signal : float, default 1.5
        Length of the communities' centres; the noise of a feature has standard
        deviation 1.
    train : float, default 0.5
        Share of the nodes in the training split; each node is assigned at random.
    val : float, default 0.25
        Share of the validation split.
    test : float, default 0.25
        Share of the test split.
    shuffle : bool, default True
        Whether nodes are numbered at random; otherwise communities are runs of node
        ids.
    seed : int, default 0
        The same seed gives the same graph.
    name : str, default "planted"
        Name of the graph.

    Returns
    -------
    GraphData
        The graph, with features, labels and splits.

    Raises
    ------
    DatasetError
        If an argument is out of its range.

    Examples
    --------
    >>> from daskgnn.graph.datasets.generate import planted_partition
    >>> data = planted_partition(200, 1000, num_classes=4, num_features=8)
    >>> data.num_nodes, data.num_features, data.num_classes
    (200, 8, 4)
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
    """Generate an R-MAT graph: skewed degrees, no clear communities.

    Parameters
    ----------
    scale : int
        N is ``2 ** scale``; 1 to 31.
    num_edges : int
        Number of undirected edges that are drawn; self-loops are dropped and duplicates
        merged.
    a : float, default 0.57
        Probability of the upper left quadrant of the adjacency matrix, at every level.
    b : float, default 0.19
        Probability of the upper right quadrant.
    c : float, default 0.19
        Probability of the lower left quadrant; that of the last one is 1 - a - b - c.
    num_features : int, default 32
        F; a node's features are its class's centre plus noise. 0 for none.
    num_classes : int, default 10
        C; classes are equal ranges of the ids before these are shuffled. 0 for no
        labels.
    signal : float, default 1.5
        Length of the classes' centres; the noise of a feature has standard deviation 1.
    train : float, default 0.5
        Share of the nodes in the training split; each node is assigned at random.
    val : float, default 0.25
        Share of the validation split.
    test : float, default 0.25
        Share of the test split.
    shuffle : bool, default True
        Whether nodes are numbered at random.
    seed : int, default 0
        The same seed gives the same graph.
    name : str, default "rmat"
        Name of the graph.

    Returns
    -------
    GraphData
        The graph, with features, labels and splits.

    Raises
    ------
    DatasetError
        If an argument is out of its range.

    Examples
    --------
    >>> from daskgnn.graph.datasets.generate import rmat
    >>> data = rmat(8, 1000, num_features=4)
    >>> data.num_nodes, data.num_features
    (256, 4)
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
