"""Original ids and storage ids, each from the other, reading part by part."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from daskgnn.graph.sources.source import GraphSource


def original_ids_of(
    source: GraphSource, book: np.ndarray, storage_ids: np.ndarray
) -> np.ndarray:
    """Return the original ids of storage ids, int64 [n].

    Parameters
    ----------
    book
        int64 [P+1], where parts begin.
    """
    found = np.empty(len(storage_ids), np.int64)
    owners = np.searchsorted(book, storage_ids, side="right") - 1
    for p in np.unique(owners):
        start, stop = (int(b) for b in book[p : p + 2])
        ids = source.load_table("original_ids", start, stop)
        mine = owners == p
        found[mine] = ids[storage_ids[mine] - start]
    return found


def storage_ids_of(
    source: GraphSource, book: np.ndarray, original_ids: np.ndarray
) -> np.ndarray:
    """Return the storage ids of original ids, int64 [n]; see `original_ids_of`."""
    wanted, place = np.unique(original_ids, return_inverse=True)
    found = np.empty(len(wanted), np.int64)
    for start, stop in pairwise(book.tolist()):
        ids = source.load_table("original_ids", start, stop)
        at = np.minimum(np.searchsorted(wanted, ids), len(wanted) - 1)
        here = np.flatnonzero(wanted[at] == ids)
        found[at[here]] = start + here
    return found[place]
