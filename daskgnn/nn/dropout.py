"""Dropout whose masks depend on nodes, not on parts or workers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from daskgnn.errors import ModelError
from daskgnn.kernels import dropout as kernels
from daskgnn.kernels.aggregate import frozen
from daskgnn.nn.counted import CountedDropout, number_modules
from daskgnn.nn.device import CPU
from daskgnn.nn.ops import Differentiable, Kernel, are_plain, has_kernels, values
from daskgnn.nn.sparse import SparseRows

if TYPE_CHECKING:
    from daskgnn.nn.block import Block


def _drop_rows(ids: np.ndarray, key: np.uint64, p: float, x: torch.Tensor) -> Kernel:
    """Dropout of node rows, mask and product in one pass."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    mask, scale = np.empty(x.shape, np.uint8), kernels.scale_of(p)
    how = ids, key, kernels.threshold_of(p), scale
    kernels.dropout_rows(values(x), *how, CPU.array(out), mask)

    def backward(grad: torch.Tensor) -> tuple[torch.Tensor]:
        by_x = torch.empty_like(grad, memory_format=torch.contiguous_format)
        kernels.apply_mask(values(grad), frozen(mask), scale, CPU.array(by_x))
        return (by_x,)

    return out, (), backward


class Dropout(CountedDropout):
    """Dropout of node channels, independent of how the graph is partitioned.

    The mask is a hash of the step's key, the layer's number, the node's original id and
    the channel, so it is the same wherever and whenever the node is computed. Use it in
    place of `torch.nn.Dropout`. `p` is rounded to a multiple of 1/65536, and what is
    kept is scaled accordingly.

    Parameters
    ----------
    p : float, default 0.5
        Probability of dropping a channel, 0 to 1.

    Raises
    ------
    ModelError
        If `p` is not in 0..1.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.nn import Block, Dropout
    >>> block = Block.from_csr([0, 1, 2], [1, 0], dropout_key=7)
    >>> dropout = Dropout(0.5)
    >>> dropout.active
    True
    >>> h = torch.ones(2, 64)
    >>> dropped = dropout(h, block)
    >>> torch.equal(dropped, dropout(h, block))  # the same step, the same mask
    True
    >>> dropout.edges(torch.ones(2), block).shape
    torch.Size([2])
    >>> dropout.eval().active
    False
    """

    def forward(self, h: torch.Tensor, block: Block) -> torch.Tensor:
        """Drop channels of node rows.

        Parameters
        ----------
        h : torch.Tensor
            [n, ...], row *i* belongs to node ``block.n_id[i]``.
        block : Block
            Has the nodes' ids and the step's key.

        Returns
        -------
        torch.Tensor
            Like `h`.

        Raises
        ------
        ModelError
            If there are more rows than the block has nodes.
        """
        if not self.active:
            return h
        known = len(block.arrays.ids)
        if len(h) > known:
            raise ModelError(
                f"dropout was given {len(h)} rows for a block of {known} nodes"
            )
        if are_plain():
            return h
        if isinstance(h, SparseRows):
            ids = frozen(block.arrays.ids[: len(h)], np.int64)
            key = kernels.layer_key(block.dropout_key, self.number)
            return h.dropped(ids, key, self.p)
        flat = h.flatten(1) if h.dim() > 1 else h.unsqueeze(1)
        ids = frozen(block.arrays.ids[: len(h)], np.int64)
        key = kernels.layer_key(block.dropout_key, self.number)
        if has_kernels(flat):
            kernel = partial(_drop_rows, ids, key, self.p)
            return Differentiable.apply(kernel, flat).reshape(h.shape)
        mask = np.empty(flat.shape, np.uint8)
        kernels.node_mask(ids, key, kernels.threshold_of(self.p), mask)
        return self._masked(flat, mask).reshape(h.shape)

    def edges(self, weight: torch.Tensor, block: Block) -> torch.Tensor:
        """Drop values of edges, such as attention weights.

        The mask is a hash of both ends' original ids and the column.

        Parameters
        ----------
        weight : torch.Tensor
            [E] or [E, H], in the order of `Block.edge_index`.
        block : Block
            The edges, the nodes' ids and the step's key.

        Returns
        -------
        torch.Tensor
            Like `weight`.

        Raises
        ------
        ModelError
            If the block does not know the ids of all sources.
        """
        if not self.active:
            return weight
        if len(block.arrays.ids) < block.num_src:
            raise ModelError(
                "dropout of edges needs all sources, and this block's neighbours were "
                "summed ahead: set the model's first_aggregation to None"
            )
        heads = weight.shape[1] if weight.dim() > 1 else 1
        mask = np.empty((len(weight), heads), np.uint8)
        key = kernels.layer_key(block.dropout_key, self.number)
        threshold = kernels.threshold_of(self.p)
        ids = frozen(block.arrays.ids, np.int64)
        kernels.edge_mask(block.arrays.compact, ids, key, threshold, mask)
        return self._masked(weight, mask.reshape(weight.shape))

    def _masked(self, x: torch.Tensor, mask: np.ndarray) -> torch.Tensor:
        keep = CPU.tensor(mask).to(x.device, torch.bool)
        return (x * kernels.scale_of(self.p)).masked_fill(~keep, 0)


def number_dropouts(model: torch.nn.Module) -> int:
    """Number the `Dropout` layers of a model, in the order of ``model.modules()``.

    Layers with different numbers have different masks. `Trainer` numbers those of its
    model.

    Parameters
    ----------
    model : torch.nn.Module
        The model; its layers' `number` is set.

    Returns
    -------
    int
        How many dropout layers there are.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.nn import Dropout, number_dropouts
    >>> model = torch.nn.ModuleList([Dropout(0.1), Dropout(0.5)])
    >>> number_dropouts(model)
    2
    >>> model[1].number
    1
    """
    return number_modules(model, Dropout)
