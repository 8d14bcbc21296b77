"""Gradient compression: what is sent, and the residual for the next step.

Error feedback (Seide et al. 2014, Karimireddy et al. 2019): what a message leaves out
is added to the next gradient. With gradient g, residual e and compression C::

    message = C(g + e),   applied = decompressed message,   e' = (g + e) - applied

so that all that was applied and the residual add up to all gradients. Everything here
is a function of its arguments alone; products and norms are summed in a fixed order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

import numpy as np

from daskgnn.kernels.half import narrow, widen
from daskgnn.kernels.jit import njit

BLOCK = 1024
"""Numbers that share a scale in 8 bits."""
HALVES = {
    "fp16": ("float16", np.float32(np.finfo(np.float16).max)),
    "bf16": ("bfloat16", np.uint32(0x7F7F0000).view(np.float32)),
}
"""The numpy-like names of 16-bit floats, and their largest numbers."""
RESIDUAL, DIRECTIONS = "residual", "directions"
_SEED = 0x9E3779B97F4A7C15

Carried = dict[str, np.ndarray]
"""What a part keeps between steps: float32 vectors by name."""


@dataclass(frozen=True)
class Message:
    """A compressed vector.

    ``kind`` says what `arrays` are; ``shapes`` those of the parameters, in order.
    """

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    arrays: tuple[np.ndarray, ...] = field(default=())

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(array.nbytes for array in self.arrays)

    def dense(self) -> np.ndarray:
        """Return the vector that it stands for, float32 [n]."""
        length = sum(map(prod, self.shapes))
        if self.kind == "dense":
            return self.arrays[0]
        if self.kind == "topk":
            return _scattered(length, *self.arrays)
        if self.kind == "powersgd":
            return _multiplied(self.shapes, self.arrays)
        if self.kind in HALVES:
            return widen(self.arrays[0][None])[0]
        return _scaled(*self.arrays)


@dataclass(frozen=True)
class Compression:
    """How gradients are compressed: ``topk`` (a share), ``powersgd`` (a rank), ..."""

    kind: str
    amount: float = 0.0

    def ramped(self, ramp: float) -> Compression:
        """Return the compression when its sparsity has risen so far, from 0 to 1.

        A share that would take more bytes than all entries is all of them.
        """
        if self.kind != "topk" or ramp >= 1:
            return self
        share = self.amount**ramp
        return Compression(self.kind, share if share < 0.5 else 1.0)

    def first(self, shapes: tuple[tuple[int, ...], ...]) -> Carried:
        """Return what a part carries before the first step."""
        carried = {RESIDUAL: np.zeros(sum(map(prod, shapes)), np.float32)}
        if self.kind == "powersgd":
            carried[DIRECTIONS] = first_directions(shapes, int(self.amount))
        return carried

    def compress(
        self,
        gradient: np.ndarray,
        carried: Carried,
        shapes: tuple[tuple[int, ...], ...],
    ) -> tuple[Message, Carried]:
        """Return what is sent of a gradient, and what is carried on.

        What is not finite is sent whole: it must not hide in what is carried.

        Parameters
        ----------
        gradient : float32 [n]
        carried : dict
            From `first`, or from the step before.
        shapes : tuple of tuple of int
            Of the parameters that the gradient is of, one after another.

        Returns
        -------
        Message, dict
        """
        wanted = gradient + carried[RESIDUAL]
        if not np.isfinite(wanted).all():
            nothing = np.zeros_like(wanted)
            return Message("dense", shapes, (wanted,)), {**carried, RESIDUAL: nothing}
        message, rest = self._message(wanted, carried, shapes)
        return message, {**rest, RESIDUAL: wanted - message.dense()}

    def _message(
        self,
        wanted: np.ndarray,
        carried: Carried,
        shapes: tuple[tuple[int, ...], ...],
    ) -> tuple[Message, Carried]:
        if self.kind == "topk":
            count = max(1, round(self.amount * len(wanted))) if len(wanted) else 0
            if count >= len(wanted):
                return Message("dense", shapes, (wanted,)), {}
            return Message("topk", shapes, top_k(wanted, count)), {}
        if self.kind == "powersgd":
            arrays, directions = factored(
                wanted, shapes, int(self.amount), carried[DIRECTIONS]
            )
            return Message("powersgd", shapes, arrays), {DIRECTIONS: directions}
        if self.kind in HALVES:
            name, largest = HALVES[self.kind]
            # Numbers that are too large are sent as the largest; the rest is residual.
            half = narrow(np.clip(wanted, -largest, largest)[None], name)[0]
            return Message(self.kind, shapes, (half,)), {}
        return Message("int8", shapes, to_int8(wanted)), {}


# -- the largest entries


def top_k(vector: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places and values of the entries of largest magnitude.

    Of equal magnitudes the first are taken.

    Parameters
    ----------
    vector : float32 [n]
    count : int
        From 1 to n.

    Returns
    -------
    places : int32 [count] (int64 where n needs it), ascending
    values : float32 [count]
    """
    size = np.abs(vector)
    limit = np.partition(size, len(size) - count)[len(size) - count]
    above = np.flatnonzero(size > limit)
    equal = np.flatnonzero(size == limit)[: count - len(above)]
    places = np.sort(np.concatenate([above, equal]))
    dtype = np.int32 if len(vector) < 2**31 else np.int64
    return places.astype(dtype), vector[places]


def _scattered(length: int, places: np.ndarray, values: np.ndarray) -> np.ndarray:
    out = np.zeros(length, np.float32)
    out[places] = values
    return out


