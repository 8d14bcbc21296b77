"""Graph convolutions over blocks: GraphSAGE, GCN, GAT.

Parameters carry the names, shapes and initialisations that PyTorch Geometric gives
them, so that weights can be copied either way.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from daskgnn.errors import ModelError
from daskgnn.nn.block import REDUCTIONS
from daskgnn.nn.dropout import Dropout

if TYPE_CHECKING:
    from daskgnn.nn.block import Block


def glorot(tensor: torch.Tensor) -> None:
    """Fill `tensor` uniformly, bounds by its last two dimensions (Glorot, Bengio)."""
    bound = math.sqrt(6 / (tensor.shape[-2] + tensor.shape[-1]))
    with torch.no_grad():
        tensor.uniform_(-bound, bound)


class SAGEConv(torch.nn.Module):
    """GraphSAGE layer: ``lin_l(aggregate of neighbours) + lin_r(node itself)``.

    Parameters
    ----------
    in_channels, out_channels
        Widths of the input and the output.
    aggr
        "mean", "max" or "sum" of the neighbours. Edge weights play no part.
    normalize
        Whether each output row is scaled to length 1.
    root_weight
        Whether the node's own row counts.
    bias
        Whether a bias is learned.

    Raises
    ------
    ModelError
        If `aggr` is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        aggr: str = "mean",
        *,
        normalize: bool = False,
        root_weight: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if aggr not in REDUCTIONS:
            raise ModelError(
                f"aggr is {aggr!r}, expected one of {', '.join(REDUCTIONS)}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.aggr, self.normalize = aggr, normalize
        self.lin_l = torch.nn.Linear(in_channels, out_channels, bias=bias)
        self.lin_r = (
            torch.nn.Linear(in_channels, out_channels, bias=False)
            if root_weight
            else None
        )

    def forward(
        self, h: torch.Tensor, block: Block, *, relu: bool = False
    ) -> torch.Tensor:
        """Return [num_dst, out_channels] from `h` [num_src, in_channels].

        `relu` applies the activation too, in the same pass over the rows.
        """
        root = None if self.lin_r is None else self.lin_r.weight
        given = self.lin_l.weight, self.lin_l.bias, root
        out = block.sage(h, self.aggr, *given, relu=relu and not self.normalize)
        if self.normalize:
            out = functional.normalize(out, dim=-1)
            out = out.relu() if relu else out
        return out

    def extra_repr(self) -> str:
        """Return what `print` says of the layer."""
        return f"{self.in_channels}, {self.out_channels}, aggr={self.aggr}"


class GCNConv(torch.nn.Module):
    """Graph convolution of Kipf and Welling, self loops included.

    Every node gets one self loop of weight 1. A self loop that the graph itself holds
    (``self_loops="keep"``) counts as one more neighbour besides, where PyTorch
    Geometric would take it in place of the added one.

    Parameters
    ----------
    in_channels, out_channels
        Widths of the input and the output.
    aggregate_first
        Whether neighbours are summed before the product with the weights or after;
        the result is the same but for rounding. By default the narrower side is
        summed. A model whose first layer aggregates first can say
        ``first_aggregation = "gcn"``.
    bias
        Whether a bias is learned.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        aggregate_first: bool | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if aggregate_first is None:
            aggregate_first = in_channels <= out_channels
        self.in_channels, self.out_channels = in_channels, out_channels
        self.aggregate_first = aggregate_first
        self.lin = torch.nn.Linear(in_channels, out_channels, bias=False)
        self.bias = torch.nn.Parameter(torch.zeros(out_channels)) if bias else None
        glorot(self.lin.weight)

    def forward(self, h: torch.Tensor, block: Block) -> torch.Tensor:
        """Return [num_dst, out_channels] from `h` [num_src, in_channels]."""
        if self.aggregate_first:
            out = self.lin(block.propagate_gcn(h))
        else:
            out = block.propagate_gcn(self.lin(h))
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        """Return what `print` says of the layer."""
        order = f"aggregate_first={self.aggregate_first}"
        return f"{self.in_channels}, {self.out_channels}, {order}"


class GATConv(torch.nn.Module):
    """Graph attention layer of Veličković et al.

    Parameters
    ----------
    in_channels
        Width of the input.
    out_channels
        Width of the output of each head.
    heads
        Number of attention heads.
    concat
        Whether heads are laid side by side, or averaged.
    negative_slope
        Of the leaky ReLU on the scores.
    dropout
        Probability that an attention weight is dropped while training.
    add_self_loops
        Whether each node attends to itself, once.
    bias
        Whether a bias is learned.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        *,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        add_self_loops: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.heads, self.concat = heads, concat
        self.negative_slope, self.add_self_loops = negative_slope, add_self_loops
        width = heads * out_channels
        self.lin = torch.nn.Linear(in_channels, width, bias=False)
        self.att_src = torch.nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_dst = torch.nn.Parameter(torch.empty(1, heads, out_channels))
        total = width if concat else out_channels
        self.bias = torch.nn.Parameter(torch.zeros(total)) if bias else None
        self.dropout = Dropout(dropout)
        for weight in (self.lin.weight, self.att_src, self.att_dst):
            glorot(weight)

    def forward(self, h: torch.Tensor, block: Block) -> torch.Tensor:
        """Return [num_dst, heads * out_channels] from `h` [num_src, in_channels].

        Without `concat` the result is [num_dst, out_channels].
        """
        block = block.with_self_loops if self.add_self_loops else block
        x = self.lin(h).view(-1, self.heads, self.out_channels)
        alpha = self.attention(x, block)
        out = block.weighted_sum(x, self.dropout.edges(alpha, block))
        out = out.flatten(1) if self.concat else out.mean(1)
        return out if self.bias is None else out + self.bias

    def attention(self, x: torch.Tensor, block: Block) -> torch.Tensor:
        """Return the weight [E, heads] of every edge, from `x` [num_src, heads, D]."""
        source = (x * self.att_src).sum(-1)
        target = (block.dst(x) * self.att_dst).sum(-1)
        scores = block.edge_add(source, target)
        scores = functional.leaky_relu(scores, self.negative_slope)
        return block.edge_softmax(scores)

    def extra_repr(self) -> str:
        """Return what `print` says of the layer."""
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"
