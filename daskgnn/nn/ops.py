"""Differentiable reductions over the rows of a block.

On the CPU, in float32 or float64, they run the kernels of `daskgnn.kernels`, whose
order of additions is fixed; elsewhere plain torch operations do the same.

Shapes: n sources, r rows (destinations), E edges, L the length of `indices` (at
least E; equal for compact rows), H heads, D channels a head.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from daskgnn.kernels import segment
from daskgnn.kernels.aggregate import frozen
from daskgnn.nn.device import BFLOAT16, CPU

_segment: Any = segment  # numba's types do not see through *rows


class BlockRows(NamedTuple):
    """Row *i*'s neighbours are ``indices[starts[i]:ends[i]]``."""

    starts: np.ndarray
    """int64 [r]."""
    ends: np.ndarray
    """int64 [r]."""
    indices: np.ndarray
    """int32 [L], source numbers."""


def has_kernels(x: torch.Tensor) -> bool:
    """Return whether the kernels can work on `x`."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


def widened(x: torch.Tensor) -> torch.Tensor:
    """Return `x`, in float32 if it is of half precision: sums need the digits."""
    half = x.dtype in (torch.bfloat16, torch.float16)
    return x.float() if half and x.device.type == "cpu" else x


def values(x: torch.Tensor) -> np.ndarray:
    """Return the numbers of a CPU tensor as a C-contiguous read-only array."""
    return frozen(CPU.array(x.contiguous()))


def edge_places(rows: BlockRows) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of each edge, and its place in `indices`: int64 [E] both."""
    counts = rows.ends - rows.starts
    row = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return row, np.arange(len(row)) + (rows.starts - before)[row]


def sum_rows(x: torch.Tensor, rows: BlockRows, mean: bool) -> torch.Tensor:
    """Return the sum (or mean) of each row's neighbours, [r, D].

    It is float32 for `x` in bfloat16.
    """
    dtype = torch.float32 if x.dtype == BFLOAT16 else x.dtype
    out = x.new_empty(len(rows.starts), x.shape[1], dtype=dtype)
    _segment.segment_sum(values(x), *rows, mean, CPU.array(out))
    return out


