"""Layers of Vision GNNs, over rows: [B, N, C], N nodes of each of B images.

Han et al., "Vision GNN: An Image is Worth Graph of Nodes" (NeurIPS 2022). Their 1 x 1
convolutions are linear maps of rows here, with the same parameters.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from daskgnn.errors import ModelError
from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.maxrelative import max_relative, max_relative_backward
from daskgnn.nn.counted import DropPath, SampleDropout
from daskgnn.nn.device import CPU
from daskgnn.nn.ops import Differentiable, Kernel, has_kernels, values
from daskgnn.vision.models.neighbors import check_neighbors, kneighbors
from daskgnn.vision.models.position import relative_position

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.nn.counted import Draws

NORMS = ("batch", "group")
"""How activations are normalised: over the rows of a micro-batch, or of each image."""
GROUPS = 4
"""Groups of channels that the graph convolution maps apart."""
_MOST_NORM_GROUPS, _LEAST_NORM_WIDTH = 8, 8


class GroupNorm(torch.nn.GroupNorm):
    """Normalisation of each image's groups of channels, of rows [B, N, C] or [B, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__(_norm_groups(channels), channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise, in the layout that the rows have."""
        # Scaled apart: torch's kernel crashes in this layout where it is asked for the
        # gradients by scale and shift alone.
        grid = x.mT.unsqueeze(2) if x.dim() == 3 else x[..., None, None]
        h = functional.group_norm(grid, self.num_groups, None, None, self.eps)
        rows = h.squeeze(2).mT if x.dim() == 3 else h.flatten(1)
        return torch.addcmul(self.bias, rows, self.weight)


