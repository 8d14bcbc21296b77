"""Nearest neighbours among the nodes of each image."""

from __future__ import annotations

import torch

from daskgnn.errors import ModelError
from daskgnn.kernels.nearest import nearest
from daskgnn.nn.device import CPU
from daskgnn.nn.ops import has_kernels, values

MOST_BYTES = 64 << 20
"""Memory for distances at a time."""


def kneighbors(
    x: torch.Tensor,
    k: int,
    y: torch.Tensor | None = None,
    *,
    dilation: int = 1,
    bias: torch.Tensor | None = None,
    max_bytes: int = MOST_BYTES,
) -> torch.Tensor:
    """Return each node's nearest neighbours within its image, nearest first.

    Distances are squared Euclidean ones, |x|^2 - 2 x.y + |y|^2. A block of images, or
    of rows of one image, is done at a time, so that no more than `max_bytes` of
    distances exist at once.

    Parameters
    ----------
    x : torch.Tensor
        [B, N, C], the nodes that neighbours are wanted of.
    k : int
        Number of neighbours.
    y : torch.Tensor, optional
        [B, M, C], the nodes that neighbours are taken from; by default `x`, where a
        node is its own first neighbour.
    dilation : int, default 1
        Of the ``k * dilation`` nearest every ``dilation``-th is taken, from the first
        on.
    bias : torch.Tensor, optional
        [N, M], added to the distances.
    max_bytes : int, default 64 MiB
        Memory for distances; one row of an image is done at least.

    Returns
    -------
    torch.Tensor
        int64 [B, N, k], rows of `y`. No gradient goes through it.

    Raises
    ------
    ModelError
        If there are fewer than ``k * dilation`` nodes to choose from.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.vision import kneighbors
    >>> x = torch.tensor([[[0.0], [1.0], [5.0]]])  # one image of three nodes
    >>> kneighbors(x, 2)
    tensor([[[0, 1],
             [1, 0],
             [2, 1]]])
    """
    y = x if y is None else y
    check_neighbors(k, dilation, y.shape[1])
    with torch.no_grad():
        x, y = x.detach(), y.detach()
        images, rows = _block(x, y, max_bytes)
        out = x.new_empty(len(x), x.shape[1], k, dtype=torch.int64)
        for b in range(0, len(x), images):
            ends = y[b : b + images]
            squares = (ends * ends).sum(-1).unsqueeze(1)
            for i in range(0, x.shape[1], rows):
                starts = x[b : b + images, i : i + rows]
                own = (starts * starts).sum(-1, keepdim=True)
                near = torch.baddbmm(own + squares, starts, ends.mT, alpha=-2)
                if bias is not None:
                    near += bias[i : i + rows]
                out[b : b + images, i : i + rows] = _smallest(near, k, dilation)
    return out


def check_neighbors(k: int, dilation: int, nodes: int) -> None:
    """Refuse more neighbours than there are nodes.

    Raises
    ------
    ModelError
    """
    if k < 1 or dilation < 1 or k * dilation > nodes:
        spread = f" at dilation={dilation}" if dilation > 1 else ""
        raise ModelError(
            f"k={k}{spread} needs {k * dilation} nodes and an image has {nodes}: give "
            "a smaller k=, or larger images"
        )


def _smallest(near: torch.Tensor, k: int, dilation: int) -> torch.Tensor:
    """Return the places of the smallest distances, int64 [B, N, k]."""
    if not has_kernels(near):
        order = near.topk(k * dilation, largest=False, sorted=True).indices
        return order[..., ::dilation]
    index = near.new_empty(*near.shape[:2], k, dtype=torch.int64)
    nearest(values(near.flatten(0, 1)), dilation, CPU.array(index.view(-1, k)))
    return index


def _block(x: torch.Tensor, y: torch.Tensor, max_bytes: int) -> tuple[int, int]:
    """Return how many images are done at a time, and how many rows of them."""
    row = max(y.shape[1] * x.element_size(), 1)
    rows = max(max_bytes // row, 1)
    if rows < x.shape[1]:
        return 1, rows
    return rows // max(x.shape[1], 1), x.shape[1]
