"""Rows in float32, float64 or bfloat16 alike: how kernels read and write numbers.

A bfloat16 row is given as its bits, uint16. Numbers are read exactly, sums are kept
in float32 (float64 for float64), and results are rounded to nearest even.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_FLOAT, _HALF = ir.FloatType(), ir.HalfType()
_INT, _SHORT = ir.IntType(32), ir.IntType(16)


def _itself(_context: Any, _builder: Any, _signature: Any, args: Any) -> Any:
    """Emit a number that is an element already."""
    return args[0]


def _widen_bfloat16(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
    """Put the 16 bits before 16 zeros: bfloat16 is a float32 cut short."""
    bits = builder.shl(builder.zext(args[0], _INT), _INT(16))
    return builder.bitcast(bits, _FLOAT)


def _widen_float16(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
    """Use the processor's conversion; without one LLVM would call a C function."""
    triple, _, features = context.codegen().magic_tuple()
    if "+f16c" in features or triple.startswith(("aarch64", "arm64")):
        return builder.fpext(builder.bitcast(args[0], _HALF), _FLOAT)
    return _widen_float16_bits(builder, args[0])


def _widen_float16_bits(builder: Any, half: Any) -> Any:
    """Shift exponent and mantissa into place and scale by 2**112, the biases' gap.

    The product is exact, subnormal numbers included; infinity and NaN alone need
    their exponent set.
    """
    bits = builder.sext(half, _INT)
    size = builder.shl(builder.and_(bits, _INT(0x7FFF)), _INT(13))
    scale = builder.bitcast(_INT(0x77800000), _FLOAT)
    scaled = builder.fmul(builder.bitcast(size, _FLOAT), scale)
    not_finite = builder.icmp_unsigned(">=", size, _INT(0x7C00 << 13))
    special = builder.or_(size, _INT(0x7F800000))
    found = builder.select(not_finite, special, builder.bitcast(scaled, _INT))
    sign = builder.and_(bits, _INT(0x80000000))
    return builder.bitcast(builder.or_(found, sign), _FLOAT)


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


_WIDEN = {
    types.float32: _itself,
    types.float64: _itself,
    types.uint16: _widen_bfloat16,
    types.int16: _widen_float16,
}


def widened(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Emit an element of numba type `kind` as a float32, or float64, number."""
    return _WIDEN[kind](context, builder, None, (value,))


def _read(_typing: Any, value: Any) -> Any:
    """Return an element of a row as a number, exactly.

    For use in compiled kernels, whose loops over a row stay vectorised.
    """
    if value not in _WIDEN:
        return None
    return (value if value == types.float64 else types.float32)(value), _WIDEN[value]


def _written(_typing: Any, value: Any, like: Any) -> Any:
    """Return a number as an element of a row that `like` is an element of."""
    if value == like and value in (types.float32, types.float64):
        return value(value, like), _itself
    if value == types.float32 and like == types.uint16:
        return types.uint16(value, like), _round
    return None


read: Any = intrinsic(_read)
written: Any = intrinsic(_written)
