"""What the engine alone costs with many parts: a simulated cluster, a fitted model.

A real scheduler in a process of its own and real workers, but next to no arithmetic: a
small graph, and steps whose gradient is an array that is there already. Measured is
processor time, of the scheduler, the driver and all workers: on a busy machine it says
more than time on the wall. Some points are left out of each fit, and predicted.

    python benchmarks/simulated_cluster.py [--parts 2,4,8,16,32,64] [--json FILE]
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from dask.task_spec import Task
from distributed import Client, Nanny, SpecCluster
from distributed.deploy.subprocess import SubprocessScheduler
from processes import cpu_seconds
from report import show, write

import daskgnn
from daskgnn import nn
from daskgnn.cluster.clusters import OWN_CLUSTER
from daskgnn.cluster.prefork import start_importing
from daskgnn.dataflow.bundle import bundled
from daskgnn.dataflow.cluster import ClusterExecutor
from daskgnn.dataflow.steps.chain import chain_window
from daskgnn.dataflow.steps.clock import Clock
from daskgnn.dataflow.steps.gradients import PartGradient
from daskgnn.dataflow.steps.method import StepMethod, WindowSteps
from daskgnn.dataflow.timing import timed
from daskgnn.dataflow.window import prepare_window
from daskgnn.graph.datasets.generate import planted_partition
from daskgnn.train.plan import Position, windows

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES, EDGES, CLUSTERS, FEATURES = 20_000, 60_000, 64, 16
FAN_OUT, BATCH, WINDOW = (3, 2), 128, 4
HELD_OUT_PARTS = (24, 48)
SIZES = (20_000, 200_000, 600_000)
"""Numbers of parameters."""
HELD_OUT_GANG = (6, 24, 400_000)
"""Workers, parts and parameters of a step that is predicted."""
SCHEDULER = {
    "DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING": "False",
    "DASK_LOGGING__DISTRIBUTED": "error",
}


# -- the cluster


@contextmanager
def simulated_cluster(workers: int) -> Iterator[Cluster]:
    """Yield a cluster whose scheduler has a process of its own."""
    os.environ.update(SCHEDULER)
    options = {"nthreads": 2, "host": "127.0.0.1", "silence_logs": logging.CRITICAL}
    with dask.config.set(OWN_CLUSTER):
        start_importing()
        scheduler: dict[str, Any] = {
            "cls": SubprocessScheduler,
            "options": {"scheduler_kwargs": {"host": "127.0.0.1", "dashboard": False}},
        }
        each = {"cls": Nanny, "options": options}
        started = SpecCluster(
            scheduler=scheduler,
            workers=dict.fromkeys(range(workers), each),
            silence_logs=logging.CRITICAL,
        )
        with started as cluster, Client(cluster) as client:
            client.wait_for_workers(workers)
            yield Cluster(client)


class Cluster:
    """A client, and where the cluster's processor time goes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._scheduler = client.run_on_scheduler(os.getpid)
        self._workers = list(client.run(os.getpid).values())

    def spent(self) -> dict[str, float]:
        """Return seconds of processor time so far, by role, and those on the wall."""
        return {
            "scheduler": cpu_seconds(self._scheduler),
            "driver": cpu_seconds(os.getpid()),
            "workers": sum(cpu_seconds(pid) for pid in self._workers),
            "wall": time.perf_counter(),
        }

    def moved(self) -> dict[str, int]:
        """Return what workers have sent each other for tasks so far."""
        sent = list(self.client.run(_sent).values())
        return {"moves": sum(n for n, _ in sent), "bytes": sum(b for _, b in sent)}


def _sent(dask_worker: Any) -> tuple[int, int]:
    worker = dask_worker
    return worker.transfer_outgoing_count_total, worker.transfer_outgoing_bytes_total


