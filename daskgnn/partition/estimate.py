"""Estimate a partitioner's time and memory from measured constants.

``python benchmarks/partitioners.py`` measures them, and
``docs/measurements/partitioning.md`` has the table. Memory is that besides the graph in
memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from daskgnn.errors import PartitionError
from daskgnn.partition.quality import size_text


@dataclass(frozen=True)
class Cost:
    """Time and memory of a method, per node and per entry."""

    node_bytes: float
    """Peak memory a node."""
    entry_bytes: float
    """Peak memory an entry."""
    node_seconds: float
    """Microseconds a node."""
    entry_seconds: float
    """Microseconds an entry."""
    chunk_bytes: float = 0
    """Peak memory of what is worked on a piece at a time, whatever the size."""
    chunk_entry_bytes: float = 0
    """The same an entry, where a graph is smaller than a piece."""


COSTS: dict[str, Cost] = {
    "hash": Cost(32, 0, 0.1, 0),
    "range": Cost(32, 0, 0.05, 0),
    "metis": Cost(100, 130, 5, 0.8),
    "kaminpar": Cost(150, 22, 2, 0.15),
    "terapart": Cost(110, 14, 3, 0.25),
    "ldg": Cost(60, 0, 1, 0.3, 32_000_000, 24),
    "fennel": Cost(60, 0, 1, 0.3, 32_000_000, 24),
    "cluster": Cost(80, 24, 2, 0.2, 120_000_000, 60),
    "spectral": Cost(1000, 30, 150, 2, 32_000_000, 24),
    "random-walk": Cost(600, 30, 200, 0.1, 32_000_000, 24),
    "dbh": Cost(40, 28, 0.05, 0.02),
    "hdrf": Cost(48, 28, 0.05, 0.6),
}
"""Measured on one core, 64 clusters; another machine may take twice as long. Bytes of
the vertex-cuts are counted: the method's, and those of ordering a graph half of whose
entries are in rows that are split."""


MAPPED: dict[str, Cost] = {
    "kaminpar": Cost(110, 20, 2, 0.5),
    "terapart": Cost(110, 14, 3, 0.8),
    "cluster": Cost(60, 0, 2, 0.9, 500_000_000, 24),
}
"""Where rows are mapped from files, as far as that differs; measured on 10 million
nodes and 100 million entries with shuffled ids, KaMinPar also on smaller ones."""


PREFERRED = ("kaminpar", "terapart", "cluster", "fennel", "range")
"""What is offered instead of a method that does not fit, the best first."""


@dataclass(frozen=True)
class Estimate:
    """Expected time and memory of a method on a graph."""

    method: str
    """Its name."""
    seconds: float
    """On one core like that of the measurement."""
    bytes: int
    """Peak memory besides the graph."""
    free_bytes: int
    """Memory that is free now."""

    @property
    def fits(self) -> bool:
        """Whether it fits in the memory that is free."""
        return self.bytes <= self.free_bytes

    def __str__(self) -> str:
        """Return one line."""
        said = f"{self.method}: about {_time(self.seconds)}, {size_text(self.bytes)}"
        if self.fits:
            return said
        return f"{said}: does not fit, {size_text(self.free_bytes)} are free"


def estimate(
    method: str,
    num_nodes: int,
    num_edges: int,
    free_bytes: int | None = None,
    *,
    mapped: bool = False,
) -> Estimate:
    """Say what a method will take on a graph of N nodes and E entries.

    Parameters
    ----------
    free_bytes
        Memory that may be used; what this machine, or the limit that is set for this
        process, has free now, if not given.
    mapped
        Whether the graph's rows are in files.

    Raises
    ------
    PartitionError
        If nothing was measured for the method.
    """
    if method not in COSTS:
        raise PartitionError(
            f"no estimate for method {method!r}: there is one for {', '.join(COSTS)}"
        )
    cost = COSTS[method]
    if mapped:
        cost = MAPPED.get(method, cost)
    seconds = cost.node_seconds * num_nodes + cost.entry_seconds * num_edges
    held = cost.node_bytes * num_nodes + cost.entry_bytes * num_edges
    return Estimate(
        method,
        seconds / 1e6,
        round(held + min(cost.chunk_bytes, cost.chunk_entry_bytes * num_edges)),
        free_memory() if free_bytes is None else free_bytes,
    )


def check_fits(
    found: Estimate, num_nodes: int, num_edges: int, *, mapped: bool = False
) -> None:
    """Raise `PartitionError` for an estimate that does not fit, naming what does."""
    if found.fits:
        return
    size = (num_nodes, num_edges, found.free_bytes)
    others = [estimate(m, *size, mapped=mapped) for m in PREFERRED]
    good = [other.method for other in others if other.fits]
    raise PartitionError(
        f"method {found.method!r} needs about {size_text(found.bytes)} beside the "
        f"graph, {size_text(found.free_bytes)} are free: "
        + (f"use method={good[0]!r}" if good else "use a machine with more memory")
    )


def free_memory() -> int:
    """Return the bytes that this process may still take."""
    from distributed.system import MEMORY_LIMIT

    own = psutil.Process().memory_info().rss
    return max(min(psutil.virtual_memory().available, MEMORY_LIMIT - own), 0)


def _time(seconds: float) -> str:
    """Return a time in a readable unit."""
    if seconds < 60:
        return f"{max(seconds, 0.1):.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
