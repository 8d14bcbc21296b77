"""A store's CSR rows from an edge array, beside scipy: time and peak memory.

``python benchmarks/build.py --edges 10000000 --json out.json`` builds the rows of a
planted graph, each side in processes of its own, on the same array of edges (2, E):
``scipy.sparse.coo_matrix(...).tocsr()`` and ``from_edge_index``, for edges as they are
(directed) and for edges that stand for both directions (scipy is given both). Peak
memory counts the array of edges, which both are given. Compilation is left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from daskgnn.graph.datasets.synthetic import Synthetic
from daskgnn.graph.readers.memory import from_edge_index

SIDES = ("scipy", "daskgnn")


def by_scipy(edges, num_nodes, directed):
    """Rows by scipy, which adds up repeated entries."""
    source, target = edges
    if not directed:
        source, target = np.concatenate(edges), np.concatenate(edges[::-1])
    ones = np.ones(len(source), np.float32)
    shape = (num_nodes, num_nodes)
    return len(sp.coo_matrix((ones, (target, source)), shape=shape).tocsr().indices)


def by_daskgnn(edges, num_nodes, directed):
    """Rows by daskgnn."""
    return from_edge_index(edges, num_nodes=num_nodes, directed=directed).num_edges


def one_side(side, num_nodes, num_edges, directed):
    """Measure one side in this process."""
    build = {"scipy": by_scipy, "daskgnn": by_daskgnn}[side]
    build(np.array([[0, 1], [1, 2]]), 4, directed)
    graph = Synthetic("planted", num_nodes, num_edges, 64)
    edges = np.stack(graph.edges(0, num_edges))
    held = of_this_process("VmRSS") - edges.nbytes
    reset_peak()
    begin = time.perf_counter()
    entries = build(edges, num_nodes, directed)
    seconds = time.perf_counter() - begin
    return {
        "side": side,
        "directed": directed,
        "entries": entries,
        "seconds": seconds,
        "peak_bytes": of_this_process("VmHWM") - held,
    }


def of_this_process(name):
    """Return a number of bytes that the system has of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) * 1024


def reset_peak():
    """Let the peak begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def main():
    """Run all sides in turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--directed", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        found = one_side(given.side, given.nodes, given.edges, given.directed)
        print(json.dumps(found))
        return
    records = []
    for directed in (True, False):
        rows = {side: [] for side in SIDES}
        for side in SIDES * given.runs:
            words = ["--side", side, *["--directed"] * directed]
            sizes = ["--nodes", str(given.nodes), "--edges", str(given.edges)]
            command = [sys.executable, __file__, *words, *sizes]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows[side].append(json.loads(done.stdout.splitlines()[-1]))
        for side in SIDES:
            best = sorted(rows[side], key=lambda r: r["seconds"])[given.runs // 2]
            records.append(best)
            print(
                f"{'directed' if directed else 'both ways':10} {side:8} "
                f"{best['entries']:>12,} entries {best['seconds']:7.2f} s "
                f"{best['peak_bytes'] / 1e6:8.0f} MB"
            )
        scipy, ours = records[-2:]
        for name in ("seconds", "peak_bytes"):
            print(f"  {name}: {ours[name] / scipy[name]:.2f} of scipy's")
    if given.json:
        Path(given.json).write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
