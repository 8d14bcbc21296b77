"""Ways to a batch of a graph: two hops of 10 neighbours of 512 seeds, and features.

What `sources.py` measures, a class for each kind of way.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import daskgnn
from daskgnn.graph.databases.bolt import LABELS
from daskgnn.graph.databases.schemes import open_source, scheme_of
from daskgnn.kernels.book import PartitionBook
from daskgnn.kernels.record import array_bytes
from daskgnn.sampling import NeighborSampler, PartRows

FAN_OUTS, SEEDS = [10, 10], 512
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


class Sampled:
    """A source as daskgnn samples it: held in memory, or read on demand."""

    def __init__(self, graph, name: str = "") -> None:
        begun = time.perf_counter()
        self.name = name or scheme_of(graph)
        graph = daskgnn.open_graph(graph)
        self.source, self.num_nodes = graph.source, graph.num_nodes
        self.on_demand = graph.schema.on_demand
        self.block = self.source.load_part(0, self.num_nodes)
        if self.on_demand:
            reader = self.source.row_reader(0, self.num_nodes, "float32", False)
            self.rows = reader.take
        else:
            self.rows = self.source.load_features(0, self.num_nodes).__getitem__
        self.start_up = time.perf_counter() - begun
        beside = []
        if self.name == "mapped":
            side = self.source._graph.side
            beside = [side.original_ids, side.indptr, *vars(side.nodes).values()]
        self.held = array_bytes([self.block, beside]) / self.num_nodes
        self.sampler = NeighborSampler(FAN_OUTS)
        self.train = graph.splits["train"]

    def batch(self, seeds: np.ndarray, key: int) -> int:
        """Sample and read features; return the number of nodes."""
        book = PartitionBook(np.array([0, self.num_nodes]))
        keys, rows = np.array([key], np.uint64), PartRows(self.block)
        frontier = self.sampler.start([seeds], keys, book)
        for hop in range(self.sampler.rounds):
            asked = self.sampler.request(frontier, hop, 0, book)
            found = self.sampler.answer(rows, asked, keys, hop, book)
            frontier = self.sampler.merge(frontier, {0: found}, hop, 0, book)
        ids = self.sampler.finish(frontier)[0].ids.astype(np.int64)
        return len(self.rows(ids))


class Relationships:
    """Queries of relationships, as one would write them: seeds by ``IN``.

    Neighbours of each seed are ordered by a hash of the pair and cut to the fan-out.
    """

    def __init__(self, place: str) -> None:
        begun = time.perf_counter()
        self.name = f"{scheme_of(place)}, relationships"
        self.database = open_source(place).arrays.database
        self.start_up, self.held = time.perf_counter() - begun, 0.0

    def batch(self, seeds: np.ndarray, key: int) -> int:
        """Query both hops and read features; return the number of nodes."""
        nodes = seeds
        for fan_out in FAN_OUTS:
            found = self.database.query(
                "MATCH (b:Node)-[:Link]->(a:Node) WHERE a.id IN $seeds "
                "WITH a.id AS i, b.id AS d, hash(hash(a.id*1000003+b.id)+$key) AS h "
                "ORDER BY h LIMIT 100000000 "
                f"RETURN i, list_slice(collect(d), 1, {fan_out}) AS near",
                seeds=nodes.tolist(),
                key=key,
            )
            near = found["near"].combine_chunks().flatten().to_numpy()
            nodes = np.unique(np.concatenate([nodes, near]))
        found = self.database.query(
            "LOAD FROM $asked MATCH (n:Node {id: k}) RETURN n.features AS f",
            asked=pa.table({"k": nodes}),
        )
        content = b"".join(found["f"].to_pylist())
        return len(np.frombuffer(content, np.float32).reshape(len(nodes), -1))


def mapped(place: str, folder: Path) -> str:
    """Return the place of the same database, as if it had relationships only."""
    path = folder / f"{scheme_of(place)}.yaml"
    path.write_text(
        f"database: {place}\nnodes: Node\nedges: Link\nfeatures: features\n"
        "label: label\nsplit: split\ndirected: true\n"
    )
    return f"mapped:{path}"


class BoltHop:
    """A hop over Bolt: drawn entries of seeds, as a worker reads them first."""

    name = "bolt, a hop of rows"

    def __init__(self, sampled: Sampled) -> None:
        self.source = sampled.source
        self.degrees = self.source.degrees(np.arange(sampled.num_nodes))

    def batch(self, seeds: np.ndarray, key: int) -> int:
        """Return the number of entries."""
        known = vars(self.source.arrays)
        kept = known.pop("caches", None)
        rng = np.random.default_rng(key)
        slots = [rng.permutation(d)[: FAN_OUTS[0]] for d in self.degrees[seeds]]
        ids = np.repeat(seeds, [len(s) for s in slots])
        found = self.source.entries(ids, np.concatenate(slots), ["source"])
        known["caches"] = kept or known["caches"]
        return len(found["source"])


class Unkept:
    """A batch of a source that keeps no row of the batches before."""

    def __init__(self, sampled: Sampled) -> None:
        self.sampled, self.name = sampled, f"{sampled.name}, nothing cached"

    def batch(self, seeds: np.ndarray, key: int) -> int:
        """Return the number of nodes."""
        known = vars(self.sampled.source.arrays)
        kept = known.pop("caches", None)
        found = self.sampled.batch(seeds, key)
        known["caches"] = kept or known["caches"]
        return found


class BoltQuery:
    """The best query of a hop that we know: the server draws, per seed."""

    name = "bolt, a hop by a query"

    def __init__(self, sampled: Sampled) -> None:
        self.database = sampled.source.arrays.database

    def batch(self, seeds: np.ndarray, key: int) -> int:
        """Return the number of entries."""
        rows = self.database.records(HOP, seeds=seeds.tolist())
        return sum(len(near) for _, near in rows)


class Published(BoltQuery):
    """A query of the form of arXiv 2411.11375, whose limits are of all seeds."""

    name = "bolt, published form"

    def batch(self, seeds: np.ndarray, key: int) -> int:
        """Return the most neighbours of one seed: more than the fan-out."""
        first, second = FAN_OUTS[0] * len(seeds), sum(FAN_OUTS) * len(seeds)
        query = PUBLISHED.format(
            node=NODE, link=LINK, ids=seeds.tolist(), first=first, second=second
        )
        rows = self.database.records(query)
        near = {(row[0], row[1]) for row in rows if row[1] is not None}
        return max(Counter(seed for seed, _ in near).values())