# -- fewer bits


def to_int8(vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round each block to 255 levels between plus and minus its largest entry.

    Returns
    -------
    levels : int8 [n]
    scales : float32 [ceil(n / BLOCK)]
    """
    if not len(vector):
        return np.empty(0, np.int8), np.empty(0, np.float32)
    starts = np.arange(0, len(vector), BLOCK)
    scales = np.maximum.reduceat(np.abs(vector), starts) / np.float32(127)
    divisor = np.where(scales > 0, scales, np.float32(1))
    levels = np.rint(vector / np.repeat(divisor, BLOCK)[: len(vector)])
    return np.clip(levels, -127, 127).astype(np.int8), scales


def _scaled(levels: np.ndarray, scales: np.ndarray) -> np.ndarray:
    factors = np.repeat(scales, BLOCK)[: len(levels)]
    return levels.astype(np.float32) * factors


# -- PowerSGD (Vogels, Karimireddy and Jaggi, NeurIPS 2019), for one part's gradient


@lru_cache(maxsize=64)
def low_rank_shapes(
    shapes: tuple[tuple[int, ...], ...], rank: int
) -> tuple[tuple[int, int, int], ...]:
    """Return (rows, columns, rank) of each parameter; rank 0: it is sent whole.

    That is where two factors of that rank would have as many numbers as it has.
    """
    out = []
    for shape in shapes:
        rows, columns = (shape[0], prod(shape[1:])) if shape else (1, 1)
        least = min(rank, rows, columns)
        saves = least * (rows + columns) < rows * columns
        out.append((rows, columns, least if saves else 0))
    return tuple(out)


def first_directions(shapes: tuple[tuple[int, ...], ...], rank: int) -> np.ndarray:
    """Return the first right factors of all parameters: normal numbers, float32."""
    pieces = [np.empty(0, np.float32)]
    for number, (_, columns, r) in enumerate(low_rank_shapes(shapes, rank)):
        draw = np.random.Generator(np.random.Philox(key=[_SEED, number]))
        pieces.append(draw.standard_normal(columns * r, np.float32))
    return np.concatenate(pieces)


def factored(
    vector: np.ndarray,
    shapes: tuple[tuple[int, ...], ...],
    rank: int,
    directions: np.ndarray,
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Return the two factors of every parameter, or it itself, and new directions.

    Returns
    -------
    arrays : tuple
        Two float32 matrices [rows, r] and [columns, r] a parameter, or one vector.
    directions : float32 [sum of columns * r]
    """
    arrays: list[np.ndarray] = []
    kept = [np.empty(0, np.float32)]
    place = start = 0
    for rows, columns, r in low_rank_shapes(shapes, rank):
        piece = vector[place : place + rows * columns]
        place += rows * columns
        if not r:
            arrays.append(piece.copy())
            continue
        before = directions[start : start + columns * r].reshape(columns, r)
        start += columns * r
        left, right = low_rank(piece.reshape(rows, columns), before)
        arrays += [left, right]
        # A factor that is 0 would stay 0 in all further steps.
        kept.append(np.where(right.any(axis=0), right, before).ravel())
    return tuple(arrays), np.concatenate(kept)


def low_rank(matrix: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take one step of the power method from the directions `right`.

    Parameters
    ----------
    matrix : float32 [m, n]
    right : float32 [n, r]

    Returns
    -------
    left : float32 [m, r], orthonormal columns
    right : float32 [n, r]
        ``left @ right.T`` stands for the matrix.
    """
    matrix = np.ascontiguousarray(matrix)
    left: np.ndarray = _times(matrix, np.ascontiguousarray(right))
    _orthonormalise(left)
    return left, _times(np.ascontiguousarray(matrix.T), left)


def _multiplied(
    shapes: tuple[tuple[int, ...], ...], arrays: tuple[np.ndarray, ...]
) -> np.ndarray:
    out = np.empty(sum(map(prod, shapes)), np.float32)
    place, rest = 0, list(arrays)
    for shape in shapes:
        size = prod(shape)
        first = rest.pop(0)
        piece = out[place : place + size]
        if first.ndim == 1:
            piece[:] = first
        else:
            piece[:] = _times(first, np.ascontiguousarray(rest.pop(0).T)).ravel()
        place += size
    return out


@njit(cache=True, nogil=True)
def _times(left, right):  # type: ignore[no-untyped-def]
    """Return the product [m, r] of two matrices, added up row after row of `right`."""
    out = np.zeros((left.shape[0], right.shape[1]), np.float32)
    for i in range(left.shape[0]):
        for j in range(left.shape[1]):
            value = left[i, j]
            for k in range(right.shape[1]):
                out[i, k] += value * right[j, k]
    return out


@njit(cache=True, nogil=True)
def _orthonormalise(columns):  # type: ignore[no-untyped-def]
    """Gram-Schmidt, twice; a column that lies in those before it becomes 0."""
    rows, count = columns.shape
    for k in range(count):
        before = 0.0
        for i in range(rows):
            before += float(columns[i, k]) ** 2
        for _ in range(2):
            for other in range(k):
                product = 0.0
                for i in range(rows):
                    product += float(columns[i, other]) * float(columns[i, k])
                for i in range(rows):
                    columns[i, k] -= np.float32(product) * columns[i, other]
        length = 0.0
        for i in range(rows):
            length += float(columns[i, k]) ** 2
        scale = 0.0
        if length > 1e-10 * before:
            scale = 1 / np.sqrt(length)
        for i in range(rows):
            columns[i, k] *= np.float32(scale)