def difference(after: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    return {name: value - before[name] for name, value in after.items()}


# -- preparing windows


@dataclass
class Prepared:
    """Windows that a cluster prepares, with nothing to be trained."""

    path: str
    cluster: Cluster
    num_parts: int
    bundles: bool = False

    def __post_init__(self) -> None:
        graph = daskgnn.open_graph(self.path, self.num_parts)
        self.trainer = daskgnn.Trainer(
            nn.GraphSAGE(graph.num_features, 8, graph.num_classes, len(FAN_OUT)),
            graph,
            num_neighbors=FAN_OUT,
            batch_size=BATCH,
            client=self.cluster.client,
        )
        self.trainer.deployment.load()
        self.lookahead = self.trainer._new_loop().lookahead
        self.plan = windows(self.trainer.plan, Position(), 99, lambda: WINDOW, None)

    def run(self, number: int) -> dict[Any, Any]:
        """Prepare some windows; return the graph of the last."""
        executor = self.trainer.executor
        graph: dict[Any, Any] = {}
        for window in (next(self.plan) for _ in range(number)):
            seeds = self.lookahead.planner.seeds(window)
            graph, keys = prepare_window(
                self.lookahead.preparation, window.number, seeds
            )
            graph = timed(graph, keys)
            if self.bundles:
                places = [executor.worker_of(p) for p in range(self.num_parts)]
                name = (self.lookahead.preparation.run, window.number)
                graph = bundled(graph, keys, places, name)
            executor.submit(graph, keys, ahead=True)
            executor.wait(keys)
            executor.release(keys)
        return graph

    def measure(self, enough: int) -> dict[str, Any]:
        """Return what a window costs, over about `enough` tasks."""
        tasks = len(self.run(1))
        number = max(1, enough // tasks)
        before, sent = self.cluster.spent(), self.cluster.moved()
        graph = self.run(number)
        spent = difference(self.cluster.spent(), before)
        sent = difference(self.cluster.moved(), sent)
        return {
            "parts": self.num_parts,
            "workers": self.trainer.executor.num_workers(),
            "by": "workers" if self.bundles else "parts",
            "tasks": len(graph),
            "moves": transfers(graph, self.trainer.executor),
            "kB moved": sent["bytes"] / number / 1e3,
            **{f"{role} ms": 1e3 * value / number for role, value in spent.items()},
        }


def transfers(graph: dict[Any, Any], executor: Any) -> int:
    """Return how many results go to another worker, each counted once a worker."""
    places = {key: executor.worker_of(key[-1]) for key in graph}
    return len(
        {
            (source, places[key])
            for key, task in graph.items()
            for source in task.dependencies
            if places.get(source, places[key]) != places[key]
        }
    )


# -- steps


class NoArithmetic:
    """A session whose gradients are there already."""

    def __init__(self, num_parameters: int, state: int) -> None:
        self.clock = Clock()
        values = np.arange(num_parameters, dtype=np.float32)
        self._share = PartGradient(values, 0.0)
        self._steps = state

    def gradient(self, batch: Any, step: int, behind: int = 0) -> PartGradient:
        """Return a part's share."""
        return self._share

    def update(
        self, left: PartGradient, right: PartGradient | None, options: Any
    ) -> None:
        """Add the last two shares."""
        self._total = left.gradient if right is None else left.gradient + right.gradient
        self._steps += 1

    def state(self) -> int:
        """Return the number of steps."""
        return self._steps


def measure_steps(
    cluster: Cluster, num_parts: int, num_parameters: int, form: str, steps: int
) -> dict[str, Any]:
    """Return what a step costs in one of the two forms."""
    executor = ClusterExecutor(cluster.client, num_parts)
    method, run = StepMethod(NoArithmetic), f"steps-{next(_RUNS)}"
    programs = [("program", run, part) for part in range(num_parts)]
    executor.submit({key: Task(key, int, num_parameters) for key in programs}, programs)

    def window(number: int) -> list[Any]:
        options = [None] * steps
        given = (programs, programs, options)
        taken = WindowSteps(method, (run, number), 0, *given)
        if form == "window":
            outcomes = executor.run_in_order(taken)
            assert outcomes
            return list(outcomes[0].reports)
        tasks, last = chain_window(taken)
        executor.submit(tasks, [last], priority=100)
        assert executor.result([last]) == [steps]
        executor.release([last])
        return []

    window(0)
    before, sent = cluster.spent(), cluster.moved()
    reports = window(1)
    spent = difference(cluster.spent(), before)
    sent = difference(cluster.moved(), sent)
    workers = len({executor.worker_of(part) for part in range(num_parts)})
    if reports:
        # A report may have come too late: all members send alike.
        share = workers / len(reports)
        sent["moves"] = share * sum(report.messages for report in reports)
        sent["bytes"] = share * sum(report.sent_bytes for report in reports)
    return {
        "form": form,
        "parts": num_parts,
        "workers": workers,
        "parameters": num_parameters,
        "messages": sent["moves"] / steps,
        "MB": sent["bytes"] / steps / 1e6,
        **{f"{role} ms": 1e3 * value / steps for role, value in spent.items()},
    }


_RUNS = count()


# -- the model: processor time as a sum of constants times counts


PREPARATION = {
    "scheduler ms": ("one", "tasks", "moves"),
    "driver ms": ("one", "tasks"),
    "workers ms": ("one", "tasks", "moves"),
}
GANG = {"workers ms": ("workers", "messages", "MB")}
TASKS = {
    "scheduler ms": ("one", "tasks"),
    "driver ms": ("one", "tasks"),
    "workers ms": ("one", "tasks", "MB"),
}


@dataclass
class Fit:
    """Constants of one cost, in ms each."""

    cost: str
    constants: dict[str, float]

    def predict(self, row: dict[str, Any]) -> float:
        """Return the cost of a row of counts."""
        return sum(value * _count(row, name) for name, value in self.constants.items())


def _count(row: dict[str, Any], name: str) -> float:
    if name == "one":
        return 1.0
    if name == "tasks" and name not in row:
        return 2.0 * row["parts"] - 1
    return float(row[name])


def fit(rows: list[dict[str, Any]], costs: dict[str, tuple[str, ...]]) -> list[Fit]:
    """Fit each cost by least squares of relative errors, no constant below zero."""
    fits = []
    for cost, names in costs.items():
        kept = list(names)
        measured = np.array([max(row[cost], 1e-3) for row in rows])
        while True:
            counts = np.array([[_count(row, name) for name in kept] for row in rows])
            found = np.linalg.lstsq(counts / measured[:, None], np.ones(len(rows)))[0]
            if found.min() >= 0:
                break
            kept.pop(int(found.argmin()))
        constants = dict.fromkeys(names, 0.0) | dict(zip(kept, found, strict=True))
        fits.append(Fit(cost, constants))
    return fits


def checks(fits: list[Fit], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return predictions beside measurements that no fit has seen."""
    return [
        {
            "parts": row["parts"],
            "workers": row["workers"],
            "cost": each.cost,
            "measured": row[each.cost],
            "predicted": each.predict(row),
            "error %": 100 * (each.predict(row) / row[each.cost] - 1),
        }
        for row in rows
        for each in fits
    ]


def constants(fits: list[Fit], of: str) -> list[dict[str, Any]]:
    """Return the constants as rows of a table."""
    return [
        {"of": of, "cost": each.cost, "per": name, "constant": value}
        for each in fits
        for name, value in each.constants.items()
    ]


def medians(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure; words are the same in all."""
    return {
        name: value
        if isinstance(value, str | int)
        else float(np.median([f[name] for f in found]))
        for name, value in found[0].items()
    }


def measure(path: str, args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Return all rows: of preparation, in bundles too, of steps in both forms."""
    kinds = ("prepare", "bundles", "tasks", "window")
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    few = [8, 16]
    plan = {2: [*args.parts, *HELD_OUT_PARTS], 1: few, 4: few, 8: few}
    for workers, parts in plan.items():
        with simulated_cluster(workers) as cluster:
            # Workers read their kernels before it counts.
            Prepared(path, cluster, workers).run(1)
            for num_parts in sorted(set(parts)):
                for kind in ("prepare", "bundles")[: 1 + (num_parts > workers)]:
                    prepared = Prepared(path, cluster, num_parts, kind == "bundles")
                    repeats = args.repeats if num_parts <= 16 else 1
                    found = [prepared.measure(args.tasks) for _ in range(repeats)]
                    rows[kind].append(medians(found))
                    tell(rows[kind][-1])
            for form, num_parts, size in _steps_of(workers, args.parts):
                steps = args.steps if form == "tasks" else 4 * args.steps
                found = [
                    measure_steps(cluster, num_parts, size, form, steps)
                    for _ in range(args.repeats)
                ]
                rows[form].append(medians(found))
                tell(rows[form][-1])
    workers, num_parts, size = HELD_OUT_GANG
    with simulated_cluster(workers) as cluster:
        found = [
            measure_steps(cluster, num_parts, size, "window", 4 * args.steps)
            for _ in range(args.repeats)
        ]
    rows["held out"] = [medians(found)]
    return rows


def tell(row: dict[str, Any]) -> None:
    """Say that a point is measured: the tables come at the end."""
    cells = (f"{v:.0f}" if isinstance(v, float) else str(v) for v in row.values())
    print(
        f"  {', '.join(f'{n} {c}' for n, c in zip(row, cells, strict=True))}",
        flush=True,
    )


def _steps_of(workers: int, parts: list[int]) -> Iterator[tuple[str, int, int]]:
    """Yield form, parts and parameters of the steps that are measured."""
    for size in SIZES:
        yield "window", 8, size
    if workers == 2:
        for num_parts in parts:
            yield "tasks", num_parts, 20_000
            yield "window", num_parts, 20_000
        for size in SIZES[1:]:
            yield "tasks", 8, size


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    parser.add_argument("--parts", type=numbers, default=[2, 4, 8, 16, 32, 64])
    parser.add_argument("--tasks", type=int, default=1500, help="prepared, at least")
    parser.add_argument("--steps", type=int, default=12, help="of a window")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json")
    return parser.parse_args()


def main() -> None:
    args = parse()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "graph.zarr"))
        graph = planted_partition(NODES, EDGES, 8, num_features=FEATURES)
        graph.partition(CLUSTERS, "metis").save(path)
        rows = measure(path, args)
    fitted = [row for row in rows["prepare"] if row["parts"] not in HELD_OUT_PARTS]
    unseen = [row for row in rows["prepare"] if row["parts"] in HELD_OUT_PARTS]
    prepare, gang = fit(fitted, PREPARATION), fit(rows["window"], GANG)
    tasks = fit(rows["tasks"], TASKS)
    about = f"ms of processor time, {len(FAN_OUT)} hops"
    tables = [
        show(
            f"preparing a window: {about}",
            rows["prepare"],
            facts=False,
            markdown=args.markdown,
        ),
        show(
            f"the same in bundles: {about}",
            rows["bundles"],
            facts=False,
            markdown=args.markdown,
        ),
        show("a step as tasks", rows["tasks"], facts=False, markdown=args.markdown),
        show("a step of a window", rows["window"], facts=False, markdown=args.markdown),
        show(
            "constants, ms",
            [
                *constants(prepare, "preparation"),
                *constants(tasks, "steps as tasks"),
                *constants(gang, "steps as windows"),
            ],
            facts=False,
            markdown=args.markdown,
        ),
        show(
            "points that were not fitted",
            [*checks(prepare, unseen), *checks(gang, rows["held out"])],
            markdown=args.markdown,
        ),
    ]
    if args.json:
        write(args.json, tables)


if __name__ == "__main__":
    main()
