"""An epoch of a small graph in one process: daskgnn, PyG's NeighborLoader and DGL.

GraphSAGE with mean aggregation and Adam on Cora's public split, the same fan-outs,
hidden channels and batch for all, the time of whole epochs without evaluation. Each
side has a process of its own: daskgnn with one thread, and two parts, as the command
has, or one ("daskgnn-1"); the others with one thread, and with one a core. Sides take
turns.

    python benchmarks/small_graph.py [--graph cora] [--batch-sizes 1024,32]
        [--sides daskgnn,daskgnn-1,pyg,dgl] [--epochs 50] [--repeats 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from processes import SideFailedError, cores, give_result, run_side
from processes import settings as read_settings
from report import show
from torch.nn import functional
from training import is_present
from workloads import dense

import daskgnn

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = {"daskgnn": 2, "daskgnn-1": 1}
"""Of the graph: the command keeps two where it trains in its own process."""
NEVER = 10**9
"""Epochs between evaluations."""
NEEDS = {
    "daskgnn": [],
    "daskgnn-1": [],
    "pyg": ["torch_geometric", "torch_sparse"],
    "dgl": ["dgl"],
}
"""The packages that a side needs."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--graph", default="cora")
    parser.add_argument("--batch-sizes", default="1024,32")
    parser.add_argument("--fan-out", default="15,10")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--sides", default=",".join(NEEDS))
    parser.add_argument("--epochs", type=int, default=50, help="that are timed")
    parser.add_argument("--warm-up", type=int, default=10, help="epochs before them")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json")
    return parser.parse_args()


# -- the sides: each returns what trains so many more epochs


def side_daskgnn(given: dict[str, Any]) -> Callable[[int], None]:
    """Train through `daskgnn.Trainer`, in this process."""
    whole = daskgnn.load_dataset(given["graph"])
    path = Path(mkdtemp(dir=given["folder"]), "graph.zarr")
    whole.partition().save(path)
    graph = daskgnn.open_graph(path, num_parts=given["num_parts"])
    torch.manual_seed(0)
    model = daskgnn.nn.GraphSAGE(*_sizes(whole, given), len(given["fan_out"]))
    trainer = daskgnn.Trainer(
        model,
        graph,
        num_neighbors=given["fan_out"],
        batch_size=given["batch_size"],
        client=None,
        eval_every=NEVER,
        progress=None,
    )
    done = 0

    def epochs(count: int) -> None:
        nonlocal done
        done += count
        trainer.fit(done)

    return epochs


def side_pyg(given: dict[str, Any]) -> Callable[[int], None]:
    """Train with PyG: its loader in this process, too, and its trimmed layers."""
    from side_pyg import GraphSAGE, count_hops, data_of
    from torch_geometric.loader import NeighborLoader

    graph = daskgnn.load_dataset(given["graph"])
    features, labels, indptr, indices, train = _tensors(graph)
    loader = NeighborLoader(
        data_of(features, labels, indptr, indices),
        num_neighbors=given["fan_out"],
        input_nodes=train,
        batch_size=given["batch_size"],
        shuffle=True,
    )
    model = GraphSAGE(_widths(graph, given))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def epochs(count: int) -> None:
        for _ in range(count):
            for batch in loader:
                seeds = int(batch.batch_size)
                hops = count_hops(batch.adj_t, seeds, len(given["fan_out"]))
                out = model(batch.x, batch.adj_t, hops)[:seeds]
                _update(optimizer, out, batch.y[:seeds])

    return epochs


def side_dgl(given: dict[str, Any]) -> Callable[[int], None]:
    """Train with DGL: its classic sampler, called in this process."""
    from side_dgl import GraphSAGE, dgl

    graph = daskgnn.load_dataset(given["graph"])
    features, labels, indptr, indices, train = _tensors(graph)
    none = torch.empty(0, dtype=torch.int64)
    edges = dgl.graph(("csc", (indptr, indices, none)), num_nodes=len(features))
    sampler = dgl.dataloading.NeighborSampler(given["fan_out"][::-1])
    model = GraphSAGE(_widths(graph, given))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def epochs(count: int) -> None:
        for _ in range(count):
            order = train[torch.randperm(len(train))]
            for seeds in order.split(given["batch_size"]):
                nodes, _, blocks = sampler.sample_blocks(edges, seeds)
                out = model(blocks, torch.index_select(features, 0, nodes))
                _update(optimizer, out, labels[seeds])

    return epochs