def _norm_groups(channels: int) -> int:
    """Return a number of groups that divides the channels, and leaves each several.

    A group of one channel would take its mean over an image away, which is what the
    head sees.
    """
    most = min(_MOST_NORM_GROUPS, max(channels // _LEAST_NORM_WIDTH, 1))
    return max(n for n in range(1, most + 1) if channels % n == 0)


def make_norm(norm: str, channels: int) -> torch.nn.Module:
    """Return a normalisation of rows.

    Raises
    ------
    ModelError
        If `norm` is unknown.
    """
    if norm not in NORMS:
        raise ModelError(f"norm={norm!r}, expected {' or '.join(map(repr, NORMS))}")
    if norm == "group":
        return GroupNorm(channels)
    return torch.nn.BatchNorm1d(channels)


def normalize(norm: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return normalised rows; batch normalisation takes all images' rows together."""
    if isinstance(norm, GroupNorm) or x.dim() == 2:
        return norm(x)
    return norm(x.flatten(0, 1)).view(x.shape)


class NormLinear(torch.nn.Module):
    """A linear map of rows, and a normalisation."""

    def __init__(self, channels: int, width: int, norm: str) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(channels, width)
        self.norm = make_norm(norm, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [..., width]."""
        return normalize(self.norm, self.linear(x))


class FFN(torch.nn.Module):
    """Two layers for each node by itself, added to what they got."""

    def __init__(
        self,
        channels: int,
        norm: str = "batch",
        drop_path: float = 0.0,
        width: int | None = None,
    ) -> None:
        super().__init__()
        width = 4 * channels if width is None else width
        self.fc1 = NormLinear(channels, width, norm)
        self.fc2 = NormLinear(width, channels, norm)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor, draws: Draws | None = None) -> torch.Tensor:
        """Return rows like `x`."""
        return self.drop_path(self.fc2(functional.gelu(self.fc1(x))), draws) + x


class MaxRelative(torch.nn.Module):
    """The max-relative graph convolution, with groups of channels mapped apart.

    Of each channel, the node's own value and the largest difference to its neighbours
    lie side by side, so that a group has both.
    """

    def __init__(self, channels: int, norm: str = "batch") -> None:
        super().__init__()
        if channels % GROUPS:
            raise ModelError(
                f"channels={channels}, expected a multiple of {GROUPS}: the graph "
                "convolution maps as many groups of channels apart"
            )
        width = 2 * channels // GROUPS
        self.weight = torch.nn.Parameter(torch.empty(GROUPS, width, width))
        """[groups, inputs, outputs] of the groups."""
        self.bias = torch.nn.Parameter(torch.zeros(2 * channels))
        self.norm = make_norm(norm, 2 * channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights, as He et al. (2015) do for rectified units."""
        torch.nn.init.normal_(self.weight, std=(2 / self.weight.shape[1]) ** 0.5)

    def forward(
        self, x: torch.Tensor, y: torch.Tensor, index: torch.Tensor
    ) -> torch.Tensor:
        """Return [B, N, 2 C] for nodes x with neighbours ``y[index]``."""
        both = relative_channels(x, y, index)
        grouped = both.view(-1, GROUPS, both.shape[-1] // GROUPS).transpose(0, 1)
        mapped = torch.bmm(grouped, self.weight).transpose(0, 1).reshape(both.shape)
        return functional.gelu(normalize(self.norm, mapped + self.bias))


class Grapher(torch.nn.Module):
    """A graph convolution over each node's nearest neighbours, added to what it got.

    Parameters
    ----------
    channels
        Width of rows.
    k, dilation
        Neighbours, and of how many times as many nearest they are taken.
    side
        Rows and columns of the grid of nodes.
    reduction
        Neighbours are taken from a grid that is averaged over as many nodes each way.
    norm
        See `NORMS`.
    drop_path
        Probability of dropping the convolution for an image.
    position
        Whether nodes that are near in the image count as nearer.
    """

    near: torch.Tensor | None

    def __init__(
        self,
        channels: int,
        k: int,
        dilation: int,
        side: int,
        *,
        reduction: int = 1,
        norm: str = "batch",
        drop_path: float = 0.0,
        position: bool = False,
    ) -> None:
        super().__init__()
        check_neighbors(k, dilation, (side // reduction) ** 2)
        self.k, self.dilation = k, dilation
        self.side, self.reduction = side, reduction
        self.fc1 = NormLinear(channels, channels, norm)
        self.conv = MaxRelative(channels, norm)
        self.fc2 = NormLinear(2 * channels, channels, norm)
        self.drop_path = DropPath(drop_path)
        near = relative_position(channels, side, reduction) if position else None
        self.register_buffer("near", near, persistent=False)

    def forward(self, x: torch.Tensor, draws: Draws | None = None) -> torch.Tensor:
        """Return rows like `x`."""
        h = self.fc1(x)
        y = h if self.reduction == 1 else self._reduced(h)
        out = self.fc2(self.conv(h, y, self.neighbors(h, y)))
        return self.drop_path(out, draws) + x

    def neighbors(self, h: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the neighbours, int64 [B, N, k], by the directions of the rows."""
        with torch.no_grad():
            ends = functional.normalize(y, dim=-1)
            starts = ends if y is h else functional.normalize(h, dim=-1)
            return kneighbors(
                starts, self.k, ends, dilation=self.dilation, bias=self.near
            )

    def _reduced(self, h: torch.Tensor) -> torch.Tensor:
        """Return the averages of squares of nodes."""
        grid = h.view(len(h), self.side, self.side, -1).permute(0, 3, 1, 2)
        return rows_of(functional.avg_pool2d(grid, self.reduction))


def rows_of(grid: torch.Tensor) -> torch.Tensor:
    """Return [B, H * W, C] of [B, C, H, W]: a view if channels are next in memory."""
    return grid.permute(0, 2, 3, 1).reshape(len(grid), -1, grid.shape[1])


def relative_channels(
    x: torch.Tensor, y: torch.Tensor, index: torch.Tensor
) -> torch.Tensor:
    """Return the channels of x, and of the largest difference to its neighbours.

    Parameters
    ----------
    x, y
        [B, N, C] and [B, M, C].
    index
        int64 [B, N, k], rows of `y`.

    Returns
    -------
    torch.Tensor
        [B, N, 2 C], in turn a channel and its difference.
    """
    if has_kernels(x):
        return Differentiable.apply(partial(_relative, index, y is x), x, y)
    images = torch.arange(len(x), device=x.device).view(-1, 1, 1)
    largest = y[images, index].amax(2)
    return torch.stack([x, largest - x], dim=-1).flatten(2)


def _relative(
    index: torch.Tensor, same: bool, x: torch.Tensor, y: torch.Tensor
) -> Kernel:
    out = x.new_empty(*x.shape[:2], 2 * x.shape[2])
    which, shapes = np.empty(x.shape, np.int32), (x.shape, y.shape)
    max_relative(values(x), values(y), values(index), CPU.array(out), which)

    def backward(grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        by_x = grad.new_zeros(shapes[0])
        by_y = by_x if same else grad.new_zeros(shapes[1])
        given = values(grad), frozen(which), CPU.array(by_x), CPU.array(by_y)
        max_relative_backward(*given)
        return by_x, None if same else by_y

    return out, (), backward


class Convolutions(torch.nn.Module):
    """Convolutions of 3 x 3 pixels, each normalised, with GELU between them.

    `steps` has the output width and the stride of each.
    """

    def __init__(self, channels: int, steps: list[tuple[int, int]], norm: str) -> None:
        super().__init__()
        self.convs, self.norms = torch.nn.ModuleList(), torch.nn.ModuleList()
        for width, stride in steps:
            convolution = torch.nn.Conv2d(channels, width, 3, stride, padding=1)
            self.convs.append(convolution)
            self.norms.append(make_norm(norm, width))
            channels = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return rows [B, N, C] for images [B, C', H, W]."""
        for i, (convolution, norm) in enumerate(self._pairs()):
            x = x.contiguous(memory_format=torch.channels_last)
            grid = convolution(functional.gelu(x) if i else x)
            rows = normalize(norm, rows_of(grid))
            x = rows.view(len(grid), *grid.shape[2:], -1).permute(0, 3, 1, 2)
        return rows_of(x)

    def _pairs(self) -> Iterator[tuple[torch.nn.Module, torch.nn.Module]]:
        return zip(self.convs, self.norms, strict=True)


class Stem(Convolutions):
    """From images to nodes: one for each square of `stride` pixels.

    As many convolutions of stride 2 as are needed, whose widths double up to
    `channels`, and one of stride 1; and an embedding of each node's place.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, side: int, norm: str
    ) -> None:
        halvings = stride.bit_length() - 1
        widths = [max(channels >> i, 1) for i in reversed(range(halvings))]
        steps = [*((width, 2) for width in widths), (channels, 1)]
        super().__init__(in_channels, steps, norm)
        self.position = torch.nn.Parameter(torch.zeros(1, side * side, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return rows [B, N, C] for images [B, C', H, W]."""
        rows = super().forward(x)
        if rows.shape[1] != self.position.shape[1]:
            raise ModelError(
                f"images of {x.shape[2]} x {x.shape[3]} pixels give {rows.shape[1]} "
                f"nodes, and the model was made for {self.position.shape[1]}: give it "
                "their image_size="
            )
        return rows + self.position


class Downsample(Convolutions):
    """From a grid of nodes to one of half as many each way."""

    def __init__(self, channels: int, width: int, side: int, norm: str) -> None:
        super().__init__(channels, [(width, 2)], norm)
        self.side = side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return rows [B, N / 4, C'] for rows [B, N, C]."""
        grid = x.view(len(x), self.side, self.side, -1).permute(0, 3, 1, 2)
        return super().forward(grid)


class Head(torch.nn.Module):
    """From the mean of an image's nodes to a score for each class."""

    def __init__(
        self,
        channels: int,
        hidden: int,
        num_classes: int,
        norm: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.fc1 = NormLinear(channels, hidden, norm)
        self.dropout = SampleDropout(dropout)
        self.fc2 = torch.nn.Linear(hidden, num_classes)

    def forward(self, x: torch.Tensor, draws: Draws | None = None) -> torch.Tensor:
        """Return [B, classes] for rows [B, N, C]."""
        h = functional.gelu(self.fc1(x.mean(1)))
        return self.fc2(self.dropout(h, draws))
