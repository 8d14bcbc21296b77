"""What `Block` does with its rows, checks and messages included."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from daskgnn.errors import ModelError
from daskgnn.kernels.aggregate import edge_scales, gcn_coefficients
from daskgnn.nn import ops, sparseops
from daskgnn.nn.device import CPU
from daskgnn.nn.sparse import SparseRows

if TYPE_CHECKING:
    import torch

    from daskgnn.nn.block import Block
    from daskgnn.nn.blockarrays import BlockArrays

Some = TypeVar("Some", "torch.Tensor", SparseRows)

INSTEAD = {
    "edge_attr": "blocks have edge_weight and no edge_attr: edge attributes are "
    "stored, but not sampled",
    "ids": "blocks have n_id, an int64 tensor, where they had ids",
    "compact_edge_weight": "blocks have edge_weight, in the order of edge_index",
    "x": "blocks have edges alone: x is given to forward(x, blocks)",
}
"""What is said of attributes that a model may look for."""


def check_lengths(block: Block) -> None:
    """Raise `ModelError` if the lengths of a block's arrays contradict each other."""
    wrong = list(block.arrays.wrong(block.num_src, block.num_dst))
    if block.num_dst > block.num_src:
        wrong.insert(0, "num_dst")
    if wrong:
        raise ModelError(
            f"{', '.join(wrong)} of a block with {block.num_src} sources and "
            f"{block.num_dst} destinations has the wrong length; see help(Block)"
        )


def with_self_loops(block: Block) -> BlockArrays:
    """Return the arrays of a block if every row ends with a self-loop."""
    arrays = block.arrays
    row, place = arrays.places
    source = arrays.rows.indices[place]
    keep = source != row
    row, place, source = row[keep], place[keep], source[keep]
    counts = np.bincount(row, minlength=block.num_dst) + 1
    ends = np.cumsum(counts)
    indices = np.empty(len(row) + block.num_dst, np.int32)
    where = np.arange(len(row)) + row
    indices[where], indices[ends - 1] = source, np.arange(block.num_dst)
    weights = means = None
    if arrays.weights is not None:
        weights = np.ones(len(indices), np.float32)
        weights[where] = arrays.weights[place]
    if arrays.mean_weights is not None:
        # The mean over the neighbours and the node itself, which is always there.
        degree = arrays.degree[: block.num_dst].astype(np.float64)
        means = np.empty(len(indices), np.float32)
        means[where] = arrays.mean_weights[place] * (degree / (degree + 1))[row]
        means[ends - 1] = 1 / (degree + 1)
    rows = {"starts": ends - counts, "ends": ends, "indices": indices}
    return replace(arrays, **rows, weights=weights, mean_weights=means)


def gcn_weight(block: Block) -> np.ndarray:
    """Return the GCN coefficient of each element of `indices`, float32."""
    arrays = block.arrays
    if len(arrays.weighted_degree) < block.num_src:
        raise ModelError(
            "the GCN weights of a layer with precomputed aggregation are "
            "known to the engine only: set the model's first_aggregation to None"
        )
    known = arrays.weights, arrays.degree, arrays.weighted_degree
    return gcn_coefficients(arrays.rows, *known, arrays.mean_weights)


def reduce(block: Block, h: Some, op: str) -> Some:
    """Return the sum, mean or maximum of each destination's neighbours."""
    if isinstance(h, SparseRows):
        return sparse_reduced(block, h, op)
    arrays, x = block.arrays, source_rows(block, h)
    return ops.reduce(x, arrays.rows, op, factors(block, op))


def factors(block: Block, op: str) -> np.ndarray | None:
    """Return what neighbours are multiplied by in a reduction: see `edge_scales`."""
    arrays = block.arrays
    return edge_scales(arrays.rows, arrays.mean_weights, arrays.degree, op)


