"""The method "cluster": size-constrained label propagation in linear memory.

Nodes take the label that most of their neighbours have, as long as its cluster stays
small; clusters become the nodes of a smaller graph, and so on (Meyerhenke, Sanders and
Schulz, "Partitioning complex networks via size-constrained clustering", SEA 2014). The
smallest graph is cut by METIS's recursive bisection, whose numbers are hierarchical; on
the way back nodes move between clusters where that cuts less. N nodes, C clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from daskgnn.kernels.jit import njit
from daskgnn.partition.methods.multilevel import cut_recursively, linked_structure
from daskgnn.partition.methods.structure import Structure, empty, folder_of, work_of

PASSES = 5
"""How often labels are looked at on a level, on the way up and down."""
COARSE_NODES = 300
"""Nodes of the smallest graph, for each cluster."""
COARSE_NODES_OF_LARGE = 64
"""The same from `LARGE` entries on: METIS takes memory for each pair of them that an
edge joins, and in a large graph that is nearly every pair."""
LARGE = 50_000_000
IMBALANCE = 0.05
"""How much more work than the mean a cluster may take on the way back."""
_WEIGHT_SCALE = 100
"""Whole-number weight of the mean node."""
_LEAST_SHRINK = 0.9


@dataclass(frozen=True, eq=False)
class Level:
    """An undirected graph without self-loops, with node and edge weights."""

    indptr: np.ndarray
    """int64 [n+1]."""
    indices: np.ndarray
    """int [m]."""
    links: np.ndarray
    """int64 [m], what the entries weigh, or [1] where all weigh 1."""
    weights: np.ndarray
    """int64 [n], what the nodes weigh."""

    @property
    def num_nodes(self) -> int:
        """N of this level."""
        return len(self.weights)


def propagation_clusters(graph: Structure, num_clusters: int, seed: int) -> np.ndarray:
    """Return int64 [N], clusters by label propagation over several levels.

    Cost: linear, about 0.3 s a million entries. Memory: about 80 bytes a node, 24 an
    entry and 120 MB besides the graph. When: METIS takes too long or does not fit, and
    KaMinPar is not installed; its cuts are mostly within a tenth of theirs. Without
    communities labels join little, and METIS is given much of the graph.
    """
    levels, maps = [finest_level(graph)], []
    coarse = COARSE_NODES if graph.num_edges < LARGE else COARSE_NODES_OF_LARGE
    smallest = max(coarse * num_clusters, 200)
    while levels[-1].num_nodes > smallest:
        labels = coarse_labels(levels[-1], num_clusters, coarse)
        smaller = contract(levels[-1], labels, folder_of(graph))
        if smaller.num_nodes > _LEAST_SHRINK * levels[-1].num_nodes:
            break
        levels.append(smaller)
        maps.append(labels)
    clusters = _cut_smallest(levels[-1], num_clusters, seed)
    refine(levels[-1], clusters, num_clusters)
    for finer, labels in zip(levels[-2::-1], maps[::-1], strict=True):
        clusters = clusters[labels]
        refine(finer, clusters, num_clusters)
    return clusters.astype(np.int64)


def finest_level(graph: Structure) -> Level:
    """Return a graph as a level whose nodes weigh what they work."""
    weights = np.maximum(np.rint(_WEIGHT_SCALE * work_of(graph)), 1).astype(np.int64)
    return Level(*linked_structure(graph), np.ones(1, np.int64), weights)


def coarse_labels(
    level: Level, num_clusters: int, coarse: int = COARSE_NODES
) -> np.ndarray:
    """Return int32 [n], numbers 0.. of the nodes that become one."""
    limit = max(int(level.weights.sum() // (coarse * num_clusters)), 1)
    labels = np.arange(level.num_nodes, dtype=np.int32)
    sizes = level.weights.copy()
    favourites = labels.copy()
    _pass_often(level, labels, sizes, limit, favourites, few=level.num_nodes // 100)
    _join_alone(level.weights, labels, sizes, limit, favourites)
    return _number(labels)


def refine(level: Level, clusters: np.ndarray, num_clusters: int) -> None:
    """Move nodes where that cuts less and balance allows it. Updates `clusters`."""
    sizes = np.zeros(num_clusters, np.int64)
    np.add.at(sizes, clusters, level.weights)
    limit = int((1 + IMBALANCE) * level.weights.sum() / num_clusters)
    limit += int(level.weights.max()) if level.num_nodes < 100 * num_clusters else 0
    none = np.empty(0, np.int32)
    _pass_often(level, clusters, sizes, limit, none, few=level.num_nodes // 1000)


def _pass_often(level: Level, *state: Any, few: int) -> None:
    """Look at all labels, as `_propagate` does, until no more than few nodes move."""
    arrays = (level.indptr, level.indices, level.links, level.weights)
    for _ in range(PASSES):
        if _propagate(arrays, *state) <= few:
            break


@njit(cache=True, nogil=True)
def _propagate(level: Any, labels: Any, sizes: Any, limit: int, favourites: Any) -> int:
    """Give every node in turn the label it is linked to most, if there is room.

    A node whose label holds too much may leave it for any that has room. `favourites`
    [n], or empty, gets the best label whether it has room or not. Returns how many
    nodes moved.
    """
    indptr, indices, links, weights = level
    rating = np.zeros(len(sizes), np.int64)
    touched = np.empty(len(sizes), np.int32)
    moved = 0
    for node in range(len(weights)):
        begin, end = indptr[node], indptr[node + 1]
        met = _rate(indices[begin:end], links, begin, labels, rating, touched)
        own, weight = labels[node], weights[node]
        over = sizes[own] > limit
        best, most = own, -1 if over else rating[own]
        liked, liking = own, rating[own]
        for i in range(met):
            label = touched[i]
            if rating[label] > liking:
                liked, liking = label, rating[label]
            fits = sizes[label] + weight <= limit
            if label != own and fits and rating[label] > most:
                best, most = label, rating[label]
        for i in range(met):
            rating[touched[i]] = 0
        if len(favourites):
            favourites[node] = liked
        if best != own:
            sizes[own] -= weight
            sizes[best] += weight
            labels[node] = best
            moved += 1
    return moved


@njit(cache=True, nogil=True)
def _rate(
    row: Any, links: Any, begin: int, labels: Any, rating: Any, touched: Any
) -> int:
    """Add up a row's links by label; return how many labels were met."""
    met, same = 0, len(links) == 1
    for i in range(len(row)):
        label = labels[row[i]]
        if rating[label] == 0:
            touched[met] = label
            met += 1
        rating[label] += 1 if same else links[begin + i]
    return met


