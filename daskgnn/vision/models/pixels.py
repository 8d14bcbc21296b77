"""The pixel-graph model of a published pipeline: each pixel is a node of a grid.

Raffi's DistributedGNN (Pisa, 2024) trains it on CIFAR-10 by stages.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from daskgnn.vision.models.layers import FFN, NormLinear, rows_of
from daskgnn.vision.models.vig import ImageModel

_GRAPHER, _FFN_WIDTH, _HIDDEN = 256, 512, 1024


class PixelBlock(torch.nn.Module):
    """A graph convolution over the eight pixels around each, and two layers a pixel."""

    def __init__(self, channels: int, side: int, norm: str) -> None:
        super().__init__()
        self.side = side
        self.fc1 = NormLinear(channels, _GRAPHER, norm)
        self.neighbors = torch.nn.Linear(_GRAPHER, _GRAPHER)
        self.root = torch.nn.Linear(_GRAPHER, _GRAPHER, bias=False)
        self.fc2 = NormLinear(_GRAPHER, channels, norm)
        self.ffn = FFN(channels, norm, width=_FFN_WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return rows like `x`, [B, N, C]."""
        h = self.fc1(x)
        h = self.neighbors(around(h, self.side)) + self.root(h)
        return self.ffn(self.fc2(functional.gelu(h)) + x)


def around(h: torch.Tensor, side: int) -> torch.Tensor:
    """Return the sum of the up to eight nodes around each node of a grid, [B, N, C]."""
    grid = h.view(len(h), side, side, -1)
    padded = functional.pad(grid, (0, 0, 1, 1, 1, 1))
    columns = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    squares = columns[:, :-2] + columns[:, 1:-1] + columns[:, 2:]
    return (squares - grid).reshape(h.shape)


class PixelRows(torch.nn.Module):
    """From images [B, C, H, W] to a row for each pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return rows [B, H * W, C]."""
        return rows_of(x)


class PixelHead(torch.nn.Module):
    """From the sum of an image's pixels to a score for each class."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc1 = torch.nn.Linear(channels, _HIDDEN)
        self.fc2 = torch.nn.Linear(_HIDDEN, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, classes] for rows [B, N, C]."""
        return self.fc2(functional.gelu(self.fc1(x.sum(1))))


class PixelViG(ImageModel):
    """Model of a published pipeline: each pixel is a node, linked to its neighbours.

    Its graph is the same for all images and its nodes are as wide as a pixel, 3 for
    CIFAR-10. It is here for comparisons of pipelines; `ViG` is the model for images.

    Parameters
    ----------
    in_channels : int, default 3
        Channels of an image.
    num_classes : int, default 10
        Number of classes.
    image_size : int, default 32
        Rows and columns of an image.
    depth : int, default 8
        Number of blocks.
    norm : {"batch", "group"}, default "batch"
        Normalisation. With "batch", results depend on the size of micro-batches.

    Examples
    --------
    >>> from daskgnn.vision import PixelViG
    >>> sum(p.numel() for p in PixelViG().parameters())
    1120410
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        image_size: int = 32,
        *,
        depth: int = 8,
        norm: str = "batch",
    ) -> None:
        blocks = [PixelBlock(in_channels, image_size, norm) for _ in range(depth)]
        head = PixelHead(in_channels, num_classes)
        super().__init__(PixelRows(), *blocks, head)