def _tensors(graph: Any) -> tuple[torch.Tensor, ...]:
    """Return features, labels, row pointers, neighbours and training nodes."""
    whole = graph.indptr, graph.indices, graph.splits["train"]
    indptr, indices, train = (torch.from_numpy(a.astype(np.int64)) for a in whole)
    features = torch.from_numpy(np.ascontiguousarray(dense(graph.features), np.float32))
    labels = torch.from_numpy(graph.labels.astype(np.int64))
    return features, labels, indptr, indices, train


def _sizes(graph: Any, given: dict[str, Any]) -> tuple[int, int, int]:
    classes = int(graph.labels.max()) + 1
    return graph.features.shape[1], given["hidden"], classes


def _widths(graph: Any, given: dict[str, Any]) -> list[int]:
    """Return the widths before and after each layer."""
    columns, hidden, classes = _sizes(graph, given)
    return [columns, *[hidden] * (len(given["fan_out"]) - 1), classes]


def _update(optimizer: Any, out: torch.Tensor, labels: torch.Tensor) -> None:
    """Take a step."""
    loss = functional.cross_entropy(out, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


SIDES = {
    "daskgnn": side_daskgnn,
    "daskgnn-1": side_daskgnn,
    "pyg": side_pyg,
    "dgl": side_dgl,
}


def measure() -> None:
    """Time a side in this process, which `run_side` has started."""
    given = read_settings()
    torch.set_num_threads(given["threads"])
    epochs = SIDES[given["side"]](given)
    epochs(given["warm_up"])
    began, cpu = time.perf_counter(), time.process_time()
    epochs(given["epochs"])
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    each = 1e3 / given["epochs"]
    give_result({"ms_per_epoch": each * seconds, "cpu_ms_per_epoch": each * cpu})


def main() -> None:
    args = parse()
    if not os.environ.get("DASKGNN_DATA_DIR"):
        print("not measured: DASKGNN_DATA_DIR does not say where graphs are")
        return
    with TemporaryDirectory() as folder:
        compare(args, folder)


def compare(args: argparse.Namespace, folder: str) -> None:
    """Run all sides in turn; print their table."""
    base = {
        "folder": folder,
        "graph": args.graph,
        "fan_out": [int(n) for n in args.fan_out.split(",")],
        "hidden": args.hidden,
        "epochs": args.epochs,
        "warm_up": args.warm_up,
    }
    wanted = [s for s in args.sides.split(",") if is_present(s, NEEDS[s])]
    several = sorted({1, len(cores())})
    rows, runs = [], []
    for batch_size in map(int, args.batch_sizes.split(",")):
        found: dict[tuple[str, int], list[dict[str, float]]] = {}
        for _ in range(args.repeats):
            for side in wanted:
                ours = SIDES[side] is side_daskgnn
                for threads in [1] if ours else several:
                    given = {**base, "side": side, "batch_size": batch_size}
                    given |= {"threads": threads, "num_parts": PARTS.get(side)}
                    try:
                        result = run_side("small_graph.py", given)
                    except SideFailedError as error:
                        print(f"{side}: {error}", flush=True)
                        continue
                    found.setdefault((side, threads), []).append(result)
                    runs.append({**given, **result})
        rows += rows_of(found, batch_size)
    notes = [f"{args.epochs} epochs after {args.warm_up}; medians of {args.repeats}"]
    title = f"an epoch of {args.graph}, one process, fan-outs {args.fan_out}"
    show(title, rows, args.json, notes=notes, extra={"runs": runs})


def rows_of(
    found: dict[tuple[str, int], list[dict[str, float]]], batch_size: int
) -> list[dict[str, Any]]:
    """Return a line for each side and number of threads: medians."""
    rows: list[dict[str, Any]] = [
        {
            "batch": batch_size,
            "side": side,
            "threads": threads,
            "ms an epoch": float(np.median([r["ms_per_epoch"] for r in runs])),
            "CPU ms": float(np.median([r["cpu_ms_per_epoch"] for r in runs])),
        }
        for (side, threads), runs in found.items()
    ]
    for ours in PARTS:
        own = next((row["ms an epoch"] for row in rows if row["side"] == ours), None)
        for row in rows if own else ():
            row[f"x {ours}"] = row["ms an epoch"] / own
    return rows


if __name__ == "__main__":
    measure() if "BENCH_SETTINGS" in os.environ else main()
