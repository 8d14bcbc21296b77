"""What the engine costs a step beyond its kernels, in both forms of the chain.

Two parts on two local workers, a model of about 200,000 parameters (800 kB), a small
graph. The kernels are timed in this process: gradient of one part, and update.

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
from daskgnn.graph.generate import planted_partition
from daskgnn.train.cluster import own_cluster
from daskgnn.train.program import TrainSession

EPOCHS = 12


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


def kernel_seconds(path: str) -> float:
    """Return the median of one part's gradient plus the update."""
    trainer = make_trainer(path, None)
    trainer.fit(1)
    trainer._preparation  # noqa: B018  (the blocks are loaded)
    loop = trainer._new_fit().loop
    from daskgnn.train.plan import Position, windows

    window = next(windows(trainer.plan, Position(), 1, 8, None))
    batches = trainer.executor.result(loop._prepare(window))
    state, options = trainer.course.state, trainer.course.schedule.options()
    times = []
    session = TrainSession(trainer.program, state)
    for i in range(window.size):
        began = time.perf_counter()
        session.update(share := session.gradient(batches[0], i), share, options)
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def step_seconds(path: str, client: object, steps: str) -> float:
    """Return the median step of a fit, the first epoch left out."""
    trainer = make_trainer(path, client, steps)
    trainer.fit(EPOCHS)
    records = [r for r in trainer.recorder.history.steps if r["epoch"] > 0]
    per_epoch = [
        np.mean([r["seconds"] for r in records if r["epoch"] == e])
        for e in range(1, EPOCHS)
    ]
    return float(np.median(per_epoch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json")
    args = parser.parse_args()
    graph = planted_partition(4000, 20000, 10, num_features=100, train=0.25, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "graph.zarr")
        graph.partition(num_clusters=16).save(path)
        kernels = [kernel_seconds(path) for _ in range(args.repeats)]
        found: dict[str, list[float]] = {"tasks": [], "window": []}
        with own_cluster(2) as client:
            for _ in range(args.repeats):
                for form, times in found.items():
                    times.append(step_seconds(path, client, form))
    base = float(np.median(kernels))
    rows = [
        {
            "form": form,
            "ms a step": 1e3 * float(np.median(times)),
            "kernels ms": 1e3 * base,
            "engine ms": 1e3 * (float(np.median(times)) - base),
        }
        for form, times in found.items()
    ]
    show(f"engine cost a step, 2 parts, medians of {args.repeats}", rows, args.json)
    ratio = rows[0]["engine ms"] / rows[1]["engine ms"]
    print(f"  tasks / window: {ratio:.1f}")


if __name__ == "__main__":
    main()
