"""Sampled edges a second on one core, against DGL's sampler where it is installed.

Both sides sample the same fan-outs from the same graph for the same batches of seeds,
without replacement, number the nodes locally, and run on the one core that the
process is bound to; DGL with int64 ids (its int32 samples are not valid). They take
turns, first with malloc as it is, then with freed memory kept (as daskgnn's workers
keep it). Seconds are those of the core, so that other processes do not count.
Shapes: ``arxiv`` (169,343 nodes, 2.3 M entries) and ``products`` (2,449,029 nodes,
122 M entries; some minutes to generate), or a store that `daskgnn partition` wrote:
in its order, in which neighbours are near each other, and in that of the original ids.

    python benchmarks/sampler.py [--shape arxiv | --store PATH] [--repeats 7]
        [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import types
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from report import show

import daskgnn
from daskgnn.graph.datasets.generate import planted_partition
from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.allocator import keep_freed_memory
from daskgnn.kernels.counter import derive_key
from daskgnn.sampling import NeighborSampler, PartitionBook, PartRows
from daskgnn.sampling.rounds import sample_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.kernels.sampled import SampledGraph

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
    keys = np.array([derive_key(1, s) for s in range(len(seeds))], np.uint64)
    runs = [ids.astype(block.indices.dtype) for ids in seeds]
    book = PartitionBook(np.array([0, block.num_rows]))
    given = ([PartRows(block)], book, [runs], keys)
    (graphs,) = sample_parts(NeighborSampler(fan_out), *given)
    return sum(map(edges_of, graphs))


def edges_of(graph: SampledGraph) -> int:
    """Return the edges of all layers."""
    assert graph.limits is not None
    counts = np.diff(graph.rows[0].indptr)
    layers = zip(graph.sizes[:-1], graph.limits, strict=True)
    return sum(int(np.minimum(counts[:n], limit).sum()) for n, limit in layers)


def bind_to_one_core() -> None:
    """Give this process one core and its libraries one thread."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


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


def dgl_graph(dgl: Any, block: AdjacencyBlock) -> Any:
    """Return the same graph for DGL, with int64 ids."""
    csc = (
        torch.from_numpy(block.indptr),
        torch.from_numpy(block.indices.astype(np.int64)),
        torch.empty(0, dtype=torch.int64),
    )
    return dgl.graph(("csc", csc), num_nodes=block.num_rows)


def theirs(dgl: Any, graph: Any, seeds: list[np.ndarray], fan_out: list[int]) -> int:
    """Sample the same batches with DGL's sampler (fan-outs, input layer first)."""
    sampler = dgl.dataloading.NeighborSampler(fan_out[::-1])
    edges = 0
    for batch in seeds:
        _, _, blocks = sampler.sample_blocks(graph, torch.from_numpy(batch))
        edges += sum(block.num_edges() for block in blocks)
    return edges


def rates(functions: list[Any], repeats: int) -> list[float]:
    """Return each function's median of millions of edges a second of its core.

    The functions take turns, so that what else the machine does meets all of them.
    """
    found: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, own in zip(functions, found, strict=True):
            began = time.process_time()
            edges = function()
            seconds = time.process_time() - began
            if repeat:  # the first compiles and warms up
                own.append(edges / seconds / 1e6)
    return [float(np.median(own)) for own in found]


def graphs(args: argparse.Namespace) -> Iterator[tuple[str, AdjacencyBlock]]:
    """Yield the graphs to measure, with their names."""
    if not args.store:
        data = planted_partition(**SHAPES[args.shape], num_features=1, seed=0)
        ids = np.arange(data.num_nodes)
        yield args.shape, AdjacencyBlock(0, data.indptr, data.indices, ids)
        return
    graph = daskgnn.open_graph(args.store, num_parts=1)
    block = graph.source.load_rows(0, graph.num_nodes)
    yield "storage order", block
    yield "original order", in_original_order(block)


def in_original_order(block: AdjacencyBlock) -> AdjacencyBlock:
    """Return the whole graph `block` with rows and columns by original id."""
    order = np.argsort(block.original_ids)
    degree = block.degree[order]
    indptr = np.concatenate([[0], np.cumsum(degree)])
    indices = np.empty_like(block.indices)
    names = block.original_ids.astype(indices.dtype)
    for first, begin, end in zip(
        block.indptr[order], indptr[:-1], indptr[1:], strict=True
    ):
        indices[begin:end] = names[block.indices[first : first + end - begin]]
    return AdjacencyBlock(0, indptr, indices, np.arange(block.num_rows))


def measure(
    name: str, block: AdjacencyBlock, malloc: str, dgl: Any, repeats: int
) -> list[dict[str, Any]]:
    """Return a row of figures for each fan-out."""
    rng = np.random.default_rng(0)
    seeds = [rng.choice(block.num_rows, BATCH, replace=False) for _ in range(BATCHES)]
    graph = None if dgl is None else dgl_graph(dgl, block)
    rows = []
    for fan_out in FAN_OUTS:
        sides = [lambda f=fan_out: ours(block, seeds, f)]
        if dgl is not None:
            sides.append(lambda f=fan_out: theirs(dgl, graph, seeds, f))
        found = rates(sides, repeats)
        row = {"graph": name, "malloc": malloc, "fan-outs": str(fan_out)}
        row["daskgnn M edges/s"] = found[0]
        if dgl is not None:
            row["DGL M edges/s"] = found[1]
            row["ratio"] = found[0] / found[1]
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="arxiv")
    parser.add_argument("--store", help="a store of `daskgnn partition`")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json")
    args = parser.parse_args()
    bind_to_one_core()
    dgl = import_dgl()
    rows = []
    for malloc in ("default", "kept"):
        if malloc == "kept":
            keep_freed_memory()
        for name, block in graphs(args):
            rows += measure(name, block, malloc, dgl, args.repeats)
    title = f"sampled edges a second of one core, medians of {args.repeats}"
    show(title, rows, args.json)


if __name__ == "__main__":
    main()
