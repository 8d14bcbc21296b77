"""A store of about 1 GB in an object store: how fast parts are loaded from it.

Measured in turns, in this one process: loading every part (edges and features) from a
moto server, fetching the same objects by s3fs with nothing done to them, and loading
from a local path. The process keeps freed memory for all three, as daskgnn's workers
do; otherwise first writes to new memory hide the differences.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import s3fs
from objectstores import ObjectServer

import daskgnn
from daskgnn.dataflow.part import PartSource
from daskgnn.kernels.allocator import keep_freed_memory
from daskgnn.sampling import NeighborSampler
from daskgnn.train.compute.program import packed_sampler

if TYPE_CHECKING:
    import argparse

SPEC = "planted:nodes=1500000,edges=7500000,classes=10,features=150"
NUM_PARTS = 4


def load_parts(graph: daskgnn.Graph) -> int:
    """Load what workers would, a part after the other; return the bytes."""
    total = 0
    sampler = packed_sampler(NeighborSampler([10, 10]))
    for start, stop in pairwise(graph.partition_book.tolist()):
        part = PartSource(graph.source, start, stop, "float32", False, sampler).load()
        total += part.adjacency.indices.nbytes + part.features.nbytes
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


def load_from_s3(given: argparse.Namespace, folder: Path) -> list[dict]:
    """Store a graph twice, and measure how long each way to its parts takes."""
    keep_freed_memory()
    data = daskgnn.load_dataset(SPEC)
    server = ObjectServer(folder)
    try:
        os.environ |= server.environment
        system = s3fs.S3FileSystem()
        system.mkdir("bucket")
        graph = data.partition(64, method="range")
        path = graph.save(folder / "large.zarr", overwrite=True)
        begun = time.perf_counter()
        url = graph.save("s3://bucket/large.zarr")
        print(f"written in {time.perf_counter() - begun:.1f} s")
        del graph, data
        local, remote = (daskgnn.open_graph(place, NUM_PARTS) for place in (path, url))
        names = objects_of(remote)
        print(f"{len(names)} objects")
        ways = {
            "parts from s3": lambda: load_parts(remote),
            "objects by s3fs": lambda: fetch(system, names),
            "parts from a path": lambda: load_parts(local),
        }
        return measure(ways, given.repeats, server)
    finally:
        server.close()


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
