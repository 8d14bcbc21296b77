"""Run one partitioner in its own process and measure it.

``python -m daskgnn.partition.measured FOLDER`` is the other side of `run_measured`: it
loads the graph, lets the method run once on a small graph (so that nothing compiles
later), and reads the clock and the process's peak memory around the real run.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import PartitionError
from daskgnn.partition.methods.structure import CSRStructure

if TYPE_CHECKING:
    from daskgnn.partition.methods.structure import Structure

_PACKAGE_HOME = str(Path(__file__).parents[2])


@dataclass(frozen=True, eq=False)
class Measured:
    """A method's clusters, time and memory."""

    clusters: np.ndarray
    """int64 [N], the cluster of each node."""
    holders: np.ndarray | None
    """int32 [E], the cluster that holds each entry, of a vertex-cut."""
    seconds: float
    """Of the method alone."""
    peak_bytes: int
    """By how much the process grew at most, above itself with the graph loaded."""


def run_measured(
    graph: Structure, method: str, num_clusters: int, seed: int
) -> Measured:
    """Run a method on a graph in a process of its own.

    Raises
    ------
    PartitionError
        If the method fails, or its process is killed for lack of memory.
    """
    with tempfile.TemporaryDirectory(prefix="daskgnn-") as folder:
        root = Path(folder)
        write_structure(graph, root)
        task = {"method": method, "num_clusters": num_clusters, "seed": seed}
        (root / "task.json").write_text(json.dumps(task))
        paths = [_PACKAGE_HOME, *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            [sys.executable, "-m", __name__, folder],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if not (root / "done.json").exists():
            raise PartitionError(_failure(method, done))
        found = json.loads((root / "done.json").read_text())
        if "error" in found:
            raise PartitionError(found["error"])
        holders = root / "holders.npy"
        return Measured(
            np.load(root / "clusters.npy"),
            np.load(holders) if holders.exists() else None,
            found["seconds"],
            found["peak_bytes"],
        )


def _failure(method: str, done: subprocess.CompletedProcess[str]) -> str:
    """Say in one line why a process left no result."""
    if done.returncode == -signal.SIGKILL:
        return (
            f"method {method!r} was killed, probably for lack of memory: see what it "
            f"needs with --estimate, or leave it out"
        )
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return f"method {method!r} failed: {lines[-1]}"


def write_structure(graph: Structure, root: Path) -> None:
    """Write what a partitioner sees of a graph into a folder."""
    np.save(root / "indptr.npy", graph.indptr)
    np.save(root / "indices.npy", graph.indices)
    if "train" in graph.splits:
        np.save(root / "train.npy", graph.splits["train"])
    (root / "graph.json").write_text(json.dumps({"directed": bool(graph.directed)}))


def read_structure(root: Path) -> CSRStructure:
    """Read what `write_structure` wrote."""
    train = root / "train.npy"
    return CSRStructure(
        np.load(root / "indptr.npy"),
        np.load(root / "indices.npy"),
        splits={"train": np.load(train)} if train.exists() else {},
        **json.loads((root / "graph.json").read_text()),
    )


def resident_bytes() -> int:
    """Return the memory this process holds now."""
    return _status("VmRSS") or peak_resident_bytes()


def reset_peak() -> None:
    """Let the peak begin at what is held now, where the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # the growth is then that above the peak so far
        return


def peak_resident_bytes() -> int:
    """Return the most memory this process held, since `reset_peak`."""
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return _status("VmHWM") or own


def _status(name: str) -> int:
    """Return a number of bytes from Linux' account of this process, else 0."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _serve(root: Path) -> None:
    """Do what the folder's task says, and write the result beside it."""
    task = json.loads((root / "task.json").read_text())
    try:
        result = _measure(root, **task)
    except PartitionError as error:
        result = {"error": str(error)}
    (root / "done.part").write_text(json.dumps(result))
    (root / "done.part").rename(root / "done.json")


def _measure(root: Path, method: str, num_clusters: int, seed: int) -> dict[str, Any]:
    """Run the method, write its arrays, and return what it took."""
    find = _runner(method)
    find(_small_graph(), 4, seed)
    graph = read_structure(root)
    reset_peak()
    before, start = resident_bytes(), time.perf_counter()
    clusters, holders = find(graph, num_clusters, seed)
    seconds = time.perf_counter() - start
    grown = peak_resident_bytes() - before
    np.save(root / "clusters.npy", clusters)
    if holders is not None:
        np.save(root / "holders.npy", holders)
    return {"seconds": seconds, "peak_bytes": max(grown, 0)}


def _runner(method: str) -> Any:
    """Return (graph, C, seed) -> clusters, holders or None."""
    from daskgnn.partition import find_partitioner
    from daskgnn.partition.methods.vertexcut import VERTEX_CUTS

    if method in VERTEX_CUTS:
        cut = VERTEX_CUTS[method]
        return lambda *args: ((found := cut(*args)).masters, found.holders)
    find = find_partitioner(method)
    return lambda graph, count, seed: (find(graph, count, seed), None)


def _small_graph() -> CSRStructure:
    """Return two rings of nodes with a train split: everything is met once."""
    nodes = np.arange(200)
    rings = nodes // 100 * 100
    steps = [(nodes + step) % 100 + rings for step in (1, 2, 98, 99)]
    indices = np.sort(np.stack(steps, axis=1)).astype(np.int32)
    indptr = np.arange(201) * len(steps)
    return CSRStructure(indptr, indices.ravel(), splits={"train": nodes[:50]})


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
