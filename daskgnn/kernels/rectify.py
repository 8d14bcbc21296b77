"""Bias and ReLU over rows that are still in the processor's cache, and backward.

Rows are float32, float64, or the bits of bfloat16 (uint16): see `bfloat`.
"""

from __future__ import annotations

import numpy as np

from daskgnn.kernels.bfloat import read, written
from daskgnn.kernels.jit import njit

Array = np.ndarray


@njit(cache=True, nogil=True)
def add_bias(out: Array, bias: Array, relu: bool) -> None:
    """Add `bias` [H] to `out` [n, H], in place; then ReLU where asked."""
    zero = bias.dtype.type(0)
    for i in range(out.shape[0]):
        for f in range(out.shape[1]):
            # A NaN is not less than zero: it stays, and is found in the loss.
            value = read(out[i, f]) + bias[f]
            out[i, f] = written(zero if relu and value < 0 else value, out[i, f])


@njit(cache=True, nogil=True)
def relu_backward(grad: Array, out: Array, kept: Array, by_bias: Array) -> None:
    """Write `grad` where `out` is positive, else zero, to `kept`; all [n, H].

    Their sum over the rows is added to `by_bias` [H].
    """
    total = np.zeros_like(by_bias)
    zero = grad.dtype.type(0)
    for i in range(grad.shape[0]):
        for f in range(grad.shape[1]):
            kept[i, f] = grad[i, f] if read(out[i, f]) > 0 else zero
        for f in range(grad.shape[1]):
            total[f] += read(kept[i, f])
    for f in range(len(total)):
        by_bias[f] += total[f]
