"""Rows in several tables, identified by their memory addresses.

The rows that a step reads lie in a part's own block, in the answers of each other
part and in a cache. A kernel that knows each row's address needs neither a copy of
them all in one table nor a branch a row, and functions on addresses count no
references: counting arrays' took more time than adding up their rows. An address is
good as long as the caller holds the table; 0 stands for a row that is nowhere.
"""

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.extending import intrinsic

from daskgnn.kernels.half import as_float32
from daskgnn.kernels.prefetch import POINTER, emit_prefetch


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


def _prefetch_at(_typing: Any, address: Any) -> Any:
    """Prefetch, for reading, the cache line of an address."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return emit_prefetch(context, builder, builder.inttoptr(args[0], POINTER))

    return types.void(types.int64), generate


load_at: Any = intrinsic(_load_at)
store_at: Any = intrinsic(_store_at)
_prefetch_line: Any = intrinsic(_prefetch_at)


@njit(cache=True, nogil=True, inline="always")
def value_at(address: int, item: int, like: Any) -> Any:
    """Return an item of a feature row as float32; `like` says how it is kept."""
    return as_float32(load_at(address, item, like))


@njit(cache=True, nogil=True, inline="always")
def prefetch_at(address: int, nbytes: int) -> None:
    """Prefetch the `nbytes` from `address` on; harmless where nothing is there."""
    for line in range(address, address + nbytes, 64):
        _prefetch_line(line)
