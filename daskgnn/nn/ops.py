"""Differentiable reductions over the rows of a block.

On the CPU, in float32 or float64, they run the kernels of `daskgnn.kernels`, whose
order of additions is fixed; elsewhere plain torch operations do the same.

Shapes: n sources, r rows (destinations), E edges, L the length of `indices` (at
least E; equal for compact rows), H heads, D channels a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from daskgnn.kernels import scaled, segment
from daskgnn.kernels.aggregate import Rows, frozen
from daskgnn.nn.device import BFLOAT16, CPU

_PLAIN = ContextVar("plain", default=False)
"""Whether a model is only tried."""


@contextmanager
def plain_operations() -> Iterator[None]:
    """Have torch operations do what kernels do, for a model that is only tried.

    Numba takes a third of a second to load the first kernels, and more to compile them.
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def are_plain() -> bool:
    """Return whether this happens within `plain_operations`."""
    return _PLAIN.get()


def has_kernels(x: torch.Tensor) -> bool:
    """Return whether the kernels can, and are to, work on `x`."""
    if x.device.type != "cpu" or are_plain():
        return False
    return x.dtype in (torch.float32, torch.float64)


def widened(x: torch.Tensor) -> torch.Tensor:
    """Return `x`, in float32 if it is of half precision: sums need the digits."""
    half = x.dtype in (torch.bfloat16, torch.float16)
    return x.float() if half and x.device.type == "cpu" else x


def values(x: torch.Tensor) -> np.ndarray:
    """Return the numbers of a CPU tensor as a C-contiguous read-only array."""
    return frozen(CPU.array(x.contiguous()))


