"""Vertex-cuts against edge-cuts as they are stored: copies, memory, sampling.

Each method's store is written and its parts are loaded as training loads them; windows
of steps are sampled for every part, one part after the other, in this process.

    python benchmarks/vertex_cuts.py facebook_large --num-parts 8
    python benchmarks/vertex_cuts.py rmat --scale 20 --edges 16_000_000
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

import daskgnn
from daskgnn.graph.datasets.generate import rmat
from daskgnn.graph.sources.stored import ZarrSource
from daskgnn.kernels.counter import derive_key
from daskgnn.sampling import NeighborSampler, PartitionBook, PartRows
from daskgnn.sampling.rounds import sample_parts

STEPS = 4


def main() -> None:
    """Print a line for each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graph", help="a data set, or rmat")
    parser.add_argument("--scale", type=int, default=16)
    parser.add_argument("--edges", type=int, default=1_000_000)
    parser.add_argument("--methods", default="hash,metis,dbh,hdrf")
    parser.add_argument("--num-clusters", type=int, default=64)
    parser.add_argument("--num-parts", type=int, default=8)
    parser.add_argument("--num-neighbors", default="15,10")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.graph == "rmat":
        data = rmat(scale=args.scale, num_edges=args.edges, num_features=0, seed=1)
    else:
        data = daskgnn.load_dataset(args.graph)
    print(json.dumps({"nodes": data.num_nodes, "entries": data.num_edges}))
    for method in args.methods.split(","):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(data, method, str(Path(folder, "g.zarr")), args)
        print(json.dumps({"method": method, **found}), flush=True)


def measure(data, method, path, args):
    """Return the numbers of one method."""
    data.partition(args.num_clusters, method).save(path)
    graph = daskgnn.open_graph(path, args.num_parts)
    fan_out = [int(k) for k in args.num_neighbors.split(",")]
    quality = graph.quality(num_neighbors=fan_out, batch_size=args.batch_size)
    book = graph.partition_book
    blocks = [ZarrSource(path).load_part(int(a), int(b)) for a, b in pairwise(book)]
    sizes = [block_bytes(block) for block in blocks]
    places = PartitionBook(book, graph.held_book)
    rng = np.random.default_rng(0)
    batch = min(args.batch_size, graph.num_nodes)
    draws = [
        np.sort(rng.choice(graph.num_nodes, batch, replace=False)) for _ in range(STEPS)
    ]
    seconds, counts = [], Counter()
    for _ in range(args.rounds):
        counts.clear()
        began = time.process_time()
        sample(blocks, places, draws, Counted(fan_out, counts), graph.index_dtype)
        seconds.append(time.process_time() - began)
    return {
        "replication": round(quality.replication_factor, 3),
        "entries_max_over_mean": round(quality.edge_balance, 3),
        "edge_cut": round(quality.edge_cut, 3),
        "remote_rows_a_step": round(quality.remote_rows_per_step),
        "spread_entries": graph.partitioner.get("spread_entries", 0) / data.num_edges,
        "largest_part_MB": round(max(sizes) / 1e6, 3),
        "all_parts_MB": round(sum(sizes) / 1e6, 3),
        "sampled_entries_a_step": counts["entries"] // STEPS,
        "look_ups_a_step": counts["look_ups"] // STEPS,
        "cpu_ms_a_step": round(1e3 * min(seconds) / STEPS, 2),
    }


def block_bytes(block):
    """Return the bytes of a part's rows of the graph."""
    split_rows = 0 if block.split_rows is None else block.split_rows.nbytes
    return block.indptr.nbytes + block.indices.nbytes + split_rows


class Counted(NeighborSampler):
    """Counts what is sampled, and what of it lies with another part."""

    def __init__(self, num_neighbors, counts):
        super().__init__(num_neighbors)
        self.counts = counts

    def answer(self, rows, asked, *given):
        """Answer, and count."""
        found = super().answer(rows, asked, *given)
        self.counts["entries"] += len(found.columns)
        self.counts["look_ups"] += int((found.columns < 0).sum())
        return found


def sample(blocks, book, draws, sampler, dtype):
    """Sample a window for all parts, whose seeds are their runs of each step's."""
    num_parts = len(blocks)
    keys = np.array([derive_key(1, s) for s in range(STEPS)], np.uint64)
    cuts = [len(draws[0]) * p // num_parts for p in range(num_parts + 1)]
    runs = [[seeds[a:b].astype(dtype) for seeds in draws] for a, b in pairwise(cuts)]
    sample_parts(sampler, [PartRows(block) for block in blocks], book, runs, keys)


if __name__ == "__main__":
    main()
