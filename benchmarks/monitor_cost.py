"""Cost of page, metrics, logs and a tracker, in two ways.

*Pairs* of runs, one with and one without: processor seconds of driver, scheduler and
workers together, wall time of the training, and whether the parameters are the same
bits. On a busy machine their spread hides what is looked for, so there is an *account*,
too: processor seconds of all that is done for it, each piece measured by itself, over
those of the run. With --look somebody fetches /metrics every second.
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
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from unittest import mock
from urllib.request import urlopen

import dask
import psutil
import torch

import daskgnn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.monitor.callback import Watchers
from daskgnn.monitor.logs import configure
from daskgnn.monitor.plugin import TOPIC
from daskgnn.nn import GraphSAGE
from daskgnn.train import fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=20_000)
    parser.add_argument("--track", default="tensorboard", help="none: no tracker")
    parser.add_argument("--look", action="store_true", help="fetch metrics")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    graph = open_planted(given.nodes)
    pairs = []
    load = os.getloadavg()[0]
    with own_cluster(2) as client:
        trained(client, graph, given, watched=True)  # compiles, loads, imports
        account = accounted(client, graph, given)
        for number in range(given.pairs):
            order = (True, False) if number % 2 else (False, True)
            pair = {
                watched: trained(client, graph, given, watched) for watched in order
            }
            pairs.append(pair)
            print(line(number, pair), flush=True)
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


def trained(client, graph, given, watched: bool) -> dict:
    """Train a new model; return what it took, and the hash of its parameters."""
    torch.manual_seed(0)
    model = GraphSAGE(graph.num_features, 64, graph.num_classes)
    options = {"num_neighbors": [10, 5], "batch_size": 512, "client": client}
    folder = tempfile.mkdtemp()
    if watched and given.track != "none":
        options["track"] = f"{given.track}:{folder}"
    processes = [psutil.Process(pid) for pid in pids(client)]
    done = threading.Event()
    looking = threading.Thread(target=look, args=[client.dashboard_link, done])
    with (
        dask.config.set({"gnn.monitor": watched}),
        open(os.path.join(folder, "log"), "w") as log,
    ):
        stop = configure("json", "info", log) if watched else lambda: None
        if watched and given.look:
            looking.start()
        trainer = daskgnn.Trainer(model, graph, progress=None, **options)
        before, began = cpu(processes), time.perf_counter()
        trainer.fit(given.epochs)
        wall, spent = time.perf_counter() - began, cpu(processes) - before
        done.set()
        stop()
    steps, sha = trainer.run_state.state.step, trainer.params_sha256
    return {"cpu": spent, "wall": wall, "sha256": sha, "steps": steps}


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
        run = trained(client, graph, given, watched=True)
    events = client.get_events(TOPIC)[before:]
    spent["messages"] = len(events) * message_cost(client, events[-2][1])
    total = sum(spent.values())
    shares = {name: seconds / run["cpu"] for name, seconds in spent.items()}
    return {"added": total / (run["cpu"] - total), "messages": len(events), **shares}


def message_cost(client, message: dict, count: int = 200) -> float:
    """Return processor seconds of a message, in driver and scheduler."""
    scheduler = psutil.Process(client.run_on_scheduler(os.getpid))
    processes = [psutil.Process(), scheduler]
    before = cpu(processes)
    for _ in range(count):
        client.log_event(TOPIC, message)
    return (cpu(processes) - before) / count


def pids(client) -> list[int]:
    found = client.run(os.getpid)
    return [os.getpid(), client.run_on_scheduler(os.getpid), *found.values()]


def cpu(processes) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)


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
    hashes = {run["sha256"] for pair in pairs for run in pair.values()}
    found["same_bits"] = len(hashes) == 1
    return found


if __name__ == "__main__":
    main()
