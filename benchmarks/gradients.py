"""Ways to combine gradients: speed, bytes, accuracy, and what a slow worker costs.

    python benchmarks/gradients.py [--only modes,accuracy,sums,straggler,precision]
        [--seeds 5] [--json FOLDER]

- modes: steps/s and bytes a step of each way on two local workers, on Coauthor CS
  (DASKGNN_DATA_DIR) and a graph of the shape of ogbn-arxiv;
- accuracy: test accuracy of each way at the same number of updates, on Cora and
  Coauthor CS;
- sums: milliseconds of a sum alone in a tree, a ring and gloo, by size and parts;
- straggler: seeds/s where one of two workers is four times as slow;
- precision: step time in bfloat16 against float32.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from dask.task_spec import Task
from distributed import get_worker
from report import show
from workloads import WORKLOADS, store_of

import daskgnn
from daskgnn import nn
from daskgnn.dataflow.chain import Chain
from daskgnn.dataflow.clock import Clock
from daskgnn.dataflow.executor import ClusterExecutor
from daskgnn.dataflow.shares import PartGradient
from daskgnn.train.cluster import own_cluster
from daskgnn.train.gloo import GlooGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODES: dict[str, dict[str, Any]] = {
    "tree": {},
    "ring": {"gradients": "ring"},
    "gloo": {"gradients": "gloo"},
    "async 1": {"gradients": "async", "staleness": 1},
    "async 2 dc-asgd": {
        "gradients": "async",
        "staleness": 2,
        "compensation": "dc-asgd",
    },
    "server 8": {"gradients": "server", "staleness": 8},
    "topk:0.01": {"compress": "topk:0.01"},
    "powersgd:2": {"compress": "powersgd:2"},
    "fp16": {"compress": "fp16"},
    "bf16": {"compress": "bf16"},
    "int8": {"compress": "int8"},
    "accumulate 4": {"accumulate": 4},
    "local steps 4": {"local_steps": 4},
    "clip 1": {"clip_norm": 1.0},
    "precision bf16": {"precision": "bf16"},
}
UPDATES = {"cora": 400, "coauthor_cs": 220}
BATCH = {"cora": 70, "coauthor_cs": 1024}
PARTS = 2


# -- graphs and models


def stores(folder: str, names: list[str]) -> Iterator[tuple[str, str]]:
    """Store the named data sets; yield their names and paths."""
    for name in names:
        path = str(Path(folder) / f"{name}.zarr")
        given = name
        data_dir = os.environ.get("DASKGNN_DATA_DIR")
        if name == "coauthor_cs":
            if not data_dir:
                print("Coauthor CS is not measured: DASKGNN_DATA_DIR is not set")
                continue
            given = str(Path(data_dir) / "coauthor_cs.npz")
        graph = daskgnn.load_dataset(given, data_dir=data_dir)
        graph.partition(num_clusters=32, method="metis").save(path)
        yield name, path


def model_of(name: str, graph: Any, seed: int) -> torch.nn.Module:
    """Return the model that a data set is trained with."""
    torch.manual_seed(seed)
    if name == "cora":
        return nn.GCN(
            graph.num_features,
            16,
            graph.num_classes,
            2,
            dropout=0.5,
            input_dropout=0.5,
        )
    hidden = 64 if name == "coauthor_cs" else WORKLOADS["arxiv"].hidden
    return nn.GraphSAGE(graph.num_features, hidden, graph.num_classes, 2)


def trainer_of(
    name: str, path: str, client: Any, mode: str, seed: int = 0, **options: Any
) -> daskgnn.Trainer:
    """Return a trainer of a data set in one of the modes."""
    graph = daskgnn.open_graph(path, PARTS)
    given: dict[str, Any] = {
        "num_neighbors": [-1, -1] if name == "cora" else [10, 5],
        "batch_size": BATCH.get(name, WORKLOADS["arxiv"].batch_size),
        "normalize_features": name != "arxiv",
        "weight_decay": 5e-4 if name == "cora" else 0.0,
        "lr": 0.01,
        "seed": seed,
        **MODES[mode],
        **options,
    }
    model = options.pop("model", None) or model_of(name, graph, seed)
    given.pop("model", None)
    return daskgnn.Trainer(model, graph, client=client, **given)


def updates_an_epoch(mode: str, steps: int) -> float:
    """Return how many updates an epoch of so many steps makes."""
    if mode.startswith("server"):
        return steps * PARTS
    return -(-steps // MODES[mode].get("accumulate", 1))


# -- accuracy


def measure_accuracy(
    folder: str, seeds: int, names: list[str], modes: list[str]
) -> list[dict[str, Any]]:
    """Train every mode to the same number of updates; return mean accuracies."""
    rows: list[dict[str, Any]] = [{"mode": mode} for mode in modes]
    for name, path in stores(folder, names):
        for row in rows:
            began = time.perf_counter()
            found = _accuracies(name, path, row["mode"], seeds)
            row[name] = 100 * float(np.mean(found))
            row[f"{name} off tree"] = row[name] - rows[0][name]
            row[f"{name} std"] = 100 * float(np.std(found))
            took = time.perf_counter() - began
            print(f"  {name} {row['mode']}: {row[name]:.2f} ({took:.0f} s)", flush=True)
    return rows


def _accuracies(name: str, path: str, mode: str, seeds: int) -> list[float]:
    """Return a mode's test accuracies, with the parameters of the best validation."""
    if not mode.startswith("server"):
        # As on any workers; gloo is there the tree.
        return [_accuracy(name, path, None, mode, seed) for seed in range(seeds)]
    with own_cluster(PARTS) as client:
        return [_accuracy(name, path, client, mode, seed) for seed in range(seeds)]


