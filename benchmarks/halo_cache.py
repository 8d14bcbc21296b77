"""Static against least-recently-used halo caches, at several sizes.

Windows are prepared in this process as a run's tasks prepare them, for GraphSAGE with
mean aggregation. Sizes are shares of all features, in each part. Hits are remote rows
found in the cache, of those needed as rows; milliseconds are those of preparing a step
(sampling, exchange, gather, cache), summed over parts and divided by their number.

    python benchmarks/halo_cache.py [--shape arxiv] [--num-parts 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from report import show
from workloads import WORKLOADS, Workload, add_options, store_of

import daskgnn
from daskgnn.dataflow.window import prepare_window
from daskgnn.kernels.allocator import keep_freed_memory
from daskgnn.train.plan import Position, WindowPlanner, windows

if TYPE_CHECKING:
    from daskgnn.graph.graph import Graph

POLICIES = ("static", "lru")


def measure(
    graph: Graph,
    workload: Workload,
    args: argparse.Namespace,
    policy: str,
    share: float,
) -> dict[str, Any]:
    """Return one row of the table."""
    model = daskgnn.nn.GraphSAGE(
        graph.num_features, 16, graph.num_classes, len(workload.fan_out)
    )
    nbytes = int(share * graph.num_nodes * graph.num_features * 4)
    trainer = daskgnn.Trainer(
        model,
        graph,
        num_neighbors=workload.fan_out,
        batch_size=workload.batch_size,
        client=None,
        halo_cache=nbytes,
        halo_cache_policy=policy,
    )
    planner = WindowPlanner(trainer.plan, graph.num_parts, graph.index_dtype)
    held: list[Any] = []
    plan = windows(trainer.plan, Position(), 100, lambda: args.window, None)
    steps = hits = misses = moved = 0
    seconds = []
    for window in islice(plan, args.skip + args.windows):
        began = time.process_time()
        tasks, keys = prepare_window(
            trainer.deployment.preparation, window.number, planner.seeds(window)
        )
        after = trainer.deployment.preparation.caches_after(window.number)
        trainer.executor.submit(tasks, [*keys, *after])
        spent = time.process_time() - began
        traffic = [prepared.traffic for prepared in trainer.executor.result(keys)]
        trainer.executor.release([*keys, *held])
        held = after
        if window.number < args.skip:
            continue
        seconds.append(spent / window.size / graph.num_parts)
        steps += window.size
        hits += sum(int(t.hits.sum()) for t in traffic)
        misses += sum(int(t.rows.sum()) for t in traffic)
        moved += sum(int(t.nbytes.sum()) for t in traffic)
    return {
        "policy": policy if share else "none",
        "% of features": 100 * share,
        "hit rate": hits / max(hits + misses, 1),
        "MB a step": moved / steps / 1e6,
        "ms a step": 1e3 * float(np.median(seconds)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, "arxiv")
    parser.add_argument("--num-parts", type=int, default=2)
    parser.add_argument("--window", type=int, default=8)
    parser.add_argument("--skip", type=int, default=2, help="windows before the count")
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--shares", default="0,0.01,0.02,0.05,0.1")
    parser.add_argument("--remote-aggregation", default="on", choices=("on", "off"))
    parser.add_argument("--json")
    args = parser.parse_args()
    keep_freed_memory()
    workload = WORKLOADS[args.shape]
    graph = daskgnn.open_graph(
        store_of(workload, args.cache, args.store), args.num_parts
    )
    rows = []
    with dask.config.set({"gnn.remote-aggregation": args.remote_aggregation}):
        for share in map(float, args.shares.split(",")):
            for policy in POLICIES if share else POLICIES[:1]:
                rows.append(measure(graph, workload, args, policy, share))
    show(
        f"halo caches: {graph.name}, {args.num_parts} parts, "
        f"{list(workload.fan_out)}, batch {workload.batch_size}, windows of "
        f"{args.window}, remote aggregation {args.remote_aggregation}",
        rows,
        args.json,
    )


if __name__ == "__main__":
    main()
