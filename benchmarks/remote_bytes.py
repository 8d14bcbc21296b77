"""Bytes of remote feature rows a step, by what is done to have fewer.

Against float32 rows deduplicated per step, with no cache: the owners' sums of
neighbours, deduplication over a window, a halo cache and half precision, each alone
and all together. Bytes are those of the arrays that cross between parts, requests
included; what sampling sends is on a line of its own. Everything runs in this process.

    python benchmarks/remote_bytes.py [--shape arxiv] [--num-parts 2] [--json FILE]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from report import show
from workloads import WORKLOADS, add_options, store_of

import daskgnn
from daskgnn.dataflow.part import PartContent
from daskgnn.kernels.exchange import FeatureRequest, InputPlan, answer_rows, ask_rows
from daskgnn.kernels.half import narrow
from daskgnn.kernels.halo_cache import HaloCache, choose_static, fill_cache
from daskgnn.kernels.sampled import SampledWindow
from daskgnn.kernels.seeds import SeedPlan
from daskgnn.kernels.targets import Targets
from daskgnn.kernels.traffic import Traffic
from daskgnn.sampling import NeighborSampler, PartitionBook, PartRows, SampledGraph
from daskgnn.sampling.rounds import sample_parts
from daskgnn.train.plan import Position, WindowPlanner, windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.dataflow.window import WindowSeeds
    from daskgnn.graph.graph import Graph
    from daskgnn.kernels.adjacency import AdjacencyBlock


@dataclass(frozen=True)
class Parts:
    """A graph's parts, held in this process."""

    sampler: Counted
    book: PartitionBook
    blocks: list[AdjacencyBlock]
    features: list[np.ndarray]
    seeds: list[np.ndarray]
    batch_size: int

    def held(self, part: int) -> PartContent:
        """Return what the owner of a part has of it."""
        block = self.blocks[part]
        labels = np.empty((block.num_rows, 0), np.float32)
        return PartContent(block, self.features[part], labels)


def load_parts(graph: Graph, fan_out: Sequence[int], batch_size: int) -> Parts:
    """Load every part of a graph with dense features."""
    book, train = graph.partition_book, graph.splits["train"]
    bounds = [(int(a), int(b)) for a, b in pairwise(book)]
    return Parts(
        Counted(fan_out),
        PartitionBook(book),
        [graph.source.load_rows(a, b) for a, b in bounds],
        [np.asarray(graph.features[a:b].compute()) for a, b in bounds],
        [train[(train >= a) & (train < b)] for a, b in bounds],
        batch_size,
    )


class Counted(NeighborSampler):
    """Counts the bytes of other parts' answers, and of the ids that they were for."""

    nbytes = 0

    def merge(self, frontier: Any, answers: Any, number: int, part: int, *how: Any):
        """Count, and merge."""
        for owner, rows in answers.items():
            if owner != part:
                self.nbytes += rows.nbytes + len(rows.counts) * rows.columns.itemsize
        return super().merge(frontier, answers, number, part, *how)


def sample(parts: Parts, seeds: WindowSeeds) -> list[list[SampledGraph]]:
    """Sample a window; return each part's graphs."""
    rows = [PartRows(block) for block in parts.blocks]
    given = (rows, parts.book, seeds.runs, seeds.step_keys)
    return sample_parts(parts.sampler, *given)


