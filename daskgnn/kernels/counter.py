"""Counter-based random numbers: a hash of what a draw is for, and no state.

The mixing function is the finaliser of SplitMix64 (Steele, Lea and Flood,
"Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskgnn.kernels.jit import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)
_S27 = np.uint64(27)
_S30 = np.uint64(30)
_S31 = np.uint64(31)
_S32 = np.uint64(32)
_LOW53 = np.uint64(11)
_ONE = np.uint64(1)
_ALL = 2**64 - 1

SAMPLING = 1
"""Purpose of a key: neighbour draws."""
DROPOUT = 2
"""Purpose of a key: dropout masks."""
PERMUTATION = 3
"""Purpose of a key: the epoch's order of the training targets."""
EXPANSION = 4
"""Purpose of a key: what a task adds to its targets, such as negatives."""
SPLITTING = 5
"""Purpose of a key: which nodes are for training, validation and test."""
PRESAMPLING = 8
"""Purpose of a key: draws before training, which tell how often nodes are drawn."""
AUGMENTATION = 11
"""Purpose of a key: how images are changed in training."""


@njit(cache=True, nogil=True, inline="always")
def mix64(x: Any) -> Any:
    """Return 64 well-mixed bits of the uint64 `x` (a bijection)."""
    x = np.uint64(x)
    x = (x ^ (x >> _S30)) * FIRST
    x = (x ^ (x >> _S27)) * SECOND
    return x ^ (x >> _S31)


@njit(cache=True, nogil=True, inline="always")
def combine(key: Any, value: Any) -> Any:
    """Return the key of `value` beneath `key`, both uint64."""
    return mix64(np.uint64(key) ^ mix64(np.uint64(value) + GOLDEN))


@njit(cache=True, nogil=True, inline="always")
def draw(key: Any, index: Any) -> Any:
    """Return draw number `index` of the stream `key`, as uint64."""
    return mix64(np.uint64(key) + GOLDEN * (np.uint64(index) + _ONE))


@njit(cache=True, nogil=True, inline="always")
def below(bits: Any, bound: Any) -> Any:
    """Map the high 32 of 64 random bits to 0 .. `bound` - 1 (bound < 2**31)."""
    return np.int64(((bits >> _S32) * np.uint64(bound)) >> _S32)


@njit(cache=True, nogil=True, inline="always")
def uniform(bits: Any) -> Any:
    """Map 64 random bits to a float64 in (0, 1)."""
    return (np.float64(bits >> _LOW53) + 0.5) * (1.0 / 9007199254740992.0)


def derive_key(*values: int) -> int:
    """Return the uint64 key, as an int, of a sequence of integers.

    Negative numbers count modulo 2**64.
    """
    key = 0
    for value in values:
        key = _mixed(key ^ _mixed(int(value) + int(GOLDEN)))
    return key


def _mixed(x: int) -> int:
    """Return what `mix64` does: a first key does not wait for numba to begin."""
    x &= _ALL
    x = ((x ^ (x >> 30)) * int(FIRST)) & _ALL
    x = ((x ^ (x >> 27)) * int(SECOND)) & _ALL
    return x ^ (x >> 31)


@njit(cache=True, nogil=True)
def keys_below(key: Any, values: Any) -> Any:
    """Return `combine(key, value)` of every entry of the int64 array `values`."""
    out = np.empty(len(values), np.uint64)
    for i in range(len(values)):
        out[i] = combine(key, np.uint64(values[i]))
    return out
