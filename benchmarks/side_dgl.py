"""DGL's side: DistributedDataParallel over its classic sampler and SAGEConv.

The sampler is called in the training process, as its DataLoader does without extra
workers: on one core a process there is none to spare.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from ddp import Step, import_dgl, run, shares, wrap
from torch.nn import functional

dgl = import_dgl()


class GraphSAGE(torch.nn.Module):
    """A stack of DGL's SAGEConv."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.convs = torch.nn.ModuleList(
            dgl.nn.SAGEConv(a, b, "mean") for a, b in pairwise(widths)
        )

    def forward(self, blocks: list[Any], h: torch.Tensor) -> torch.Tensor:
        for i, (conv, block) in enumerate(zip(self.convs, blocks, strict=True)):
            h = conv(block, h)
            if i < len(self.convs) - 1:
                h = functional.relu(h)
        return h


def side(given: dict[str, Any], arrays: dict[str, torch.Tensor], rank: int) -> Step:
    """Return a step of this rank."""
    features, labels = arrays["features"], arrays["labels"]
    csc = (arrays["indptr"], arrays["indices"], torch.empty(0, dtype=torch.int64))
    graph = dgl.graph(("csc", csc), num_nodes=len(features))
    sampler = dgl.dataloading.NeighborSampler(given["fan_out"][::-1])
    hidden = [given["hidden"]] * (len(given["fan_out"]) - 1)
    model, optimizer = wrap(
        GraphSAGE([features.shape[1], *hidden, int(labels.max()) + 1])
    )
    seeds = shares(arrays["train"], given, rank)
    bf16 = given["precision"] == "bf16"

    def step() -> int:
        batch = next(seeds)
        nodes, _, blocks = sampler.sample_blocks(graph, batch)
        # Some times faster than features[nodes].
        x = torch.index_select(features, 0, nodes)
        y = torch.index_select(labels, 0, batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = functional.cross_entropy(model(blocks, x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return len(batch)

    return step


if __name__ == "__main__":
    run(side, {"dgl": dgl.__version__})