def static_caches(parts: Parts, nbytes: float) -> list[HaloCache]:
    """Return each part's static cache of `nbytes`."""
    channels, itemsize = parts.features[0].shape[1], parts.features[0].itemsize
    count = len(parts.blocks)
    out = []
    for p, block in enumerate(parts.blocks):
        row = channels * itemsize + block.indices.itemsize
        share = parts.batch_size / count
        ids = choose_static(
            block,
            parts.book,
            parts.sampler.neighbors_per_layer(),
            parts.seeds[p],
            share,
            int(nbytes // row),
        )
        answers = [
            answer_rows(
                parts.held(q), FeatureRequest(ids[parts.book.owned(ids, q)]), "mean"
            )
            for q in range(count)
            if q != p
        ]
        out.append(fill_cache(ids, answers))
    return out


def exchanged(
    parts: Parts,
    nodes: list[list[SampledGraph]],
    *,
    aggregate: bool,
    caches: list[HaloCache] | None,
) -> tuple[int, int, int]:
    """Return rows, sums and bytes that a window's parts receive from one another."""
    rows = sums = nbytes = 0
    for p, window in enumerate(nodes):
        sampled = SampledWindow(tuple(window), Traffic.none(len(parts.blocks)))
        for q in range(len(parts.blocks)):
            if q == p:
                continue
            cache = None if caches is None else caches[p]
            how = InputPlan("mean", remote_aggregation=aggregate)
            asked = ask_rows(sampled, parts.book, q, parts.held(p), how, cache)
            got = answer_rows(parts.held(q), asked, "mean")
            rows += len(asked.ids)
            sums += len(asked.groups.starts) - 1 if asked.groups else 0
            nbytes += asked.nbytes + got.nbytes
    return rows, sums, nbytes


def in_steps(nodes: list[list[SampledGraph]]) -> list[list[list[SampledGraph]]]:
    """Cut a window into windows of one step."""
    return [[[graph] for graph in step] for step in zip(*nodes, strict=True)]


def measure(
    parts: Parts, taken: list[list[list[SampledGraph]]], cache_bytes: float, steps: int
) -> list[dict[str, Any]]:
    """Return the table's rows: each means alone, and all together."""
    single = [one for nodes in taken for one in in_steps(nodes)]
    values = [narrow(x, "bfloat16") for x in parts.features]
    half = replace(parts, features=values)
    caches = static_caches(parts, cache_bytes)
    half_caches = static_caches(half, cache_bytes)
    ways: list[tuple[str, Parts, Any, bool, Any]] = [
        ("deduplicated per step, float32", parts, single, False, None),
        ("owners' sums", parts, single, True, None),
        ("deduplicated per window", parts, taken, False, None),
        ("halo cache", parts, single, False, caches),
        ("half precision", half, single, False, None),
        ("sums, window", parts, taken, True, None),
        ("sums, window, cache", parts, taken, True, caches),
        ("sums, window, cache, half precision", half, taken, True, half_caches),
    ]
    rows: list[dict[str, Any]] = []
    for name, held, pieces, aggregate, cache in ways:
        found = [
            exchanged(held, nodes, aggregate=aggregate, caches=cache)
            for nodes in pieces
        ]
        count, sums, nbytes = (
            sum(column) / steps for column in zip(*found, strict=True)
        )
        base = rows[0]["MB a step"] if rows else nbytes / 1e6
        rows.append(
            {
                "features": name,
                "rows a step": int(count),
                "sums a step": int(sums),
                "MB a step": nbytes / 1e6,
                "ratio": nbytes / 1e6 / base,
            }
        )
    asked = parts.sampler.nbytes
    rows.append(
        {
            "features": "(sampling, beside these)",
            "rows a step": 0,
            "sums a step": 0,
            "MB a step": asked / steps / 1e6,
            "ratio": asked / steps / 1e6 / rows[0]["MB a step"],
        }
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, "arxiv")
    parser.add_argument("--num-parts", type=int, default=2)
    parser.add_argument("--window", type=int, default=8)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--cache-share", type=float, default=0.1)
    parser.add_argument("--json")
    args = parser.parse_args()
    workload = WORKLOADS[args.shape]
    graph = daskgnn.open_graph(
        store_of(workload, args.cache, args.store), args.num_parts
    )
    parts = load_parts(graph, workload.fan_out, workload.batch_size)
    seeds = graph.splits["train"]
    targets = Targets(graph.original_ids_of(seeds), seeds[:, None])
    plan = SeedPlan(targets, workload.batch_size, 0)
    planner = WindowPlanner(plan, args.num_parts, graph.index_dtype)
    chosen = list(
        islice(windows(plan, Position(), 100, lambda: args.window, None), args.windows)
    )
    taken = [sample(parts, planner.seeds(window)) for window in chosen]
    steps = sum(window.size for window in chosen)
    cache_bytes = args.cache_share * graph.num_nodes * graph.num_features * 4
    rows = measure(parts, taken, cache_bytes, steps)
    show(
        f"remote feature bytes a step, all parts: {graph.name}, {args.num_parts} "
        f"parts, {list(workload.fan_out)}, batch {workload.batch_size}, windows of "
        f"{args.window}, a cache of {100 * args.cache_share:g} % of the "
        f"features in each part, {steps} steps",
        rows,
        args.json,
    )


if __name__ == "__main__":
    main()
