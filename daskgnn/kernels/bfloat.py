"""Rows in float32, float64 or bfloat16 alike: how kernels read and write numbers.

A bfloat16 row is given as its bits, uint16. Numbers are read exactly, sums are kept
in float32 (float64 for float64), and results are rounded to nearest even.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_FLOAT, _INT, _SHORT = ir.FloatType(), ir.IntType(32), ir.IntType(16)


def itself(_context: Any, _builder: Any, _signature: Any, args: Any) -> Any:
    """Emit a number that is an element already."""
    return args[0]


def widen_bits(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
    """Put the 16 bits before 16 zeros: bfloat16 is a float32 cut short."""
    bits = builder.shl(builder.zext(args[0], _INT), _INT(16))
    return builder.bitcast(bits, _FLOAT)


def _round(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
    """Round to nearest even; a NaN keeps its upper bits and stays one."""
    bits = builder.bitcast(args[0], _INT)
    upper = builder.lshr(bits, _INT(16))
    odd = builder.and_(upper, _INT(1))
    nearest = builder.add(bits, builder.add(odd, _INT(0x7FFF)))
    nan = builder.fcmp_unordered("uno", args[0], args[0])
    quiet = builder.or_(upper, _INT(0x40))
    found = builder.select(nan, quiet, builder.lshr(nearest, _INT(16)))
    return builder.trunc(found, _SHORT)


def _read(_typing: Any, value: Any) -> Any:
    """Return an element of a row as a number."""
    if value in (types.float32, types.float64):
        return value(value), itself
    if value == types.uint16:
        return types.float32(value), widen_bits
    return None


def _written(_typing: Any, value: Any, like: Any) -> Any:
    """Return a number as an element of a row that `like` is an element of."""
    if value == like and value in (types.float32, types.float64):
        return value(value, like), itself
    if value == types.float32 and like == types.uint16:
        return types.uint16(value, like), _round
    return None


read: Any = intrinsic(_read)
written: Any = intrinsic(_written)
