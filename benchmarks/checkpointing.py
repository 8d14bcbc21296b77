"""What checkpoints cost a run: none, in the background, and waited for.

Two parts on two local workers. A trial trains the same steps without checkpoints, with
one every so many steps written while training goes on, and with the same waited for;
their order changes from trial to trial. The cost is what the wall time of a step grows
by, the writing thread's share of the processors included. Beside it: what one write
takes, and its size.

    python benchmarks/checkpointing.py [--every 100] [--repeats 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
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
from daskgnn.train.persist.recorder import Recorder

KINDS = ("none", "background", "waited for")


class Waiting(Recorder):
    """A recorder that lets training wait for the disk."""

    def save(self, checkpoint: object) -> None:
        super().save(checkpoint)
        self.wait_until_written()


def make_trainer(
    path: str, client: object, hidden: int, out: Path, every: int | None
) -> daskgnn.Trainer:
    graph = daskgnn.open_graph(path, 2)
    torch.manual_seed(0)
    model = nn.GraphSAGE(graph.num_features, hidden, graph.num_classes, 3)
    return daskgnn.Trainer(
        model,
        graph,
        num_neighbors=[15, 10, 5],
        batch_size=512,
        client=client,
        eval_every=1000,
        out=out,
        checkpoint_every=every,
    )


def run(
    path: str, client: object, args: argparse.Namespace, kind: str, out: Path
) -> dict[str, float]:
    """Return ms a step after a first epoch, and what the writes took."""
    every = None if kind == "none" else args.every
    trainer = make_trainer(path, client, args.hidden, out, every)
    if kind == "waited for":
        old = trainer.recorder
        trainer.recorder = Waiting(out, old.progress, 2)
    trainer.fit(1)
    began = time.perf_counter()
    trainer.fit(2)
    seconds = time.perf_counter() - began
    text = (out / "metrics.jsonl").read_text().splitlines()
    written = [r for r in map(json.loads, text) if r["event"] == "checkpoint"]
    steps = trainer.plan.steps_per_epoch
    newest = max((out / "checkpoints").iterdir())
    return {
        "step_ms": 1000 * seconds / steps,
        "write_ms": 1000 * float(np.median([r["seconds"] for r in written])),
        "writes": sum(r["step"] > steps for r in written),
        "mb": sum(f.stat().st_size for f in newest.iterdir()) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=100, help="steps")
    parser.add_argument("--steps", type=int, default=400, help="of an epoch")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json")
    args = parser.parse_args()
    nodes = 1024 * args.steps
    graph = planted_partition(nodes, 5 * nodes, 10, num_features=100)
    trials: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as scratch, own_cluster(2) as client:
        path = f"{scratch}/g.zarr"
        graph.partition(16, method="hash").save(path)
        for trial in range(args.repeats + 1):
            for place in range(len(KINDS)):
                kind = KINDS[(place + trial) % len(KINDS)]
                out = Path(scratch, f"{kind}-{trial}")
                found = run(path, client, args, kind, out)
                print(trial, kind, found, file=sys.stderr, flush=True)
                if trial:  # the first one warms up
                    trials[kind].append(found)
    show(
        f"Checkpoints every {args.every} steps",
        rows(trials),
        args.json,
        notes=[
            f"{args.steps} steps, medians of {args.repeats}; costs are medians of "
            "differences within a trial. Without checkpoints there is one at the end "
            "of each epoch, as in the others.",
        ],
        extra={"trials": trials},
    )


def rows(trials: dict[str, list[dict[str, float]]]) -> list[dict[str, object]]:
    """Return a row a kind."""
    found = []
    for kind, runs in trials.items():
        pairs = zip(runs, trials["none"], strict=True)
        grown = [mine["step_ms"] / base["step_ms"] - 1 for mine, base in pairs]
        found.append(
            {
                "checkpoints": kind,
                "ms a step": f"{np.median([r['step_ms'] for r in runs]):.2f}",
                "cost": f"{100 * np.median(grown):+.2f} %",
                "ms a write": f"{np.median([r['write_ms'] for r in runs]):.1f}",
                "writes": int(np.median([r["writes"] for r in runs])),
                "MB": f"{runs[0]['mb']:.1f}",
            }
        )
    return found


if __name__ == "__main__":
    main()
