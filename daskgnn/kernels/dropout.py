"""Dropout masks as hashes of what they mask.

Each channel takes 16 bits of a hash of (key, original node id, channel // 4), so a
node's mask is the same in every part, row position and thread. The keep
probability is rounded to a multiple of 1 / 65536, and the scale is its inverse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from daskgnn.kernels.counter import combine, derive_key, draw
from daskgnn.kernels.jit import njit

if TYPE_CHECKING:
    from daskgnn.kernels.aggregate import Rows

Array = np.ndarray

_LEVELS = 65536
_LOW16 = np.uint64(0xFFFF)
_S16 = np.uint64(16)


def threshold_of(p: float) -> int:
    """Return how many of 65536 levels drop a channel at probability `p`."""
    return round(float(p) * _LEVELS)


def scale_of(p: float) -> float:
    """Return what kept channels are multiplied by (0 where none is kept)."""
    kept = _LEVELS - threshold_of(p)
    return _LEVELS / kept if kept else 0.0


def layer_key(dropout_key: int, number: int) -> np.uint64:
    """Return the key of dropout layer `number` in the step of `dropout_key`."""
    return np.uint64(derive_key(int(dropout_key), int(number)))


@njit(cache=True, nogil=True, inline="always")
def _mask_row(key: np.uint64, threshold: int, mask: Array, i: int) -> None:
    """Fill ``mask[i]``: 1 where 16 bits of the channel's hash reach `threshold`."""
    channels = mask.shape[1]
    limit = np.uint64(threshold)
    for group in range(channels >> 2):
        bits = draw(key, group)
        base = group * 4
        mask[i, base] = (bits & _LOW16) >= limit
        mask[i, base + 1] = ((bits >> _S16) & _LOW16) >= limit
        mask[i, base + 2] = ((bits >> np.uint64(32)) & _LOW16) >= limit
        mask[i, base + 3] = (bits >> np.uint64(48)) >= limit
    bits = draw(key, channels >> 2)
    for f in range(channels - channels % 4, channels):
        mask[i, f] = (bits & _LOW16) >= limit
        bits >>= _S16


@njit(cache=True, nogil=True)
def node_mask(ids: Array, key: np.uint64, threshold: int, mask: Array) -> None:
    """Fill `mask` (uint8 [n, F]) for the nodes with the original `ids` (int64 [n])."""
    for i in range(mask.shape[0]):
        _mask_row(combine(key, np.uint64(ids[i])), threshold, mask, i)


@njit(cache=True, nogil=True)
def edge_mask(
    rows: Rows,
    ids: Array,
    key: np.uint64,
    threshold: int,
    mask: Array,
) -> None:
    """Fill `mask` (uint8 [L, H]) by destination id, source id and head.

    Source and destination *i* both have the original id ``ids[i]``.
    """
    starts, ends, indices = rows
    for i in range(len(starts)):
        row_key = combine(key, np.uint64(ids[i]))
        for position in range(starts[i], ends[i]):
            edge_key = combine(row_key, np.uint64(ids[indices[position]]))
            _mask_row(edge_key, threshold, mask, position)


@njit(cache=True, nogil=True)
def apply_mask(x: Array, mask: Array, scale: float, out: Array) -> None:
    """Write ``x * scale`` where `mask` is set and zero elsewhere; all [n, F]."""
    factor = out.dtype.type(scale)
    zero = out.dtype.type(0)
    for i in range(x.shape[0]):
        for f in range(x.shape[1]):
            out[i, f] = x[i, f] * factor if mask[i, f] else zero


@njit(cache=True, nogil=True)
def dropout_rows(
    x: Array,
    ids: Array,
    key: np.uint64,
    threshold: int,
    scale: float,
    out: Array,
    mask: Array,
) -> None:
    """Do `node_mask` and `apply_mask` in one pass over the rows."""
    factor = out.dtype.type(scale)
    zero = out.dtype.type(0)
    for i in range(x.shape[0]):
        _mask_row(combine(key, np.uint64(ids[i])), threshold, mask, i)
        for f in range(x.shape[1]):
            out[i, f] = x[i, f] * factor if mask[i, f] else zero
