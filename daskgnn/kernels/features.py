"""Feature rows of a part: a dense array, or CSR where that is smaller."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_dense(features: Any) -> bool:
    """Return whether `features` is a plain float32 array."""
    return isinstance(features, np.ndarray)


def dense_rows(features: Any, rows: np.ndarray) -> np.ndarray:
    """Return the given rows as a float32 array [m, F].

    `features` is a float32 array or has CSR arrays `indptr`, `indices`, `data`
    and a `shape`, as `sparse.GCXS` and SciPy's CSR arrays do.
    """
    if is_dense(features):
        return np.take(features, rows, axis=0)
    first = features.indptr[rows].astype(np.int64)
    counts = features.indptr[rows + 1].astype(np.int64) - first
    ends = np.cumsum(counts)
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
    slots = np.repeat(first, counts) + within
    out = np.zeros((len(rows), features.shape[1]), np.float32)
    out[np.repeat(np.arange(len(rows)), counts), features.indices[slots]] = (
        features.data[slots]
    )
    return out


def dense(features: Any) -> np.ndarray:
    """Return all rows as a float32 array, without a copy where they are one."""
    if is_dense(features):
        return features
    return dense_rows(features, np.arange(features.shape[0]))


def normalize_rows(features: Any) -> Any:
    """Return `features` with every row divided by its sum (rows of zeros kept)."""
    if is_dense(features):
        sums = features.sum(axis=1, keepdims=True)
        return features / np.where(sums == 0, np.float32(1), sums)
    counts = np.diff(features.indptr)
    rows = np.repeat(np.arange(len(counts)), counts)
    sums = np.bincount(rows, features.data, len(counts)).astype(np.float32)
    data = features.data / np.where(sums == 0, np.float32(1), sums)[rows]
    return type(features)(
        (data, features.indices, features.indptr),
        shape=features.shape,
        compressed_axes=(0,),
    )
