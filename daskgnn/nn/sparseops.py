"""Products of sparse rows, and GraphSAGE's layer over them, channel by channel.

Work goes over blocks of channels. A block's weights stay in the processor's cache; of
the products of all sources only a block is there at a time. Blocks share nothing, so
results are the same on any number of threads.

Shapes: n sources, r destinations, F input and H output channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from daskgnn.kernels import rectify, segment, sparse
from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.features import csr_arrays
from daskgnn.kernels.threads import for_each
from daskgnn.nn import ops
from daskgnn.nn.device import CPU

if TYPE_CHECKING:
    from daskgnn.kernels.aggregate import Rows
    from daskgnn.nn.sparse import SparseRows

Array = np.ndarray


class Entries(NamedTuple):
    """Some sparse rows as kernels take them."""

    table: sparse.Table
    rows: Array
    num_columns: int

    @classmethod
    def of(cls, x: SparseRows) -> Entries:
        """Return the entries of rows."""
        indptr, indices, data = csr_arrays(x.table)
        table = frozen(indptr[:-1]), frozen(indptr[1:]), indices, data
        return cls(table, frozen(x.rows), x.shape[1])

    def times(self, weight: Array, block: slice, out: Array, add: bool = False) -> None:
        """Write (or add) to `out` [n, w] the products with a block of [H, F]."""
        columns = np.empty((weight.shape[1], block.stop - block.start), weight.dtype)
        sparse.transpose(weight[block], columns)
        sparse.multiply(self.table, self.rows, frozen(columns), add, out)

    def by_column(self, first: int = 0) -> tuple[Entries, Entries]:
        """Return the entries column by column: of the first rows, and of all."""
        given = self.table, self.rows, first, self.num_columns
        starts, some, ends, rows, data = map(frozen, sparse.transpose_entries(*given))
        columns = frozen(np.arange(self.num_columns, dtype=np.int32))
        return (
            Entries((starts, some, rows, data), columns, first),
            Entries((starts, ends, rows, data), columns, len(self.rows)),
        )

    def outer(self, grad: Array, block: slice, out: Array) -> None:
        """Write to a block of `out` [H, F] the gradient by weights, of `by_column`."""
        columns = np.empty((out.shape[1], grad.shape[1]), out.dtype)
        sparse.multiply(self.table, self.rows, frozen(grad), False, columns)
        sparse.transpose(columns, out[block])


def blocks(weight: Array) -> list[slice]:
    """Return the blocks of channels of weights [H, F]."""
    channels, columns = weight.shape
    width = sparse.block_width(columns, channels, weight.itemsize)
    starts = range(0, channels, max(width, 1))
    return [slice(first, min(first + width, channels)) for first in starts]


def product(x: SparseRows, weight: torch.Tensor) -> ops.Kernel:
    """Return the product of rows with weights [H, F], with its gradient."""
    entries, given = Entries.of(x), ops.values(weight)
    out = np.empty((len(x), len(given)), given.dtype)
    threads = torch.get_num_threads()

    def forward(block: slice) -> None:
        some = np.empty((len(out), block.stop - block.start), out.dtype)
        entries.times(given, block, some)
        out[:, block] = some

    for_each(forward, blocks(given), threads)

    def backward(grad: torch.Tensor) -> tuple[torch.Tensor]:
        by_weight = np.empty_like(given)
        by_out = ops.values(grad)
        _, columns = entries.by_column()

        def of(block: slice) -> None:
            some = np.ascontiguousarray(by_out[:, block], by_weight.dtype)
            columns.outer(some, block, by_weight)

        for_each(of, blocks(given), threads)
        return (CPU.tensor(by_weight),)

    return CPU.tensor(out), (), backward


def in_precision(out: torch.Tensor) -> torch.Tensor:
    """Return a result in the type that products have here; they are float32 inside."""
    if not torch.is_autocast_enabled("cpu") or out.dtype == torch.float64:
        return out
    return out.to(torch.get_autocast_dtype("cpu"))


class Layer(NamedTuple):
    """What a layer does in addition to its products."""

    x: SparseRows
    num_dst: int
    rows: Rows
    """The neighbours to reduce."""
    mean: bool
    relu: bool


class SageLayer(torch.autograd.Function):
    """GraphSAGE's layer over sparse rows: see `daskgnn.nn.fused.SageLayer`."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        root: torch.Tensor | None,
        layer: Layer,
    ) -> torch.Tensor:
        """Multiply, reduce, add and rectify, block by block."""
        near = ops.values(weight)
        own = None if root is None else ops.values(root)
        added = np.zeros(len(near), near.dtype) if bias is None else ops.values(bias)
        sources, count = Entries.of(layer.x), layer.num_dst
        targets = Entries.of(layer.x[:count])
        out = np.empty((count, len(near)), near.dtype)

        def of(block: slice) -> None:
            width = block.stop - block.start
            products = np.empty((len(layer.x), width), near.dtype)
            sources.times(near, block, products)
            some = np.empty((count, width), near.dtype)
            segment.segment_sum(frozen(products), layer.rows, layer.mean, some)
            if own is not None:
                targets.times(own, block, some, add=True)
            rectify.add_bias(some, frozen(added[block]), layer.relu)
            out[:, block] = some

        for_each(of, blocks(near), torch.get_num_threads())
        result = CPU.tensor(out)
        ctx.layer, ctx.biased, ctx.rooted = layer, bias is not None, own is not None
        ctx.save_for_backward(weight, result if layer.relu else None)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients by weights and bias, block by block."""
        weight, result = ctx.saved_tensors
        layer: Layer = ctx.layer
        given = ops.values(weight)
        by_out = ops.values(grad.to(weight.dtype))
        kept = None if result is None else ops.values(result)
        by_near = np.empty_like(given)
        by_root = np.empty_like(given) if ctx.rooted else None
        by_bias = np.zeros(len(given), given.dtype)
        targets, sources = Entries.of(layer.x).by_column(layer.num_dst)
        transposed = segment.transpose_rows(layer.rows, len(layer.x))
        counts = np.maximum(layer.rows.ends - layer.rows.starts, 1)
        scale = np.divide(1, counts if layer.mean else 1, dtype=given.dtype)
        scale = frozen(np.broadcast_to(scale, len(counts)))

        def of(block: slice) -> None:
            some = np.ascontiguousarray(by_out[:, block])
            rows = np.empty((len(layer.x), some.shape[1]), given.dtype)
            if kept is None:
                by_bias[block] = some.sum(0)
            else:
                passed, total = np.empty_like(some), np.zeros_like(by_bias[block])
                now = frozen(kept[:, block])
                rectify.relu_backward(frozen(some), now, passed, total)
                some, by_bias[block] = passed, total
            segment.segment_sum_backward(frozen(some), *transposed, scale, False, rows)
            sources.outer(rows, block, by_near)
            if by_root is not None:
                targets.outer(some, block, by_root)

        for_each(of, blocks(given), torch.get_num_threads())
        return (
            CPU.tensor(by_near),
            CPU.tensor(by_bias) if ctx.biased else None,
            None if by_root is None else CPU.tensor(by_root),
            None,
        )
