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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import torch
from distributed import Client
from namespaces import ROOT, Hosts
from report import show

import daskgnn
from daskgnn.graph.datasets.generate import planted_partition

NODES, EDGES, FEATURES, CLASSES = 40_000, 400_000, 128, 16
WINDOW, STEPS = 8, 24
"""The steps of the first window are not timed."""
AGGREGATES = "gnn.remote-aggregation"


@dataclass(frozen=True)
class Shape:
    """What is trained: most of what crosses are rows, or gradients."""

    fan_out: list[int]
    hidden: int
    batch_size: int
    ways: dict[str, dict[str, Any]]


SHAPES = {
    "rows": Shape(
        [10, 5],
        256,
        512,
        {
            "nothing": {},
            "owners send sums": {AGGREGATES: "on"},
            "halo cache 64 MB": {"halo_cache": "64 MB"},
            "half precision": {"feature_dtype": "float16"},
            "cache, half": {"halo_cache": "64 MB", "feature_dtype": "float16"},
        },
    ),
    "gradients": Shape(
        [3, 2, 2],
        768,
        128,
        {
            "nothing": {},
            "ring": {"gradients": "ring"},
            "fp16": {"compress": "fp16"},
            "topk:0.01": {"compress": "topk:0.01"},
        },
    ),
}


class Seen:
    """A progress that keeps when a step was reported, and what had crossed by then."""

    def __init__(self) -> None:
        self.stamps: list[tuple[float, int]] = []

    def step(self, record: dict[str, Any]) -> None:
        self.stamps.append((time.perf_counter(), carried()))

    def started(self, info: Any) -> None:
        pass

    epoch = event = finished = started


def carried() -> int:
    """Return the bytes on the workers' cables, as the switch's host counts them."""
    files = Path("/sys/class/net").glob("port*/statistics/[rt]x_bytes")
    return sum(int(file.read_text()) for file in files)


def measure(
    store: str, client: Client, shape: Shape, given: dict[str, Any]
) -> dict[str, float]:
    """Train for some steps; return the milliseconds and megabytes of one."""
    given = dict(given)
    graph = daskgnn.open_graph(store, num_parts=2)
    torch.manual_seed(0)
    layers = len(shape.fan_out)
    model = daskgnn.nn.GraphSAGE(FEATURES, shape.hidden, CLASSES, layers)
    options = {"warmup_steps": 0, "ramp_steps": 0, "steps": "window", "window": WINDOW}
    seen = Seen()
    with (
        dask.config.set({AGGREGATES: given.pop(AGGREGATES, "off")}),
        tempfile.TemporaryDirectory() as out,
    ):
        trainer = daskgnn.Trainer(
            model,
            graph,
            num_neighbors=shape.fan_out,
            batch_size=shape.batch_size,
            client=client,
            progress=seen,
            out=f"{out}/run",
            eval_every=1000,
            lr=1e-4,
            **options,
            **given,
        )
        trainer.fit(
            -(-(WINDOW + STEPS) * shape.batch_size // graph.splits["train"].size)
        )
    (first, before), (last, after) = seen.stamps[WINDOW - 1], seen.stamps[-1]
    steps = len(seen.stamps) - WINDOW
    # A byte between workers goes through two cables.
    return {"ms": 1000 * (last - first) / steps, "MB": (after - before) / 2e6 / steps}


def inside(store: str, address: str) -> None:
    """Be the driver: print a line for each way."""
    with Client(address, timeout=60) as client:
        client.wait_for_workers(2, timeout=120)
        for name, shape in SHAPES.items():
            for way, given in shape.ways.items():
                found = measure(store, client, shape, given)
                told = {"what crosses": name, "what helps": way, **found}
                print(json.dumps(told), file=sys.stderr)
                print(json.dumps(told), flush=True)


def made_store(folder: str) -> str:
    """Return a graph whose parts need much of each other."""
    graph = planted_partition(
        num_nodes=NODES,
        num_edges=EDGES,
        num_classes=CLASSES,
        num_features=FEATURES,
        train=(WINDOW + STEPS) * SHAPES["gradients"].batch_size / NODES,
        val=0.0,  # nothing is evaluated
        test=0.0,
    )
    path = f"{folder}/g.zarr"
    graph.partition(num_clusters=16, method="hash").save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mbit", default="1000,100")
    parser.add_argument("--json")
    given = parser.parse_args()
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    rates = [float(word) for word in given.mbit.split(",")]
    with tempfile.TemporaryDirectory() as folder, Hosts(3, mbit=rates[0]) as hosts:
        store, address = made_store(folder), hosts.start_cluster()
        for rate in rates:
            hosts.limit(rate)
            code = f"import hosts; hosts.inside({store!r}, {address!r})"
            command = ["ip", "netns", "exec", hosts.names[0], "env"]
            command += [f"PYTHONPATH={ROOT}:{ROOT / 'benchmarks'}"]
            command += ["DASK_GNN__SHARE_MEMORY=off", sys.executable, "-c", code]
            done = subprocess.run(command, check=True, stdout=-1, text=True)
            for line in done.stdout.splitlines():
                told = json.loads(line)
                key = told.pop("what crosses"), told.pop("what helps")
                crosses, helps = key
                row = rows.setdefault(key, {"crosses": crosses, "helps": helps})
                row["MB"] = round(told["MB"], 2)
                row[f"{rate:g} Mbit/s, ms"] = round(told["ms"])
    show("a step over a network", list(rows.values()), given.json, markdown=True)


if __name__ == "__main__":
    main()
