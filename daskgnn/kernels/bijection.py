"""A permutation of 0..n-1 by formula: any number's image, and back, without an array.

A Feistel network permutes the numbers of so many bits; numbers that leave 0..n-1 are
mapped again until they are back ("cycle walking": Black and Rogaway, "Ciphers with
arbitrary finite domains", CT-RSA 2002).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskgnn.kernels.counter import FIRST, GOLDEN, SECOND
from daskgnn.kernels.jit import njit

_ROUNDS = 6
_S32 = np.uint64(32)
_S29 = np.uint64(29)


@njit(cache=True, nogil=True, inline="always")
def _scramble(value: Any, key: Any) -> Any:
    """Return 64 bits that depend on all of `value`: what a round adds to a half."""
    x = (value + key) * FIRST
    x = (x ^ (x >> _S32)) * SECOND
    return x ^ (x >> _S29)


@njit(cache=True, nogil=True, inline="always")
def _turn(number: Any, key: Any, halves: Any, back: bool) -> Any:
    """Turn a number into another one of as many bits, or back."""
    low_bits, low_mask, high_mask = halves
    high, low = number >> low_bits, number & low_mask
    for turn in range(_ROUNDS):
        which = _ROUNDS - 1 - turn if back else turn
        round_key = key + GOLDEN * np.uint64(which + 1)
        if which % 2:
            low ^= _scramble(high, round_key) & low_mask
        else:
            high ^= _scramble(low, round_key) & high_mask
    return (high << low_bits) | low


@njit(cache=True, nogil=True)
def _halves(size: int) -> Any:
    """Return how many bits the low half has, and the masks of both halves."""
    bits = 2
    while (1 << bits) < size:
        bits += 1
    low = bits // 2
    return (
        np.uint64(low),
        np.uint64((1 << low) - 1),
        np.uint64((1 << (bits - low)) - 1),
    )


@njit(cache=True, nogil=True)
def _walk(numbers: Any, size: int, key: Any, back: bool) -> Any:
    """Map each number once, or more often until it is in 0..size-1."""
    halves = _halves(size)
    out = np.empty(len(numbers), np.int64)
    key = np.uint64(key)
    for i in range(len(numbers)):
        x = np.uint64(numbers[i])
        while True:
            x = _turn(x, key, halves, back)
            if x < np.uint64(size):
                break
        out[i] = np.int64(x)
    return out


def permute(numbers: Any, size: int, key: Any) -> Any:
    """Return int64 [n], the images of int64 `numbers` in 0..size-1 (size < 2**62).

    Each `key`, a uint64, is another permutation of 0..size-1.
    """
    return _walk(numbers, size, key, False)


def invert(numbers: Any, size: int, key: Any) -> Any:
    """Return int64 [n], the numbers whose images `permute` makes `numbers`."""
    return _walk(numbers, size, key, True)
