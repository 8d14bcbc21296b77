"""Bias and ReLU over rows that are still in the processor's cache, and backward."""

from __future__ import annotations

import numpy as np
from numba import njit

Array = np.ndarray


@njit(cache=True, nogil=True)
def add_bias(out: Array, bias: Array, relu: bool) -> None:
    """Add `bias` [H] (or nothing, if empty) to `out` [n, H]; ReLU where asked."""
    for i in range(out.shape[0]):
        if len(bias):
            for f in range(out.shape[1]):
                out[i, f] += bias[f]
        if relu:
            for f in range(out.shape[1]):
                # A NaN is not less than zero: it stays, and is found in the loss.
                out[i, f] = 0 if out[i, f] < 0 else out[i, f]


@njit(cache=True, nogil=True)
def relu_backward(grad: Array, out: Array, kept: Array, by_bias: Array) -> None:
    """Write `grad` where `out` is positive, else zero, to `kept`; all [n, H].

    Their sum over the rows is added to `by_bias` [H].
    """
    total = np.zeros_like(by_bias)
    for i in range(grad.shape[0]):
        for f in range(grad.shape[1]):
            value = grad[i, f] if out[i, f] > 0 else grad.dtype.type(0)
            kept[i, f] = value
            total[f] += value
    for f in range(len(total)):
        by_bias[f] += total[f]
