"""Synthetic graphs of any size: planted partition with power-law degrees, R-MAT.

Vectorised; edges are drawn a few million at a time. N nodes, E undirected edges,
C classes, F features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from daskgnn.errors import DatasetError
from daskgnn.graph.edges import MAX_NODES, edge_keys, key_bits, merge
from daskgnn.graph.readers import from_edge_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.graph.data import GraphData

_CHUNK = 1 << 22
_ROUNDS = 60


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
        N, and the number of distinct undirected edges.
    num_classes
        C communities; a node's label is its community.
    leave
        Share of the edges that leave their community; exact up to rounding.
    num_features
        F; a node's features are its community's centre plus noise. 0 for none.
    exponent
        Of the power law, over 2. The mean degree is ``2 * num_edges / num_nodes``.
    max_degree
        The largest expected degree; sqrt(mean degree * N) if not given.
    signal
        Length of the communities' centres, where the noise of a feature is 1.
    train, val, test
        Shares of the nodes; a split with share 0 is left out.
    shuffle
        Give the nodes random numbers; else communities are runs of node ids.
    seed
        The same seed gives the same graph.

    Raises
    ------
    DatasetError
        If an option is out of its range, or so many edges do not fit.
    """
    check_sizes(num_nodes, num_edges, num_classes, num_features)
    check_shares(leave=leave)
    rng = _generator(seed)
    mean = 2 * num_edges / num_nodes
    weights = _power_law(rng, num_nodes, mean, exponent, max_degree)
    community = np.arange(num_nodes) * num_classes // num_nodes
    num_leaving = round(num_edges * leave) if num_classes > 1 else 0
    mass = np.cumsum(weights)
    parts = [
        _distinct_edges(
            rng, _planted_draw(rng, mass, community, away), num_nodes, count
        )
        for away, count in ((False, num_edges - num_leaving), (True, num_leaving))
    ]
    keys = np.concatenate(parts)
    return _finish(
        rng,
        keys,
        community,
        num_classes,
        num_features=num_features,
        signal=signal,
        shares={"train": train, "val": val, "test": test},
        shuffle=shuffle,
        name=name,
    )


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
        Number of distinct undirected edges.
    a, b, c
        Chances of the quadrants of the adjacency matrix; the last is 1 - a - b - c.
    num_classes
        C; classes are equal ranges of the ids before these are shuffled. 0 for none.
    num_features, signal, train, val, test, shuffle, seed
        As for :func:`planted_partition`.

    Raises
    ------
    DatasetError
        If an option is out of its range, or so many edges do not fit.
    """
    if not 1 <= scale <= 31:
        raise DatasetError(f"scale is {scale}, expected 1 to 31: N is 2 ** scale")
    num_nodes = 2**scale
    check_sizes(num_nodes, num_edges, num_classes or 1, num_features)
    check_shares(a=a, b=b, c=c, d=1 - a - b - c)
    rng = _generator(seed)
    keys = _distinct_edges(rng, _rmat_draw(rng, scale, a, b, c), num_nodes, num_edges)
    return _finish(
        rng,
        keys,
        np.arange(num_nodes) * max(num_classes, 1) // num_nodes,
        num_classes,
        num_features=num_features,
        signal=signal,
        shares={"train": train, "val": val, "test": test},
        shuffle=shuffle,
        name=name,
    )


def check_sizes(
    num_nodes: int, num_edges: int, num_classes: int, num_features: int
) -> None:
    """Raise `DatasetError` for numbers that no graph has."""
    if not 2 <= num_nodes <= MAX_NODES:
        raise DatasetError(f"num_nodes is {num_nodes}, expected 2 to 2**31")
    possible = num_nodes * (num_nodes - 1) // 2
    if not 1 <= num_edges <= possible:
        raise DatasetError(
            f"num_edges is {num_edges}, expected 1 to {possible} for {num_nodes} nodes"
        )
    if not 1 <= num_classes <= num_nodes:
        raise DatasetError(f"num_classes is {num_classes}, expected 1 to {num_nodes}")
    if num_features < 0:
        raise DatasetError(f"num_features is {num_features}, expected 0 or more")


def _generator(seed: int) -> np.random.Generator:
    if seed < 0:
        raise DatasetError(f"seed is {seed}, expected 0 or more")
    return np.random.default_rng(seed)


def check_shares(**shares: float) -> None:
    """Raise `DatasetError` unless each share is in 0..1."""
    for name, share in shares.items():
        if not -1e-9 <= share <= 1:
            raise DatasetError(f"{name} is {share}, expected 0 to 1")


def _power_law(
    rng: np.random.Generator,
    num_nodes: int,
    mean: float,
    exponent: float,
    max_degree: float | None,
) -> np.ndarray:
    """Return expected degrees (N,): a Pareto law between a floor and ``max_degree``."""
    if exponent <= 2:
        raise DatasetError(f"exponent is {exponent}, expected over 2, e.g. 2.65")
    top = min(max_degree or max(2 * mean, (mean * num_nodes) ** 0.5), num_nodes - 1.0)
    if top < mean:
        raise DatasetError(
            f"max_degree is {top:g}, below the mean degree {mean:g} of 2 * num_edges / "
            f"num_nodes: raise max_degree or lower num_edges"
        )
    shape = exponent - 1
    floor = _pareto_floor(mean, shape, top)
    tail = (floor / top) ** shape
    share: np.ndarray = 1 - rng.random(num_nodes) * (1 - tail)
    return floor * share ** (-1 / shape)


def _pareto_floor(mean: float, shape: float, top: float) -> float:
    """Find the floor at which the law cut at ``top`` has this mean, by bisection."""
    low, high = mean * 1e-6, mean
    for _ in range(60):
        floor = (low + high) / 2
        ratio = top / floor
        got = floor * shape / (shape - 1) * (1 - ratio ** (1 - shape))
        got /= max(1 - ratio**-shape, 1e-12)
        low, high = (floor, high) if got < mean else (low, floor)
    return low


def _planted_draw(
    rng: np.random.Generator, mass: np.ndarray, community: np.ndarray, away: bool
) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Return a function that draws k edges, all leaving their community or none.

    ``mass`` (N,) is the running sum of expected degrees. Sources come sorted, so
    that their look-ups, and those of partners in the same community, walk through
    memory in order.
    """
    num_classes = int(community[-1]) + 1
    total, last = mass[-1], len(mass) - 1
    ends = mass[np.searchsorted(community, np.arange(num_classes), side="right") - 1]
    starts = np.concatenate([[0.0], ends[:-1]])
    widths = ends - starts

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        at = rng.random(count)
        at.sort()
        at *= total
        source = np.minimum(np.searchsorted(mass, at, side="right"), last)
        home = community[source]
        width, start = widths[home], starts[home]
        at = rng.random(count)
        at *= total - width if away else width
        at += np.where(at >= start, width, 0.0) if away else start
        return source, np.minimum(np.searchsorted(mass, at, side="right"), last)

    return draw


