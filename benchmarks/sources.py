"""Sources of one graph compared: what a batch costs, and what a worker holds.

``python benchmarks/sources.py`` draws a graph, stores it, loads it into an embedded
database, and measures in turns, in this one process:

- a batch of 512 seeds, two hops of 10 neighbours, with all its feature rows: from the
  rows that ``daskgnn load`` wrote, and by queries of relationships (``IN $seeds``);
- the same from arrays in memory;
- bytes that a part holds for a node.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

import daskgnn
from daskgnn.graph.databases.schemes import open_source, scheme_of
from daskgnn.kernels.book import PartitionBook
from daskgnn.kernels.record import array_bytes
from daskgnn.sampling import NeighborSampler, PartRows

FAN_OUTS, SEEDS = [10, 10], 512


class Stored:
    """A source that daskgnn samples: a store in memory, or a database on demand."""

    def __init__(self, place: str) -> None:
        begun = time.perf_counter()
        self.name = scheme_of(place) or "zarr in memory"
        self.graph = daskgnn.open_graph(place)
        self.source, self.num_nodes = self.graph.source, self.graph.num_nodes
        self.block = self.source.load_part(0, self.num_nodes)
        self.reader = self.source.row_reader(0, self.num_nodes, "float32", False)
        if not self.graph.schema.on_demand:
            self.features = self.source.load_features(0, self.num_nodes)
        self.start_up = time.perf_counter() - begun
        beside = vars(self.source._graph.side) if "mapped:" in place else {}
        self.held = array_bytes([self.block, beside]) / self.num_nodes
        self.sampler = NeighborSampler(FAN_OUTS)

    def batch(self, seeds: np.ndarray, key: int) -> tuple[int, float]:
        """Return how many nodes a batch has, and the sum of their features."""
        book = PartitionBook(np.array([0, self.num_nodes]))
        keys = np.array([key], np.uint64)
        rows = PartRows(self.block)
        frontier = self.sampler.start([seeds], keys, book)
        for hop in range(self.sampler.rounds):
            asked = self.sampler.request(frontier, hop, 0, book)
            found = self.sampler.answer(rows, asked, keys, hop, book)
            frontier = self.sampler.merge(frontier, {0: found}, hop, 0, book)
        ids = self.sampler.finish(frontier)[0].ids.astype(np.int64)
        if self.graph.schema.on_demand:
            features = self.reader.take(ids)
        else:
            features = self.features[ids]
        return len(ids), float(features[:, 0].sum())


class Relationships:
    """Queries of relationships, as one would write them: seeds by ``IN``.

    Neighbours of each seed are ordered by a hash of the pair and cut to the fan-out.
    """

    def __init__(self, place: str) -> None:
        begun = time.perf_counter()
        self.name = f"{scheme_of(place)}, relationships"
        self.database = open_source(place).arrays.database
        self.start_up, self.held = time.perf_counter() - begun, 0.0

    def batch(self, seeds: np.ndarray, key: int) -> tuple[int, float]:
        """Return how many nodes a batch has, and the sum of their features."""
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
        features = np.frombuffer(content, np.float32).reshape(len(nodes), -1)
        return len(nodes), float(features[:, 0].sum())


def mapped(place: str, folder: Path) -> str:
    """Return the place of the same database, as if it had relationships only."""
    path = folder / f"{scheme_of(place)}.yaml"
    path.write_text(
        f"database: {place}\nnodes: Node\nedges: Link\nfeatures: features\n"
        "label: label\nsplit: split\ndirected: true\n"
    )
    return f"mapped:{path}"


def measure(sources: list, train: np.ndarray, repeats: int) -> list[dict]:
    """Time batches of each source in turns; the first ones warm it up."""
    taken: dict[str, list[float]] = {source.name: [] for source in sources}
    sizes: dict[str, int] = {}
    rng = np.random.default_rng(0)
    for number in range(repeats + 2):
        seeds = np.sort(rng.choice(train, SEEDS, replace=False))
        for source in sources:
            begun = time.perf_counter()
            sizes[source.name] = source.batch(seeds, number)[0]
            taken[source.name].append(time.perf_counter() - begun)
    return [
        {
            "source": source.name,
            "start_up_s": round(source.start_up, 3),
            "batch_ms": round(1e3 * statistics.median(taken[source.name][2:]), 1),
            "first_batch_ms": round(1e3 * taken[source.name][0], 1),
            "nodes": sizes[source.name],
            "bytes_a_node": round(source.held, 1),
        }
        for source in sources
    ]


def train_in_turns(places: list[str], folder: Path, turns: int) -> list[dict]:
    """Train three layers of 256 from each place in turns; the first epoch warms up."""
    from daskgnn.train.run import train

    given = {"workers": 2, "num_parts": 2, "hidden_channels": 256, "num_layers": 3}
    given |= {"num_neighbors": [10, 10, 5], "batch_size": 1024, "epochs": 3}
    found: dict[str, list[float]] = {place: [] for place in places}
    hashes = set()
    for turn in range(turns):
        for number, place in enumerate(places):
            out = folder / f"run-{os.getpid()}-{turn}-{number}"
            summary = train({**given, "graph": place, "out": str(out), "eval_every": 3})
            hashes.add(summary["params_sha256"])
            lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
            epochs = [x["seconds"] for x in lines if x["event"] == "epoch"]
            found[place].append(min(epochs[1:]))
    assert len(hashes) == 1, "sources gave different parameters"
    return [
        {"source": place.partition(":")[0], "epoch_s": round(min(seconds), 2)}
        for place, seconds in found.items()
    ]


def peak_memory() -> int:
    """Return the most bytes that this process has held."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def tell_held(place: str) -> None:
    """Print what a process takes that draws 20 batches from a place."""
    np.zeros(1)
    before = peak_memory()
    source = Stored(place)
    train = source.graph.splits["train"]
    rng = np.random.default_rng(0)
    for number in range(20):
        source.batch(np.sort(rng.choice(train, SEEDS, replace=False)), number)
    print(f"{place}: {(peak_memory() - before) / 2**20:.0f} MiB beside imports")


def main() -> None:
    """Draw a graph, load it, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--edges", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--schemes", default="ladybug")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder")
    parser.add_argument("--json")
    parser.add_argument("--train", type=int, default=0, help="turns of training")
    parser.add_argument("--held", help="print the memory that this place takes")
    given = parser.parse_args()
    if given.held:
        tell_held(given.held)
        return
    folder = Path(given.folder or tempfile.mkdtemp())
    store = folder / "g.zarr"
    if not store.exists():
        spec = f"planted:nodes={given.nodes},edges={given.edges // 2},classes=10"
        data = daskgnn.load_dataset(f"{spec},features={given.features}")
        data.partition(64, method="hash").save(store)
    sources: list = [Stored(str(store))]
    for scheme in given.schemes.split(","):
        place = f"{scheme}:{folder}/g.{scheme}"
        if not os.path.exists(place.partition(":")[2]):
            begun = time.perf_counter()
            daskgnn.copy_graph(store, place)
            print(f"loading {scheme}: {time.perf_counter() - begun:.1f} s")
        sources.append(Stored(place))
        if scheme != "duckdb":
            sources += [Stored(mapped(place, folder)), Relationships(place)]
    train = daskgnn.open_graph(store).splits["train"]
    rows = measure(sources, train, given.repeats)
    if given.train:
        places = [str(store), *(source.graph.path for source in sources[1:2])]
        rows += train_in_turns(places, folder, given.train)
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
