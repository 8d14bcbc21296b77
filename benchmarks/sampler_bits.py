"""The parameters of every sampler's training, by workers, form, kills and resuming.

    python benchmarks/sampler_bits.py [--graph digits] [--samplers labor,saint]

Each cell is the beginning of `params_sha256`; a row with two values is a fault, and the
exit status then is 1.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dask
import torch
from report import show

import daskgnn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.train.options.samplers import SAMPLERS

PARTS, EPOCHS, WORKERS = 3, 2, (1, 2, 3)
TEXTS = {
    "fastgcn": "fastgcn:size=128",
    "ladies": "ladies:size=128",
    "saint": "saint:kind=walk,roots=60,length=2",
    "cluster": "cluster:clusters=3",
    "shadow": "shadow:hops=2,fanout=4",
}
"""How samplers are trained here, where the defaults are for larger graphs."""


class _Kill:
    """Kills a worker after the first step, as a progress does that is told of it."""

    def __init__(self, client: Any) -> None:
        self.client, self.killed = client, False

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None

    def step(self, record: dict[str, Any]) -> None:
        """Kill one worker, once."""
        if not self.killed:
            self.killed = True
            os.kill(min(self.client.run(os.getpid).values()), signal.SIGKILL)


def trainer_of(path: str, sampler: str, client: Any, **options: Any) -> Any:
    """Return a trainer; all are alike but for what is named."""
    graph = daskgnn.open_graph(path, PARTS)
    torch.manual_seed(0)
    model = daskgnn.nn.GraphSAGE(graph.num_features, 32, graph.num_classes, 2)
    takes = SAMPLERS[sampler.partition(":")[0]].takes_fan_outs
    given = {"num_neighbors": [10, 5]} if takes else {}
    how = {"client": client, "progress": None, "window": 2, **options}
    return daskgnn.Trainer(
        model, graph, sampler=sampler, batch_size=256, **given, **how
    )


def cells(path: str, sampler: str, clients: dict[int, Any]) -> dict[str, str]:
    """Return the hash of each way to carry out a sampler's training."""
    found = {}
    for workers, client in clients.items():
        for form in ("tasks", "window") if client else ("window",):
            run = trainer_of(path, sampler, client, steps=form)
            run.fit(EPOCHS)
            name = f"{workers} {form}" if client else "0"
            found[name] = run.params_sha256
    with own_cluster(2) as client:
        run = trainer_of(path, sampler, client, progress=_Kill(client))
        run.fit(EPOCHS)
        found["killed"] = run.params_sha256
    with tempfile.TemporaryDirectory() as out:
        trainer_of(path, sampler, None, out=out).fit(1)
        run = trainer_of(path, sampler, None, out=out)
        run.fit(EPOCHS, resume=True)
        found["resumed"] = run.params_sha256
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--graph", default="digits")
    parser.add_argument("--samplers", help="with commas between them")
    parser.add_argument("--json")
    given = parser.parse_args()
    names = given.samplers.split(",") if given.samplers else list(SAMPLERS)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = str(Path(folder) / "graph.zarr")
        graph = daskgnn.load_dataset(given.graph)
        graph.partition(num_clusters=24, method="metis").save(path)
        clients: dict[int, Any] = {0: None}
        clients |= {n: stack.enter_context(own_cluster(n)) for n in WORKERS}
        rows = []
        for name in names:
            found = cells(path, TEXTS.get(name, name), clients)
            same = len(set(found.values())) == 1
            short = {cell: value[:8] for cell, value in found.items()}
            rows.append({"sampler": name, **short, "same": "yes" if same else "NO"})
    show("params_sha256 by workers and form", rows, given.json, markdown=True)
    return int(any(row["same"] != "yes" for row in rows))


if __name__ == "__main__":
    dask.config.set({"distributed.logging.distributed": "error"})
    sys.exit(main())
