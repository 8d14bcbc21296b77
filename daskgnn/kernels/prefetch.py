"""A hint to the processor: this row is read soon.

Rows of a feature table are read in random order, so kernels wait for memory unless
they name rows some way ahead. A prefetch changes no value and never faults.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

AHEAD = 12
"""How many rows ahead kernels prefetch."""

_INT32 = ir.IntType(32)
POINTER = ir.IntType(8).as_pointer()
_SIGNATURE = ir.FunctionType(ir.VoidType(), [POINTER, _INT32, _INT32, _INT32])


def emit_prefetch(context: Any, builder: Any, line: Any) -> Any:
    """Emit a prefetch, for reading, of the cache line at a pointer."""
    name = "llvm.prefetch"
    prefetch = builder.module.declare_intrinsic(name, (POINTER,), _SIGNATURE)
    read, keep, data = _INT32(0), _INT32(3), _INT32(1)
    builder.call(prefetch, [line, read, keep, data])
    return context.get_dummy_value()


def _emit(context: Any, builder: Any, array: Any, value: Any, place: list[Any]) -> Any:
    """Emit a prefetch, for reading, of the cache line of one entry of `array`."""
    view = context.make_array(array)(context, builder, value)
    pointer = cgutils.get_item_pointer2(
        context,
        builder,
        view.data,
        cgutils.unpack_tuple(builder, view.shape),
        cgutils.unpack_tuple(builder, view.strides),
        array.layout,
        place,
        wraparound=False,
        boundscheck=False,
    )
    return emit_prefetch(context, builder, builder.bitcast(pointer, POINTER))


def _prefetch_2d(_typing: Any, array: Any, row: Any, column: Any) -> Any:
    """Prefetch, for reading, the cache line of ``array[row, column]``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit(context, builder, array, args[0], [args[1], args[2]])

    return types.void(array, types.intp, types.intp), generate


def _prefetch_1d(_typing: Any, array: Any, position: Any) -> Any:
    """Prefetch, for reading, the cache line of ``array[position]``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit(context, builder, array, args[0], [args[1]])

    return types.void(array, types.intp), generate


_prefetch_line: Any = intrinsic(_prefetch_2d)
prefetch_entry: Any = intrinsic(_prefetch_1d)
"""``prefetch_entry(array, position)``, for one-dimensional arrays in kernels."""


@njit(cache=True, nogil=True, inline="always")
def prefetch_row(table: Any, row: int) -> None:
    """Prefetch row `row` of the C-contiguous float32 or float64 array `table`."""
    per_line = 64 // table.itemsize
    for column in range(0, table.shape[1], per_line):
        _prefetch_line(table, row, column)
