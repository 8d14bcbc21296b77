"""Ways to combine gradients: speed, bytes, accuracy, and what a slow worker costs.

    python benchmarks/gradients.py [--only modes,sums,straggler,precision]
        [--json FOLDER]
    python benchmarks/gradients.py --only accuracy --results FILE [--seeds 5]

- modes: steps/s, bytes a step and test accuracy of each way on two local workers, on
  Coauthor CS (DASKGNN_DATA_DIR) and a graph of the shape of ogbn-arxiv;
- sums: milliseconds of a sum alone in a tree and a ring, by size and parts;
- straggler: seeds/s where one of two workers is four times as slow;
- precision: step time in bfloat16 against float32;
- accuracy: test accuracy of each way at the same number of updates, on six
  graphs (DASKGNN_DATA_DIR), means of some seeds (an hour; not done unless asked for);
- short: the same of a training of 108 updates.

What is compared runs alternately, after a first round that does not count.
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
from ways import (
    ACCURACY,
    MODES,
    PARTS,
    SHORT,
    SPEED,
    Setup,
    path_of,
    stores,
    trainer_of,
    updates_of,
)
from ways_accuracy import measure_accuracy

from daskgnn import nn, open_graph
from daskgnn.cluster.clusters import own_cluster
from daskgnn.dataflow.cluster import ClusterExecutor
from daskgnn.dataflow.steps.clock import Clock
from daskgnn.dataflow.steps.gradients import PartGradient
from daskgnn.dataflow.steps.method import StepMethod, WindowSteps

if TYPE_CHECKING:
    from collections.abc import Callable

    import daskgnn

# -- speed


class Run:
    """A trainer whose epochs are timed one by one; the first does not count."""

    def __init__(self, trainer: daskgnn.Trainer, mode: str = "tree") -> None:
        self.trainer, self.mode = trainer, mode
        trainer.options["eval_every"] = 1_000_000
        self.epochs = 0
        self.seconds: list[float] = []
        self.accuracy: float | None = None

    def epoch(self) -> None:
        """Train an epoch."""
        began = time.perf_counter()
        self.epochs += 1
        self.trainer.fit(self.epochs)
        if self.epochs > 1:
            self.seconds.append(time.perf_counter() - began)

    def speed(self) -> float:
        """Return steps/s, the median of the epochs."""
        return self.trainer.plan.steps_per_epoch / float(np.median(self.seconds))

    def score(self, wanted: int) -> None:
        """Evaluate the parameters, once so many updates are made."""
        updates = self.epochs * updates_of(self.trainer, self.mode)
        if self.accuracy is None and updates >= wanted:
            self.accuracy = float(self.trainer.evaluate("test")["accuracy"])

    def bytes(self) -> dict[str, float]:
        """Return the gradients' kilobytes a step, as they are and as they are sent."""
        total, steps = self.trainer.run_state.total, self.trainer.run_state.state.step
        return {
            "kB before": total.gradient_bytes / steps / 1e3,
            "kB sent": total.sent_gradient_bytes / steps / 1e3,
        }


def in_turns(runs: list[Run], epochs: int) -> None:
    """Train all runs so many epochs further, one epoch of each at a time."""
    for _ in range(epochs):
        for run in runs:
            run.epoch()


def measure_modes(
    names: list[str], modes: list[str], epochs: int, folder: str, cache: str
) -> list[dict[str, Any]]:
    """Return steps/s, bytes a step and accuracy at equal updates of each mode."""
    rows: list[dict[str, Any]] = [{"mode": mode} for mode in modes]
    with own_cluster(PARTS) as client:
        for name, path in stores(names, folder, cache):
            for row, found in zip(
                rows, _speeds(SPEED[name], path, client, modes, epochs), strict=True
            ):
                row.update({f"{name} {key}": value for key, value in found.items()})
    return rows


