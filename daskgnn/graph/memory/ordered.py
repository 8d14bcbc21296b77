"""Arrays in storage order, computed piece by piece from those in original order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.graph.store.writer import ArraySource
from daskgnn.kernels.half import narrow

if TYPE_CHECKING:
    from collections.abc import Callable

STORED_DTYPES: dict[str, type] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": np.uint16,
}
"""Stored types: Zarr has no bfloat16, so its bits are stored."""


def feature_sources(
    features: Any, order: np.ndarray, feature_dtype: str
) -> list[ArraySource]:
    """List the arrays of the features in their stored form."""
    if features is None:
        return []
    import scipy.sparse as sp

    if not sp.issparse(features):
        dtype = np.dtype(STORED_DTYPES[feature_dtype])

        def rows(start: int, stop: int) -> np.ndarray:
            return narrow(features[order[start:stop]], feature_dtype).view(dtype)

        return [ArraySource("features", features.shape, dtype, rows, compress=False)]
    indptr = ordered_indptr(features.indptr, order)

    def slots(start: int, stop: int) -> np.ndarray:
        return ordered_slots(features.indptr, indptr, order, start, stop)

    return [
        plain("features_indptr", indptr),
        taken("features_indices", features.indices, slots, np.int32),
        taken("features_data", features.data, slots),
    ]


def ordered_indptr(indptr: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return int64 row pointers of CSR rows taken in `order`."""
    found = np.zeros(len(order) + 1, np.int64)
    np.cumsum(np.diff(indptr)[order], out=found[1:])
    return found


def ordered_slots(
    indptr: np.ndarray, ordered: np.ndarray, order: np.ndarray, start: int, stop: int
) -> np.ndarray:
    """Return where entries ``start`` to ``stop - 1`` of reordered CSR rows come from.

    Parameters
    ----------
    indptr, ordered
        int [N+1], row pointers before and after.
    order
        int64 [N], the row before at each row after.

    Returns
    -------
    np.ndarray
        int64 [stop - start], positions among the entries before.
    """
    first = int(np.searchsorted(ordered, start, side="right")) - 1
    last = int(np.searchsorted(ordered, stop, side="left"))
    begin, end = ordered[first:last], ordered[first + 1 : last + 1]
    shift = indptr[order[first:last]].astype(np.int64) - begin
    counts = np.minimum(end, stop) - np.maximum(begin, start)
    slots = np.repeat(shift, counts)
    slots += np.arange(start, stop)
    return slots


def plain(name: str, array: np.ndarray) -> ArraySource:
    """Store an array that is in memory in storage order."""
    return ArraySource(name, array.shape, array.dtype, lambda i, j: array[i:j])


def taken(
    name: str,
    array: np.ndarray,
    positions: Callable[[int, int], np.ndarray],
    dtype: Any = None,
) -> ArraySource:
    """Store the elements at the positions of each run, as `dtype` if given."""
    kind = np.dtype(array.dtype if dtype is None else dtype)
    return ArraySource(name, array.shape, kind, lambda i, j: array[positions(i, j)])
