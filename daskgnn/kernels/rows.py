"""Rows in several tables, identified by their memory addresses.

The rows that a step reads lie in a part's own block, in the answers of each other
part and in a cache. A kernel that knows each row's address needs neither a copy of
them all in one table nor a branch a row, and functions on addresses count no
references: counting arrays' took more time than adding up their rows. An address is
good as long as the caller holds the table; 0 stands for a row that is nowhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from daskgnn.kernels.bfloat import read, written
from daskgnn.kernels.jit import njit
from daskgnn.kernels.prefetch import prefetch_at

AHEAD = 24
"""How many sources ahead rows are prefetched."""

TAG = 48
"""A source's number says where its row lies (lower bits) and who owns it (upper)."""

WHERE = (1 << TAG) - 1
"""Takes the owner off a source's number."""

Array = np.ndarray
Place = tuple[int, int, int, Any]
"""Where rows are written: their address, the bytes between them, their length, and a
number of their type, float32 or uint16 for the bits of bfloat16, to be rounded to."""


def _pointer(context: Any, builder: Any, kind: Any, address: Any, item: Any) -> Any:
    """Return the pointer to an item of numba type `kind` in the row at `address`."""
    data = context.get_data_type(kind)
    return builder.gep(builder.inttoptr(address, data.as_pointer()), [item])


def _load_at(_typing: Any, address: Any, item: Any, like: Any) -> Any:
    """Return an item of the row at `address`, of the type of the number `like`."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, like, args[0], args[1])
        return builder.load(pointer, align=like.bitwidth // 8)

    return like(types.int64, types.intp, like), generate


def _store_at(_typing: Any, address: Any, item: Any, value: Any) -> Any:
    """Write `value` to an item of the row at `address`."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, value, args[0], args[1])
        builder.store(args[2], pointer, align=value.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.intp, value), generate


load_at: Any = intrinsic(_load_at)
store_at: Any = intrinsic(_store_at)


@njit(cache=True, nogil=True, inline="always")
def value_at(address: int, item: int, like: Any) -> Any:
    """Return an item of a feature row as float32; `like` says how it is kept."""
    return read(load_at(address, item, like))


@njit(cache=True, nogil=True)
def copy_row(out: int, row: int, channels: int, like: Any, like_out: Any) -> None:
    """Write to `out` the row at `row`; `like` and `like_out` say how both are kept."""
    for f in range(channels):
        store_at(out, f, written(value_at(row, f, like), like_out))


@njit(cache=True, nogil=True)
def copy_rows(sources: Array, table: Array, count: int, place: Place) -> int:
    """Write to a place [m, F] the rows of the first *m* = `count` sources.

    `table` is an array of the rows' dtype. Returns how many rows are nowhere.
    """
    out, stride, channels, like_out = place
    like = table.dtype.type(0)
    nbytes = channels * table.itemsize
    lacking = 0
    for j in range(count):
        if j + AHEAD < count:
            prefetch_at(sources[j + AHEAD] & WHERE, nbytes)
        a = sources[j] & WHERE
        if a == 0:
            lacking += 1
            continue
        copy_row(out + j * stride, a, channels, like, like_out)
    return lacking


@njit(cache=True, nogil=True)
def copy_items(sources: Array, out: Array) -> None:
    """Write to `out` [n] each source's one number, 0 where that is nowhere."""
    like = out.dtype.type(0)
    for j in range(len(out)):
        a = sources[j] & WHERE
        out[j] = load_at(a, 0, like) if a else like
