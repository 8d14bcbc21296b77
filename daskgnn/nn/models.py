"""Models for node prediction: a stack of convolutions, one block a layer.

A model is any torch module with ``forward(x, blocks)`` and ``num_layers``. Those
here also have ``layer(i, h, block)``, all that layer *i* does, which lets exact
evaluation go layer by layer, and ``first_aggregation``, which lets the engine
aggregate raw features ahead of the parameters.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from daskgnn.errors import ModelError
from daskgnn.nn.conv import GATConv, GCNConv, SAGEConv
from daskgnn.nn.dropout import Dropout, number_dropouts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.nn.block import Block

NORMS = (None, "layer")
"""What may follow a hidden convolution."""


class Stack(torch.nn.Module):
    """A stack of convolutions with normalization, activation and dropout between them.

    `GraphSAGE`, `GCN` and `GAT` are such stacks. Hidden layer *i* computes
    ``dropout(activation(norm(conv(h) + residual(h))))``; the last layer computes
    ``conv(h) + residual(h)``.

    Parameters
    ----------
    convs : sequence of torch.nn.Module
        The convolutions, first layer first; each is called with ``(h, block)``.
    widths : sequence of int
        Input width of each convolution, and output width of the last: one number more
        than there are convolutions.
    dropout : float, default 0.0
        Probability of dropping a channel of a hidden layer's output in training.
    input_dropout : float, default 0.0
        The same for the model's input. Raw features can then not be aggregated in
        advance.
    norm : {None, "layer"}, default None
        Normalization after each hidden convolution.
    residual : bool, default False
        Whether to add each layer's input to its output, through a linear map where
        their widths differ.

    Raises
    ------
    ModelError
        If `norm` is unknown.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.nn import Block, SAGEConv
    >>> from daskgnn.nn.models import Stack
    >>> model = Stack([SAGEConv(4, 8), SAGEConv(8, 2)], widths=[4, 8, 2], residual=True)
    >>> model.num_layers, model.first_aggregation
    (2, None)
    >>> block = Block.from_csr([0, 1, 2], [1, 0])  # two nodes, joined by an edge
    >>> x, blocks = torch.zeros(2, 4), [block, block]
    >>> model(x, blocks).shape
    torch.Size([2, 2])
    >>> model.layer(0, x, block).shape
    torch.Size([2, 8])
    """

    arguments: dict[str, Any]
    """Of included models, what they were made with."""
    _aggregation: str | None = None
    """How the first convolution aggregates its input, or None."""
    activation: Callable[[torch.Tensor], torch.Tensor] = staticmethod(functional.relu)

    def __init__(
        self,
        convs: Sequence[torch.nn.Module],
        widths: Sequence[int],
        *,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        norm: str | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ModelError(f"norm is {norm!r}, expected None or 'layer'")
        hidden = widths[1:-1]
        self.convs = torch.nn.ModuleList(convs)
        self.norms = torch.nn.ModuleList(
            torch.nn.LayerNorm(width) for width in hidden if norm
        )
        self.residuals = torch.nn.ModuleList(
            _bridge(width, after) for width, after in pairwise(widths) if residual
        )
        self.input_dropout = Dropout(input_dropout)
        self.dropouts = torch.nn.ModuleList(Dropout(dropout) for _ in hidden)
        number_dropouts(self)

    @property
    def num_layers(self) -> int:
        """Number of layers, and of the blocks that `forward` takes."""
        return len(self.convs)

    @property
    def first_aggregation(self) -> str | None:
        """How the first layer aggregates raw features, or None.

        "sum", "mean", "max" or "gcn" allows daskgnn to aggregate features where they
        are stored, before the parameters are known; only the sums are then sent.
        """
        return None if self.input_dropout.p > 0 else self._aggregation

    @property
    def _plain(self) -> bool:
        """Whether hidden layers are a convolution and a ReLU."""
        rectified = self.activation is functional.relu
        return rectified and not len(self.norms) and not len(self.residuals)

    def layer(self, i: int, h: torch.Tensor, block: Block) -> torch.Tensor:
        """Compute one layer.

        Parameters
        ----------
        i : int
            Number of the layer, from 0.
        h : torch.Tensor
            float32 [num_src, D], the layer's input.
        block : Block
            The layer's block.

        Returns
        -------
        torch.Tensor
            float32 [num_dst, D'].
        """
        if i == 0:
            h = self.input_dropout(h, block)
        last = i == self.num_layers - 1
        conv = self.convs[i]
        if isinstance(conv, SAGEConv) and self._plain and not last:
            return self.dropouts[i](conv(h, block, relu=True), block)
        out = conv(h, block)
        if len(self.residuals):
            before = self.residuals[i](block.dst(h))
            # Sparse rows are added only where they are no wider than the output.
            out = out + (before.to_dense() if before.is_sparse else before)
        if last:
            return out
        if len(self.norms):
            out = self.norms[i](out)
        return self.dropouts[i](self.activation(out), block)

    def forward(self, x: torch.Tensor, blocks: Sequence[Block]) -> torch.Tensor:
        """Compute all layers.

        Parameters
        ----------
        x : torch.Tensor
            float32 [num_src of the first block, in_channels].
        blocks : sequence of Block
            One block a layer; the first is the outermost.

        Returns
        -------
        torch.Tensor
            float32 [num_dst of the last block, out_channels].

        Raises
        ------
        ModelError
            If there are not as many blocks as layers.
        """
        if len(blocks) != self.num_layers:
            raise ModelError(
                f"{len(blocks)} blocks for {self.num_layers} layers: give one per layer"
            )
        for i, block in enumerate(blocks):
            x = self.layer(i, x, block)
        return x


def _bridge(width: int, after: int) -> torch.nn.Module:
    """Return what takes a layer's input to its output's width."""
    if width == after:
        return torch.nn.Identity()
    return torch.nn.Linear(width, after, bias=False)


def _widths(first: int, hidden: int, last: int, num_layers: int) -> list[int]:
    """Return the widths between layers, or say which number is no width."""
    names = ("in_channels", "hidden_channels", "out_channels", "num_layers")
    for name, number in zip(names, (first, hidden, last, num_layers), strict=True):
        if not isinstance(number, int) or number < 1:
            raise ModelError(f"{name} is {number!r}, expected a whole number from 1")
    return [first, *[hidden] * (num_layers - 1), last]


def _by_name(
    first: int, hidden: int, last: int, num_layers: int, **options: Any
) -> dict[str, Any]:
    """Return a model's arguments by name."""
    sizes = {"in_channels": first, "hidden_channels": hidden, "out_channels": last}
    return {**sizes, "num_layers": num_layers, **options}


class GraphSAGE(Stack):
    """The GraphSAGE model of Hamilton, Ying and Leskovec (2017): a stack of `SAGEConv`.

    Parameters
    ----------
    in_channels : int
        Width of the input, F.
    hidden_channels : int
        Width of the hidden layers.
    out_channels : int
        Width of the output, C.
    num_layers : int, default 2
        Number of layers.
    aggr : {"mean", "max", "sum"}, default "mean"
        How neighbours are aggregated.
    **options : dict
        Arguments of `Stack`, listed below.
    dropout : float, default 0.0
        Probability of dropping a channel of a hidden layer's output in training.
    input_dropout : float, default 0.0
        The same for the model's input.
    norm : {None, "layer"}, default None
        Normalization after each hidden convolution.
    residual : bool, default False
        Whether to add each layer's input to its output.

    Raises
    ------
    ModelError
        If a width, `aggr` or `norm` is invalid.

    Examples
    --------
    >>> from daskgnn.nn import GraphSAGE
    >>> model = GraphSAGE(64, 128, 10, num_layers=2, dropout=0.5)
    >>> model.num_layers, model.first_aggregation
    (2, 'mean')
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        *,
        aggr: str = "mean",
        **options: Any,
    ) -> None:
        widths = _widths(in_channels, hidden_channels, out_channels, num_layers)
        pairs = pairwise(widths)
        super().__init__([SAGEConv(*pair, aggr) for pair in pairs], widths, **options)
        self.aggr = self._aggregation = aggr
        sizes = in_channels, hidden_channels, out_channels, num_layers
        self.arguments = _by_name(*sizes, aggr=aggr, **options)


class GCN(Stack):
    """The graph convolutional network of Kipf and Welling (2017): a stack of `GCNConv`.

    Parameters
    ----------
    in_channels : int
        Width of the input, F.
    hidden_channels : int
        Width of the hidden layers.
    out_channels : int
        Width of the output, C.
    num_layers : int, default 2
        Number of layers.
    **options : dict
        Arguments of `Stack`, listed below.
    dropout : float, default 0.0
        Probability of dropping a channel of a hidden layer's output in training.
    input_dropout : float, default 0.0
        The same for the model's input.
    norm : {None, "layer"}, default None
        Normalization after each hidden convolution.
    residual : bool, default False
        Whether to add each layer's input to its output.

    Raises
    ------
    ModelError
        If a width or `norm` is invalid.

    Examples
    --------
    A first layer that narrows its input multiplies first, so that raw features are not
    aggregated in advance:

    >>> from daskgnn.nn import GCN
    >>> GCN(1433, 16, 7).first_aggregation is None
    True
    >>> GCN(16, 64, 7).first_aggregation
    'gcn'
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        **options: Any,
    ) -> None:
        widths = _widths(in_channels, hidden_channels, out_channels, num_layers)
        pairs = pairwise(widths)
        super().__init__([GCNConv(*pair) for pair in pairs], widths, **options)
        self._aggregation = "gcn" if self.convs[0].aggregate_first else None
        sizes = in_channels, hidden_channels, out_channels, num_layers
        self.arguments = _by_name(*sizes, **options)


