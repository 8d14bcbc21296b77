"""A hint to the processor: this row is read soon.

Rows of a feature table are read in random order, so kernels wait for memory unless
they name rows some way ahead. A prefetch changes no value and never faults.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from daskgnn.kernels.jit import njit

AHEAD = 12
"""How many rows ahead kernels prefetch."""

_INT32 = ir.IntType(32)
_INT64 = ir.IntType(64)
_POINTER = ir.IntType(8).as_pointer()
_SIGNATURE = ir.FunctionType(ir.VoidType(), [_POINTER, _INT32, _INT32, _INT32])


def _prefetch_line(_typing: Any, address: Any) -> Any:
    """Prefetch, for reading, the cache line of an address."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        name = "llvm.prefetch"
        prefetch = builder.module.declare_intrinsic(name, (_POINTER,), _SIGNATURE)
        read, keep, data = _INT32(0), _INT32(3), _INT32(1)
        builder.call(prefetch, [builder.inttoptr(args[0], _POINTER), read, keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _address_of(_typing: Any, array: Any) -> Any:
    """Return where the first entry of an array lies; the array is to be kept."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        view = context.make_array(array)(context, builder, args[0])
        return builder.ptrtoint(view.data, _INT64)

    return types.int64(array), generate


_line: Any = intrinsic(_prefetch_line)
address_of: Any = intrinsic(_address_of)


@njit(cache=True, nogil=True, inline="always")
def prefetch_at(address: int, nbytes: int) -> None:
    """Prefetch the `nbytes` from `address` on; harmless where nothing is there."""
    for line in range(address, address + nbytes, 64):
        _line(line)


@njit(cache=True, nogil=True, inline="always")
def prefetch_entry(array: Any, position: Any) -> None:
    """Prefetch an entry of a contiguous array; `position` may be any number."""
    _line(address_of(array) + np.int64(position) * array.itemsize)


@njit(cache=True, nogil=True, inline="always")
def prefetch_row(table: Any, row: Any) -> None:
    """Prefetch row `row` of the C-contiguous array `table`."""
    nbytes = table.shape[1] * table.itemsize
    prefetch_at(address_of(table) + np.int64(row) * nbytes, nbytes)
