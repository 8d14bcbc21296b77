"""What a graph's shape does to partitions, traffic and speed, at several part counts.

Four graphs of 262,144 nodes and about 3.1 million entries, ordered by 64 clusters:
power-law (R-MAT), community (planted partition), grid (512 x 512, each node linked to
the 12 nodes within two steps), random (Erdős–Rényi). Each is opened with 2 to 64 parts
and trained for some steps with the same plan: GraphSAGE 2 x 64, fan-outs 10 and 5,
batch 2048. All parts are held by two one-core workers of a local cluster.

    python benchmarks/topologies.py [--parts 2,4,8,16,64] [--json FILE] [--markdown]
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from processes import run_side
from report import show, write

import daskgnn
from daskgnn.graph.datasets.generate import planted_partition, rmat

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.graph.memory.data import GraphData

SIDE = 512
NODES = SIDE * SIDE
EDGES = 6 * NODES
CLUSTERS, CLASSES, FEATURES = 64, 16, 64
FAN_OUT, BATCH, HIDDEN = [10, 5], 2048, 64
WITHIN_TWO_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))
"""Half of a grid node's neighbours; the other half are their opposites."""


def power_law() -> GraphData:
    return rmat(18, EDGES, num_features=FEATURES, num_classes=CLASSES)


def community() -> GraphData:
    return planted_partition(NODES, EDGES, CLASSES, num_features=FEATURES)


def grid() -> GraphData:
    nodes = np.arange(NODES).reshape(SIDE, SIDE)
    edges = []
    for down, right in WITHIN_TWO_STEPS:
        low, high = max(0, -right), SIDE - max(0, right)
        first = nodes[: SIDE - down, low:high]
        second = nodes[down:, low + right : high + right]
        edges.append(np.stack([first.ravel(), second.ravel()]))
    return _dress(np.concatenate(edges, axis=1))


def random() -> GraphData:
    return _dress(np.random.default_rng(0).integers(0, NODES, (2, EDGES)))


GRAPHS: dict[str, Callable[[], GraphData]] = {
    "power-law": power_law,
    "community": community,
    "grid": grid,
    "random": random,
}


def _dress(edges: np.ndarray) -> GraphData:
    """Give a graph shuffled ids, features, labels and splits."""
    rng = np.random.default_rng(0)
    order = rng.permutation(NODES)
    return daskgnn.from_edge_index(
        rng.permutation(NODES)[edges],
        num_nodes=NODES,
        features=rng.standard_normal((NODES, FEATURES), dtype=np.float32),
        labels=rng.integers(0, CLASSES, NODES),
        num_classes=CLASSES,
        train=order[: NODES // 2],
        val=order[NODES // 2 : 3 * NODES // 4],
        test=order[3 * NODES // 4 :],
    )


def quality_row(store: str, num_parts: int) -> dict[str, Any]:
    """Return the numbers of a partition."""
    quality = daskgnn.open_graph(store, num_parts).quality(
        num_neighbors=FAN_OUT, batch_size=BATCH
    )
    halo = quality.halo_nodes
    return {
        "edge cut": quality.edge_cut,
        "halo share": float(np.mean(halo / (halo + quality.nodes))),
        "replication": quality.replication_factor,
        "node balance": quality.node_balance,
        "edge balance": quality.edge_balance,
        "seed balance": quality.seed_balance,
        "rows a step, estimated": quality.remote_rows_per_step,
    }


def training_row(store: str, num_parts: int, steps: int) -> dict[str, Any]:
    """Train some steps on two workers; return what they took."""
    found = run_side(
        "side_daskgnn.py",
        {
            "store": store,
            "num_parts": num_parts,
            "fan_out": FAN_OUT,
            "hidden": HIDDEN,
            "batch_size": BATCH,
            "warm_up": 8,
            "steps": steps,
            "workers": 2,
            "options": {},
        },
    )
    crossed = found["per_step"]
    return {
        "rows between parts": crossed["halo_rows"],
        "rows between workers": crossed["remote_rows"],
        "MB between workers": crossed["remote_bytes"] / 1e6,
        "messages": crossed["messages"],
        "ms a step": found["ms_per_step"],
        "CPU ms": found["cpu_ms_per_step"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--graphs", default=",".join(GRAPHS))
    parser.add_argument("--parts", default="2,4,8,16,64")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json")
    args = parser.parse_args()
    method = "kaminpar" if importlib.util.find_spec("kaminpar") else "metis"
    partitions, training = [], []
    for name in args.graphs.split(","):
        with TemporaryDirectory() as folder:
            store = str(Path(folder, "graph.zarr"))
            began = time.perf_counter()
            data = GRAPHS[name]()
            data.partition(CLUSTERS, method).save(store)
            took = time.perf_counter() - began
            degrees = np.diff(data.indptr)
            print(
                f"{name}: {data.num_edges} entries, degrees up to {degrees.max()}, "
                f"made, ordered and stored in {took:.0f} s",
                flush=True,
            )
            for parts in map(int, args.parts.split(",")):
                row = {"graph": name, "parts": parts}
                partitions.append({**row, **quality_row(store, parts)})
                training.append({**row, **training_row(store, parts, args.steps)})
                print(f"{name}, {parts} parts: {training[-1]}", flush=True)
    about = f"{NODES} nodes, {CLUSTERS} clusters by {method}"
    tables = [
        show(
            f"partitions: {about}",
            partitions,
            notes=[
                "halo share: of a part's own nodes and their neighbours elsewhere, "
                "mean of the parts; balance: largest part over mean"
            ],
            facts=False,
            markdown=args.markdown,
        ),
        show(
            f"training on two workers, a step: {about}",
            training,
            notes=["CPU ms: of a step, all workers, scheduler and driver together"],
            markdown=args.markdown,
        ),
    ]
    if args.json:
        write(args.json, tables)


if __name__ == "__main__":
    main()
