"""Group a frontier's nodes by owner, and put the owners' rows back in order.

Shapes: n nodes of a frontier, P parts, k rows of one owner's reply.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskgnn.kernels.jit import njit


@njit(cache=True, nogil=True)
def count_between(ids: Any, low: int, high: int) -> int:
    """Return how many of `ids` are at least `low` and below `high`."""
    count = 0
    for node in ids:
        count += (node >= low) & (node < high)
    return count


@njit(cache=True, nogil=True)
def take_between(ids: Any, low: int, high: int, out: Any) -> None:
    """Write to `out` the `ids` from `low` to below `high`, in their order."""
    place = 0
    for node in ids:
        if place == len(out):
            return
        # Always written, and counted if it belongs: avoids a branch.
        out[place] = node
        place += (node >= low) & (node < high)


@njit(cache=True, nogil=True, inline="always")
def owner_of(bounds: Any, node: Any) -> Any:
    """Return the last part whose first node is not beyond `node`."""
    low, high = 0, len(bounds) - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if node >= bounds[middle]:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def group_by_owner(ids: Any, bounds: Any, order: Any, ends: Any) -> None:
    """Write the places of `ids` to `order`, by owner and ascending for each.

    Parameters
    ----------
    ids : int [n]
        Storage ids.
    bounds : int64 [P + 1]
        First storage id of each part.
    order : int32 [n]
        Output: owner *p*'s are ``order[ends[p] : ends[p + 1]]``.
    ends : int64 [P + 1]
        Output.
    """
    ends[:] = 0
    for node in ids:
        ends[owner_of(bounds, node) + 1] += 1
    for part in range(1, len(ends)):
        ends[part] += ends[part - 1]
    place = ends[:-1].copy()
    for i in range(len(ids)):
        owner = owner_of(bounds, ids[i])
        order[place[owner]] = i
        place[owner] += 1


@njit(cache=True, nogil=True)
def place_rows(order: Any, base: int, told: Any, out: Any) -> None:
    """Write what one owner said of its nodes to their places in the frontier.

    Parameters
    ----------
    order : int32 [k]
        Place of each node.
    base : int
        Where the columns of the first row begin; the others follow it.
    told : int64 [k] three times, float32 [k]
        Counts, original ids, degrees and weighted degrees.
    out : [n]
        Where each row begins (int64), and the given ones.
    """
    counts, original_ids, degree, weighted_degree = told
    out_starts, out_counts, out_original_ids, out_degree, out_weighted_degree = out
    for k in range(len(order)):
        i = order[k]
        out_starts[i] = base
        out_counts[i] = counts[k]
        out_original_ids[i] = original_ids[k]
        out_degree[i] = degree[k]
        out_weighted_degree[i] = weighted_degree[k]
        base += counts[k]


@njit(cache=True, nogil=True)
def take_rows(values: Any, starts: Any, counts: Any, out: Any) -> None:
    """Write ``values[starts[i] : starts[i] + counts[i]]`` to `out`, row after row."""
    place = 0
    for i in range(len(starts)):
        for e in range(starts[i], starts[i] + counts[i]):
            out[place] = values[e]
            place += 1


@njit(cache=True, nogil=True)
def _offsets(counts: Any) -> Any:
    # Without numpy's slower sum.
    out = np.empty(len(counts) + 1, np.int64)
    out[0] = 0
    for i in range(len(counts)):
        out[i + 1] = out[i] + counts[i]
    return out


def offsets(counts: np.ndarray | list[int]) -> np.ndarray:
    """Return where each of adjacent runs of such lengths begins, and the end."""
    view = np.ascontiguousarray(counts, np.int64).view()
    view.flags.writeable = False  # as in `daskgnn.kernels.aggregate.frozen`
    found: np.ndarray = _offsets(view)
    return found