def _speeds(
    setup: Setup, path: str, client: Any, modes: list[str], epochs: int
) -> list[dict[str, Any]]:
    runs = [Run(trainer_of(setup, path, client, mode), mode) for mode in modes]
    wanted = epochs * runs[0].trainer.plan.steps_per_epoch
    for _ in range(epochs):
        for run in runs:
            run.epoch()
            run.score(wanted)
    rows = []
    for run in runs:
        row: dict[str, Any] = {"steps/s": run.speed(), **run.bytes()}
        while run.accuracy is None:
            # Several steps an update.
            run.epoch()
            run.score(wanted)
        row["test %"] = f"{100 * run.accuracy:.1f}"
        print(f"  {run.mode}: {row}", flush=True)
        rows.append(row)
    return rows


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


METHODS = {
    "tree": StepMethod(NoArithmetic),
    "ring": StepMethod(NoArithmetic, sums="ring"),
}


def measure_sums(workers: list[int], sizes: list[int]) -> list[dict[str, Any]]:
    """Return milliseconds of a step that is a sum alone, by size and parts."""
    rows = []
    for count in workers:
        with own_cluster(count) as client:
            for size in sizes:
                row: dict[str, Any] = {"parts = workers": count, "parameters": size}
                times: dict[str, list[float]] = {name: [] for name in METHODS}
                for _ in range(4):
                    for name, method in METHODS.items():
                        times[name].append(_sum_seconds(client, count, size, method))
                for name, seconds in times.items():
                    row[f"{name} ms"] = 1e3 * float(np.median(seconds[1:]))
                rows.append(row)
    return rows


def _sum_seconds(client: Any, count: int, size: int, method: StepMethod) -> float:
    executor = ClusterExecutor(client, count)
    run = f"sums-{time.monotonic_ns()}"
    programs = [("program", run, part) for part in range(count)]
    executor.submit({key: Task(key, int, size) for key in programs}, programs)
    steps, meetings = 40, []
    for number in range(2):
        given = (programs, programs, [None] * steps)
        taken = WindowSteps(method, (run, number), 0, *given)
        outcomes = executor.run_in_order(taken)
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


STRAGGLER = Setup((3, 2), 2048, 16, normalize=False)
"""Little arithmetic: it is not slowed, the sleep beside it is."""
SYNCHRONOUS = "tree, parts stay"
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    SYNCHRONOUS: ("tree", {}),
    "tree, parts move": ("tree", {}),
    "server, S = 2": ("server 8", {"staleness": 2}),
    "server, S = 8": ("server 8", {}),
}


def measure_straggler(
    cache: str, folder: str, seconds: float, repeats: int
) -> list[dict[str, Any]]:
    """Return seeds/s of both ways, with and without a slow worker."""
    path = path_of("arxiv", folder, cache)
    assert path is not None
    rows: dict[str, dict[str, Any]] = {name: {"way": name} for name in WAYS}
    with own_cluster(PARTS) as client:
        slow = max(client.scheduler_info(n_workers=-1)["workers"])
        for which, address in (("even", None), ("slow", slow)):
            runs = {
                name: _straggling(name, path, client, address, seconds) for name in WAYS
            }
            in_turns(list(runs.values()), 1 + repeats)
            for name, run in runs.items():
                seeds = len(run.trainer.plan.targets)
                rows[name][f"{which} seeds/s"] = seeds / float(np.median(run.seconds))
                print(f"  {which} {name}: {run.seconds} s", flush=True)
                rows[name]["staleness"] = run.trainer.run_state.total.staleness or None
    for row in rows.values():
        base = rows[SYNCHRONOUS]["slow seeds/s"]
        row["slow, against synchronous"] = row["slow seeds/s"] / base
    return list(rows.values())