def _accuracy(name: str, path: str, client: Any, mode: str, seed: int) -> float:
    trainer = trainer_of(name, path, client, mode, seed)
    each = updates_an_epoch(mode, trainer.plan.steps_per_epoch)
    epochs = max(1, round(UPDATES[name] / each))
    # As many evaluations for every mode: each is a chance to be the best.
    trainer.eval_every = max(1, epochs // 20)
    trainer.fit(epochs)
    return float(trainer.evaluate("test")["accuracy"])


# -- speed


def measure_modes(
    folder: str, cache: str, names: list[str], modes: list[str]
) -> list[dict[str, Any]]:
    """Return steps/s and bytes a step of each mode on two workers."""
    rows: list[dict[str, Any]] = [{"mode": mode} for mode in modes]
    graphs = [*stores(folder, [name for name in names if name != "arxiv"])]
    if "arxiv" in names:
        graphs.append(("arxiv", store_of(WORKLOADS["arxiv"], cache)))
    with own_cluster(2) as client:
        for name, path in graphs:
            for row in rows:
                speed = _speed(name, path, client, row["mode"])
                row.update({f"{name} {key}": value for key, value in speed.items()})
                print(f"  {name} {row['mode']}: {speed}", flush=True)
    return rows


def _speed(name: str, path: str, client: Any, mode: str) -> dict[str, float]:
    """Return steps/s of whole epochs after a first one, and bytes a step."""
    trainer = trainer_of(name, path, client, mode, eval_every=1000)
    trainer.fit(1)
    steps = trainer.plan.steps_per_epoch
    began = time.perf_counter()
    more = 3 if name == "coauthor_cs" else 1
    trainer.fit(1 + more)
    seconds = (time.perf_counter() - began) / (more * steps)
    total = trainer.course.total
    done = trainer.course.state.step
    return {
        "steps/s": 1 / seconds,
        "kB before": total.gradient_bytes / done / 1e3,
        "kB sent": total.sent_gradient_bytes / done / 1e3,
    }


# -- sums alone


class NoArithmetic:
    """A session whose gradients are there already."""

    def __init__(self, num_parameters: int, state: int) -> None:
        self.clock = Clock()
        self._share = PartGradient(np.ones(num_parameters, np.float32), 0.0)
        self._steps = state

    def gradient(self, batch: Any, step: int, behind: int = 0) -> PartGradient:
        return self._share

    def update(
        self, left: PartGradient, right: PartGradient | None, options: Any
    ) -> None:
        self._total = left.gradient if right is None else left.gradient + right.gradient
        self._steps += 1

    def state(self) -> int:
        return self._steps


CHAINS = {
    "tree": Chain(NoArithmetic),
    "ring": Chain(NoArithmetic, sums="ring"),
    "gloo": Chain(NoArithmetic, group=GlooGroup),
}


def measure_sums(workers: list[int], sizes: list[int]) -> list[dict[str, Any]]:
    """Return milliseconds of a step that is a sum alone, by size and parts."""
    rows = []
    for count in workers:
        with own_cluster(count) as client:
            for size in sizes:
                row: dict[str, Any] = {"parts = workers": count, "parameters": size}
                for name, chain in CHAINS.items():
                    times = [_sum_seconds(client, count, size, chain) for _ in range(3)]
                    row[f"{name} ms"] = 1e3 * float(np.median(times))
                rows.append(row)
    return rows


def _sum_seconds(client: Any, count: int, size: int, chain: Chain) -> float:
    executor = ClusterExecutor(client, count)
    run = f"sums-{time.monotonic_ns()}"
    programs = [("program", run, part) for part in range(count)]
    executor.submit({key: Task(key, int, size) for key in programs}, programs)
    steps, meetings = 40, []
    for number in range(2):
        outcomes = executor.run_gang(
            chain, ("window", run, number), 0, programs, programs, [None] * steps
        )
        meetings = [report.work for report in outcomes[0].reports]
    executor.release(programs)
    work = meetings[0]
    form = work.spent.get("form", (0.0, 0.0))[0]
    return (work.ended - work.began - form) / steps


# -- one of two workers is slow


class Slowed(nn.GraphSAGE):
    """A model whose steps take longer, four times as long on one of the workers."""

    slow: str | None = None
    seconds = 0.0

    def forward(self, x: Any, blocks: Any) -> Any:
        if self.training:
            factor = 1
            with suppress(ValueError):
                factor = 4 if get_worker().address == self.slow else 1
            # Asleep: the two cores are shared by all processes.
            time.sleep(factor * self.seconds)
        return super().forward(x, blocks)


def measure_straggler(cache: str, seconds: float) -> list[dict[str, Any]]:
    """Return seeds/s of both ways, with and without a slow worker."""
    path = store_of(WORKLOADS["arxiv"], cache)
    graph = daskgnn.open_graph(path, PARTS)
    rows = []
    ways: list[tuple[str, int | None, bool]] = [("tree", None, False)]
    ways += [("tree", None, True), ("server 8", 2, True), ("server 8", 8, True)]
    with own_cluster(2) as client:
        slow = max(client.scheduler_info(n_workers=-1)["workers"])
        for mode, bound, moves in ways:
            row: dict[str, Any] = {"mode": mode.split()[0], "bound": bound}
            row["parts may move"] = "yes" if moves else "no"
            for which, address in (("even", None), ("slow", slow)):
                torch.manual_seed(0)
                model = Slowed(graph.num_features, 32, graph.num_classes, 2)
                model.slow, model.seconds = address, seconds
                options: dict[str, Any] = {"num_neighbors": [5, 3]}
                options |= {} if bound is None else {"staleness": bound}
                trainer = trainer_of(
                    "arxiv", path, client, mode, model=model, window=32, **options
                )
                if not moves:
                    trainer.executor.settle = _nothing  # type: ignore[method-assign]
                row[f"{which} seeds/s"] = _seeds_a_second(trainer)
                if which == "slow" and bound is not None:
                    row["staleness"] = str(trainer.course.total.staleness)
            rows.append(row)
    for row in rows:
        row["slow, against tree"] = row["slow seeds/s"] / rows[0]["slow seeds/s"]
    return rows


def _nothing(seconds: Any) -> list[Any]:
    """Leave all parts where they are."""
    return []


def _seeds_a_second(trainer: daskgnn.Trainer) -> float:
    trainer.eval_every = 1000
    trainer.fit(1)
    began = time.perf_counter()
    trainer.fit(2)
    return len(trainer.plan.original_ids) / (time.perf_counter() - began)


# -- precision


def measure_precision(cache: str) -> list[dict[str, Any]]:
    """Return milliseconds of a step in float32 and in bfloat16."""
    path = store_of(WORKLOADS["arxiv"], cache)
    rows = []
    with own_cluster(2) as client:
        for mode in ("tree", "precision bf16"):
            speed = _speed("arxiv", path, client, mode)["steps/s"]
            rows.append({"precision": mode, "ms a step": 1e3 / speed})
    rows[1]["float32 / bf16"] = rows[0]["ms a step"] / rows[1]["ms a step"]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="modes,accuracy,sums,straggler,precision")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--modes", help="with commas between them; all without")
    parser.add_argument("--graphs", help="with commas between them; all without")
    parser.add_argument("--workers", default="2,4")
    parser.add_argument("--sizes", default="20000,200000,2000000")
    parser.add_argument("--work-seconds", type=float, default=0.15)
    parser.add_argument(
        "--cache", default=os.environ.get("DASKGNN_BENCH_DIR", "~/.cache/daskgnn-bench")
    )
    parser.add_argument("--json", help="a folder for the tables")
    args = parser.parse_args()
    numbers = [list(map(int, text.split(","))) for text in (args.workers, args.sizes)]
    names = args.graphs.split(",") if args.graphs else []
    modes = args.modes.split(",") if args.modes else list(MODES)
    with tempfile.TemporaryDirectory() as folder:
        kinds: dict[str, tuple[str, Callable[[], list[dict[str, Any]]]]] = {
            "modes": (
                "each way, two workers",
                lambda: measure_modes(
                    folder, args.cache, names or ["coauthor_cs", "arxiv"], modes
                ),
            ),
            "accuracy": (
                f"test accuracy at equal updates, {args.seeds} seeds",
                lambda: measure_accuracy(
                    folder, args.seeds, names or ["cora", "coauthor_cs"], modes
                ),
            ),
            "sums": ("a sum alone", lambda: measure_sums(*numbers)),
            "straggler": (
                f"one of two workers sleeps 4 x {args.work_seconds} s a step and part",
                lambda: measure_straggler(args.cache, args.work_seconds),
            ),
            "precision": ("a step", lambda: measure_precision(args.cache)),
        }
        for name in args.only.split(","):
            title, measure = kinds[name]
            out = str(Path(args.json) / f"{name}.json") if args.json else None
            show(title, measure(), out, markdown=True)


if __name__ == "__main__":
    main()