def edge_places(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of each edge, and its place in `indices`: int64 [E] both."""
    counts = rows.ends - rows.starts
    row = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return row, np.arange(len(row)) + (rows.starts - before)[row]


class Reduction(NamedTuple):
    """A sum over each row's neighbours: of all alike, or each times a factor."""

    rows: Rows
    mean: bool
    """Whether the sum is divided by the number of neighbours."""
    factors: np.ndarray | None = None
    """float32 [L], what neighbours are multiplied by, instead of `mean`; or None."""

    def factors_for(self, exact: type) -> np.ndarray:
        """Return the factors in the type of the sums."""
        return frozen(np.asarray(self.factors, exact))


def sum_rows(x: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """Return what a reduction makes of the sources' rows, [r, D].

    It is float32 for `x` in bfloat16.
    """
    rows, mean, factors = reduction
    dtype = torch.float32 if x.dtype == BFLOAT16 else x.dtype
    out = x.new_empty(len(rows.starts), x.shape[1], dtype=dtype)
    if factors is None:
        segment.segment_sum(values(x), rows, mean, CPU.array(out))
    else:
        by_edge = reduction.factors_for(_exact(x))
        scaled.scaled_sum(values(x), by_edge, rows, CPU.array(out))
    return out


def sum_rows_backward(
    grad: torch.Tensor,
    reduction: Reduction,
    num_src: int,
    *,
    rooted: bool = False,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Return the gradient by the sources, [n, D], of sums of their rows.

    `grad` is [r, D], or, with `rooted`, [r, 2 D] with the gradients by source *i*
    itself in the right half of row *i*. The result has its type, or `dtype`.
    """
    rows, mean, factors = reduction
    width = grad.shape[1] // (2 if rooted else 1)
    out = grad.new_empty(num_src, width, dtype=dtype or grad.dtype)
    exact = _exact(grad)
    if factors is not None:
        by_edge = reduction.factors_for(exact)
        edges = scaled.transpose_edges(rows, by_edge, num_src)
        scaled.scaled_sum_backward(values(grad), *edges, rooted, CPU.array(out))
        return out
    by_source = segment.transpose_rows(rows, num_src)
    scale: Any = np.ones(len(rows.starts), exact)
    if mean:
        scale = np.divide(1, np.maximum(rows.ends - rows.starts, 1), dtype=exact)
    segment.segment_sum_backward(
        values(grad), *by_source, scale, rooted, CPU.array(out)
    )
    return out


def _exact(x: torch.Tensor) -> type:
    """Return the numpy type that sums of `x` have."""
    return np.float64 if x.dtype == torch.float64 else np.float32


Tensors = tuple[torch.Tensor, ...]
Kernel = tuple[torch.Tensor, Tensors, Callable[..., Any]]
"""A result, tensors that its backward function needs, and that function: of the
result's gradient and of these tensors, it returns the gradients by the inputs."""


class Differentiable(torch.autograd.Function):
    """What a function of kernels computes, with the gradient that it tells of."""

    @staticmethod
    def forward(
        ctx: Any, kernel: Callable[..., Kernel], *inputs: torch.Tensor
    ) -> torch.Tensor:
        """Compute the result."""
        out, saved, ctx.kernel_backward = kernel(*inputs)
        ctx.save_for_backward(*saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Compute the gradients by the inputs."""
        return None, *ctx.kernel_backward(grad, *ctx.saved_tensors)


def _sum(reduction: Reduction, x: torch.Tensor) -> Kernel:
    """Sum of each row's neighbours."""
    num_src = len(x)

    def backward(grad: torch.Tensor) -> Tensors:
        return (sum_rows_backward(grad, reduction, num_src),)

    return sum_rows(x, reduction), (), backward


def _max(rows: Rows, x: torch.Tensor) -> Kernel:
    """Channel-wise maximum of each row's neighbours."""
    num_src, out = len(x), x.new_empty(len(rows.starts), x.shape[1])
    argmax = np.empty(out.shape, np.int32)
    segment.segment_max(values(x), rows, CPU.array(out), argmax)

    def backward(grad: torch.Tensor) -> Tensors:
        by_x = grad.new_zeros(num_src, grad.shape[1])
        segment.segment_max_backward(values(grad), frozen(argmax), CPU.array(by_x))
        return (by_x,)

    return out, (), backward


def _weighted(rows: Rows, x: torch.Tensor, weight: torch.Tensor) -> Kernel:
    """Weighted sum of each row's neighbours, head by head."""
    wanted = x.requires_grad, weight.requires_grad
    out = x.new_empty(len(rows.starts), x.shape[1])
    segment.segment_weighted(values(x), values(weight), rows, CPU.array(out))

    def backward(
        grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor
    ) -> list[torch.Tensor | None]:
        by_x, by_weight = None, None
        if wanted[0]:
            by_x = x.new_zeros(x.shape)
            given = values(grad), values(weight)
            segment.segment_weighted_backward(*given, rows, CPU.array(by_x))
        if wanted[1]:
            by_weight = weight.new_zeros(weight.shape)
            given = values(grad), values(x)
            segment.segment_weighted_backward_weight(*given, rows, CPU.array(by_weight))
        return [by_x, by_weight]

    return out, (x, weight), backward


def _edge_add(rows: Rows, source: torch.Tensor, target: torch.Tensor) -> Kernel:
    """Sum of what an edge's two ends hold."""
    num_src, out = len(source), source.new_empty(len(rows.indices), source.shape[1])
    segment.edge_add(values(source), values(target), rows, CPU.array(out))

    def backward(grad: torch.Tensor) -> Tensors:
        by_source = grad.new_zeros(num_src, grad.shape[1])
        by_target = grad.new_zeros(len(rows.starts), grad.shape[1])
        both = CPU.array(by_source), CPU.array(by_target)
        segment.edge_add_backward(values(grad), rows, *both)
        return by_source, by_target

    return out, (), backward


def _softmax(rows: Rows, scores: torch.Tensor) -> Kernel:
    """Softmax over the edges of each row."""
    out = torch.empty_like(scores, memory_format=torch.contiguous_format)
    segment.subtract_row_max(values(scores), rows, CPU.array(out))
    out.exp_()
    segment.divide_by_row_sum(CPU.array(out), rows)

    def backward(grad: torch.Tensor, alpha: torch.Tensor) -> Tensors:
        by_scores = torch.empty_like(alpha)
        given = values(grad), values(alpha)
        segment.softmax_backward(*given, rows, CPU.array(by_scores))
        return (by_scores,)

    return out, (out,), backward


def _edges(rows: Rows, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Return each edge's source, row and place in `indices`, on `device`."""
    row, place = edge_places(rows)
    source = rows.indices[place].astype(np.int64)
    return tuple(CPU.tensor(a).to(device) for a in (source, row, place))


def _plain_reduce(x: torch.Tensor, rows: Rows, op: str) -> torch.Tensor:
    source, row, _ = _edges(rows, x.device)
    messages = x.index_select(0, source)
    out = x.new_zeros(len(rows.starts), x.shape[1])
    if op == "max":
        row = row.unsqueeze(1).expand_as(messages)
        return out.scatter_reduce(0, row, messages, "amax", include_self=False)
    out = out.index_add(0, row, messages)
    if op == "mean":
        counts = CPU.tensor(rows.ends - rows.starts).to(x)
        out = out / counts.clamp(min=1).unsqueeze(1)
    return out


def _plain_weighted(x: torch.Tensor, weight: torch.Tensor, rows: Rows) -> torch.Tensor:
    source, row, place = _edges(rows, x.device)
    messages = x.index_select(0, source) * weight.index_select(0, place).unsqueeze(2)
    return x.new_zeros(len(rows.starts), *x.shape[1:]).index_add(0, row, messages)


def _plain_softmax(scores: torch.Tensor, rows: Rows) -> torch.Tensor:
    _, row, place = _edges(rows, scores.device)
    scores = scores.index_select(0, place)
    top = scores.new_full((len(rows.starts), scores.shape[1]), -torch.inf)
    where = row.unsqueeze(1).expand_as(scores)
    top = top.scatter_reduce(0, where, scores.detach(), "amax")
    powers = (scores - top.index_select(0, row)).exp()
    total = torch.zeros_like(top).index_add(0, row, powers)
    return powers / total.index_select(0, row)


def reduce(
    x: torch.Tensor, rows: Rows, op: str, factors: np.ndarray | None = None
) -> torch.Tensor:
    """Return the "sum", "mean" or "max" of each row's neighbours.

    Parameters
    ----------
    x
        [n, D].
    rows
        The neighbours of each row.
    op
        Of equal values, the gradient of "max" goes to the first neighbour by the
        kernels, and is shared among them by plain torch.
    factors
        float32 [L], by which neighbours count in a sum or mean, if not alike.

    Returns
    -------
    torch.Tensor
        [r, D]; zeros for rows without neighbours.
    """
    x = widened(x)
    if not has_kernels(x):
        if factors is None:
            return _plain_reduce(x, rows, op)
        weight = CPU.tensor(factors).to(x).unsqueeze(1)
        return _plain_weighted(x.unsqueeze(1), weight, rows).squeeze(1)
    if op == "max":
        return Differentiable.apply(partial(_max, rows), x)
    return Differentiable.apply(
        partial(_sum, Reduction(rows, op == "mean", factors)), x
    )


def weighted_sum(x: torch.Tensor, weight: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Return each row's sum of neighbours `x` [n, H, D] by `weight` [L, H].

    Returns
    -------
    torch.Tensor
        [r, H, D], differentiable by `x` and `weight`.
    """
    x, weight = widened(x), widened(weight)
    if not has_kernels(x) or x.dtype != weight.dtype:
        return _plain_weighted(x, weight, rows)
    out = Differentiable.apply(partial(_weighted, rows), x.flatten(1), weight)
    return out.unflatten(1, x.shape[1:])


def edge_add(source: torch.Tensor, target: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Return, for compact rows, ``source[j] + target[i]`` of each edge: [E, H].

    `source` is [n, H], `target` [>= r, H].
    """
    source, target = widened(source), widened(target[: len(rows.starts)])
    if not has_kernels(source) or source.dtype != target.dtype:
        j, i, _ = _edges(rows, source.device)
        return source.index_select(0, j) + target.index_select(0, i)
    return Differentiable.apply(partial(_edge_add, rows), source, target)


def edge_softmax(scores: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Return, for compact rows, the softmax of `scores` [E, H] over each row."""
    scores = widened(scores)
    if not has_kernels(scores):
        return _plain_softmax(scores, rows)
    return Differentiable.apply(partial(_softmax, rows), scores)