def propagated(block: Block, h: Some, weight: np.ndarray) -> Some:
    """Return the sum of each destination's neighbours by `weight`, and of its loop."""
    if isinstance(h, SparseRows):
        loops = _loops(block).astype(np.float32)
        return source_rows(block, h).reduced(block.arrays.rows, weight, loops)
    arrays, x = block.arrays, source_rows(block, h).unsqueeze(1)
    near = ops.weighted_sum(x, as_weight(weight, h), arrays.rows).squeeze(1)
    return near + block.dst(h) * as_weight(_loops(block), h)


def by_share(block: Block, scores: torch.Tensor) -> torch.Tensor:
    """Return scores [E, H] of a softmax, higher for edges that count for more."""
    means = block.mean_weight
    return scores if means is None else scores + means.to(scores).log().unsqueeze(1)


def source_rows(block: Block, h: Some) -> Some:
    """Return the sources' rows of `h`, or say that there are too few."""
    if len(h) < block.num_src:
        raise ModelError(
            f"a layer was given {len(h)} rows for {block.num_src} source nodes; if "
            "the first layer needs all of them, set the model's first_aggregation "
            "to None"
        )
    # A slice of all rows would cost a copy of its gradient.
    return h if len(h) == block.num_src else h[: block.num_src]


def precomputed(block: Block, h: torch.Tensor, op: str) -> torch.Tensor:
    """Return `aggregated`, or say why it is not what the layer needs."""
    array = block.arrays.aggregated
    if array is None or block.aggregated_op not in (None, op):
        raise ModelError(
            f"the first layer asked for {op!r}, but the model's first_aggregation "
            f"is {block.aggregated_op!r}: set it to {op!r} or None"
        )
    if h.shape[1:] != array.shape[1:]:
        raise ModelError(
            f"the first layer aggregates rows of shape {tuple(h.shape[1:])}, raw "
            f"features have {tuple(array.shape[1:])}: set first_aggregation = None "
            "where a layer changes its input first"
        )
    return CPU.tensor(array).to(h)


def as_weight(array: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """Return `array` [L] as a column [L, 1] of the type and device of `like`."""
    return CPU.tensor(array).to(like).unsqueeze(1)


def sparse_sage(
    block: Block,
    x: SparseRows,
    op: str,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    root: torch.Tensor | None,
    relu: bool,
) -> torch.Tensor:
    """Return GraphSAGE's layer of sparse rows.

    Sources are multiplied before they are reduced; a maximum comes before the product.
    """
    if ops.are_plain():
        return block.sage(x.to_dense(), op, weight, bias, root, relu=relu)
    arrays, x = block.arrays, source_rows(block, x)
    if op in ("sum", "mean") and arrays.mean_weights is None:
        layer = sparseops.Layer(x, block.num_dst, arrays.rows, op == "mean", relu)
        out = sparseops.SageLayer.apply(weight, bias, root, layer)
        return sparseops.in_precision(out)
    if op == "max":
        out = sparse_reduced(block, x, op).linear(weight)
    else:
        out = reduce(block, x.linear(weight), op)
    if bias is not None:
        out = out + bias
    if root is not None:
        out = out + x[: block.num_dst].linear(root)
    return out.relu() if relu else out


def sparse_reduced(block: Block, x: SparseRows, op: str) -> SparseRows:
    """Return the sum, mean or maximum of each destination's neighbours, sparse."""
    arrays, x = block.arrays, source_rows(block, x)
    rows, degree = arrays.rows, arrays.degree
    if op == "max":
        return x.reduced(rows, None)
    scales = edge_scales(rows, arrays.mean_weights, degree, op)
    if scales is None:
        scales = np.ones(len(rows.indices), np.float32)
        if op == "mean":
            row, place = arrays.places
            scales[place] = (1 / (rows.ends - rows.starts)[row]).astype(np.float32)
    return x.reduced(rows, scales)


def _loops(block: Block) -> np.ndarray:
    """Return the GCN weights of the destinations' self-loops, float64 [num_dst]."""
    total = block.arrays.weighted_degree[: block.num_dst].astype(np.float64) + 1
    return np.divide(1, total, out=np.zeros_like(total), where=total > 0)
