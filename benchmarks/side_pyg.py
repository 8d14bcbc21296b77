"""PyG's side: DistributedDataParallel over NeighborLoader and SAGEConv, trimmed.

The graph is a torch-sparse matrix, which is faster here than an edge index.
`trim_to_layer` leaves out what a layer does not need. torch-sparse does not say how
many nodes and edges each hop took, so this is counted here (pyg-lib, which does, is
not on the package index).
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch_geometric
import torch_sparse
from ddp import Step, run, wrap
from torch.nn import functional
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader
from torch_geometric.nn import SAGEConv
from torch_geometric.utils import trim_to_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

Hops = tuple[list[int], list[int]]
"""Nodes and edges that each hop added."""


class GraphSAGE(torch.nn.Module):
    """A stack of PyG's SAGEConv."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.convs = torch.nn.ModuleList(SAGEConv(a, b) for a, b in pairwise(widths))

    def forward(self, h: torch.Tensor, adj_t: Any, hops: Hops) -> torch.Tensor:
        for i, conv in enumerate(self.convs):
            h, adj_t, _ = trim_to_layer(i, *hops, h, adj_t)
            h = conv(h, adj_t)
            if i < len(self.convs) - 1:
                h = functional.relu(h)
        return h


def count_hops(adj_t: Any, num_seeds: int, num_hops: int) -> Hops:
    """Count a batch's nodes and edges by hop.

    Parameters
    ----------
    adj_t
        Row v holds the neighbours that node v drew; nodes are numbered in the order
        in which they were found.
    """
    rowptr, found, _ = adj_t.csr()
    nodes, edges = [num_seeds], []
    known, done = num_seeds, 0
    for _ in range(num_hops):
        until = int(rowptr[known])
        reached = (
            max(known, int(found[done:until].max()) + 1) if until > done else known
        )
        nodes.append(reached - known)
        edges.append(until - done)
        known, done = reached, until
    return nodes, edges


def data_of(
    features: torch.Tensor,
    labels: torch.Tensor,
    indptr: torch.Tensor,
    indices: torch.Tensor,
) -> Data:
    """Return a graph as PyG's loader samples it fastest; say nothing of its kind."""
    warnings.filterwarnings("ignore", message="Using 'NeighborSampler' without")
    warnings.filterwarnings("ignore", message="Sparse ")
    adjacency = torch_sparse.SparseTensor(
        rowptr=indptr,
        col=indices,
        sparse_sizes=(len(features), len(features)),
        is_sorted=True,
        trust_data=True,
    )
    return Data(x=features, y=labels, adj_t=adjacency)


def side(given: dict[str, Any], arrays: dict[str, torch.Tensor], rank: int) -> Step:
    """Return a step of this rank."""
    features, labels = arrays["features"], arrays["labels"]
    loader = NeighborLoader(
        data_of(features, labels, arrays["indptr"], arrays["indices"]),
        num_neighbors=given["fan_out"],
        input_nodes=arrays["train"][rank :: given["workers"]],
        batch_size=given["batch_size"] // given["workers"],
        shuffle=True,
    )
    hidden = [given["hidden"]] * (len(given["fan_out"]) - 1)
    model, optimizer = wrap(
        GraphSAGE([features.shape[1], *hidden, int(labels.max()) + 1])
    )
    batches = repeat(loader)

    def step() -> int:
        batch = next(batches)
        seeds = int(batch.batch_size)
        hops = count_hops(batch.adj_t, seeds, len(given["fan_out"]))
        out = model(batch.x, batch.adj_t, hops)[:seeds]
        loss = functional.cross_entropy(out, batch.y[:seeds])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return seeds

    return step


def repeat(loader: NeighborLoader) -> Iterator[Any]:
    """Yield batches, epoch after epoch."""
    while True:
        yield from loader


if __name__ == "__main__":
    run(
        side,
        {
            "torch-geometric": torch_geometric.__version__,
            "torch-sparse": torch_sparse.__version__,
        },
    )
