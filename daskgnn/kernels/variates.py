"""One variate a node and step: whether it is below a bound, for 16 nodes at a time.

A variate is a number below 2**32, hashed from a node's 32-bit name (its original id,
see `names_of`) and a key of 64 bits, half of which goes in before each of the two
multiplications of a well-known mixer ("lowbias32", C. Wellons, "Prospecting for hash
functions"). Rows are long and few of their entries are kept, so what decides a row's
cost is the scan: it compares 16 lanes in vector registers and yields one bit a lane.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from daskgnn.kernels.counter import mix64
from daskgnn.kernels.jit import njit

LANES = 16
"""Names that `lanes_below` compares."""
EVERYTHING = np.uint64(2**32)
"""A bound that every variate is below."""

_FIRST = 0x7FEB352D
_SECOND = 0x846CA68B
_MULTIPLY_1 = np.uint64(_FIRST)
_MULTIPLY_2 = np.uint64(_SECOND)
_LOW = np.uint64(0xFFFFFFFF)
_S15 = np.uint64(15)
_S16 = np.uint64(16)
_S32 = np.uint64(32)
_INT16 = ir.IntType(16)
_INT32 = ir.IntType(32)
_INT64 = ir.IntType(64)
_VECTOR = ir.VectorType(_INT32, LANES)


@njit(cache=True, nogil=True, inline="always")
def variate(name: Any, key: Any) -> Any:
    """Return the variate of a node beneath a key, as uint64 below 2**32."""
    x = np.uint64(name) ^ (np.uint64(key) & _LOW)
    x = ((x ^ (x >> _S16)) * _MULTIPLY_1) & _LOW
    x = (x ^ (x >> _S15)) ^ (np.uint64(key) >> _S32)
    x = (x * _MULTIPLY_2) & _LOW
    return x ^ (x >> _S16)


def _lanes_below(_typing: Any, address: Any, key: Any, bound: Any) -> Any:
    """Return a bit for each name at an address whose variate is below a bound."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        def spread(value: Any) -> Any:
            """Return a vector with the same number in each lane."""
            nothing = ir.Constant(_VECTOR, ir.Undefined)
            one = builder.insert_element(nothing, value, _INT32(0))
            lanes = ir.Constant(_VECTOR, [0] * LANES)
            return builder.shuffle_vector(one, nothing, lanes)

        def constant(value: int) -> Any:
            return ir.Constant(_VECTOR, [value] * LANES)

        place, key, bound = args
        half = builder.trunc(builder.lshr(key, _INT64(32)), _INT32)
        pointer = builder.inttoptr(place, _VECTOR.as_pointer())
        x = builder.load(pointer, align=4)
        x = builder.xor(x, spread(builder.trunc(key, _INT32)))
        x = builder.xor(x, builder.lshr(x, constant(16)))
        x = builder.mul(x, constant(_FIRST))
        x = builder.xor(x, builder.lshr(x, constant(15)))
        x = builder.xor(x, spread(half))
        x = builder.mul(x, constant(_SECOND))
        x = builder.xor(x, builder.lshr(x, constant(16)))
        found = builder.icmp_unsigned("<", x, spread(builder.trunc(bound, _INT32)))
        return builder.zext(builder.bitcast(found, _INT16), _INT64)

    return types.uint64(types.int64, types.uint64, types.uint64), generate


lanes_below: Any = intrinsic(_lanes_below)


def _last_zeros(_typing: Any, word: Any) -> Any:
    """Return the place of the lowest bit that is set in a word that has one."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


lowest_bit: Any = intrinsic(_last_zeros)


@njit(cache=True, nogil=True)
def _fold(ids: Any, out: Any) -> None:
    for i in range(len(ids)):
        node = np.uint64(ids[i])
        # Zero is mixed to zero: ids below 2**32 are their own names.
        out[i] = np.uint32((node ^ mix64(node >> _S32)) & _LOW)


def names_of(ids: np.ndarray) -> np.ndarray:
    """Return the names of nodes that variates are hashed from.

    Parameters
    ----------
    ids : int [n]
        Original ids.

    Returns
    -------
    uint32 [n]
        The ids themselves below 2**32; else their two halves, mixed into one.
    """
    out = np.empty(len(ids), np.uint32)
    _fold(np.ascontiguousarray(ids, np.int64), out)
    return out