def _straggling(
    name: str, path: str, client: Any, address: str | None, seconds: float
) -> Run:
    """Return a run whose model sleeps, longer on the worker of that address."""
    mode, options = WAYS[name]
    graph = open_graph(path, PARTS)
    torch.manual_seed(0)
    model = Slowed(graph.num_features, STRAGGLER.hidden, graph.num_classes, 2)
    model.slow, model.seconds = address, seconds
    trainer = trainer_of(
        STRAGGLER, path, client, mode, model=model, window=32, **options
    )
    if name == SYNCHRONOUS:
        trainer.executor.rebalance = _nothing  # type: ignore[method-assign]
    return Run(trainer)


def _nothing(seconds: Any) -> list[Any]:
    """Leave all parts where they are."""
    return []


# -- precision

DENSE = Setup((10, 5), 2048, 256, normalize=False)


def measure_precision(cache: str, folder: str, repeats: int) -> list[dict[str, Any]]:
    """Return milliseconds of a step in float32 and in bfloat16."""
    path = path_of("arxiv", folder, cache)
    assert path is not None
    with own_cluster(PARTS) as client:
        runs = {
            name: Run(trainer_of(DENSE, path, client, mode))
            for name, mode in (("float32", "tree"), ("bf16", "precision bf16"))
        }
        in_turns(list(runs.values()), 1 + repeats)
    rows = [
        {"precision": name, "ms a step": 1e3 / run.speed()}
        for name, run in runs.items()
    ]
    rows[1]["float32 / bf16"] = rows[0]["ms a step"] / rows[1]["ms a step"]
    return rows


def options() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="modes,sums,straggler,precision")
    parser.add_argument("--seeds", type=int, default=5, help="of accuracy")
    parser.add_argument("--epochs", type=int, default=4, help="of modes; not the first")
    parser.add_argument("--repeats", type=int, default=3, help="of the two last ones")
    parser.add_argument("--modes", help="with commas between them; all without")
    parser.add_argument("--graphs", help="with commas between them; all without")
    parser.add_argument("--workers", default="2,4")
    parser.add_argument("--sizes", default="20000,200000,2000000")
    parser.add_argument("--work-seconds", type=float, default=0.1)
    parser.add_argument(
        "--cache", default=os.environ.get("DASKGNN_BENCH_DIR", "~/.cache/daskgnn-bench")
    )
    parser.add_argument(
        "--results",
        default="accuracy-of-ways.jsonl",
        help="a line a run of accuracy; what is there is not done again",
    )
    parser.add_argument("--json", help="a folder for the tables")
    return parser.parse_args()


def main() -> None:
    args = options()
    numbers = [list(map(int, text.split(","))) for text in (args.workers, args.sizes)]
    names = args.graphs.split(",") if args.graphs else []
    modes = args.modes.split(",") if args.modes else list(MODES)
    with tempfile.TemporaryDirectory() as folder:
        kept = folder, args.cache
        kinds: dict[str, tuple[str, Callable[[], list[dict[str, Any]]]]] = {
            "modes": (
                "each way, two workers",
                lambda: measure_modes(names or list(SPEED), modes, args.epochs, *kept),
            ),
            "sums": ("a sum alone", lambda: measure_sums(*numbers)),
            "straggler": (
                f"one of two workers sleeps 4 x {args.work_seconds} s a step and part",
                lambda: measure_straggler(
                    args.cache, folder, args.work_seconds, args.repeats
                ),
            ),
            "precision": (
                "a step",
                lambda: measure_precision(args.cache, folder, args.repeats),
            ),
            "accuracy": (
                f"test accuracy at equal updates, {args.seeds} seeds",
                lambda: measure_accuracy(
                    {name: ACCURACY[name] for name in names or ACCURACY},
                    modes,
                    args.seeds,
                    *kept,
                    args.results,
                ),
            ),
            "short": (
                f"test accuracy of a short training, {args.seeds} seeds",
                lambda: measure_accuracy(SHORT, modes, args.seeds, *kept, args.results),
            ),
        }
        for name in args.only.split(","):
            title, measure = kinds[name]
            out = str(Path(args.json) / f"{name}.json") if args.json else None
            show(title, measure(), out, markdown=True)


if __name__ == "__main__":
    main()
