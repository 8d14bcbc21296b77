"""GraphSAGE's layer in one pass: neighbours, dense product, bias and ReLU.

Work goes over the rows in chunks that stay in the processor's cache, so that the
wide hidden rows are written once and read once. The order of all additions is a
function of the shapes alone.

Under ``torch.autocast("cpu", torch.bfloat16)`` the products take bfloat16 and so do
hidden rows; sums over neighbours, over rows and of weights' gradients stay float32.

Shapes: n sources, r destinations, F input and H output channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from numpy.lib.stride_tricks import as_strided
from torch.autograd.function import once_differentiable

from daskgnn.kernels import rectify
from daskgnn.nn import ops
from daskgnn.nn.device import CPU

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1024
"""Rows at a time: a chunk's input and output fill half of a common L2 cache."""
CHUNK_BFLOAT16 = 4096
"""The same in bfloat16, whose products are quick enough to mind their start."""


class Layer(NamedTuple):
    """What a layer does in addition to its matrix products."""

    num_dst: int
    reduction: ops.Reduction | None
    """How neighbours are reduced; None where their reduction is given."""
    relu: bool


def can_fuse(h: torch.Tensor, weight: torch.Tensor) -> bool:
    """Return whether `SageLayer` can work on `h` with such a weight."""
    if h.device.type != "cpu" or not ops.has_kernels(weight):
        return False
    if _autocast():
        both = (torch.float32, torch.bfloat16)
        return h.dtype in both and weight.dtype == torch.float32
    return ops.has_kernels(h) and h.dtype == weight.dtype


def _autocast() -> bool:
    """Return whether products are to be in bfloat16."""
    return (
        torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


class SageLayer(torch.autograd.Function):
    """``near @ weight.T + h[:r] @ root.T + bias``, after ReLU where asked.

    The result is [r, H], differentiable in all tensors.

    Parameters
    ----------
    h
        [n, F], or its first r rows if `near` is given.
    near
        [r, F], the neighbours' reduction; None to reduce them as `layer` says.
    weight, root
        [H, F]; `root` may be None.
    bias
        [H] or None.
    layer
    """

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
        """Reduce the neighbours where they are not, and multiply chunk by chunk."""
        if near is None:
            assert layer.reduction is not None  # one of the two is given
            near = ops.sum_rows(h, layer.reduction)
        dtype = torch.bfloat16 if _autocast() else weight.dtype
        inputs = _chunks(near, None if root is None else h[: layer.num_dst], dtype)
        both = weight if root is None else torch.cat([weight, root], dim=1)
        out = h.new_empty(layer.num_dst, len(weight), dtype=dtype)
        product = both.t().to(dtype).contiguous()
        added = both.new_zeros(len(both)) if bias is None else bias
        for chunk, x in inputs:
            torch.mm(x, product, out=out[chunk])
            rectify.add_bias(CPU.array(out[chunk]), ops.values(added), layer.relu)
        ctx.layer, ctx.num_src, ctx.dtype = layer, len(h), h.dtype
        ctx.rooted, ctx.biased = root is not None, bias is not None
        ctx.save_for_backward(h, near, both, out if layer.relu else None)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients by all tensors, chunk by chunk."""
        h, near, both, out = ctx.saved_tensors
        layer: Layer = ctx.layer
        inputs = _chunks(near, h[: layer.num_dst] if ctx.rooted else None, grad.dtype)
        by_weight = torch.zeros_like(both)
        by_bias = both.new_zeros(len(both))
        by_inputs = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            by_inputs = grad.new_empty(layer.num_dst, both.shape[1])
        weights = both.to(grad.dtype)
        for chunk, x in inputs:
            by_out = _rectified(grad[chunk], out, chunk, by_bias)
            if by_out.dtype == both.dtype:
                by_weight.addmm_(by_out.t(), x)
            else:
                by_weight += by_out.t() @ x
            if by_inputs is not None:
                torch.mm(by_out, weights, out=by_inputs[chunk])
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


def _rectified(
    grad: torch.Tensor, out: torch.Tensor | None, chunk: slice, by_bias: torch.Tensor
) -> torch.Tensor:
    """Return a chunk's gradient before the ReLU; add its sum to `by_bias`."""
    if out is None:
        by_bias += grad.sum(0, dtype=by_bias.dtype)
        return grad
    kept = torch.empty_like(grad, memory_format=torch.contiguous_format)
    rectify.relu_backward(
        ops.values(grad), ops.values(out[chunk]), CPU.array(kept), CPU.array(by_bias)
    )
    return kept


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
    if layer.reduction is not None:
        given = by_inputs, layer.reduction, ctx.num_src
        how = {"rooted": ctx.rooted, "dtype": ctx.dtype}
        return ops.sum_rows_backward(*given, **how), None
    by_h = by_inputs.new_zeros(ctx.num_src, width, dtype=ctx.dtype)
    if ctx.rooted:
        by_h[: layer.num_dst] = by_inputs[:, width:]
    return by_h, by_near


def _chunks(
    near: torch.Tensor, own: torch.Tensor | None, dtype: torch.dtype
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield a layer's inputs in chunks: the rows' places, and [rows, F or 2 F].

    Neighbours and the node itself lie side by side: where they do so already, nothing
    is copied.
    """
    count, width = near.shape
    size = CHUNK_BFLOAT16 if dtype == torch.bfloat16 else CHUNK
    whole = near if own is None else _side_by_side(near, own)
    buffer = None
    for start in range(0, count, size):
        chunk = slice(start, min(start + size, count))
        if whole is not None and whole.dtype == dtype:
            yield chunk, whole[chunk]
            continue
        if buffer is None:
            columns = width if own is None else 2 * width
            buffer = near.new_empty(min(size, count), columns, dtype=dtype)
        x = buffer[: chunk.stop - start]
        x[:, :width] = near[chunk]
        if own is not None:
            x[:, width:] = own[chunk]
        yield chunk, x


def _side_by_side(near: torch.Tensor, own: torch.Tensor) -> torch.Tensor | None:
    """Return [r, 2 F] if the two already lie so in memory, else None."""
    width = near.shape[1]
    strides = (2 * width, 1)
    if near.stride() != strides or own.stride() != strides or near.dtype != own.dtype:
        return None
    if own.data_ptr() != near.data_ptr() + width * near.element_size():
        return None
    # Each tensor gets storage of its own that ends with its last number.
    nbytes = tuple(s * near.element_size() for s in strides)
    return CPU.tensor(as_strided(CPU.array(near), (len(near), 2 * width), nbytes))