def _rmat_draw(
    rng: np.random.Generator, scale: int, a: float, b: float, c: float
) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        source = np.zeros(count, dtype=np.int64)
        destination = np.zeros(count, dtype=np.int64)
        for _ in range(scale):
            chance = rng.random(count)
            below = chance >= a + b
            source <<= 1
            source |= below
            destination <<= 1
            destination |= (chance >= a) & ~below | (chance >= a + b + c)
        return source, destination

    return draw


def _distinct_edges(
    rng: np.random.Generator,
    draw: Callable[[int], tuple[np.ndarray, np.ndarray]],
    num_nodes: int,
    num_edges: int,
) -> np.ndarray:
    """Draw until there are E different edges (low, high), as sorted keys (E,)."""
    bits = key_bits(num_nodes)
    keys = np.empty(0, dtype=np.int64)
    for _ in range(_ROUNDS):
        missing = num_edges - len(keys)
        if missing <= 0:
            break
        missing += missing // 16 + 16
        drawn = [keys]
        for done in range(0, missing, _CHUNK):
            source, destination = draw(min(_CHUNK, missing - done))
            fresh = edge_keys(
                np.minimum(source, destination), np.maximum(source, destination), bits
            )
            drawn.append(fresh[source != destination])
        keys, _ = merge(np.concatenate(drawn))
    if len(keys) < num_edges:
        raise DatasetError(
            f"only {len(keys)} of {num_edges} different edges were found among "
            f"{num_nodes} nodes: lower num_edges or raise the number of nodes"
        )
    surplus = len(keys) - num_edges
    return np.delete(keys, rng.choice(len(keys), surplus, replace=False))


def _finish(
    rng: np.random.Generator,
    keys: np.ndarray,
    community: np.ndarray,
    num_classes: int,
    *,
    num_features: int,
    signal: float,
    shares: dict[str, float],
    shuffle: bool,
    name: str,
) -> GraphData:
    """Number the nodes, and give them features, labels and splits."""
    num_nodes, bits = len(community), key_bits(len(community))
    number = np.arange(num_nodes, dtype=np.int32)
    if shuffle:
        rng.shuffle(number)
    labels = np.empty(num_nodes, dtype=np.int64)
    labels[number] = community
    edges = np.empty((2, len(keys)), dtype=np.int32)
    np.take(number, keys >> bits, out=edges[0])
    np.take(number, keys & ((1 << bits) - 1), out=edges[1])
    features = _features(rng, labels, num_features, signal) if num_features else None
    splits = _draw_splits(rng, num_nodes, shares)
    return from_edge_index(
        edges,
        num_nodes=num_nodes,
        features=features,
        labels=labels if num_classes else None,
        num_classes=num_classes,
        train=splits.get("train"),
        val=splits.get("val"),
        test=splits.get("test"),
        name=name,
        metric="accuracy" if num_classes else None,
    )


def _features(
    rng: np.random.Generator, labels: np.ndarray, width: int, signal: float
) -> np.ndarray:
    centres = rng.standard_normal((int(labels.max()) + 1, width), dtype=np.float32)
    centres *= np.float32(signal / width**0.5)
    features = np.empty((len(labels), width), dtype=np.float32)
    rng.standard_normal(dtype=np.float32, out=features)
    step = max(1, _CHUNK // width)
    for start in range(0, len(labels), step):
        features[start : start + step] += centres[labels[start : start + step]]
    return features


def _draw_splits(
    rng: np.random.Generator, num_nodes: int, shares: dict[str, float]
) -> dict[str, np.ndarray]:
    check_shares(**shares, **{"train + val + test": sum(shares.values()) - 1e-9})
    order = rng.permutation(num_nodes)
    bounds = [round(share * num_nodes) for share in np.cumsum([0.0, *shares.values()])]
    return {
        name: order[start:stop]
        for name, start, stop in zip(shares, bounds, bounds[1:], strict=False)
        if stop > start
    }
