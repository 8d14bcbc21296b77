"""A store of about 1 GB in an object store: how fast parts are loaded from it.

``python benchmarks/object_store.py`` starts a moto server, and measures in turns, in
this one process: loading every part (edges and features) from the server, fetching the
same objects by s3fs with nothing done to them, and loading from a local path.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import s3fs
from objectstores import ObjectServer

import daskgnn


def load_parts(graph: daskgnn.Graph) -> int:
    """Load what workers would, a part after the other; return the bytes."""
    total = 0
    for start, stop in pairwise(graph.partition_book):
        block = graph.source.load_part(int(start), int(stop))
        features = graph.source.load_features(int(start), int(stop))
        total += block.indices.nbytes + features.nbytes
    return total


def fetch(system: s3fs.S3FileSystem, names: list[str]) -> int:
    """Fetch objects at once and drop them, as many bytes at a time as parts have."""
    total = 0
    for first in range(0, len(names), 16):
        total += sum(map(len, system.cat(names[first : first + 16]).values()))
    return total


def objects_of(graph: daskgnn.Graph) -> list[str]:
    """Return the names of the chunks that loading reads."""
    manifest = graph.source.arrays.manifest
    return [
        f"{graph.path.removeprefix('s3://')}/{array}/{chunk}"
        for array in ("indptr", "indices", "original_ids", "features")
        for chunk in manifest.chunks[array]
    ]


def main() -> None:
    """Store a graph twice, and print how long each way takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_500_000)
    parser.add_argument("--edges", type=int, default=15_000_000)
    parser.add_argument("--features", type=int, default=150)
    parser.add_argument("--num-parts", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json")
    given = parser.parse_args()
    spec = f"planted:nodes={given.nodes},edges={given.edges // 2},classes=10"
    data = daskgnn.load_dataset(f"{spec},features={given.features}")
    with tempfile.TemporaryDirectory() as folder:
        server = ObjectServer(Path(folder))
        try:
            os.environ |= server.environment
            system = s3fs.S3FileSystem()
            system.mkdir("bucket")
            graph = data.partition(64, method="range")
            path = graph.save(f"{folder}/g.zarr")
            begun = time.perf_counter()
            url = graph.save("s3://bucket/g.zarr")
            print(f"written in {time.perf_counter() - begun:.1f} s")
            del graph, data
            local, remote = (
                daskgnn.open_graph(place, given.num_parts) for place in (path, url)
            )
            names = objects_of(remote)
            ways = {
                "parts from s3": lambda: load_parts(remote),
                "objects by s3fs": lambda: fetch(system, names),
                "parts from a path": lambda: load_parts(local),
            }
            rows = measure(ways, given.repeats, server)
        finally:
            server.close()
    print(f"{len(names)} objects")
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=1))


def measure(ways: dict, repeats: int, server: ObjectServer) -> list[dict]:
    """Time each way in turns; the first time warms it up."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    asked, size = {}, {}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            before, begun = len(server.requests()), time.perf_counter()
            size[name] = way()
            taken[name].append(time.perf_counter() - begun)
            asked[name] = len(server.requests()) - before
    return [
        {
            "way": name,
            "seconds": round(statistics.median(taken[name][1:]), 2),
            "all": [round(t, 2) for t in taken[name]],
            "MB": round(size[name] / 1e6),
            "requests": asked[name],
        }
        for name in ways
    ]


if __name__ == "__main__":
    main()
