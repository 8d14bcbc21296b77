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
from daskgnn.nn.sparse import SparseRows

if TYPE_CHECKING:
    from daskgnn.nn.block import Block


def glorot(tensor: torch.Tensor) -> None:
    """Fill `tensor` uniformly, bounds by its last two dimensions (Glorot, Bengio)."""
    bound = math.sqrt(6 / (tensor.shape[-2] + tensor.shape[-1]))
    with torch.no_grad():
        tensor.uniform_(-bound, bound)


class SAGEConv(torch.nn.Module):
    """The GraphSAGE layer: ``lin_l(aggregated neighbours) + lin_r(the node itself)``.

    Parameters
    ----------
    in_channels : int
        Width of the input.
    out_channels : int
        Width of the output.
    aggr : {"mean", "max", "sum"}, default "mean"
        How neighbours are aggregated. Edge weights are not used.
    normalize : bool, default False
        Whether to scale each output row to length 1.
    root_weight : bool, default True
        Whether to add the node's own row.
    bias : bool, default True
        Whether to learn a bias.

    Raises
    ------
    ModelError
        If `aggr` is unknown.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.nn import Block, SAGEConv
    >>> block = Block.from_csr([0, 2], [1, 2], num_src=3)  # 1 and 2 are neighbours of 0
    >>> conv = SAGEConv(4, 8)
    >>> h = torch.zeros(3, 4)
    >>> conv(h, block).shape
    torch.Size([1, 8])
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
        """Apply the layer to one block.

        Parameters
        ----------
        h : torch.Tensor
            float32 [num_src, in_channels].
        block : Block
            Edges from sources to destinations.
        relu : bool, default False
            Whether to apply a ReLU as well, in the same pass over the rows.

        Returns
        -------
        torch.Tensor
            float32 [num_dst, out_channels].
        """
        root = None if self.lin_r is None else self.lin_r.weight
        given = self.lin_l.weight, self.lin_l.bias, root
        out = block.sage(h, self.aggr, *given, relu=relu and not self.normalize)
        if self.normalize:
            out = functional.normalize(out, dim=-1)
            out = out.relu() if relu else out
        return out

    def extra_repr(self) -> str:
        """Return the settings that ``print(model)`` shows.

        Returns
        -------
        str
            The widths and the aggregation.
        """
        return f"{self.in_channels}, {self.out_channels}, aggr={self.aggr}"


class GCNConv(torch.nn.Module):
    """The graph convolution of Kipf and Welling, with self-loops.

    Every node gets one self-loop of weight 1. A self-loop of the graph itself (built
    with ``self_loops="keep"``) counts as one more neighbour, whereas PyTorch Geometric
    lets it replace the added one.

    Parameters
    ----------
    in_channels : int
        Width of the input.
    out_channels : int
        Width of the output.
    aggregate_first : bool, optional
        Whether to aggregate neighbours before multiplying by the weights, or after;
        results differ by rounding only. By default the narrower side is aggregated. A
        model whose first layer aggregates first can set ``first_aggregation = "gcn"``.
    bias : bool, default True
        Whether to learn a bias.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.nn import Block, GCNConv
    >>> block = Block.from_csr([0, 1, 2], [1, 0])  # two nodes, joined by an edge
    >>> conv = GCNConv(4, 8)
    >>> h = torch.zeros(2, 4)
    >>> conv(h, block).shape
    torch.Size([2, 8])
    >>> conv
    GCNConv(
      4, 8, aggregate_first=True
      (lin): Linear(in_features=4, out_features=8, bias=False)
    )
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
        """Apply the layer to one block.

        Parameters
        ----------
        h : torch.Tensor
            float32 [num_src, in_channels].
        block : Block
            Edges from sources to destinations.

        Returns
        -------
        torch.Tensor
            float32 [num_dst, out_channels].
        """
        # Products of sparse rows are cheaper than those of what they sum up to.
        if self.aggregate_first and not isinstance(h, SparseRows):
            out = self.lin(block.propagate_gcn(h))
        else:
            out = block.propagate_gcn(self.lin(h))
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        """Return the settings that ``print(model)`` shows.

        Returns
        -------
        str
            The widths and the order of operations.
        """
        order = f"aggregate_first={self.aggregate_first}"
        return f"{self.in_channels}, {self.out_channels}, {order}"


class GATConv(torch.nn.Module):
    """The graph attention layer of Veličković et al.

    Parameters
    ----------
    in_channels : int
        Width of the input.
    out_channels : int
        Width of the output of each head.
    heads : int, default 1
        Number of attention heads, H.
    concat : bool, default True
        Whether to concatenate the heads, or average them.
    negative_slope : float, default 0.2
        Slope of the leaky ReLU on the scores.
    dropout : float, default 0.0
        Probability of dropping an attention weight in training.
    add_self_loops : bool, default True
        Whether each node attends to itself, once.
    bias : bool, default True
        Whether to learn a bias.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.nn import Block, GATConv
    >>> block = Block.from_csr([0, 1, 2], [1, 0])  # two nodes, joined by an edge
    >>> conv = GATConv(4, 8, heads=2)
    >>> h = torch.zeros(2, 4)
    >>> conv(h, block).shape
    torch.Size([2, 16])
    >>> alpha = conv.attention(torch.zeros(2, 2, 8), block.with_self_loops)
    >>> alpha.detach()[0]  # equal scores: each of two edges counts one half
    tensor([0.5000, 0.5000])
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
        """Apply the layer to one block.

        Parameters
        ----------
        h : torch.Tensor
            float32 [num_src, in_channels].
        block : Block
            Edges from sources to destinations.

        Returns
        -------
        torch.Tensor
            float32 [num_dst, heads * out_channels], or [num_dst, out_channels] if heads
            are averaged.
        """
        block = block.with_self_loops if self.add_self_loops else block
        x = self.lin(h).view(-1, self.heads, self.out_channels)
        alpha = self.attention(x, block)
        out = block.weighted_sum(x, self.dropout.edges(alpha, block))
        out = out.flatten(1) if self.concat else out.mean(1)
        return out if self.bias is None else out + self.bias

    def attention(self, x: torch.Tensor, block: Block) -> torch.Tensor:
        """Return the attention weight of every edge.

        Parameters
        ----------
        x : torch.Tensor
            float32 [num_src, heads, out_channels], the transformed input.
        block : Block
            Edges from sources to destinations.

        Returns
        -------
        torch.Tensor
            float32 [E, heads], in the order of `Block.edge_index`.
        """
        source = (x * self.att_src).sum(-1)
        target = (block.dst(x) * self.att_dst).sum(-1)
        scores = block.edge_add(source, target)
        scores = functional.leaky_relu(scores, self.negative_slope)
        return block.edge_softmax(scores)

    def extra_repr(self) -> str:
        """Return the settings that ``print(model)`` shows.

        Returns
        -------
        str
            The widths and the number of heads.
        """
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"