@njit(cache=True, nogil=True)
def _join_alone(
    weights: Any, labels: Any, sizes: Any, limit: int, favourites: Any
) -> None:
    """Join nodes that stayed alone with others that like the same label.

    Leaves of a star have only their centre, which has no room for all of them; nodes
    without neighbours like themselves, and are joined in the order of their ids.
    """
    open_label = np.full(len(sizes), -1, np.int32)
    last = -1
    for node in range(len(weights)):
        if labels[node] != node or sizes[node] != weights[node]:
            continue
        liked = favourites[node]
        target = last if liked == node else open_label[liked]
        if target >= 0 and sizes[target] + weights[node] <= limit:
            labels[node] = target
            sizes[target] += weights[node]
            sizes[node] = 0
        elif liked == node:
            last = node
        else:
            open_label[liked] = node


@njit(cache=True, nogil=True)
def _number(labels: Any) -> Any:
    """Return int32 [n], the same labels as numbers 0.. in the order they are met."""
    number = np.full(len(labels), -1, np.int32)
    found = np.empty(len(labels), np.int32)
    count = 0
    for node in range(len(labels)):
        label = labels[node]
        if number[label] < 0:
            number[label] = count
            count += 1
        found[node] = number[label]
    return found


def contract(level: Level, labels: np.ndarray, folder: str | None = None) -> Level:
    """Return the graph whose nodes are the labels 0.. of a level's nodes.

    Its entries are in files of a folder if one is given.
    """
    count = int(labels.max()) + 1
    members = np.argsort(labels, kind="stable").astype(np.int32)
    bounds = np.searchsorted(labels[members], np.arange(count + 1))
    rows, groups = (level.indptr, level.indices, level.links), (labels, members, bounds)
    indptr = np.zeros(count + 1, np.int64)
    none = np.empty(0, np.int64)
    _join_rows(rows, groups, indptr, none.astype(np.int32), none)
    np.cumsum(indptr, out=indptr)
    total = int(indptr[-1])
    indices = empty(total, np.int32, folder)
    links = empty(total, np.int64, folder)
    _join_rows(rows, groups, indptr, indices, links)
    weights = np.zeros(count, np.int64)
    np.add.at(weights, labels, level.weights)
    return Level(indptr, indices, links, weights)


@njit(cache=True, nogil=True)
def _join_rows(rows: Any, groups: Any, joined: Any, columns: Any, totals: Any) -> None:
    """Count the entries of joined rows into ``joined[1:]``, or write them.

    They are written, by the bounds in `joined`, where `columns` is not empty.
    """
    indptr, indices, links = rows
    labels, members, bounds = groups
    count = len(bounds) - 1
    rating = np.zeros(count, np.int64)
    touched = np.empty(count, np.int32)
    write = len(columns) > 0
    for label in range(count):
        met = 0
        for at in range(bounds[label], bounds[label + 1]):
            node = members[at]
            for slot in range(indptr[node], indptr[node + 1]):
                other = labels[indices[slot]]
                if other == label:
                    continue
                if rating[other] == 0:
                    touched[met] = other
                    met += 1
                rating[other] += 1 if len(links) == 1 else links[slot]
        for i in range(met):
            if write:
                columns[joined[label] + i] = touched[i]
                totals[joined[label] + i] = rating[touched[i]]
            rating[touched[i]] = 0
        if not write:
            joined[label + 1] = met


def _cut_smallest(level: Level, num_clusters: int, seed: int) -> np.ndarray:
    """Return int32 [n], clusters of the smallest graph by METIS."""
    count = min(num_clusters, level.num_nodes)
    if count == 1 or not len(level.indices):
        equal = np.arange(level.num_nodes) * num_clusters // level.num_nodes
        return equal.astype(np.int32)
    links = np.broadcast_to(level.links, level.indices.shape)
    graph = (level.indptr, level.indices.astype(np.int64), level.weights, links)
    return cut_recursively(count, *graph, seed=seed).astype(np.int32)
