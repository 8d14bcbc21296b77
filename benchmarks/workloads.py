"""The graphs and models that benchmarks train, made once and kept.

N nodes, E entries, F features.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import daskgnn
from daskgnn.graph.datasets.generate import planted_partition

if TYPE_CHECKING:
    import argparse

CLUSTERS = 64


@dataclass(frozen=True)
class Workload:
    """A graph, a GraphSAGE model with mean aggregation, and how it is trained."""

    name: str
    graph: dict[str, Any]
    """Options of `planted_partition`."""
    fan_out: tuple[int, ...]
    """Neighbours sampled at each hop, hop 1 first."""
    hidden: int
    batch_size: int
    """Seeds a step, over all workers."""
    warm_up: int
    """Steps before the clock starts, at least."""
    steps: int
    """Steps that are timed, at least."""


WORKLOADS = {
    "products": Workload(
        name="products",
        graph={
            "num_nodes": 2_449_029,
            "num_edges": 61_000_000,
            "num_classes": 47,
            "num_features": 100,
            "max_degree": 14_000,
            "train": 0.08,
            "val": 0.02,
            "test": 0.9,
        },
        fan_out=(15, 10, 5),
        hidden=256,
        batch_size=2048,
        warm_up=8,
        steps=16,
    ),
    "arxiv": Workload(
        name="arxiv",
        graph={
            "num_nodes": 169_343,
            "num_edges": 1_130_000,
            "num_classes": 40,
            "num_features": 128,
            "train": 0.54,
            "val": 0.18,
            "test": 0.28,
        },
        fan_out=(25, 10),
        hidden=256,
        batch_size=2048,
        warm_up=24,
        steps=96,
    ),
}


def add_options(parser: argparse.ArgumentParser, shape: str) -> None:
    """Add the options that say which graph is trained and where it is kept."""
    parser.add_argument("--shape", choices=WORKLOADS, default=shape)
    parser.add_argument("--store", help="a store of this shape that is there already")
    parser.add_argument(
        "--cache",
        default=os.environ.get("DASKGNN_BENCH_DIR", "~/.cache/daskgnn-bench"),
        help="where graphs are kept between runs (default: $DASKGNN_BENCH_DIR or "
        "~/.cache/daskgnn-bench)",
    )


def store_of(
    workload: Workload, cache: str, given: str | None = None, clusters: int = CLUSTERS
) -> str:
    """Return the path of the workload's store; make it on first need."""
    if given:
        return str(Path(given).absolute())
    named = workload.name if clusters == CLUSTERS else f"{workload.name}-{clusters}"
    path = Path(cache).expanduser().absolute() / f"{named}.zarr"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # A process of its own gives all its memory back.
        _run_here("make", workload.name, str(path), str(clusters))
    return str(path)


def arrays_of(store: str, cache: str) -> str:
    """Return a folder with the graph as .npy files, for peers; make it on first need.

    In the user's node order, as int64: what DGL and PyG take without a copy.
    """
    name = f"arrays-{daskgnn.open_graph(store).checksum[:16]}"
    folder = Path(cache).expanduser().absolute() / name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _run_here("export", store, str(folder))
    return str(folder)


def load_arrays(folder: str) -> dict[str, np.ndarray]:
    """Read what `arrays_of` wrote.

    ``indptr`` [N+1], ``indices`` [E] (in-neighbours of each node), ``labels`` [N],
    ``train``: int64; ``features`` float32 [N, F].
    """
    return {file.stem: np.load(file) for file in Path(folder).glob("*.npy")}


def _run_here(*words: str) -> None:
    """Run this file in a process of its own."""
    subprocess.run([sys.executable, __file__, *words], check=True)


def _make(name: str, path: str, clusters: str) -> None:
    """Generate a graph, order it by clusters and store it."""
    method = "kaminpar" if importlib.util.find_spec("kaminpar") else "metis"
    began = time.perf_counter()
    data = planted_partition(**WORKLOADS[name].graph, seed=0, name=name)
    partitioned = data.partition(int(clusters), method)
    temporary = f"{path}.{os.getpid()}"
    partitioned.save(temporary)
    os.rename(temporary, path)
    took = time.perf_counter() - began
    print(f"{name}: generated, ordered by {method}, stored in {took:.0f} s: {path}")


def dense(features: Any) -> np.ndarray:
    """Return features as the table that peers read."""
    return features.toarray() if hasattr(features, "toarray") else features


def _export(store: str, folder: str) -> None:
    """Write a store's graph as .npy files."""
    data = daskgnn.open_graph(store).to_data()
    temporary = Path(f"{folder}.{os.getpid()}")
    temporary.mkdir()
    arrays = {
        "indptr": data.indptr.astype(np.int64),
        "indices": data.indices.astype(np.int64),
        "labels": data.labels.astype(np.int64),
        "features": np.ascontiguousarray(dense(data.features), np.float32),
        "train": data.splits["train"].astype(np.int64),
    }
    for name, array in arrays.items():
        np.save(temporary / f"{name}.npy", array)
    temporary.rename(folder)


if __name__ == "__main__":
    {"make": _make, "export": _export}[sys.argv[1]](*sys.argv[2:])
