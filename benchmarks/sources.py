"""Sources of one graph compared: memory, Zarr, S3, Ladybug, DuckDB, Bolt.

``python benchmarks/sources.py WHAT...`` measures one or several of

- ``compare``: start-up, memory of a worker, throughput of training, and latency of
  batches, cold and warm, of every source, each in processes of its own, in turns;
- ``queries``: a batch from Ladybug by the rows that daskgnn loads, from relationships
  by a mapping, and by queries that one would write;
- ``bolt``: a hop and a batch from a server, by rows and by queries;
- ``train``: epochs from Ladybug and from a store in memory, in turns;
- ``s3``: loading the parts of a store of 1 GB from S3, and fetching its objects;
- ``memory``: a worker that trains from Ladybug, with more edges and more features.

Results are printed and written to ``OUT/figures.json``; of ``compare``, there are the
runs, too (``daskgnn plot OUT/*``), latencies as JSON lines, and ``OUT/sources.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import daskgnn

SPEC = "planted:nodes={nodes},edges={edges},classes=10,features={features}"
CUT = {"method": "hash", "num_clusters": 64}
MODEL = {"hidden_channels": 256, "num_layers": 3, "num_neighbors": [10, 10, 5]}
MODEL |= {"batch_size": 1024, "num_parts": 2, "workers": 2}


def spec(given: argparse.Namespace, **other: int) -> str:
    """Return the name of the graph; its edges count twice."""
    sizes = {"nodes": given.nodes, "edges": given.edges, "features": given.features}
    sizes |= other
    sizes["edges"] //= 2
    return SPEC.format(**sizes)


def stored(folder: Path, name: str, **changed) -> Path:
    """Return a store of a graph, made unless it is there."""
    path = folder / "g.zarr"
    if not path.exists():
        data = replace(daskgnn.load_dataset(name), **changed)
        data.partition(CUT["num_clusters"], method=CUT["method"]).save(path)
    return path


def loaded(store: Path, scheme: str, **how) -> str:
    """Return the place of a database with a store's graph, made unless it is there."""
    place = f"{scheme}:{store.parent}/g.{scheme}"
    if not os.path.exists(place.partition(":")[2]):
        begun = time.perf_counter()
        daskgnn.copy_graph(store, place, **how)
        print(f"loading {scheme}: {time.perf_counter() - begun:.1f} s", flush=True)
    return place


def in_turns(ways: list, seeds_of, repeats: int) -> list[dict]:
    """Time batches of each way in turns, after two that warm up."""
    taken: dict[str, list[float]] = {way.name: [] for way in ways}
    found: dict[str, int] = {}
    for number in range(repeats + 2):
        seeds = np.sort(seeds_of(number))
        for way in ways:
            begun = time.perf_counter()
            found[way.name] = way.batch(seeds, number)
            taken[way.name].append(1e3 * (time.perf_counter() - begun))
    rows = []
    for way in ways:
        row = {"way": way.name, "ms": round(statistics.median(taken[way.name][2:]), 1)}
        row |= {"first_ms": round(taken[way.name][0], 1), "found": found[way.name]}
        if hasattr(way, "held"):
            row["bytes_a_node"] = round(way.held, 1)
        rows.append(row)
    return rows


def queries(given: argparse.Namespace, folder: Path) -> list[dict]:
    """Compare ways to a batch of Ladybug."""
    from source_batches import SEEDS, Relationships, Sampled, Unkept, mapped

    store = stored(folder, spec(given))
    place = loaded(store, "ladybug")
    ways: list = [Sampled(str(store), "zarr"), Sampled(place)]
    ways += [Unkept(ways[1]), Sampled(mapped(place, folder)), Relationships(place)]
    rng = np.random.default_rng(0)
    train = ways[0].train
    return in_turns(
        ways, lambda _: rng.choice(train, SEEDS, replace=False), given.repeats
    )