class GAT(Stack):
    """The graph attention network of Veličković et al. (2018): a stack of `GATConv`.

    Parameters
    ----------
    in_channels : int
        Width of the input, F.
    hidden_channels : int
        Width of each head in the hidden layers; heads are concatenated.
    out_channels : int
        Width of the output, C; its heads are averaged.
    num_layers : int, default 2
        Number of layers.
    heads : int, default 8
        Number of attention heads in the hidden layers.
    out_heads : int, default 1
        Number of attention heads in the last layer.
    attention_dropout : float, optional
        Probability of dropping an attention weight in training; by default `dropout`.
    dropout : float, default 0.0
        Probability of dropping a channel of a hidden layer's output in training.
    **options : dict
        Arguments of `Stack`, listed below.
    input_dropout : float, default 0.0
        Probability of dropping a channel of the model's input in training.
    norm : {None, "layer"}, default None
        Normalization after each hidden convolution.
    residual : bool, default False
        Whether to add each layer's input to its output.

    Raises
    ------
    ModelError
        If a width, a number of heads or `norm` is invalid.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.nn import GAT, Block
    >>> model = GAT(4, 8, 2, heads=2)
    >>> block = Block.from_csr([0, 1, 2], [1, 0])  # two nodes, joined by an edge
    >>> model(torch.zeros(2, 4), [block, block]).shape
    torch.Size([2, 2])
    """

    activation = staticmethod(functional.elu)

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        *,
        heads: int = 8,
        out_heads: int = 1,
        attention_dropout: float | None = None,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        if heads < 1 or out_heads < 1:
            raise ModelError(f"heads are {heads} and {out_heads}, expected at least 1")
        width = hidden_channels * heads
        widths = _widths(in_channels, width, out_channels, num_layers)
        attention = dropout if attention_dropout is None else attention_dropout
        given = [(wide, hidden_channels, heads) for wide in widths[:-2]]
        convs = [GATConv(*each, dropout=attention) for each in given]
        last = (widths[-2], out_channels, out_heads)
        convs.append(GATConv(*last, concat=False, dropout=attention))
        super().__init__(convs, widths, dropout=dropout, **options)
        sizes = in_channels, hidden_channels, out_channels, num_layers
        options |= {"heads": heads, "out_heads": out_heads, "dropout": dropout}
        self.arguments = _by_name(*sizes, attention_dropout=attention, **options)
