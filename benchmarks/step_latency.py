"""What the engine costs a step beyond its kernels, in both forms of the chain.

Two parts on two local workers, a model of about 200,000 parameters (800 kB), a small
graph. The kernels are what one part's step takes in this process alone: sampling,
gathering, the gradient and the update. A step is the wall time of whole epochs.

    python benchmarks/step_latency.py [--repeats 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from report import show

import daskgnn
from daskgnn import nn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.graph.datasets.generate import planted_partition
from daskgnn.train.compute.gradients import UpdateOptions
from daskgnn.train.compute.session import TrainSession
from daskgnn.train.plan import Position, windows

EPOCHS = 4


def make_trainer(path: str, client: object, steps: str = "auto") -> daskgnn.Trainer:
    graph = daskgnn.open_graph(path, 2)
    torch.manual_seed(0)
    model = nn.GraphSAGE(graph.num_features, 256, graph.num_classes, 3)
    return daskgnn.Trainer(
        model,
        graph,
        num_neighbors=[5, 3, 2],
        batch_size=64,
        client=client,
        steps=steps,
        eval_every=1000,
    )


def kernel_seconds(path: str) -> tuple[float, float]:
    """Return what one part's step takes: preparing it, and its gradient and update."""
    trainer = make_trainer(path, None)
    trainer.fit(1)
    loop = trainer._new_loop()
    plan = windows(trainer.plan, Position(), 1, lambda: 32, None)
    ahead, chain = [], []
    for window in plan:
        began = time.perf_counter()
        keys = loop.lookahead._prepare(window).batches
        ahead.append((time.perf_counter() - began) / window.size / len(keys))
        (batch, *_) = trainer.executor.result(keys)
        session = TrainSession(trainer.program, trainer.run_state.state)
        options = UpdateOptions(trainer.run_state.schedule.options())
        for i in range(window.size):
            began = time.perf_counter()
            session.update(share := session.gradient(batch, i), share, options)
            chain.append(time.perf_counter() - began)
        trainer.executor.release(keys)
    return float(np.median(ahead)), float(np.median(chain))


def step_seconds(path: str, client: object, steps: str) -> float:
    """Return the mean wall time of a step, as many epochs before left out."""
    trainer = make_trainer(path, client, steps)
    trainer.fit(EPOCHS)
    began = time.perf_counter()
    trainer.fit(2 * EPOCHS)
    return (time.perf_counter() - began) / (EPOCHS * trainer.plan.steps_per_epoch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json")
    args = parser.parse_args()
    graph = planted_partition(20_000, 100_000, 10, num_features=100, train=0.41)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "graph.zarr")
        graph.partition(num_clusters=16).save(path)
        kernels = [kernel_seconds(path) for _ in range(args.repeats)]
        found: dict[str, list[float]] = {"tasks": [], "window": []}
        with own_cluster(2) as client:
            for _ in range(args.repeats):
                for form, times in found.items():
                    times.append(step_seconds(path, client, form))
    ahead, chain = np.median(kernels, axis=0)
    base = float(ahead + chain)
    rows = [
        {
            "form": form,
            "ms a step": 1e3 * float(np.median(times)),
            "preparing ms": 1e3 * ahead,
            "gradient and update ms": 1e3 * chain,
            "engine ms": 1e3 * (float(np.median(times)) - base),
        }
        for form, times in found.items()
    ]
    show(f"engine cost a step, 2 parts, medians of {args.repeats}", rows, args.json)
    ratio = rows[0]["engine ms"] / rows[1]["engine ms"]
    print(f"  tasks / window: {ratio:.1f}")


if __name__ == "__main__":
    main()
