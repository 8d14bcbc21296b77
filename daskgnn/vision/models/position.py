"""How near two places of a grid are: a table that is added to distances of nodes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from torch.nn import functional

from daskgnn.nn.device import CPU

if TYPE_CHECKING:
    import torch


@lru_cache(maxsize=8)  # blocks of a stage share one table
def relative_position(channels: int, side: int, reduction: int = 1) -> torch.Tensor:
    """Return what is added to the distances of nodes of a square grid.

    It is minus twice the mean product of two places' sine and cosine embeddings: nodes
    that are near each other in the image count as nearer. Where neighbours are taken
    from a grid that is coarser by `reduction`, columns are interpolated (bicubic), as
    Han et al. do.

    Parameters
    ----------
    channels
        Width of the embeddings, a multiple of 4.
    side
        Rows and columns of the grid.
    reduction
        Of the grid that neighbours are taken from, each way.

    Returns
    -------
    torch.Tensor
        float32 [side**2, (side // reduction)**2].
    """
    rows, columns = np.divmod(np.arange(side * side), side)
    waves = 1 / 10000 ** (np.arange(channels // 4) / (channels // 4))
    angles = [np.multiply.outer(place, waves) for place in (columns, rows)]
    table = np.concatenate([f(a) for a in angles for f in (np.sin, np.cos)], axis=1)
    near = CPU.tensor((table @ table.T * (2 / channels)).astype(np.float32))
    nodes = side * side
    if reduction > 1:
        size = nodes, (side // reduction) ** 2
        near = functional.interpolate(near[None, None], size, mode="bicubic")[0, 0]
    return -near