def sum_rows_backward(
    grad: torch.Tensor,
    rows: BlockRows,
    mean: bool,
    num_src: int,
    *,
    rooted: bool = False,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Return the gradient by the sources, [n, D], of sums of their rows.

    `grad` is [r, D], or, with `rooted`, [r, 2 D] with the gradients by source *i*
    itself in the right half of row *i*. The result has its type, or `dtype`.
    """
    width = grad.shape[1] // (2 if rooted else 1)
    out = grad.new_empty(num_src, width, dtype=dtype or grad.dtype)
    by_source = _segment.transpose_rows(*rows, num_src)
    exact = np.float64 if grad.dtype == torch.float64 else np.float32
    scale = np.ones(len(rows.starts), exact)
    if mean:
        scale = np.divide(1, np.maximum(rows.ends - rows.starts, 1), dtype=exact)
    _segment.segment_sum_backward(
        values(grad), *by_source, scale, rooted, CPU.array(out)
    )
    return out


class _Sum(torch.autograd.Function):
    """Sum or mean of each row's neighbours."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, rows: BlockRows, mean: bool) -> torch.Tensor:
        ctx.rows, ctx.mean, ctx.num_src = rows, mean, len(x)
        return sum_rows(x, rows, mean)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        by_x = sum_rows_backward(grad, ctx.rows, ctx.mean, ctx.num_src)
        return by_x, None, None


class _Max(torch.autograd.Function):
    """Channel-wise maximum of each row's neighbours."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, rows: BlockRows) -> torch.Tensor:
        out = x.new_empty(len(rows.starts), x.shape[1])
        ctx.argmax, ctx.num_src = np.empty(out.shape, np.int32), len(x)
        _segment.segment_max(values(x), *rows, CPU.array(out), ctx.argmax)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        out = grad.new_zeros(ctx.num_src, grad.shape[1])
        _segment.segment_max_backward(values(grad), frozen(ctx.argmax), CPU.array(out))
        return out, None


class _Weighted(torch.autograd.Function):
    """Weighted sum of each row's neighbours, head by head."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, rows: BlockRows
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.rows = rows
        out = x.new_empty(len(rows.starts), x.shape[1])
        _segment.segment_weighted(values(x), values(weight), *rows, CPU.array(out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x = by_weight = None
        if ctx.needs_input_grad[0]:
            by_x = x.new_zeros(x.shape)
            _segment.segment_weighted_backward(
                values(grad), values(weight), *ctx.rows, CPU.array(by_x)
            )
        if ctx.needs_input_grad[1]:
            by_weight = weight.new_zeros(weight.shape)
            _segment.segment_weighted_backward_weight(
                values(grad), values(x), *ctx.rows, CPU.array(by_weight)
            )
        return by_x, by_weight, None


class _EdgeAdd(torch.autograd.Function):
    """Sum of what an edge's two ends hold."""

    @staticmethod
    def forward(
        ctx: Any, source: torch.Tensor, target: torch.Tensor, rows: BlockRows
    ) -> torch.Tensor:
        ctx.rows, ctx.num_src = rows, len(source)
        out = source.new_empty(len(rows.indices), source.shape[1])
        _segment.edge_add(values(source), values(target), *rows, CPU.array(out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        by_source = grad.new_zeros(ctx.num_src, grad.shape[1])
        by_target = grad.new_zeros(len(ctx.rows.starts), grad.shape[1])
        _segment.edge_add_backward(
            values(grad), *ctx.rows, CPU.array(by_source), CPU.array(by_target)
        )
        return by_source, by_target, None


class _Softmax(torch.autograd.Function):
    """Softmax over the edges of each row."""

    @staticmethod
    def forward(ctx: Any, scores: torch.Tensor, rows: BlockRows) -> torch.Tensor:
        ctx.rows = rows
        out = torch.empty_like(scores, memory_format=torch.contiguous_format)
        _segment.subtract_row_max(
            values(scores), rows.starts, rows.ends, CPU.array(out)
        )
        out.exp_()
        _segment.divide_by_row_sum(CPU.array(out), rows.starts, rows.ends)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (alpha,) = ctx.saved_tensors
        out = torch.empty_like(alpha)
        _segment.softmax_backward(
            values(grad), values(alpha), ctx.rows.starts, ctx.rows.ends, CPU.array(out)
        )
        return out, None


def _edges(rows: BlockRows, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Return each edge's source, row and place in `indices`, on `device`."""
    row, place = edge_places(rows)
    source = rows.indices[place].astype(np.int64)
    return tuple(CPU.tensor(a).to(device) for a in (source, row, place))


def _plain_reduce(x: torch.Tensor, rows: BlockRows, op: str) -> torch.Tensor:
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


def _plain_weighted(
    x: torch.Tensor, weight: torch.Tensor, rows: BlockRows
) -> torch.Tensor:
    source, row, place = _edges(rows, x.device)
    messages = x.index_select(0, source) * weight.index_select(0, place).unsqueeze(2)
    return x.new_zeros(len(rows.starts), *x.shape[1:]).index_add(0, row, messages)


def _plain_softmax(scores: torch.Tensor, rows: BlockRows) -> torch.Tensor:
    _, row, place = _edges(rows, scores.device)
    scores = scores.index_select(0, place)
    top = scores.new_full((len(rows.starts), scores.shape[1]), -torch.inf)
    where = row.unsqueeze(1).expand_as(scores)
    top = top.scatter_reduce(0, where, scores.detach(), "amax")
    powers = (scores - top.index_select(0, row)).exp()
    total = torch.zeros_like(top).index_add(0, row, powers)
    return powers / total.index_select(0, row)


def reduce(x: torch.Tensor, rows: BlockRows, op: str) -> torch.Tensor:
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

    Returns
    -------
    torch.Tensor
        [r, D]; zeros for rows without neighbours.
    """
    x = widened(x)
    if not has_kernels(x):
        return _plain_reduce(x, rows, op)
    if op == "max":
        return _Max.apply(x, rows)
    return _Sum.apply(x, rows, op == "mean")


def weighted_sum(
    x: torch.Tensor, weight: torch.Tensor, rows: BlockRows
) -> torch.Tensor:
    """Return each row's sum of neighbours `x` [n, H, D] by `weight` [L, H].

    Returns
    -------
    torch.Tensor
        [r, H, D], differentiable by `x` and `weight`.
    """
    x, weight = widened(x), widened(weight)
    if not has_kernels(x) or x.dtype != weight.dtype:
        return _plain_weighted(x, weight, rows)
    return _Weighted.apply(x.flatten(1), weight, rows).unflatten(1, x.shape[1:])


def edge_add(
    source: torch.Tensor, target: torch.Tensor, rows: BlockRows
) -> torch.Tensor:
    """Return, for compact rows, ``source[j] + target[i]`` of each edge: [E, H].

    `source` is [n, H], `target` [>= r, H].
    """
    source, target = widened(source), widened(target[: len(rows.starts)])
    if not has_kernels(source) or source.dtype != target.dtype:
        j, i, _ = _edges(rows, source.device)
        return source.index_select(0, j) + target.index_select(0, i)
    return _EdgeAdd.apply(source, target, rows)


def edge_softmax(scores: torch.Tensor, rows: BlockRows) -> torch.Tensor:
    """Return, for compact rows, the softmax of `scores` [E, H] over each row."""
    scores = widened(scores)
    if not has_kernels(scores):
        return _plain_softmax(scores, rows)
    return _Softmax.apply(scores, rows)
