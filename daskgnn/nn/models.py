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
    """Convolutions with normalisation, activation and dropout between them.

    Hidden layer *i* is ``dropout(activation(norm(conv(h) + residual(h))))``, the last
    one ``conv(h) + residual(h)``. The subclasses say which convolution and activation.

    Parameters
    ----------
    convs
        The convolutions, first layer first.
    widths
        Input width of each convolution and output width of the last:
        ``len(convs) + 1`` numbers.
    dropout
        Probability to drop a channel of a hidden layer's output while training.
    input_dropout
        The same for the model's input; the first aggregation can then not be
        computed ahead.
    norm
        None or "layer".
    residual
        Whether each layer's input is added to its output, through a linear map
        where their widths differ.

    Raises
    ------
    ModelError
        If `norm` is unknown.
    """

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
        """How many layers, and so blocks, there are."""
        return len(self.convs)

    @property
    def first_aggregation(self) -> str | None:
        """How the first layer aggregates raw features, or None if it does not."""
        return None if self.input_dropout.p > 0 else self._aggregation

    @property
    def _plain(self) -> bool:
        """Whether hidden layers are a convolution and a ReLU."""
        rectified = self.activation is functional.relu
        return rectified and not len(self.norms) and not len(self.residuals)

    def layer(self, i: int, h: torch.Tensor, block: Block) -> torch.Tensor:
        """Return what layer `i` makes of `h` [num_src, ...]: [num_dst, ...]."""
        if i == 0:
            h = self.input_dropout(h, block)
        last = i == self.num_layers - 1
        conv = self.convs[i]
        if isinstance(conv, SAGEConv) and self._plain and not last:
            return self.dropouts[i](conv(h, block, relu=True), block)
        out = conv(h, block)
        if len(self.residuals):
            out = out + self.residuals[i](block.dst(h))
        if last:
            return out
        if len(self.norms):
            out = self.norms[i](out)
        return self.dropouts[i](self.activation(out), block)

    def forward(self, x: torch.Tensor, blocks: Sequence[Block]) -> torch.Tensor:
        """Return [num_dst of the last block, out_channels].

        Parameters
        ----------
        x
            float32 [num_src of the first block, in_channels].
        blocks
            One a layer, outermost first.

        Raises
        ------
        ModelError
            If there are not as many blocks as layers.
        """
        if len(blocks) != self.num_layers:
            raise ModelError(
                f"{len(blocks)} blocks for {self.num_layers} layers: give one a layer"
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


class GraphSAGE(Stack):
    """GraphSAGE (Hamilton, Ying, Leskovec, 2017): see `SAGEConv` and `Stack`.

    Parameters
    ----------
    in_channels, hidden_channels, out_channels
        Widths of the input, the hidden layers and the output.
    num_layers
        Number of layers.
    aggr
        "mean", "max" or "sum" of the neighbours.
    dropout, input_dropout, norm, residual
        As in `Stack`.
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


class GCN(Stack):
    """Graph convolutional network (Kipf, Welling, 2017): see `GCNConv` and `Stack`.

    A layer that narrows its input multiplies first and sums the neighbours then.

    Parameters
    ----------
    in_channels, hidden_channels, out_channels
        Widths of the input, the hidden layers and the output.
    num_layers
        Number of layers.
    dropout, input_dropout, norm, residual
        As in `Stack`.
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


class GAT(Stack):
    """Graph attention network (Veličković et al., 2018): see `GATConv` and `Stack`.

    Parameters
    ----------
    in_channels
        Width of the input.
    hidden_channels
        Width of each head of the hidden layers; heads are laid side by side.
    out_channels
        Width of the output; its heads are averaged.
    num_layers
        Number of layers.
    heads, out_heads
        Attention heads of the hidden layers and of the last.
    attention_dropout
        Probability to drop an attention weight while training; `dropout` if None.
    dropout, input_dropout, norm, residual
        As in `Stack`.
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
