"""What a slow network costs, and what helps: hosts that are joined by cables of a rate.

Network namespaces stand for a host with scheduler and driver, and others with a worker
each. The bytes are those that the workers' cables carried. It needs root.

    python benchmarks/hosts.py [--mbit 1000,100] [--only TEXT] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import torch
from distributed import Client
from namespaces import ROOT, Hosts
from report import show

import daskgnn
from daskgnn.graph.datasets.generate import planted_partition

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES, EDGES, FEATURES, CLASSES = 40_000, 400_000, 128, 16
AGGREGATES = "gnn.remote-aggregation"
KEYS = ("crosses", "helps")


@dataclass(frozen=True)
class Shape:
    """What is trained: most of what crosses are rows, or gradients."""

    workers: int
    fan_out: list[int]
    hidden: int
    batch_size: int
    ways: dict[str, dict[str, Any]]


GRADIENTS: dict[str, Any] = {"fan_out": [3, 2, 2], "hidden": 300, "batch_size": 128}
"""1.1 MB of gradients a part."""
SHAPES = {
    "rows": Shape(
        workers=2,
        fan_out=[10, 5],
        hidden=256,
        batch_size=512,
        ways={
            "nothing": {},
            "owners send sums": {AGGREGATES: "on"},
            "halo cache 4 MB": {"halo_cache": "4 MB"},
            "half precision": {"feature_dtype": "float16"},
            "cache, half": {"halo_cache": "4 MB", "feature_dtype": "float16"},
        },
    ),
    "gradients, 2 workers": Shape(
        workers=2,
        ways={
            "nothing": {},
            "fp16": {"compress": "fp16"},
            "int8": {"compress": "int8"},
            "topk:0.01": {"compress": "topk:0.01"},
        },
        **GRADIENTS,
    ),
    "gradients, 4 workers": Shape(
        workers=4,
        ways={
            "nothing": {},
            "ring": {"gradients": "ring"},
            "topk:0.01": {"compress": "topk:0.01"},
        },
        **GRADIENTS,
    ),
}
TRAIN = 8192
"""Seeds of an epoch."""
STEPS = 32
"""Steps that are timed, after as many that are not."""


class Seen:
    """A progress that keeps what each step took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.windows: list[int] = []

    def step(self, record: dict[str, Any]) -> None:
        self.seconds.append(record["seconds"])

    def window(self, record: dict[str, Any]) -> None:
        self.windows.append(len(record["losses"]))

    def started(self, info: Any) -> None:
        self.carried = carried()

    def epoch(self, record: Any) -> None:
        pass

    event = finished = epoch


def carried() -> int:
    """Return the bytes on the workers' cables, as the switch's host counts them."""
    files = Path("/sys/class/net").glob("port*/statistics/[rt]x_bytes")
    return sum(int(file.read_text()) for file in files)


def measure(
    store: str, client: Client, shape: Shape, given: dict[str, Any]
) -> dict[str, float]:
    """Train; return the milliseconds and megabytes of a step."""
    given = dict(given)
    graph = daskgnn.open_graph(store, num_parts=shape.workers)
    torch.manual_seed(0)
    layers = len(shape.fan_out)
    model = daskgnn.nn.GraphSAGE(FEATURES, shape.hidden, CLASSES, layers)
    options = {"warmup_steps": 0, "ramp_steps": 0, "steps": "window", "lr": 1e-4}
    seen = Seen()
    with dask.config.set({AGGREGATES: given.pop(AGGREGATES, "off")}):
        trainer = daskgnn.Trainer(
            model,
            graph,
            num_neighbors=shape.fan_out,
            batch_size=shape.batch_size,
            client=client,
            progress=seen,
            window=STEPS,
            eval_every=1000,
            **options,
            **given,
        )
        trainer.fit(2 * STEPS * shape.batch_size // TRAIN)
    # A byte between workers goes through two cables.
    crossed = (carried() - seen.carried) / 2e6
    took = seen.seconds[STEPS:]
    print("steps of each window:", *seen.windows, file=sys.stderr)
    assert set(trainer.run_state.forms) == {"window"}, trainer.run_state.forms
    return {"ms": 1000 * sum(took) / len(took), "MB": crossed / len(seen.seconds)}


def inside(name: str, store: str, address: str) -> None:
    """Be the driver: print a line for each way."""
    shape = SHAPES[name]
    with Client(address, timeout=60) as client:
        client.wait_for_workers(shape.workers, timeout=120)
        for way, given in shape.ways.items():
            began = time.perf_counter()
            found = measure(store, client, shape, given)
            print(json.dumps({"crosses": name, "helps": way, **found}), flush=True)
            print(name, way, found, time.perf_counter() - began, file=sys.stderr)


def made_store(folder: str) -> str:
    """Return a graph whose parts need much of each other."""
    graph = planted_partition(
        num_nodes=NODES,
        num_edges=EDGES,
        num_classes=CLASSES,
        num_features=FEATURES,
        train=TRAIN / NODES,
        val=0.0,  # nothing is evaluated
        test=0.0,
    )
    path = f"{folder}/g.zarr"
    graph.partition(num_clusters=16, method="hash").save(path)
    return path


def driven(
    hosts: Hosts, name: str, store: str, address: str
) -> Iterator[dict[str, Any]]:
    """Yield what each way of a shape takes, with the driver on the first host."""
    code = f"import hosts; hosts.inside({name!r}, {store!r}, {address!r})"
    command = ["ip", "netns", "exec", hosts.names[0], "env"]
    command += [f"PYTHONPATH={ROOT}:{ROOT / 'benchmarks'}"]
    command += ["DASK_GNN__SHARE_MEMORY=off", sys.executable, "-c", code]
    done = subprocess.run(command, check=True, stdout=-1, text=True)
    yield from map(json.loads, done.stdout.splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mbit", default="1000,100")
    parser.add_argument("--only", default="", help="shapes with this in their name")
    parser.add_argument("--json")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # hosts end, too
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = made_store(folder)
        for name, shape in SHAPES.items():
            if given.only not in name:
                continue
            with Hosts(1 + shape.workers) as hosts:
                address = hosts.start_cluster()
                for rate in given.mbit.split(","):
                    hosts.limit(float(rate))
                    for told in driven(hosts, name, store, address):
                        key = told["crosses"], told["helps"]
                        row = rows.setdefault(key, dict(zip(KEYS, key, strict=True)))
                        row[f"{rate} Mbit/s, ms"] = round(told["ms"])
                        row[f"{rate} Mbit/s, MB"] = round(told["MB"], 2)
    show("a step over a network", list(rows.values()), given.json, markdown=True)


if __name__ == "__main__":
    main()
