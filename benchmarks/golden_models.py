"""What the cases of `golden.py` name: models, losses, schedulers. Workers import it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from daskgnn import nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class EdgeIndexNet(torch.nn.Module):
    """A model of one's own in PyTorch Geometric's style, without ``layer``."""

    num_layers = 2

    def __init__(self, inside: int, hidden: int, outside: int) -> None:
        super().__init__()
        widths = [inside, hidden, outside]
        self.own = torch.nn.ModuleList(map(torch.nn.Linear, widths, widths[1:]))
        self.near = torch.nn.ModuleList(map(torch.nn.Linear, widths, widths[1:]))
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: torch.Tensor, blocks: Sequence[nn.Block]) -> torch.Tensor:
        for i, block in enumerate(blocks):
            source, target = block.edge_index
            rows = self.near[i](x)[source]
            sums = rows.new_zeros(block.num_dst, rows.shape[1])
            x = self.own[i](block.dst(x)) + sums.index_add(0, target, rows)
            if i == 0:
                x = self.dropout(torch.relu(x), block)
        return x


MODELS = {
    "sage": lambda f, c: nn.GraphSAGE(f, 16, c, 2, dropout=0.4),
    "sage without dropout": lambda f, c: nn.GraphSAGE(f, 16, c, 2),
    "sage of max": lambda f, c: nn.GraphSAGE(f, 16, c, 2, aggr="max", dropout=0.4),
    "sage of sum": lambda f, c: nn.GraphSAGE(f, 16, c, 2, aggr="sum", dropout=0.4),
    "three layers": lambda f, c: nn.GraphSAGE(f, 16, c, 3, dropout=0.4),
    "gcn": lambda f, c: nn.GCN(f, 16, c, 2, dropout=0.4),
    "gat": lambda f, c: nn.GAT(f, 8, c, 2, heads=2, dropout=0.3),
    "normed": lambda f, c: nn.GraphSAGE(
        f, 16, c, 2, dropout=0.2, input_dropout=0.2, norm="layer", residual=True
    ),
    "own": lambda f, c: EdgeIndexNet(f, 16, c),
}


def smoothed(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the sum over the seeds of a cross entropy with smoothed labels."""
    return torch.nn.functional.cross_entropy(
        outputs, labels, reduction="sum", label_smoothing=0.1
    )


def falling(
    optimizer: torch.optim.Optimizer,
) -> torch.optim.lr_scheduler.ExponentialLR:
    """Return a scheduler that lowers the learning rate."""
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)


FUNCTIONS = {"smoothed": smoothed, "falling": falling}
