"""PyG's side: DistributedDataParallel over NeighborLoader and SAGEConv, trimmed.

`trim_to_layer` leaves out what a layer does not need. torch-sparse does not say how
many nodes and edges each hop took, so this is counted here (pyg-lib, which does, is
not on the package index).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch_geometric
import torch_sparse
from ddp import Step, run, shares, wrap
from torch.nn import functional
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader
from torch_geometric.nn import SAGEConv
from torch_geometric.utils import trim_to_layer


class GraphSAGE(torch.nn.Module):
    """A stack of PyG's SAGEConv."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.convs = torch.nn.ModuleList(SAGEConv(a, b) for a, b in pairwise(widths))

    def forward(
        self, h: torch.Tensor, edges: torch.Tensor, hops: tuple[list[int], list[int]]
    ) -> torch.Tensor:
        for i, conv in enumerate(self.convs):
            h, edges, _ = trim_to_layer(i, *hops, h, edges)
            h = conv(h, edges)
            if i < len(self.convs) - 1:
                h = functional.relu(h)
        return h


def count_hops(
    edges: torch.Tensor, num_seeds: int, num_hops: int
) -> tuple[list[int], list[int]]:
    """Return the nodes and edges that each hop added.

    Parameters
    ----------
    edges
        int64 [2, E], (source, target); targets ascend, sources are numbered in the
        order in which they were found.
    """
    nodes, counts = [num_seeds], []
    reached = known = num_seeds
    done = 0
    for _ in range(num_hops):
        until = int(torch.searchsorted(edges[1], known))
        counts.append(until - done)
        if until > done:
            reached = max(reached, int(edges[0, done:until].max()) + 1)
        nodes.append(reached - known)
        done, known = until, reached
    return nodes, counts


def side(given: dict[str, Any], arrays: dict[str, torch.Tensor], rank: int) -> Step:
    """Return a step of this rank."""
    features, labels = arrays["features"], arrays["labels"]
    adjacency = torch_sparse.SparseTensor(
        rowptr=arrays["indptr"],
        col=arrays["indices"],
        sparse_sizes=(len(features), len(features)),
        is_sorted=True,
        trust_data=True,
    )
    loader = NeighborLoader(
        Data(x=features, y=labels, adj_t=adjacency),
        num_neighbors=given["fan_out"],
        input_nodes=arrays["train"],
        batch_size=given["batch_size"] // given["workers"],
    )
    hidden = [given["hidden"]] * (len(given["fan_out"]) - 1)
    model, optimizer = wrap(
        GraphSAGE([features.shape[1], *hidden, int(labels.max()) + 1])
    )
    place = torch.full((len(features),), -1)
    place[arrays["train"]] = torch.arange(len(arrays["train"]))
    seeds = shares(arrays["train"], given, rank)
    bf16 = given["precision"] == "bf16"

    def step() -> int:
        # The loader's own way from indices of its input nodes to a batch.
        batch = loader.filter_fn(loader.collate_fn(place[next(seeds)].tolist()))
        hops = count_hops(batch.edge_index, batch.batch_size, len(given["fan_out"]))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = model(batch.x, batch.edge_index, hops)[: batch.batch_size]
            loss = functional.cross_entropy(out, batch.y[: batch.batch_size])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return int(batch.batch_size)

    return step


if __name__ == "__main__":
    run(
        side,
        {
            "torch-geometric": torch_geometric.__version__,
            "torch-sparse": torch_sparse.__version__,
        },
    )
