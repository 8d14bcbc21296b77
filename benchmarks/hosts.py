"""What a slow network costs, and what helps: three hosts, joined by cables of a rate.

Network namespaces stand for a host with scheduler and driver, and two with a worker
each. The bytes are those that the workers' cables carried. It needs root.

    python benchmarks/hosts.py [--mbit 1000,100] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import dask
import torch
from distributed import Client
from namespaces import ROOT, Hosts
from report import show

import daskgnn
from daskgnn.graph.datasets.generate import planted_partition

NODES, EDGES, FEATURES, CLASSES = 40_000, 400_000, 128, 16
FAN_OUT, HIDDEN, BATCH, STEPS, WARM = [10, 5], 1024, 512, 16, 8
AGGREGATES = "gnn.remote-aggregation"
WAYS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "owners send sums": {AGGREGATES: "on"},
    "halo cache 64 MB": {"halo_cache": "64 MB"},
    "features in half precision": {"feature_dtype": "float16"},
    "gradients as a ring": {"gradients": "ring"},
    "gradients in fp16": {"compress": "fp16"},
    "1 % of the gradients": {"compress": "topk:0.01"},
    "cache, half, 1 %": {
        "halo_cache": "64 MB",
        "feature_dtype": "float16",
        "compress": "topk:0.01",
    },
}


class Times:
    """A progress that keeps when each step was reported."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def step(self, record: dict[str, Any]) -> None:
        self.stamps.append(time.perf_counter())

    def started(self, info: Any) -> None:
        pass

    epoch = event = finished = started


def carried() -> int:
    """Return the bytes on the workers' cables, as the switch's host counts them."""
    files = Path("/sys/class/net").glob("port*/statistics/[rt]x_bytes")
    return sum(int(file.read_text()) for file in files)


def measure(store: str, client: Client, given: dict[str, Any]) -> dict[str, float]:
    """Train for some steps; return the seconds and megabytes of one."""
    given = dict(given)
    graph = daskgnn.open_graph(store, num_parts=2)
    torch.manual_seed(0)
    model = daskgnn.nn.GraphSAGE(FEATURES, HIDDEN, CLASSES, 2)
    options = {"warmup_steps": 0, "ramp_steps": 0, "steps": "window", "window": WARM}
    with dask.config.set({AGGREGATES: given.pop(AGGREGATES, "off")}):
        times = Times()
        trainer = daskgnn.Trainer(
            model,
            graph,
            num_neighbors=FAN_OUT,
            batch_size=BATCH,
            client=client,
            progress=times,
            eval_every=1000,
            **options,
            **given,
        )
        before = carried()
        trainer.fit(1)
        bytes_sent = carried() - before
    steps = len(times.stamps)
    whole = times.stamps[-1] - times.stamps[WARM - 1]
    return {
        "ms": 1000 * whole / (steps - WARM),
        "MB": bytes_sent / 2 / 1e6 / steps,  # a byte goes through two cables
    }


def inside(store: str, address: str, repeats: int) -> None:
    """Be the driver: print a line for each way."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    with Client(address, timeout=60) as client:
        client.wait_for_workers(2, timeout=120)
        for _ in range(repeats):
            for name, given in WAYS.items():
                found[name].append(measure(store, client, given))
    for name, runs in found.items():
        middle = {key: median(run[key] for run in runs) for key in runs[0]}
        print(json.dumps({"what helps": name, **middle}))


def made_store(folder: str) -> str:
    """Return a graph whose parts need much of each other."""
    train = (STEPS + WARM) * BATCH / NODES
    graph = planted_partition(
        num_nodes=NODES,
        num_edges=EDGES,
        num_classes=CLASSES,
        num_features=FEATURES,
        train=train,
        val=0.01,
        test=0.01,
    )
    path = f"{folder}/g.zarr"
    graph.partition(num_clusters=16, method="hash").save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mbit", default="1000,100")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json")
    given = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {name: {"what helps": name} for name in WAYS}
    rates = [float(word) for word in given.mbit.split(",")]
    with tempfile.TemporaryDirectory() as folder, Hosts(3, mbit=rates[0]) as hosts:
        store, address = made_store(folder), hosts.start_cluster()
        for rate in rates:
            hosts.limit(rate)
            code = f"import hosts; hosts.inside({store!r}, {address!r}, "
            code += f"{given.repeats})"
            command = ["ip", "netns", "exec", hosts.names[0], "env"]
            command += [f"PYTHONPATH={ROOT}:{ROOT / 'benchmarks'}"]
            command += ["DASK_GNN__SHARE_MEMORY=off", sys.executable, "-c", code]
            done = subprocess.run(command, check=True, stdout=-1, text=True)
            for line in done.stdout.splitlines():
                told = json.loads(line)
                row = rows[told["what helps"]]
                row[f"{rate:g} Mbit/s, ms"] = round(told["ms"])
                row["MB"] = round(told["MB"], 2)
    show("a step over a network", list(rows.values()), given.json, markdown=True)


if __name__ == "__main__":
    main()
