"""Personalised PageRank of seeds by local push.

A walk starts at a seed; at each step it ends with probability `alpha`, or else goes to
one of the node's in-neighbours, each as likely. A node's PageRank is the probability
that the walk ends there. The push of a node (Andersen, Chung and Lang, "Local graph
partitioning using PageRank vectors", FOCS 2006) settles the share `alpha` of its
residual and spreads the rest over its row; a node is pushed while its residual is at
least `epsilon` times its degree. What is settled never exceeds the PageRank, and what
is missing of it came from residuals that are smaller than that.

Rows are known of some nodes only, those that a seed was *granted*: residuals of other
nodes wait. All sums are taken in the order of granted nodes and of slots in their rows,
which no partition changes.

Shapes: K seeds, R rows known in a window, G rows granted to seeds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskgnn.kernels.jit import njit
from daskgnn.kernels.shadow import place_of, table_size

Array = np.ndarray

_NONE = np.int64(-1)


@njit(cache=True, nogil=True)
def _scratch(counts: Array, granted: Any, span: Any) -> Any:
    """Return room for the largest seed: its table and the numbers in it; its nodes;
    the numbers in its rows, and where rows begin; residuals, settled shares; a queue of
    granted nodes, and which are in it.
    """
    rows, starts = granted
    most = widest = edges = np.int64(0)
    for k in range(span[0], span[1]):
        length = np.int64(0)
        for g in range(starts[k], starts[k + 1]):
            length += counts[rows[g]]
        edges = max(edges, length)
        widest = max(widest, starts[k + 1] - starts[k])
        most = max(most, length + starts[k + 1] - starts[k])
    size = table_size(most)
    ids = np.empty(size, np.int64), np.empty(size, np.int32), np.empty(most, np.int64)
    near = np.empty(edges, np.int32), np.empty(widest + 1, np.int64)
    shares = np.empty(most, np.float64), np.empty(most, np.float64)
    queue = np.empty(widest, np.int64), np.empty(widest, np.bool_)
    return ids, near, shares, queue


@njit(cache=True, nogil=True)
def _number_nodes(pool: Any, granted: Any, k: int, ids: Any, near: Any) -> Any:
    """Number the nodes that a seed has met, the granted ones first; return how many."""
    pool_ids, firsts, counts, columns = pool
    rows, starts = granted
    table, number, nodes = ids
    indices, begins = near
    most = starts[k + 1] - starts[k]
    for g in range(starts[k], starts[k + 1]):
        most += counts[rows[g]]
    own = table[: table_size(most)]
    own[:] = _NONE
    met = 0
    for g in range(starts[k], starts[k + 1]):
        node = np.int64(pool_ids[rows[g]])
        where = place_of(own, node)
        own[where], number[where], nodes[met] = node, met, node
        met += 1
    edges = 0
    for g in range(starts[k], starts[k + 1]):
        begins[g - starts[k]] = edges
        row = rows[g]
        for e in range(firsts[row], firsts[row] + counts[row]):
            node = np.int64(columns[e])
            where = place_of(own, node)
            if own[where] == _NONE:
                own[where], number[where], nodes[met] = node, met, node
                met += 1
            indices[edges] = number[where]
            edges += 1
    begins[starts[k + 1] - starts[k]] = edges
    return met


@njit(cache=True, nogil=True)
def _push_all(
    near: Any, num_granted: int, met: int, rule: Any, shares: Any, queue: Any
) -> None:
    """Push granted nodes until their residuals are small; the seed at least once."""
    indices, begins = near
    alpha, epsilon = rule
    residual, settled = shares
    waiting, waits = queue
    residual[:met], settled[:met], waits[:num_granted] = 0.0, 0.0, False
    residual[0], waiting[0], waits[0] = 1.0, 0, True
    head, length = 0, 1
    while length > 0:
        node = waiting[head]
        head = 0 if head + 1 == num_granted else head + 1
        length -= 1
        waits[node] = False
        held = residual[node]
        residual[node] = 0.0
        settled[node] += alpha * held
        degree = begins[node + 1] - begins[node]
        if degree == 0:
            continue
        share = (1.0 - alpha) * held / degree
        for e in range(begins[node], begins[node + 1]):
            other = indices[e]
            residual[other] += share
            if other >= num_granted or waits[other]:
                continue
            least = max(begins[other + 1] - begins[other], 1)
            if residual[other] >= epsilon * least:
                tail = head + length
                waiting[tail - num_granted if tail >= num_granted else tail] = other
                waits[other] = True
                length += 1


@njit(cache=True, nogil=True)
def find_candidates(pool: Any, granted: Any, span: Any, rule: Any) -> Any:
    """Return the nodes whose rows seeds may need next: their residuals are large.

    Parameters
    ----------
    pool : int [R], int64 [R] twice, int [*]
        Nodes whose rows are known; where each row begins in the columns, its length.
    granted : int64 [G], int64 [K + 1]
        Which rows each seed may use, its own first; where each seed's begin.
    span : int
        The first and the last seed.
    rule : float
        `alpha` and `epsilon`.

    Returns
    -------
    tuple
        int [c] nodes and float64 [c] residuals of at least `epsilon`, seed after seed;
        int64 [last - first] numbers of each seed's.
    """
    starts = granted[1]
    ids, near, shares, queue = _scratch(pool[2], granted, span)
    counts = np.zeros(span[1] - span[0], np.int64)
    nodes = np.empty(64, pool[0].dtype)
    residuals = np.empty(64, np.float64)
    used = 0
    for k in range(span[0], span[1]):
        num_granted = starts[k + 1] - starts[k]
        met = _number_nodes(pool, granted, k, ids, near)
        _push_all(near, num_granted, met, rule, shares, queue)
        for i in range(num_granted, met):
            if shares[0][i] < rule[1]:
                continue
            if used == len(nodes):
                nodes = np.concatenate((nodes, nodes))
                residuals = np.concatenate((residuals, residuals))
            nodes[used], residuals[used] = ids[2][i], shares[0][i]
            counts[k - span[0]] += 1
            used += 1
    return nodes[:used], residuals[:used], counts


@njit(cache=True, nogil=True)
def _choose(score: Array, met: int, kept: Array, out: Array) -> Any:
    """Write to `out` the seed and the nodes of the highest scores, highest first.

    Of equal scores the node that was met first is first; none has a score of 0.
    """
    out[0], filled = 0, 1
    kept[0] = np.inf
    for i in range(1, met):
        value = score[i]
        if value <= 0 or (filled == len(out) and value <= kept[filled - 1]):
            continue
        if filled < len(out):
            filled += 1
        place = filled - 1
        while place > 1 and kept[place - 1] < value:
            kept[place], out[place] = kept[place - 1], out[place - 1]
            place -= 1
        kept[place], out[place] = value, i
    return filled


@njit(cache=True, nogil=True)
def choose_nodes(pool: Any, granted: Any, span: Any, rule: Any, size: int) -> Any:
    """Return the nodes of each seed's highest PageRank, the seed first.

    Parameters are those of `find_candidates`, and how many nodes are chosen at most.
    What is certain to be settled of a node's residual counts: `alpha` of it.

    Returns
    -------
    tuple
        int [m] nodes, seed after seed, and int64 [last - first], how many each has.
    """
    starts = granted[1]
    ids, near, shares, queue = _scratch(pool[2], granted, span)
    residual, settled = shares
    kept, chosen = np.empty(size, np.float64), np.empty(size, np.int64)
    counts = np.empty(span[1] - span[0], np.int64)
    nodes = np.empty(64, pool[0].dtype)
    used = 0
    for k in range(span[0], span[1]):
        met = _number_nodes(pool, granted, k, ids, near)
        _push_all(near, starts[k + 1] - starts[k], met, rule, shares, queue)
        for i in range(met):
            settled[i] += rule[0] * residual[i]
        count = _choose(settled, met, kept, chosen)
        while used + count > len(nodes):
            nodes = np.concatenate((nodes, nodes))
        for i in range(count):
            nodes[used + i] = ids[2][chosen[i]]
        used += count
        counts[k - span[0]] = count
    return nodes[:used], counts
