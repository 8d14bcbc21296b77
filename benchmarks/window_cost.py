"""What a window costs beside its steps: windows of one step and of many, in turns.

Two parts on two local workers, a small graph, GraphSAGE with 2 layers of 64 channels.
The difference of whole epochs gives milliseconds a step and, beside them, a window.

    python benchmarks/window_cost.py [--steps 16] [--repeats 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from report import show

import daskgnn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.graph.datasets.generate import planted_partition


def make_trainer(path: str, client: object, window: int) -> daskgnn.Trainer:
    graph = daskgnn.open_graph(path, num_parts=2)
    torch.manual_seed(0)
    return daskgnn.Trainer(
        daskgnn.nn.GraphSAGE(graph.num_features, 64, graph.num_classes),
        graph,
        num_neighbors=[5, 5],
        batch_size=128,
        client=client,
        steps="window",
        window=window,
        eval_every=1000,
        progress=None,
    )


def window_ms(trainer: daskgnn.Trainer, window: int, epochs: int) -> float:
    """Train up to so many epochs; return the milliseconds of a window."""
    before, began = trainer.run_state.state.step, time.perf_counter()
    trainer.fit(epochs)
    steps = trainer.run_state.state.step - before
    return 1e3 * (time.perf_counter() - began) / steps * window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=16, help="of long windows")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json")
    args = parser.parse_args()
    graph = planted_partition(20_000, 200_000, 10, num_features=64, seed=0)
    took: dict[int, list[float]] = {1: [], args.steps: []}
    with tempfile.TemporaryDirectory() as folder, own_cluster(2) as client:
        path = str(graph.partition(16).save(Path(folder) / "graph.zarr"))
        trainers = {window: make_trainer(path, client, window) for window in took}
        for trainer in trainers.values():
            trainer.fit(1)
        for repeat in range(args.repeats):
            for window, trainer in trainers.items():
                took[window].append(window_ms(trainer, window, 2 * repeat + 3))
    short, long = (median(times) for times in took.values())
    step = (long - short) / (args.steps - 1)
    rows = [
        {
            "windows of": f"1 and {args.steps} steps",
            "ms, short": short,
            "ms, long": long,
            "ms a step": step,
            "ms beside them": short - step,
        }
    ]
    show(f"what a window costs, medians of {args.repeats}", rows, args.json)


if __name__ == "__main__":
    main()
