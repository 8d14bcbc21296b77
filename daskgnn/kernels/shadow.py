"""The subgraph of each seed: its nodes, the edges between them, and their order.

Every seed has a set of nodes of its own, so a node can be in many sets. Sets are small
(tens or hundreds of nodes) and there are thousands of them, so each kernel goes from
set to set with one small hash table.

Shapes: K sets of M nodes in all, E edges within sets, n rows of a block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskgnn.kernels.counter import GOLDEN, combine
from daskgnn.kernels.jit import njit
from daskgnn.kernels.prefetch import prefetch_entry

Array = np.ndarray

_NONE = np.int64(-1)
_ONE = np.uint64(1)
_HIGH = np.uint64(32)
_WIDTH = 64


@njit(cache=True, nogil=True)
def table_size(count: Any) -> Any:
    """Return the size of a table, a power of two, that `count` nodes fill a quarter."""
    size = 16
    while size < 4 * count:
        size *= 2
    return size


@njit(cache=True, nogil=True, inline="always")
def place_of(table: Array, node: Any) -> Any:
    """Return where a node stands in a table of ids, or else where it is to be put.

    Free places hold -1.
    """
    mask = np.uint64(len(table) - 1)
    place = ((np.uint64(node) * GOLDEN) >> _HIGH) & mask
    while table[place] != node and table[place] != _NONE:
        place = (place + _ONE) & mask
    return place


@njit(cache=True, nogil=True)
def draw_keys(keys: Array, original_ids: Array) -> Array:
    """Return keys of the seeds' draws, from their steps' keys and original ids."""
    out = np.empty(len(keys), np.uint64)
    for i in range(len(keys)):
        out[i] = combine(keys[i], np.uint64(original_ids[i]))
    return out


@njit(cache=True, nogil=True)
def take_last(
    ids: Array, starts: Array, known: Array, low: int, high: int, counts: Array
) -> Array:
    """Return the nodes of each set after its `known` ones that lie in [low, high).

    Parameters
    ----------
    ids : int [M]
    starts : int64 [K + 1]
    known : int64 [K]
    counts : int64 [K]
        Output: how many each set has.
    """
    total = 0
    for k in range(len(counts)):
        counts[k] = 0
        for i in range(starts[k] + known[k], starts[k + 1]):
            counts[k] += (ids[i] >= low) & (ids[i] < high)
        total += counts[k]
    out = np.empty(total, ids.dtype)
    place = 0
    for k in range(len(counts)):
        for i in range(starts[k] + known[k], starts[k + 1]):
            if ids[i] >= low and ids[i] < high:
                out[place] = ids[i]
                place += 1
    return out


@njit(cache=True, nogil=True)
def touches(ids: Array, starts: Array, low: int, high: int) -> Array:
    """Return which sets have a node in [low, high), bool [K]."""
    out = np.zeros(len(starts) - 1, np.bool_)
    for k in range(len(out)):
        for i in range(starts[k], starts[k + 1]):
            if ids[i] >= low and ids[i] < high:
                out[k] = True
                break
    return out


@njit(cache=True, nogil=True)
def _most(starts: Array, fronts: Array, counts: Array, span: Any) -> Any:
    """Return how many nodes sets have at most after growing: the largest, and all."""
    largest = total = np.int64(0)
    for k in range(span[0], span[1]):
        size = starts[k + 1] - starts[k]
        for row in range(fronts[k], fronts[k + 1]):
            size += counts[row]
        largest = max(largest, size)
        total += size
    return largest, total


@njit(cache=True, nogil=True)
def grow_sets(sets: Any, rows: Any, span: Any) -> Any:
    """Add the nodes in some rows to their sets, in the order in which they are met.

    Parameters
    ----------
    sets : int [M], int64 [K + 1]
        Nodes, and where each set begins.
    rows : int [*], int64 [R] twice, int64 [K + 1]
        Columns; where each row begins there, and its length; which rows are each set's.
    span : int
        The first and the last set.

    Returns
    -------
    tuple
        int [*] nodes, and int64 [last - first], the size of each set.
    """
    ids, starts = sets
    columns, begins, counts, fronts = rows
    first, last = span
    largest, total = _most(starts, fronts, counts, span)
    table = np.empty(table_size(largest), np.int64)
    out = np.empty(total, ids.dtype)
    sizes = np.empty(last - first, np.int64)
    place = np.int64(0)
    for k in range(first, last):
        size = starts[k + 1] - starts[k]
        for row in range(fronts[k], fronts[k + 1]):
            size += counts[row]
        own = table[: table_size(size)]
        own[:] = _NONE
        begin = place
        for i in range(starts[k], starts[k + 1]):
            own[place_of(own, np.int64(ids[i]))] = ids[i]
            out[place] = ids[i]
            place += 1
        for row in range(fronts[k], fronts[k + 1]):
            for e in range(begins[row], begins[row] + counts[row]):
                node = np.int64(columns[e])
                where = place_of(own, node)
                if own[where] == _NONE:
                    own[where] = node
                    out[place] = columns[e]
                    place += 1
        sizes[k - first] = place - begin
    return out[:place], sizes


@njit(cache=True, nogil=True)
def _longer(array: Array) -> Array:
    """Return a copy with room for twice as many."""
    out = np.empty(2 * len(array), array.dtype)
    out[: len(array)] = array
    return out


@njit(cache=True, nogil=True)
def _owned(ids: Array, begin: Any, end: Any, start: int, num_rows: int) -> Any:
    """Return how many of some ids are rows of a block."""
    count: Any = 0
    for i in range(begin, end):
        row = np.int64(ids[i]) - start
        count += (row >= 0) & (row < num_rows)
    return count


@njit(cache=True, nogil=True)
def _enter(block: Any, ids: Array, span: Any, own: Array, number: Array) -> None:
    """Put the nodes of a set into a table, with their numbers; prefetch their rows."""
    indptr, indices, _, start = block
    begin, end = span
    own[:] = _NONE
    for i in range(begin, end):
        where = place_of(own, np.int64(ids[i]))
        own[where], number[where] = ids[i], i - begin
        prefetch_entry(indptr, np.int64(ids[i]) - start)
    for i in range(begin, end):
        row = np.int64(ids[i]) - start
        if row >= 0 and row < len(indptr) - 1:
            prefetch_entry(indices, indptr[row])


@njit(cache=True, nogil=True)
def _take_inside(block: Any, row: int, own: Array, number: Array, found: Any) -> Any:
    """Append the edges of a row that lie inside a set; return what is found by now."""
    indptr, indices, weights, _ = block
    columns, kept, used = found
    for e in range(indptr[row], indptr[row + 1]):
        where = place_of(own, np.int64(indices[e]))
        if own[where] == _NONE:
            continue
        if used == len(columns):
            columns = _longer(columns)
            if len(weights) > 0:
                kept = _longer(kept)
        columns[used] = number[where]
        if len(weights) > 0:
            kept[used] = weights[e]
        used += 1
    return columns, kept, used


@njit(cache=True, nogil=True)
def induce_rows(block: Any, sets: Any, span: Any) -> Any:
    """Return the edges between the nodes of each set, as far as a block has the rows.

    Parameters
    ----------
    block : int64 [n + 1], int [*], float32 [*] or [0], int
        Row pointers, columns, weights and the id of the first row.
    sets : int [M], int64 [K + 1]
        Nodes, and where each set begins.
    span : int
        The first and the last set.

    Returns
    -------
    tuple
        int64 [r] lengths of the rows of those nodes that the block has, in their order;
        int32 [e] numbers of the columns within their set; float32 [e] or [0] weights.
    """
    start, num_rows = block[3], len(block[0]) - 1
    weighted = len(block[2]) > 0
    ids, starts = sets
    first, last = span
    largest = np.int64(0)
    for k in range(first, last):
        largest = max(largest, starts[k + 1] - starts[k])
    table = np.empty(table_size(largest), np.int64)
    number = np.empty(len(table), np.int32)
    owned = _owned(ids, starts[first], starts[last], start, num_rows)
    counts = np.empty(owned, np.int64)
    columns = np.empty(max(4 * len(counts), _WIDTH), np.int32)
    kept = np.empty(len(columns) if weighted else 0, np.float32)
    used: Any = np.int64(0)
    done = 0
    for k in range(first, last):
        begin, end = starts[k], starts[k + 1]
        own = table[: table_size(end - begin)]
        _enter(block, ids, (begin, end), own, number)
        for i in range(begin, end):
            row = np.int64(ids[i]) - start
            if row < 0 or row >= num_rows:
                continue
            before, found = used, (columns, kept, used)
            columns, kept, used = _take_inside(block, row, own, number, found)
            counts[done] = used - before
            done += 1
    return counts, columns[:used], kept[: used if weighted else 0]


@njit(cache=True, nogil=True)
def order_by_hop(sets: Any, span: Any, depth: int) -> Any:
    """Number the nodes of some sets by their distance from their set's first node.

    Distances are counted along the rows within a set. Nodes beyond `depth`, and those
    that no path leads to, get no number. Of one distance, sets follow each other.

    Parameters
    ----------
    sets : int64 [K + 1], int64 [M + 1], int32 [E]
        Where each set begins; its rows' pointers, and numbers of the columns within it.
    span : int
        The first and the last set.
    depth : int
        The largest distance, at least 1.

    Returns
    -------
    tuple
        int64 [m], places of the nodes in their new order; int64 [depth + 1], how many
        have at most each distance; int64 [r + 1] and int32 [*], the rows of all that
        are nearer than `depth`, and int64 [*], the edges' places.
    """
    starts, indptr, indices = sets
    first, last = span
    base = starts[first]
    queue = np.empty(starts[last] - base, np.int64)
    number = np.full(len(queue), -1, np.int32)
    ends = np.empty(last - first, np.int64)
    within = np.zeros(depth + 1, np.int64)
    for k in range(first, last):
        head = tail = starts[k] - base
        queue[tail], number[tail] = starts[k], 0
        within[0] += 1
        tail += 1
        while head < tail:
            node = queue[head]
            head += 1
            distance = number[node - base]
            if distance == depth:
                break
            for e in range(indptr[node], indptr[node + 1]):
                near = starts[k] + indices[e]
                if number[near - base] < 0:
                    number[near - base] = distance + 1
                    within[distance + 1] += 1
                    queue[tail] = near
                    tail += 1
        ends[k - first] = tail
    cursor = np.zeros(depth + 1, np.int64)
    for hop in range(depth):
        cursor[hop + 1] = within[hop]
        within[hop + 1] += within[hop]
    order = np.empty(within[depth], np.int64)
    begins = np.empty(within[depth], np.int64)
    for k in range(first, last):
        for q in range(starts[k] - base, ends[k - first]):
            node = queue[q]
            hop = number[node - base]
            order[cursor[hop]], begins[cursor[hop]] = node, starts[k] - base
            number[node - base] = cursor[hop]
            cursor[hop] += 1
    rows = _numbered_rows(order[: within[depth - 1]], begins, indptr, indices, number)
    return order, within, rows


@njit(cache=True, nogil=True)
def _numbered_rows(
    order: Array, begins: Array, indptr: Array, indices: Array, number: Array
) -> Any:
    """Return rows in a new order, with new numbers, and where their edges were."""
    pointers = np.empty(len(order) + 1, np.int64)
    pointers[0] = 0
    for i in range(len(order)):
        pointers[i + 1] = pointers[i] + indptr[order[i] + 1] - indptr[order[i]]
    columns = np.empty(pointers[-1], np.int32)
    edges = np.empty(pointers[-1], np.int64)
    place = 0
    for i in range(len(order)):
        for e in range(indptr[order[i]], indptr[order[i] + 1]):
            columns[place] = number[begins[i] + indices[e]]
            edges[place] = e
            place += 1
    return pointers, columns, edges
