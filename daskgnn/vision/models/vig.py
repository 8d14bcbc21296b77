"""Vision GNNs of Han et al. (2022): isotropic and pyramid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from daskgnn.errors import ModelError
from daskgnn.nn.counted import SampleDropout, number_draws
from daskgnn.vision.models.layers import FFN, Downsample, Grapher, Head, Stem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from daskgnn.nn.counted import Draws

_REDUCTIONS = (4, 2, 1, 1)
"""Of the grids that neighbours are taken from, in the stages of a pyramid."""


class ImageModel(torch.nn.Sequential):
    """A sequence of layers, from images to a score for each class.

    Between layers there is one tensor, [B, N, C]: N nodes of each of B images. So the
    model can be cut between any two layers.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from daskgnn.nn import Draws
    >>> from daskgnn.vision import ViG
    >>> model = ViG(1, 10, image_size=28, channels=8, depth=2, drop_path=0.1)
    >>> model.drawing  # the layers of the second block drop branches
    (3, 4)
    >>> x, draws = torch.zeros(2, 1, 28, 28), Draws(key=7, ids=np.array([5, 6]))
    >>> h = x
    >>> for i in range(model.num_layers):
    ...     h = model.layer(i, h, draws)
    >>> torch.equal(h, model(x, draws))
    True
    >>> sorted(model.beside(draws))
    [3, 4]
    """

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return len(self)

    @property
    def drawing(self) -> tuple[int, ...]:
        """Numbers of the layers that drop channels or branches."""
        return tuple(i for i, layer in enumerate(self) if _draws(layer))

    def beside(self, draws: Draws) -> dict[int, tuple[Draws]]:
        """Return what layers take beside their input, by their numbers.

        Parameters
        ----------
        draws : Draws
            Of which step and images a batch is.

        Returns
        -------
        dict
            Of the layers that draw; nothing of the others.
        """
        return dict.fromkeys(self.drawing, (draws,))

    def forward(self, x: torch.Tensor, draws: Draws | None = None) -> torch.Tensor:
        """Compute all layers.

        Parameters
        ----------
        x : torch.Tensor
            Images, float32 [B, in_channels, H, W].
        draws : Draws, optional
            Of which step and images they are; needed in training if layers draw.

        Returns
        -------
        torch.Tensor
            [B, num_classes].
        """
        for i in range(len(self)):
            x = self.layer(i, x, draws)
        return x

    def layer(
        self, i: int, x: torch.Tensor, draws: Draws | None = None
    ) -> torch.Tensor:
        """Compute one layer.

        Parameters
        ----------
        i : int
            Number of the layer, from 0.
        x : torch.Tensor
            Images float32 [B, in_channels, H, W] for the first layer, else what the
            layer before returned.
        draws : Draws, optional
            Of which step and images the batch is.

        Returns
        -------
        torch.Tensor
            [B, N, C]; of the last layer, [B, num_classes].
        """
        return self[i](x, draws) if i in self.drawing else self[i](x)


class ViG(ImageModel):
    """The isotropic Vision GNN: as many nodes and channels in every block.

    A stem of convolutions makes a node of each square of pixels. Each block is a
    `Grapher` layer, a max-relative graph convolution over the nearest neighbours by the
    nodes' features, and an `FFN` layer.

    Parameters
    ----------
    in_channels : int, default 3
        Channels of an image.
    num_classes : int, default 1000
        Number of classes.
    image_size : int, default 224
        Rows and columns of an image.
    channels : int, default 192
        Width of a node, a multiple of 4.
    depth : int, default 12
        Number of blocks.
    k : int, default 9
        Neighbours in the first block; twice as many in the last.
    stride : int, optional
        Pixels for a node each way, a power of 2; by default the largest up to 16 that
        leaves 7 x 7 nodes.
    norm : {"batch", "group"}, default "batch"
        Normalisation. With "batch", results depend on the size of micro-batches.
    drop_path : float, default 0.0
        Probability of dropping the last block for an image; it grows from 0 over the
        blocks.
    dropout : float, default 0.0
        Probability of dropping a channel before the last linear map.
    hidden_channels : int, default 1024
        Width of the hidden layer of the classifier.

    Raises
    ------
    ModelError
        If a number cannot be used, or an image has fewer nodes than neighbours.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.vision import ViG
    >>> model = ViG(1, 10, image_size=28, channels=32, depth=2)
    >>> model.num_layers  # a stem, two blocks of two layers, a head
    6
    >>> model(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        *,
        channels: int = 192,
        depth: int = 12,
        k: int = 9,
        stride: int | None = None,
        norm: str = "batch",
        drop_path: float = 0.0,
        dropout: float = 0.0,
        hidden_channels: int = 1024,
    ) -> None:
        stride = _stride_for(image_size) if stride is None else stride
        side = _side(image_size, stride)
        ks = [int(x) for x in _spaced(k, 2 * k, depth)]
        layers: list[torch.nn.Module] = [
            Stem(in_channels, channels, stride, side, norm)
        ]
        drops = _spaced(0, drop_path, depth)
        for i, (near, drop) in enumerate(zip(ks, drops, strict=True)):
            spread = _dilation(i, max(ks), side * side)
            layers.append(
                Grapher(channels, near, spread, side, norm=norm, drop_path=drop)
            )
            layers.append(FFN(channels, norm, drop))
        layers.append(Head(channels, hidden_channels, num_classes, norm, dropout))
        super().__init__(*layers)
        draw_weights(self)
        number_draws(self)


