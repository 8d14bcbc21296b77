"""Sampled edges a second on one core, against DGL's sampler where it is installed.

Both sides sample the same fan-outs from the same graph for the same batches of seeds
and number the nodes locally. Shapes: ``arxiv`` (169,343 nodes, 2.3 M entries) and
``products`` (2,449,029 nodes, 122 M entries; some minutes to generate).

    python benchmarks/sampler.py [--shape arxiv] [--repeats 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import types
from typing import Any

import numpy as np
import torch
from report import show

from daskgnn.graph.generate import planted_partition
from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.counter import derive_key
from daskgnn.kernels.hops import Sampling, answer, first_nodes, request
from daskgnn.kernels.merge import merge
from daskgnn.kernels.neighbor import FanOut

SHAPES: dict[str, dict[str, Any]] = {
    "arxiv": {"num_nodes": 169_343, "num_edges": 1_130_000, "num_classes": 40},
    "products": {
        "num_nodes": 2_449_029,
        "num_edges": 61_000_000,
        "num_classes": 47,
        "max_degree": 14_000,
    },
}
FAN_OUTS = ([25, 10], [15, 10, 5])
BATCH, BATCHES = 1024, 8


def ours(block: AdjacencyBlock, seeds: list[np.ndarray], fan_out: list[int]) -> int:
    """Sample one window of all batches; return the edges."""
    sampling = Sampling(FanOut(tuple(fan_out)), np.array([0, block.num_rows]))
    keys = np.array([derive_key(1, s) for s in range(len(seeds))], np.uint64)
    labels = np.zeros(block.num_rows, np.int64)
    window = first_nodes(seeds, keys, labels[:0], 1)
    for hop in range(len(fan_out)):
        asked = request(window, sampling, 0)
        rows = answer(block, labels if hop == 0 else None, asked, keys, sampling, hop)
        window = merge(window, {0: rows}, sampling, hop, 0)
    limits = sampling.fan_out.limits
    return sum(
        int(np.minimum(step.counts[: step.sizes[hop]], limits[hop]).sum())
        for step in window.steps
        for hop in range(len(fan_out))
    )


def import_dgl() -> Any:
    """Import DGL 2.1 without the parts that need an older torch, or return None."""
    os.environ.setdefault("DGLBACKEND", "pytorch")
    for name in ("dgl.graphbolt", "torchdata", "torchdata.datapipes"):
        sys.modules.setdefault(name, types.ModuleType(name))
    try:
        import dgl
    except Exception as error:
        print(f"DGL is not measured: {type(error).__name__}: {error}")
        return None
    return dgl


def theirs(dgl: Any, graph: Any, seeds: list[np.ndarray], fan_out: list[int]) -> int:
    """Sample the same batches with DGL's sampler (fan-outs, input layer first)."""
    sampler = dgl.dataloading.NeighborSampler(fan_out[::-1])
    edges = 0
    for batch in seeds:
        _, _, blocks = sampler.sample_blocks(graph, torch.from_numpy(batch))
        edges += sum(block.num_edges() for block in blocks)
    return edges


def rate(function: Any, repeats: int) -> float:
    """Return the median of millions of edges a second."""
    function()
    rates = []
    for _ in range(repeats):
        began = time.perf_counter()
        edges = function()
        rates.append(edges / (time.perf_counter() - began) / 1e6)
    return float(np.median(rates))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="arxiv")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = planted_partition(**SHAPES[args.shape], num_features=1, seed=0)
    nodes = np.arange(data.num_nodes)
    block = AdjacencyBlock(0, data.indptr, data.indices, nodes)
    rng = np.random.default_rng(0)
    seeds = [rng.choice(data.num_nodes, BATCH, replace=False) for _ in range(BATCHES)]
    dgl = import_dgl()
    graph = None
    if dgl is not None:
        csc = (
            torch.from_numpy(data.indptr),
            torch.from_numpy(data.indices.astype(np.int64)),
            torch.empty(0, dtype=torch.int64),
        )
        graph = dgl.graph(("csc", csc), num_nodes=data.num_nodes)
    rows = []
    for fan_out in FAN_OUTS:
        row = {
            "shape": args.shape,
            "fan-outs": str(fan_out),
            "daskgnn M edges/s": rate(
                lambda f=fan_out: ours(block, seeds, f), args.repeats
            ),
        }
        if dgl is not None:
            row["DGL M edges/s"] = rate(
                lambda f=fan_out: theirs(dgl, graph, seeds, f), args.repeats
            )
            row["ratio"] = row["daskgnn M edges/s"] / row["DGL M edges/s"]
        rows.append(row)
    show(
        f"sampled edges a second, one core, medians of {args.repeats}", rows, args.json
    )


if __name__ == "__main__":
    main()
