"""Run one partitioner in its own process and measure it.

``python -m daskgnn.partition.measured FOLDER`` is the other side of `run_measured`: it
loads the graph, lets the method run once on a small graph (so that nothing compiles
later), and reads the clock and the process's peak memory around the real run.
"""

from __future__ import annotations

import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from daskgnn.errors import PartitionError
from daskgnn.partition.methods.structure import CSRStructure, Structure

_PACKAGE_HOME = str(Path(__file__).parents[2])
_TASK, _RESULT = "task.pickle", "result.pickle"


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
    seen = CSRStructure(
        np.asarray(graph.indptr),
        np.asarray(graph.indices),
        bool(graph.directed),
        dict(graph.splits),
    )
    with tempfile.TemporaryDirectory(prefix="daskgnn-") as folder:
        _save(Path(folder, _TASK), (method, seen, num_clusters, seed))
        paths = [_PACKAGE_HOME, *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            [sys.executable, "-m", __name__, folder],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        result = Path(folder, _RESULT)
        if not result.exists():
            raise PartitionError(_failure(method, done))
        found = _load(result)
    if isinstance(found, PartitionError):
        raise found
    return Measured(*found)


def _failure(method: str, done: subprocess.CompletedProcess[str]) -> str:
    """Say in one line why a process left no result."""
    if done.returncode == -signal.SIGKILL:
        return (
            f"method {method!r} was killed, probably for lack of memory: see what it "
            f"needs with daskgnn partition --estimate, or leave it out"
        )
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return f"method {method!r} failed: {lines[-1]}"


def _save(path: Path, value: Any) -> None:
    """Pickle a value by the protocol that takes no copy of its arrays in memory."""
    with path.open("wb") as file:
        pickle.dump(value, file, protocol=5)


def _load(path: Path) -> Any:
    """Return what `_save` wrote."""
    with path.open("rb") as file:
        return pickle.load(file)


def _reset_peak() -> None:
    """Let the peak begin at what is held now, where the system can do that."""
    with suppress(OSError):  # the growth is then that above the peak so far
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    """Return the most memory this process held, since `_reset_peak`."""
    status = Path("/proc/self/status")
    told = status.read_text() if status.exists() else ""
    if found := re.search(r"^VmHWM:\s*(\d+) kB", told, re.MULTILINE):
        return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _serve(root: Path) -> None:
    """Do what the folder's task says, and write the result beside it."""
    try:
        result: Any = _measure(*_load(root / _TASK))
    except PartitionError as error:
        result = error
    part = root / "part"
    _save(part, result)
    part.rename(root / _RESULT)


def _measure(
    method: str, graph: CSRStructure, num_clusters: int, seed: int
) -> tuple[np.ndarray, np.ndarray | None, float, int]:
    """Run the method, and return what makes a `Measured`."""
    find = _runner(method)
    find(_small_graph(), 4, seed)
    _reset_peak()
    before, start = psutil.Process().memory_info().rss, time.perf_counter()
    clusters, holders = find(graph, num_clusters, seed)
    seconds = time.perf_counter() - start
    return clusters, holders, seconds, max(_peak_bytes() - before, 0)


def _runner(method: str) -> Any:
    """Return (graph, C, seed) -> clusters, holders or None."""
    from daskgnn.partition.methods.vertexcut import VERTEX_CUTS
    from daskgnn.partition.partitioners import find_partitioner

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
