"""Cost of page, metrics, logs and a tracker: pairs of runs in turns, with and without.

For each pair: processor seconds of driver, scheduler and workers together, wall time of
the training, and whether the parameters are the same bits. The page is looked at only
with --look, which fetches /metrics every second, too.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from urllib.request import urlopen

import dask
import psutil
import torch

import daskgnn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.monitor.logs import configure
from daskgnn.nn import GraphSAGE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=20_000)
    parser.add_argument("--track", default="tensorboard", help="none: no tracker")
    parser.add_argument("--look", action="store_true", help="fetch /metrics")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    graph = open_planted(given.nodes)
    pairs = []
    load = os.getloadavg()[0]
    with own_cluster(2) as client:
        trained(client, graph, given, watched=True)  # compiles, loads, imports
        for number in range(given.pairs):
            order = (True, False) if number % 2 else (False, True)
            pair = {
                watched: trained(client, graph, given, watched) for watched in order
            }
            pairs.append(pair)
            print(line(number, pair), flush=True)
    result = summary(pairs) | {"load": load, "date": datetime.now(UTC).isoformat()}
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
        f"({on['cpu'] / off['cpu'] - 1:+.1%}); wall {off['wall']:.2f}, {on['wall']:.2f} "
        f"({on['wall'] / off['wall'] - 1:+.1%})"
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
