"""A graph on a Bolt server: what a batch costs, by our rows and by queries.

``python benchmarks/bolt.py`` starts a server, draws a graph and loads it, and measures
in turns, in this one process:

- a hop: 10 neighbours of each of 512 seeds, by the rows that ``daskgnn load`` wrote and
  by the best query of relationships that we know (drawn by the server, per seed);
- a batch: two such hops and the features of all its nodes, by these rows and by a query
  of the form that arXiv 2411.11375 publishes, whose limits are of all seeds together.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from bolt_server import BoltServer
from sources import FAN_OUTS, SEEDS, Stored

import daskgnn
from daskgnn.graph.databases.bolt import LABELS

NODE, LINK = LABELS["Node"], LABELS["Link"]
HOP = (
    f"UNWIND $seeds AS s CALL (s) {{ MATCH (:{NODE} {{id: s}})<-[:{LINK}]-(b:{NODE}) "
    "WITH b, rand() AS r ORDER BY r LIMIT 10 RETURN collect(b.id) AS near } "
    "RETURN s, near"
)
PUBLISHED = (
    "MATCH (s:{node}) WHERE s.id IN {ids} "
    "OPTIONAL MATCH (s)<-[:{link}]-(a:{node}) "
    "WITH s, a ORDER BY rand() LIMIT {first} "
    "OPTIONAL MATCH (a)<-[:{link}]-(b:{node}) "
    "WITH s, a, b ORDER BY rand() LIMIT {second} "
    "RETURN s.id, a.id, b.id, s.features, a.features, b.features"
)


class Measured:
    """A loaded graph, and the ways to a hop and to a batch of it."""

    def __init__(self, place: str) -> None:
        self.stored = Stored(place)
        self.source = self.stored.source
        self.database = self.source.arrays.database
        ids = np.arange(self.stored.num_nodes)
        self.degrees = self.source.degrees(ids)

    def hop(self, seeds: np.ndarray, key: int) -> int:
        """Read drawn entries of seeds, as a worker does; return their number."""
        rng = np.random.default_rng(key)
        slots = [rng.permutation(d)[: FAN_OUTS[0]] for d in self.degrees[seeds]]
        ids = np.repeat(seeds, [len(s) for s in slots])
        found = self.source.entries(ids, np.concatenate(slots), ["source"])
        return len(found["source"])

    def queried_hop(self, seeds: np.ndarray, key: int) -> int:
        """Have the server draw neighbours of each seed; return their number."""
        rows = self.database._read(HOP, seeds=seeds.tolist())
        return sum(len(near) for _, near in rows)

    def batch(self, seeds: np.ndarray, key: int) -> int:
        """Sample two hops and read features; return the number of nodes."""
        return self.stored.batch(seeds, key)[0]

    def published_batch(self, seeds: np.ndarray, key: int) -> int:
        """Run the published form of a query; return the most rows of one seed."""
        first, second = FAN_OUTS[0] * len(seeds), sum(FAN_OUTS) * len(seeds)
        query = PUBLISHED.format(
            node=NODE, link=LINK, ids=seeds.tolist(), first=first, second=second
        )
        rows = self.database._read(query)
        near = {(row[0], row[1]) for row in rows if row[1] is not None}
        return max(Counter(seed for seed, _ in near).values())


def main() -> None:
    """Start a server, load a graph, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=20_000)
    parser.add_argument("--edges", type=int, default=200_000)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json")
    given = parser.parse_args()
    spec = f"planted:nodes={given.nodes},edges={given.edges // 2},classes=10"
    data = daskgnn.load_dataset(f"{spec},features={given.features}")
    with tempfile.TemporaryDirectory() as folder:
        server = BoltServer(folder)
        os.environ |= server.environment
        try:
            begun = time.perf_counter()
            daskgnn.copy_graph(data.partition(16, method="hash"), server.url)
            print(f"loading: {time.perf_counter() - begun:.1f} s")
            measured = Measured(server.url)
            rows = measure(measured, data, given.repeats)
        finally:
            server.close()
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=1))


def measure(measured: Measured, data: daskgnn.GraphData, repeats: int) -> list[dict]:
    """Time every way in turns, on the same seeds."""
    ways = ["hop", "queried_hop", "batch", "published_batch"]
    taken: dict[str, list[float]] = {way: [] for way in ways}
    found: dict[str, int] = {}
    rng = np.random.default_rng(0)
    for number in range(repeats + 1):
        seeds = np.sort(rng.choice(data.num_nodes, SEEDS, replace=False))
        for way in ways:
            begun = time.perf_counter()
            found[way] = getattr(measured, way)(seeds, number)
            taken[way].append(time.perf_counter() - begun)
    return [
        {
            "way": way,
            "ms": round(1e3 * statistics.median(taken[way][1:]), 1),
            "first_ms": round(1e3 * taken[way][0], 1),
            "found": found[way],
        }
        for way in ways
    ]


if __name__ == "__main__":
    main()
