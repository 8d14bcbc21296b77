"""What each sampler reaches and costs: test accuracy, time, memory, bytes.

    python benchmarks/sampler_accuracy.py --results FILE [--seeds 5] [--json FILE]

GraphSAGE on PubMed, Amazon Photo and Coauthor CS, in two parts, with as many updates
for all samplers: those that choose the seeds themselves have fewer in an epoch. A run
is a line of FILE; runs that are in it are not done again. Bytes are those that parts on
different machines would send.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from report import show
from ways import ACCURACY, PARTS, Setup, model_of, stores

import daskgnn
from daskgnn.kernels.record import array_bytes
from daskgnn.train.ahead import Lookahead
from daskgnn.train.options.samplers import SAMPLERS
from daskgnn.train.plan import Position, windows

GRAPHS = ("pubmed", "amazon_photo", "coauthor_cs")
TEXTS = (
    "neighbor",
    "labor",
    "labor:variant=*",
    "fastgcn",
    "ladies",
    "saint:kind=node",
    "saint:kind=edge",
    "saint:kind=walk",
    "cluster",
    "shadow",
)


def trainer_of(setup: Setup, path: str, text: str, seed: int) -> daskgnn.Trainer:
    """Return a trainer in this process."""
    graph = daskgnn.open_graph(path, PARTS)
    known, given = SAMPLERS[text.partition(":")[0]], {}
    if known.takes_fan_outs:
        given["num_neighbors"] = list(setup.fan_out)
    if not known.chooses_seeds:
        given["batch_size"] = setup.batch
    return daskgnn.Trainer(
        model_of(setup, graph, seed),
        graph,
        sampler=text,
        normalize_features=setup.normalize,
        weight_decay=setup.weight_decay,
        seed=seed,
        client=None,
        progress=None,
        window=4,
        **given,
    )


def of_steps(trainer: daskgnn.Trainer, count: int = 4) -> dict[str, float]:
    """Return what a prepared step takes, and what parts send each other for it."""
    ahead = Lookahead.of(trainer.deployment, trainer.plan)
    plan = windows(trainer.plan, Position(), 1, lambda: count, None)
    first = ahead.next(iter([next(plan)]))
    assert first is not None
    prepared = trainer.executor.result(first.batches)
    ahead.close()
    sent = sum(int(window.traffic.nbytes.sum()) for window in prepared)
    held = sum(map(array_bytes, prepared))
    steps = first.window.size
    rows = sum(int(window.traffic.rows.sum()) for window in prepared)
    nodes = sum(step.sizes[-1] for window in prepared for step in window.steps)
    return {
        "step_bytes": held / steps,
        "remote_bytes": sent / steps,
        "remote_rows": rows / steps,
        "input_nodes": nodes / steps,
    }


def train(name: str, setup: Setup, path: str, text: str, seed: int) -> dict[str, Any]:
    """Train once; return what is kept of the run."""
    trainer = trainer_of(setup, path, text, seed)
    updates = setup.epochs * -(-len(trainer.graph.splits["train"]) // setup.batch)
    epochs = -(-updates // trainer.plan.steps_per_epoch)
    trainer.options["eval_every"] = max(epochs // setup.evaluations, 1)
    began = time.perf_counter()
    trainer.fit(epochs)
    total, steps = trainer.run_state.total, trainer.run_state.state.step
    seconds = time.perf_counter() - began - total.eval_seconds
    return {
        "graph": name,
        "sampler": text,
        "seed": seed,
        "accuracy": trainer.evaluate("test")["accuracy"],
        "steps": steps,
        "seconds": seconds,
        **of_steps(trainer),
    }


def table(runs: list[dict[str, Any]], seeds: int) -> list[dict[str, Any]]:
    """Return a row a graph and sampler."""
    rows = []
    for name in GRAPHS:
        base: list[float] = []
        for text in TEXTS:
            own = [r for r in runs if (r["graph"], r["sampler"]) == (name, text)]
            own = [run for run in own if run["seed"] < seeds]
            if not own:
                continue
            found = [100 * run["accuracy"] for run in own]
            base = base or found
            error = np.hypot(*(np.std(v) / len(v) ** 0.5 for v in (found, base)))
            costs = ("steps", "seconds", "step_bytes", "remote_bytes")
            mean = {cost: np.mean([run[cost] for run in own]) for cost in costs}
            rows.append(
                {
                    "graph": name,
                    "sampler": text,
                    "seeds": len(own),
                    "test %": f"{np.mean(found):.2f}",
                    "off neighbor": f"{np.mean(found) - np.mean(base):+.2f}",
                    "2 s.e.": f"{2 * error:.2f}",
                    "steps": f"{mean['steps']:.0f}",
                    "s": f"{mean['seconds']:.1f}",
                    "MB a step": f"{mean['step_bytes'] / 1e6:.1f}",
                    "remote MB a step": f"{mean['remote_bytes'] / 1e6:.3f}",
                }
            )
    return rows


def main() -> None:
    """Do the runs that are missing; print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", default="sampler-accuracy.jsonl")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--graphs", default=",".join(GRAPHS))
    parser.add_argument("--samplers", default=";".join(TEXTS), help="; between them")
    parser.add_argument("--json")
    given = parser.parse_args()
    file = Path(given.results)
    cache = os.environ.get("DASKGNN_BENCH_DIR", "~/.cache/daskgnn-bench")
    lines = file.read_text().splitlines() if file.exists() else []
    runs = [json.loads(line) for line in lines]
    done = {(r["graph"], r["sampler"], r["seed"]) for r in runs}
    with tempfile.TemporaryDirectory() as folder:
        found = list(stores(given.graphs.split(","), folder, cache))
        for seed in range(given.seeds):
            for name, path in found:
                for text in given.samplers.split(";"):
                    if (name, text, seed) in done:
                        continue
                    run = train(name, ACCURACY[name], path, text, seed)
                    runs.append(run)
                    with file.open("a") as out:
                        out.write(json.dumps(run) + "\n")
                    print(f"  {run}", flush=True)
    title = f"test accuracy, {given.seeds} seeds, and what it costs"
    show(title, table(runs, given.seeds), given.json, markdown=True)


if __name__ == "__main__":
    main()
