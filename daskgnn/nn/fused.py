"""GraphSAGE's layer in one pass: neighbours, dense product, bias and ReLU.

Work goes over the rows in chunks that stay in the processor's cache, so that the
wide hidden rows are written once and read once. The order of all additions is a
function of the shapes alone.

Shapes: n sources, r destinations, F input and H output channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch.autograd.function import once_differentiable

from daskgnn.kernels import rectify
from daskgnn.nn import ops

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1024
"""Rows at a time: a chunk's input and output fill half of a common L2 cache."""


class Layer(NamedTuple):
    """What a layer does beside its products."""

    num_dst: int
    rows: ops.Rows | None
    """The neighbours to reduce; None where their reduction is given."""
    mean: bool
    """Whether they are averaged, or summed."""
    relu: bool


def can_fuse(h: torch.Tensor, weight: torch.Tensor) -> bool:
    """Return whether `sage_layer` can work on `h` with such a weight."""
    return ops.has_kernels(h) and ops.has_kernels(weight) and h.dtype == weight.dtype


def sage_layer(
    h: torch.Tensor,
    near: torch.Tensor | None,
    layer: Layer,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    root: torch.Tensor | None,
) -> torch.Tensor:
    """Return ``near @ weight.T + h[:r] @ root.T + bias``, after ReLU where asked.

    Parameters
    ----------
    h
        [n, F], or its first r rows if `near` is given.
    near
        [r, F], the neighbours' reduction; None to reduce the rows of `layer`.
    layer
    weight, root
        [H, F]; `root` may be None.
    bias
        [H] or None.

    Returns
    -------
    torch.Tensor
        [r, H], differentiable in all tensors.
    """
    out: torch.Tensor = _SageLayer.apply(h, near, weight, bias, root, layer)
    return out


class _SageLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        h: torch.Tensor,
        near: torch.Tensor | None,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        root: torch.Tensor | None,
        layer: Layer,
    ) -> torch.Tensor:
        if near is None:
            assert layer.rows is not None  # one of the two is given
            near = ops.sum_rows(h, layer.rows, layer.mean)
        inputs = _Inputs(near, None if root is None else h[: layer.num_dst])
        both = weight if root is None else torch.cat([weight, root], dim=1)
        out = h.new_empty(layer.num_dst, len(weight))
        product = both.t().contiguous()
        added = np.empty(0, out.numpy().dtype) if bias is None else ops.values(bias)
        for chunk, x in inputs.chunks():
            torch.mm(x, product, out=out[chunk])
            rectify.add_bias(out[chunk].numpy(), added, layer.relu)
        ctx.layer, ctx.num_src, ctx.given = layer, len(h), layer.rows is None
        ctx.rooted, ctx.biased = root is not None, bias is not None
        ctx.save_for_backward(h, near, both, out if layer.relu else None)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        h, near, both, out = ctx.saved_tensors
        layer: Layer = ctx.layer
        inputs = _Inputs(near, h[: layer.num_dst] if ctx.rooted else None)
        by_weight = torch.zeros_like(both)
        by_bias = both.new_zeros(len(both))
        by_inputs = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            by_inputs = h.new_empty(layer.num_dst, both.shape[1])
        masked = h.new_empty(min(CHUNK, layer.num_dst), len(both))
        for chunk, x in inputs.chunks():
            by_out = grad[chunk]
            if out is None:
                by_bias += by_out.sum(0)
            else:
                kept = masked[: len(by_out)]
                rectify.relu_backward(
                    ops.values(by_out),
                    ops.values(out[chunk]),
                    kept.numpy(),
                    by_bias.numpy(),
                )
                by_out = kept
            by_weight.addmm_(by_out.t(), x)
            if by_inputs is not None:
                torch.mm(by_out, both, out=by_inputs[chunk])
        width = near.shape[1]
        by_h, by_near = _split(ctx, by_inputs, width)
        return (
            by_h,
            by_near,
            by_weight[:, :width],
            by_bias if ctx.biased else None,
            by_weight[:, width:] if ctx.rooted else None,
            None,
        )


def _split(
    ctx: Any, by_inputs: torch.Tensor | None, width: int
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the gradients by the sources and by the neighbours' reduction."""
    if by_inputs is None:
        return None, None
    layer: Layer = ctx.layer
    by_near = by_inputs[:, :width] if ctx.needs_input_grad[1] else None
    if not ctx.needs_input_grad[0]:
        return None, by_near
    if layer.rows is not None:
        return ops.sum_rows_backward(
            by_inputs, layer.rows, layer.mean, ctx.num_src, ctx.rooted
        ), None
    by_h = by_inputs.new_zeros(ctx.num_src, width)
    if ctx.rooted:
        by_h[: layer.num_dst] = by_inputs[:, width:]
    return by_h, by_near


class _Inputs:
    """A layer's inputs, neighbours and the node itself side by side, in chunks."""

    def __init__(self, near: torch.Tensor, own: torch.Tensor | None) -> None:
        self.near, self.own = near, own
        self.whole = near if own is None else _side_by_side(near, own)

    def chunks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield the rows' places and the inputs [rows, F or 2 F] of each chunk."""
        count, width = self.near.shape
        buffer = None
        for start in range(0, count, CHUNK):
            chunk = slice(start, min(start + CHUNK, count))
            if self.whole is not None:
                yield chunk, self.whole[chunk]
                continue
            assert self.own is not None  # else the neighbours are the whole
            if buffer is None:
                buffer = self.near.new_empty(min(CHUNK, count), 2 * width)
            x = buffer[: chunk.stop - start]
            x[:, :width] = self.near[chunk]
            x[:, width:] = self.own[chunk]
            yield chunk, x


def _side_by_side(near: torch.Tensor, own: torch.Tensor) -> torch.Tensor | None:
    """Return [r, 2 F] if the two already lie so in memory, else None."""
    width = near.shape[1]
    strides = (2 * width, 1)
    if near.stride() != strides or own.stride() != strides:
        return None
    if own.data_ptr() != near.data_ptr() + width * near.element_size():
        return None
    # Each tensor's storage ends with its own last number: numpy does not mind.
    both = as_strided(
        near.detach().numpy(),
        (len(near), 2 * width),
        tuple(s * near.element_size() for s in strides),
    )
    return torch.from_numpy(both)