def bolt(given: argparse.Namespace, folder: Path) -> list[dict]:
    """Compare ways to a hop and to a batch of a server, with a fifth of the graph."""
    from source_batches import SEEDS, BoltHop, BoltQuery, Published, Sampled, Unkept

    small = spec(given, nodes=given.nodes // 5, edges=given.edges // 5)
    data = daskgnn.load_dataset(small)
    with bolt_server() as server:
        daskgnn.copy_graph(data.partition(16, method="hash"), server.url)
        sampled = Sampled(server.url)
        ways = [BoltHop(sampled), BoltQuery(sampled), sampled, Unkept(sampled)]
        ways.append(Published(sampled))
        rng = np.random.default_rng(0)

        def seeds_of(_: int) -> np.ndarray:
            return rng.choice(data.num_nodes, SEEDS, replace=False)

        return in_turns(ways, seeds_of, given.repeats)


@contextmanager
def bolt_server():
    """Have a server, whose credentials are in the environment."""
    from bolt_server import BoltServer

    with TemporaryDirectory() as folder:
        server = BoltServer(folder)
        os.environ |= server.environment
        try:
            yield server
        finally:
            server.close()


def trained(place: str, out: Path, **options) -> dict:
    """Train in a process of its own; return what its epochs say."""
    given = {**MODEL, "graph": place, "out": str(out), "epochs": 3, "eval_every": 3}
    words = [sys.executable, __file__, "--train-as", json.dumps({**given, **options})]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    hash_, seconds = done.stdout.split()[-2:]
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    epochs = [line for line in lines if line["event"] == "epoch"]
    return {
        "params_sha256": hash_,
        "seeds_per_s_first": round(epochs[0]["seeds"] / epochs[0]["seconds"]),
        "seeds_per_s": round(max(e["seeds"] / e["seconds"] for e in epochs[1:])),
        "worker_MB": round(max(e["worker_bytes"] for e in epochs) / 1e6),
        "run_s": round(float(seconds), 1),
    }


def train_pairs(given: argparse.Namespace, folder: Path) -> list[dict]:
    """Train from a store in memory and from Ladybug, in turns."""
    store = stored(folder, spec(given))
    places = {"zarr": str(store), "ladybug": loaded(store, "ladybug")}
    rows = []
    for turn in range(given.turns):
        for name, place in places.items():
            out = folder / f"turn-{turn}-{name}-{os.getpid()}"
            rows.append({"way": name, "turn": turn, **trained(place, out)})
    assert len({row["params_sha256"] for row in rows}) == 1, "other parameters"
    return rows


def memory(given: argparse.Namespace, folder: Path) -> list[dict]:
    """Measure a worker that trains from Ladybug with a small cache."""
    small = {"DASK_GNN__DATABASE_CACHE": "16MiB"}
    rows = []
    larger = {"nodes": 10 * given.nodes, "edges": 10 * given.edges}
    sizes = [("", {}), ("nodes, edges x 10", larger)]
    sizes.append(("features x 4", {"features": 4 * given.features}))
    for name, size in sizes:
        place = folder / f"memory{name.replace(' ', '-')}"
        place.mkdir(exist_ok=True)
        nodes = size.get("nodes", given.nodes)
        train = {"train": np.arange(0, nodes, 4 * nodes // given.nodes)}
        store = stored(place, spec(given, **size), splits=train)
        for source in (str(store), loaded(store, "ladybug", links=False)):
            out = place / f"run-{os.getpid()}-{source.partition(':')[0][-7:]}"
            how = {"workers": 1, "num_parts": 1, "epochs": 2, "hidden_channels": 32}
            # Windows of one step: more steps hold more rows of a larger graph.
            how |= {"num_layers": 2, "num_neighbors": [10, 10], "batch_size": 256}
            how |= {"window": 1}
            kind = "ladybug" if source != str(store) else "zarr"
            os.environ |= small  # of the process that trains
            found = trained(source, out, **how)
            for setting in small:
                del os.environ[setting]
            rows.append({"graph": name or "as given", "source": kind, **found})
            del rows[-1]["params_sha256"]
    return rows


def main() -> None:
    """Measure what is asked for."""
    from compare_sources import compare, tell_source
    from object_store import load_from_s3

    known = {"compare": compare, "queries": queries, "bolt": bolt, "s3": load_from_s3}
    known |= {"train": train_pairs, "memory": memory}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", help=", ".join(known))
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--edges", type=int, default=1_000_000, help="directed")
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7, help="batches of each way")
    parser.add_argument("--turns", type=int, default=3, help="of training")
    parser.add_argument("--out", type=Path, default=Path("sources-compared"))
    parser.add_argument("--train-as", help=argparse.SUPPRESS)
    parser.add_argument("--tell", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train_as:
        from daskgnn.train.run import train

        begun = time.perf_counter()
        summary = train(json.loads(given.train_as))
        print(summary["params_sha256"], time.perf_counter() - begun)
        return
    if given.tell:
        tell_source(*given.tell)
        return
    folder = given.out.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for what in given.what or ["compare"]:
        found[what] = known[what](given, folder)
        print(what)
        for row in found[what]:
            print("  ".join(f"{name} {value}" for name, value in row.items()))
        told = {**found, "load": os.getloadavg(), "time": time.ctime()}
        (folder / "figures.json").write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
