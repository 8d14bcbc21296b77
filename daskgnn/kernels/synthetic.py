"""Draws of synthetic graphs: each edge and each number from its counter alone.

Edge *i* is the same whichever chunk it is drawn in. N nodes, C communities; nodes are
numbered by community here, before anybody gives them other numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskgnn.kernels.counter import combine, draw, mix64, uniform
from daskgnn.kernels.jit import njit

_TRIES = 16
_LOW16 = np.uint64(0xFFFF)
_S16, _S32, _S48 = np.uint64(16), np.uint64(32), np.uint64(48)
# Four uniform numbers of 16 bits add up to mean 2 * 65535 and variance (2**32 - 1) / 3.
_MEAN = 2 * 65535.0
_SCALE = (3.0 / (2.0**32 - 1)) ** 0.5


@njit(cache=True, nogil=True, inline="always")
def _rank(u: float, size: int, head: float, power: float) -> int:
    """Return which of a community's nodes, by falling degree, the number u hits.

    Weights fall like (rank + head) ** (power - 1), so that degrees follow a power law.
    """
    first = head**power
    rank = (first + u * ((size + head) ** power - first)) ** (1 / power) - head
    return min(max(int(rank), 0), size - 1)


@njit(cache=True, nogil=True)
def planted_edges(
    key: Any,
    first: int,
    count: int,
    inside: int,
    num_nodes: int,
    num_classes: int,
    head: float,
    power: float,
) -> Any:
    """Draw edges `first` to ``first + count - 1`` between communities of equal size.

    The edges before `inside` stay in their community, the others leave it.

    Returns
    -------
    tuple of int64 [count]
        Both ends; a self-loop only where a community has nothing else to offer.
    """
    source, target = np.empty(count, np.int64), np.empty(count, np.int64)
    for i in range(count):
        edge = combine(key, np.uint64(first + i))
        at = min(int(uniform(draw(edge, 0)) * num_nodes), num_nodes - 1)
        home = at * num_classes // num_nodes
        begin, size = _community(home, num_nodes, num_classes)
        u = begin + _rank(uniform(draw(edge, 1)), size, head, power)
        away, turn = home, 2
        if first + i >= inside:
            for _ in range(_TRIES):
                at = min(int(uniform(draw(edge, turn)) * num_nodes), num_nodes - 1)
                away, turn = at * num_classes // num_nodes, turn + 1
                if away != home:
                    break
            if away == home:
                away = (home + 1) % num_classes
            begin, size = _community(away, num_nodes, num_classes)
        v = u
        for _ in range(_TRIES):
            v = begin + _rank(uniform(draw(edge, turn)), size, head, power)
            turn += 1
            if u != v:
                break
        source[i], target[i] = u, v
    return source, target


@njit(cache=True, nogil=True, inline="always")
def _community(number: int, num_nodes: int, num_classes: int) -> Any:
    """Return the first node of a community, those with ``v * C // N == number``."""
    begin = -((-number * num_nodes) // num_classes)
    end = -((-(number + 1) * num_nodes) // num_classes)
    return begin, end - begin


@njit(cache=True, nogil=True)
def rmat_edges(
    key: Any, first: int, count: int, scale: int, a: float, b: float, c: float
) -> Any:
    """Draw edges of a recursive matrix of 2 ** scale nodes.

    A quadrant has the chance a, b, c or 1 - a - b - c, to 32 bits.

    Returns
    -------
    tuple of int64 [count]
        Both ends; self-loops occur.
    """
    source, target = np.empty(count, np.int64), np.empty(count, np.int64)
    one = 2.0**32
    right, down, both = a * one, (a + b) * one, (a + b + c) * one
    for i in range(count):
        edge = combine(key, np.uint64(first + i))
        u, v, bits = 0, 0, np.uint64(0)
        for level in range(scale):
            if level % 2 == 0:
                bits = draw(edge, level // 2)
            chance = np.float64(bits & np.uint64(0xFFFFFFFF))
            bits >>= _S32
            u, v = u << 1, v << 1
            if chance >= down:
                u |= 1
                v |= int(chance >= both)
            else:
                v |= int(chance >= right)
        source[i], target[i] = u, v
    return source, target


@njit(cache=True, nogil=True, inline="always")
def _noise(key: Any, node: Any, column: Any) -> float:
    """Return a number of mean 0 and variance 1, nearly normal: four uniform ones."""
    bits = mix64(key ^ mix64((np.uint64(node) << _S16) + np.uint64(column)))
    total = (bits & _LOW16) + ((bits >> _S16) & _LOW16)
    total += ((bits >> _S32) & _LOW16) + (bits >> _S48)
    return (np.float64(total) - _MEAN) * _SCALE


@njit(cache=True, nogil=True)
def noisy_features(key: Any, ids: Any, classes: Any, centres: Any) -> Any:
    """Return float32 [n, F]: the centre of each node's class, and noise by its id.

    Parameters
    ----------
    ids, classes
        int64 [n].
    centres
        float32 [C, F], F < 2**16.
    """
    out = np.empty((len(ids), centres.shape[1]), np.float32)
    for i in range(len(ids)):
        for f in range(centres.shape[1]):
            out[i, f] = centres[classes[i], f] + np.float32(_noise(key, ids[i], f))
    return out


@njit(cache=True, nogil=True)
def shares_of(key: Any, first: int, count: int) -> Any:
    """Return float64 [count] in (0, 1), one for each of the nodes from `first` on."""
    out = np.empty(count, np.float64)
    for i in range(count):
        out[i] = uniform(combine(key, np.uint64(first + i)))
    return out
