"""Partitioners side by side: cut, balance, seconds, memory, and what to estimate.

``python benchmarks/partitioners.py --json out.json`` runs every method on planted
communities of growing size (and on graphs named by --graphs), each in a process of its
own, and prints the table of docs/measurements/partitioning.md and the constants that
``daskgnn.partition.estimate`` holds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from daskgnn.graph.datasets.datasets import load_dataset
from daskgnn.graph.datasets.generate import planted_partition
from daskgnn.graph.memory.partitioning import COMPARABLE, compare
from daskgnn.graph.readers.memory import from_edge_index

SLOW = {"spectral": 100_000, "random-walk": 50_000}
"""Most nodes that a method is measured on here."""


def shuffled(graph):
    """The same graph under random numbers: a crawl's order is a partition itself."""
    number = np.random.default_rng(0).permutation(graph.num_nodes)
    rows = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    edges = np.stack([number[graph.indices], number[rows]])
    train = number[graph.splits["train"]] if "train" in graph.splits else None
    return from_edge_index(
        edges, num_nodes=graph.num_nodes, name=graph.name, train=train
    )


def planted(num_nodes):
    """Communities of a thousand nodes whose degrees follow a power law."""
    return planted_partition(
        num_nodes,
        10 * num_nodes,
        max(num_nodes // 1000, 2),
        num_features=0,
        name=f"planted-{num_nodes}",
    )


def measure(graph, methods, num_parts):
    """Return one record a method, for `num_parts` parts of 64 clusters."""
    methods = [m for m in methods if graph.num_nodes <= SLOW.get(m, 2**31)]
    rows = compare(graph, methods, num_parts=num_parts, num_clusters=64)
    sizes = {"graph": graph.name, "nodes": graph.num_nodes, "entries": graph.num_edges}
    return [{**sizes, **row.to_dict()} for row in rows]


def fit(records):
    """Return for each method the constants that explain its measurements."""
    found = {}
    for method in dict.fromkeys(r["method"] for r in records):
        mine = [r for r in records if r["method"] == method]
        sizes = np.array([[r["nodes"], r["entries"]] for r in mine], float)
        # All graphs have near equal degrees, so the larger of both ratios is kept.
        largest = max(mine, key=lambda r: r["entries"])
        found[method] = {
            "bytes_a_node": largest["peak_bytes"] / largest["nodes"],
            "bytes_an_entry": largest["peak_bytes"] / largest["entries"],
            "microseconds_a_node": 1e6 * largest["seconds"] / largest["nodes"],
            "microseconds_an_entry": 1e6 * largest["seconds"] / largest["entries"],
            "entries": sizes[:, 1].max(),
        }
    return found


def show(records):
    """Print a table in Markdown."""
    print("| graph | method | cut | edges | replication | seconds | peak MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for r in records:
        print(
            f"| {r['graph']} | {r['method']} | {r['edge_cut']:.4f} | "
            f"{r['edge_balance']:.2f} | {r['replication_factor']:.3f} | "
            f"{r['seconds']:.2f} | {r['peak_bytes'] / 1e6:.0f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="10000,100000", help="planted: nodes")
    parser.add_argument("--graphs", default="", help="names of data sets")
    parser.add_argument("--methods", default=",".join(COMPARABLE))
    parser.add_argument("--num-parts", type=int, default=8)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    graphs = [planted(int(size)) for size in filter(None, args.sizes.split(","))]
    graphs += [shuffled(load_dataset(n)) for n in filter(None, args.graphs.split(","))]
    records = []
    for graph in graphs:
        found = measure(graph, args.methods.split(","), args.num_parts)
        show(found)
        records += found
    for method, constants in fit(records).items():
        print(method, {name: round(value, 3) for name, value in constants.items()})
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