class PyramidViG(ImageModel):
    """The pyramid Vision GNN: fewer nodes and more channels from stage to stage.

    A node stands for 4 x 4 pixels in the first stage and for 32 x 32 in the last.
    Nodes that are near each other in the image count as nearer.

    Parameters
    ----------
    in_channels, num_classes : int
        As of `ViG`.
    image_size : int, default 224
        Rows and columns of an image, a multiple of 32.
    channels : sequence of int, default (48, 96, 240, 384)
        Width of a node in the four stages, multiples of 4.
    blocks : sequence of int, default (2, 2, 6, 2)
        Number of blocks of the stages.
    k : int, default 9
        Neighbours of a node.
    norm, drop_path, dropout, hidden_channels : str, float, float, int
        As of `ViG`.

    Raises
    ------
    ModelError
        If a number cannot be used, or an image has fewer nodes than neighbours.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.vision import PyramidViG
    >>> model = PyramidViG(3, 10, image_size=96, channels=(8, 8, 16, 16))
    >>> model(torch.zeros(2, 3, 96, 96)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        *,
        channels: Sequence[int] = (48, 96, 240, 384),
        blocks: Sequence[int] = (2, 2, 6, 2),
        k: int = 9,
        norm: str = "batch",
        drop_path: float = 0.0,
        dropout: float = 0.0,
        hidden_channels: int = 1024,
    ) -> None:
        if len(channels) != len(_REDUCTIONS) or len(blocks) != len(_REDUCTIONS):
            raise ModelError(
                f"channels={tuple(channels)} and blocks={tuple(blocks)}, expected one "
                f"number of each for {len(_REDUCTIONS)} stages"
            )
        if image_size % 32:
            raise ModelError(f"image_size={image_size}, expected a multiple of 32")
        drops = _spaced(0, drop_path, sum(blocks))
        super().__init__(
            Stem(in_channels, channels[0], 4, image_size // 4, norm),
            *_stages(image_size // 4, channels, blocks, k, norm, drops),
            Head(channels[-1], hidden_channels, num_classes, norm, dropout),
        )
        draw_weights(self)
        number_draws(self)


def _stages(
    side: int,
    channels: Sequence[int],
    blocks: Sequence[int],
    k: int,
    norm: str,
    drops: list[float],
) -> Iterator[torch.nn.Module]:
    """Yield the layers of a pyramid's stages."""
    smallest, number = (side // 8) ** 2, 0
    for stage, (width, count, reduction) in enumerate(
        zip(channels, blocks, _REDUCTIONS, strict=True)
    ):
        if stage:
            yield Downsample(channels[stage - 1], width, side, norm)
            side //= 2
        for _ in range(count):
            yield Grapher(
                width,
                k,
                _dilation(number, k, smallest),
                side,
                reduction=reduction,
                norm=norm,
                drop_path=drops[number],
                position=True,
            )
            yield FFN(width, norm, drops[number])
            number += 1


def _draws(layer: torch.nn.Module) -> bool:
    """Return whether a layer drops anything in training."""
    return any(isinstance(m, SampleDropout) and m.p for m in layer.modules())


def _spaced(first: float, last: float, count: int) -> list[float]:
    """Return numbers at equal distances, of single precision as in the paper's code."""
    return torch.linspace(first, last, count, device="cpu").tolist()


def _dilation(block: int, most: int, nodes: int) -> int:
    """Return a block's dilation: one more every four blocks, as far as nodes go."""
    return max(min(block // 4 + 1, nodes // most), 1)


def _stride_for(image_size: int) -> int:
    """Return the largest stride up to 16 that leaves 7 x 7 nodes, or 1."""
    fitting = [s for s in (16, 8, 4, 2) if -(-image_size // s) >= 7]
    return fitting[0] if fitting else 1


def _side(image_size: int, stride: int) -> int:
    """Return rows and columns of the grid of nodes."""
    if stride < 1 or stride & (stride - 1):
        raise ModelError(f"stride={stride}, expected a power of 2, as in stride=4")
    return -(-image_size // stride)


def draw_weights(model: torch.nn.Module) -> None:
    """Draw weights of linear maps and convolutions (He et al., 2015), biases zero."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
