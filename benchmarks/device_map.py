"""What a step takes with a model's layers on two workers, and with its parts on them.

    python benchmarks/device_map.py [--json FILE]

Data parallelism has two parts, a whole model on each of two workers. With a device map
each worker has two of four layers, and the minibatches of eight parts go through them.
The seeds of a step and their neighbourhoods are the same.
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from report import show

import daskgnn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.graph.datasets.generate import planted_partition

if TYPE_CHECKING:
    from daskgnn.graph.memory.data import GraphData

WAYS: dict[str, tuple[int, dict[str, Any]]] = {
    "data parallelism": (2, {}),
    "device map": (8, {"device_map": [0, 0, 1, 1]}),
}
"""Parts, and what a trainer is given."""
HOPS = [3, 3, 3, 3]
CASES = [(128, 1024), (1024, 1024), (1024, 128), (2048, 64)]
"""Hidden channels, and seeds of a step."""


def row(
    client: Any, graph: GraphData, hidden: int, seeds: int, steps: int
) -> dict[str, Any]:
    found: dict[str, Any] = {"hidden": hidden, "seeds": seeds}
    for name, (parts, options) in WAYS.items():
        opened = daskgnn.open_graph(graph, num_parts=parts)
        torch.manual_seed(0)
        sizes = opened.num_features, hidden, opened.num_classes
        model = daskgnn.nn.GraphSAGE(*sizes, num_layers=len(HOPS))
        found["MB of parameters"] = sum(p.numel() for p in model.parameters()) * 4e-6
        how = {"num_neighbors": HOPS, "batch_size": seeds, "client": client}
        trainer = daskgnn.Trainer(model, opened, window=steps, **how, **options)
        times = [trainer.profile(2 * steps).to_dict()["wall_ms"] for _ in range(3)]
        found[f"{name}, ms a step"] = median(times)
    both = [found[f"{name}, ms a step"] for name in WAYS]
    found["data / map"] = both[0] / both[1]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4, help="Of a window.")
    parser.add_argument("--json")
    args = parser.parse_args()
    graph = planted_partition(20_000, 100_000, num_features=64).partition(
        num_clusters=16
    )
    with own_cluster(2) as client:
        rows = [row(client, graph, *case, args.steps) for case in CASES]
    show("layers on different workers, or parts", rows, args.json)


if __name__ == "__main__":
    main()
