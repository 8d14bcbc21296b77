"""Cost of page, metrics, logs and a tracker, in two ways.

*Pairs* of runs, one with and one without, which train a few epochs each in turns, so
that a machine whose speed changes changes both: processor seconds of driver, scheduler
and workers together, wall time of the training, and whether the parameters are the same
bits. There is an *account*, too: processor seconds of all that is done for it, each
piece measured by itself, over those of the run. With --look somebody fetches /metrics
every second.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from unittest import mock
from urllib.request import urlopen

import dask
import numpy as np
import psutil
import torch

import daskgnn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.monitor.callback import Watchers
from daskgnn.monitor.logs import configure
from daskgnn.monitor.plugin import TOPIC
from daskgnn.nn import GraphSAGE
from daskgnn.train import fit

ROLES = ("driver", "scheduler", "workers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--turns", type=int, default=4, help="of each run of a pair")
    parser.add_argument("--epochs", type=int, default=10, help="of a turn")
    parser.add_argument("--nodes", type=int, default=20_000)
    parser.add_argument("--track", default="tensorboard", help="none: no tracker")
    parser.add_argument("--look", action="store_true", help="fetch metrics")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    graph = open_planted(given.nodes)
    pairs = []
    load = os.getloadavg()[0]
    with own_cluster(2) as client:
        trained_pair(client, graph, given, 1)  # compiles, loads, imports
        account = accounted(client, graph, given)
        for number in range(given.pairs):
            pairs.append(trained_pair(client, graph, given, given.turns))
            print(line(number, pairs[-1]), flush=True)
    result = {"account": account, "load": load, "date": datetime.now(UTC).isoformat()}
    result |= summary(pairs) if pairs else {}
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


def open_planted(nodes: int):
    from daskgnn.graph.datasets.generate import planted_partition

    graph = planted_partition(
        nodes, 10 * nodes, num_classes=10, num_features=64, seed=0
    )
    return daskgnn.open_graph(graph.partition(16), num_parts=2)


class Run:
    """A run with or without anybody who watches it, and what it took so far."""

    def __init__(self, client, graph, given, watched: bool) -> None:
        self.client, self.given, self.watched = client, given, watched
        self.spent, self.wall = np.zeros(3), 0.0
        self.epochs = 0
        self.folder = Path(tempfile.mkdtemp())
        options = {"num_neighbors": [10, 5], "batch_size": 512, "client": client}
        if watched and given.track != "none":
            options["track"] = f"{given.track}:{self.folder}"
        torch.manual_seed(0)
        model = GraphSAGE(graph.num_features, 64, graph.num_classes)
        with dask.config.set({"gnn.monitor": watched}):
            self.trainer = daskgnn.Trainer(model, graph, progress=None, **options)
        self.processes = processes_of(client)

    def train(self) -> None:
        """Train the epochs of a turn."""
        self.epochs += self.given.epochs
        with (
            dask.config.set({"gnn.monitor": self.watched}),
            self.logged(),
            self.looked_at(),
        ):
            before, began = cpu(self.processes), time.perf_counter()
            self.trainer.fit(self.epochs)
            self.wall += time.perf_counter() - began
            self.spent += cpu(self.processes) - before

    @contextmanager
    def logged(self):
        with open(self.folder / "log", "a") as log:
            stop = configure("json", "info", log) if self.watched else lambda: None
            try:
                yield
            finally:
                stop()

    @contextmanager
    def looked_at(self):
        done = threading.Event()
        if self.watched and self.given.look:
            link = self.client.dashboard_link
            threading.Thread(target=look, args=[link, done]).start()
        try:
            yield
        finally:
            done.set()

    def result(self) -> dict:
        steps, sha = self.trainer.run_state.state.step, self.trainer.params_sha256
        found = {"wall": self.wall, "sha256": sha, "steps": steps}
        return found | {"cpu": self.spent.sum(), "roles": self.spent}


def trained_pair(client, graph, given, turns: int) -> dict[bool, dict]:
    """Train two new models in turns; return what each took, by whether watched."""
    runs = {watched: Run(client, graph, given, watched) for watched in (True, False)}
    for turn in range(turns + 1):
        for watched in (True, False) if turn % 2 else (False, True):
            run = runs[watched]
            run.train()
            if not turn:  # it loads blocks, and begins with short windows
                run.spent, run.wall = np.zeros(3), 0.0
    return {watched: run.result() for watched, run in runs.items()}


def accounted(client, graph, given) -> dict:
    """Return processor seconds of what watching does in a run, and their share."""
    spent: Counter[str] = Counter()

    def timed(name, function):
        def run(*args, **options):
            began = time.thread_time()
            try:
                return function(*args, **options)
            finally:
                spent[name] += time.thread_time() - began

        return run

    pieces = {
        "records": (fit, "window_record"),
        "callbacks": (Watchers, "_tell"),
        "log lines": (logging.StreamHandler, "emit"),
    }
    with ExitStack() as stack:
        for name, (owner, attribute) in pieces.items():
            wrapped = timed(name, getattr(owner, attribute))
            stack.enter_context(mock.patch.object(owner, attribute, wrapped))
        before = len(client.get_events(TOPIC))
        watched = Run(client, graph, given, watched=True)
        for _ in range(given.turns):
            watched.train()
        run = watched.result()
    events = client.get_events(TOPIC)[before:]
    spent["messages"] = len(events) * message_cost(client, events[-2][1])
    total = sum(spent.values())
    shares = {name: seconds / run["cpu"] for name, seconds in spent.items()}
    return {"added": total / (run["cpu"] - total), "messages": len(events), **shares}


def message_cost(client, message: dict, count: int = 200) -> float:
    """Return processor seconds of a message, in driver and scheduler."""
    processes = processes_of(client)[:2]
    before = cpu(processes)
    for _ in range(count):
        client.log_event(TOPIC, message)
    return (cpu(processes) - before).sum() / count


def processes_of(client) -> list[psutil.Process]:
    """Return the processes of the driver, the scheduler and the workers."""
    found = client.run(os.getpid)
    pids = [os.getpid(), client.run_on_scheduler(os.getpid), *found.values()]
    return [psutil.Process(pid) for pid in pids]


def cpu(processes) -> np.ndarray:
    """Return the processor seconds of driver, scheduler, all workers so far."""
    times = [sum(process.cpu_times()[:2]) for process in processes]
    return np.array([*times[:2], sum(times[2:])])


def look(link: str, done: threading.Event) -> None:
    address = link.rsplit("/", 1)[0] + "/metrics"
    while not done.wait(1.0):
        with urlopen(address) as answer:
            answer.read()


def line(number: int, pair: dict) -> str:
    on, off = pair[True], pair[False]
    return (
        f"pair {number + 1}: CPU {off['cpu']:.2f} s without, {on['cpu']:.2f} with "
        f"({on['cpu'] / off['cpu'] - 1:+.1%}); wall {off['wall']:.2f}, "
        f"{on['wall']:.2f} ({on['wall'] / off['wall'] - 1:+.1%})"
    )


def summary(pairs: list[dict]) -> dict:
    """Return the medians of the pairs' ratios, and the spread."""
    found = {"pairs": len(pairs), "steps": pairs[0][True]["steps"]}
    for name in ("cpu", "wall"):
        ratios = sorted(pair[True][name] / pair[False][name] - 1 for pair in pairs)
        plain = [pair[False][name] for pair in pairs]
        quarter = len(ratios) // 4
        found[name] = {
            "added": median(ratios),
            "quartiles": [ratios[quarter], ratios[-1 - quarter]],
            "seconds_without": median(plain),
            "spread_without": (max(plain) - min(plain)) / median(plain),
        }
    roles = np.array([p[True]["roles"] - p[False]["roles"] for p in pairs])
    shares = np.median(roles, 0) / np.median([p[False]["cpu"] for p in pairs])
    found["added by"] = dict(zip(ROLES, shares.tolist(), strict=True))
    hashes = {run["sha256"] for pair in pairs for run in pair.values()}
    found["same_bits"] = len(hashes) == 1
    return found


if __name__ == "__main__":
    main()
