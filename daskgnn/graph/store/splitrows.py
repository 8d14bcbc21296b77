"""Rows of a vertex-cut as they are stored.

`indptr` has every row's degree. `indices` (and `edge_weight`) hold first the rows that
are not split, then the entries of the split ones by the cluster that holds them, by
row and by slot: `daskgnn.kernels.split` says what follows from that. R split rows
with S slots, C clusters, P parts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.split import SplitRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.graph.store.store import Arrays


def is_vertex_cut(store: Arrays) -> bool:
    """Return whether rows of the store are split."""
    return "spread_rows" in store.arrays


def split_rows_bytes(store: Arrays) -> int:
    """Return the bytes of the arrays about split rows; 0 if none is split."""
    found = (a for name, a in store.arrays.items() if name.startswith("spread_"))
    return sum(math.prod(a.shape) * a.dtype.itemsize for a in found)


def stored_block(
    store: Arrays,
    start: int,
    indptr: np.ndarray,
    entries: Callable[[str], np.ndarray],
    split_rows: SplitRows | None = None,
) -> AdjacencyBlock:
    """Return rows of a store from `start` on, whose row pointers `indptr` are stored.

    Parameters
    ----------
    entries
        The name of an array -> its values for the entries of the block.
    """
    stop = start + len(indptr) - 1
    return AdjacencyBlock(
        start=start,
        indptr=indptr - indptr[0],
        indices=entries("indices"),
        original_ids=store.read("original_ids", start, stop),
        weights=entries("edge_weight") if "edge_weight" in store.arrays else None,
        split_rows=split_rows,
    )


def read_part_rows(store: Arrays, start: int, stop: int) -> AdjacencyBlock:
    """Read what a part has: its rows, of which some are split, and what it holds.

    Raises
    ------
    StoreError
        As for `Store.read`.
    """
    indptr = store.read("indptr", start, stop + 1)
    split_rows, kept = _read_split_rows(store, start, stop, indptr)
    held = _num_kept(store) + split_rows.first

    def entries(name: str) -> np.ndarray:
        own = store.read(name, *kept)
        there = store.read(name, held, held + split_rows.count)
        return np.concatenate([own, there])

    return stored_block(store, start, indptr, entries, split_rows)


def read_whole_rows(store: Arrays, start: int, stop: int) -> AdjacencyBlock:
    """Read rows whole, wherever their entries are held.

    A cluster's held entries at a time are in memory beside the rows.

    Raises
    ------
    StoreError
        As for `Store.read`.
    """
    indptr = store.read("indptr", start, stop + 1)
    split_rows, kept = _read_split_rows(store, start, stop, indptr)
    whole = np.ones(stop - start, bool)
    whole[split_rows.rows] = False
    own = np.repeat(whole, np.diff(indptr))
    places, bounds = split_rows.all_places(), store.read("spread_bounds")
    first = _num_kept(store)

    def entries(name: str) -> np.ndarray:
        found = np.empty(len(own), store.arrays[name].dtype)
        found[own] = store.read(name, *kept)
        held = np.empty(len(places), found.dtype)
        for cluster in np.unique(split_rows.holders):
            low, high = (int(b) for b in bounds[cluster : int(cluster) + 2])
            piece = store.read(name, first + low, first + high)
            mine = split_rows.holders == cluster
            held[mine] = piece[places[mine] - low]
        found[~own] = held
        return found

    return stored_block(store, start, indptr, entries)


def holder_counts(store: Arrays) -> np.ndarray:
    """Return int64 [R, C], the entries of each split row with each cluster.

    Raises
    ------
    StoreError
        As for `Store.read`.
    """
    starts, bounds = store.read("spread_starts"), store.read("spread_bounds")
    return np.diff(np.vstack([starts, bounds[1:]]), axis=0)


def held_entries(store: Arrays, bounds: np.ndarray) -> np.ndarray:
    """Return int64 [C], all entries that each cluster holds, of rows split or not.

    Raises
    ------
    StoreError
        As for `Store.read`.
    """
    rows, slots = store.read("spread_rows"), store.read("spread_indptr")
    entries = store.read("indptr")[bounds]
    own = np.diff(entries - slots[np.searchsorted(rows, bounds)])
    return own + np.diff(store.read("spread_bounds"))


def stored_places(store: Arrays) -> np.ndarray:
    """Return int64 [E], where each entry is stored, row after row.

    Raises
    ------
    StoreError
        As for `Store.read`.
    """
    indptr = store.read("indptr")
    split_rows, _ = _read_split_rows(store, 0, len(indptr) - 1, indptr)
    kept = _num_kept(store)
    whole = np.ones(len(indptr) - 1, bool)
    whole[split_rows.rows] = False
    own = np.repeat(whole, np.diff(indptr))
    found = np.empty(len(own), np.int64)
    found[own] = np.arange(kept)
    found[~own] = kept + split_rows.all_places()
    return found


def _num_kept(store: Arrays) -> int:
    """Return how many entries are in rows that are not split."""
    entries, held = (store.arrays[n].shape[0] for n in ("indices", "spread_holders"))
    return int(entries - held)


def _read_split_rows(
    store: Arrays, start: int, stop: int, indptr: np.ndarray
) -> tuple[SplitRows, tuple[int, int]]:
    """Read the split rows of a run, and where the other rows' entries are stored.

    `indptr` [stop - start + 1] is that of the run. What is held is that of the clusters
    between `start` and `stop`.
    """
    rows = store.read("spread_rows")
    first, last = (int(i) for i in np.searchsorted(rows, [start, stop]))
    slots = store.read("spread_indptr", first, last + 1)
    low, high = int(slots[0]), int(slots[-1])
    clusters = np.searchsorted(store.read("cluster_bounds"), [start, stop])
    held = store.read("spread_bounds")[clusters]
    strength = None
    if "spread_strength" in store.arrays:
        strength = store.read("spread_strength", first, last)
    split_rows = SplitRows(
        rows=rows[first:last] - start,
        indptr=slots - low,
        holders=store.read("spread_holders", low, high),
        starts=store.read("spread_starts", first, last),
        first=int(held[0]),
        count=int(held[1] - held[0]),
        weighted_degree=strength,
    )
    return split_rows, (int(indptr[0]) - low, int(indptr[-1]) - high)
