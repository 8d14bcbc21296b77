"""Partitioners side by side on one graph."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from daskgnn.graph.data import default_clusters
from daskgnn.partition import check_installed, find_partitioner
from daskgnn.partition.measured import Measured, run_measured
from daskgnn.partition.ordered import PartitionedGraph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.graph.data import GraphData
    from daskgnn.partition.quality import Quality


@dataclass(frozen=True)
class Compared:
    """One method's numbers, when its clusters are opened as some number of parts."""

    method: str
    """Its name."""
    num_parts: int
    """P."""
    num_clusters: int
    """C, those that are not empty."""
    edge_cut: float
    """Share of the entries whose ends lie in different parts."""
    halo_share: float
    """Halo nodes over all nodes that the parts hold."""
    replication_factor: float
    """Nodes that the parts hold, own and others', over N."""
    node_balance: float
    """Largest part over the mean, in nodes."""
    edge_balance: float
    """In entries."""
    seed_balance: float | None
    """In training nodes; None without any."""
    remote_rows_per_step: float
    """Feature rows of other parts a step needs, estimated (see `Quality`)."""
    remote_bytes_per_step: float
    """Their bytes."""
    seconds: float
    """Of the method alone, on this machine."""
    peak_bytes: int
    """Memory beside the graph itself."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers, for JSON."""
        return asdict(self)


def compare(
    graph: GraphData,
    methods: Sequence[str],
    *,
    num_parts: int = 2,
    num_clusters: int | None = None,
    seed: int = 0,
    num_neighbors: Sequence[int] = (15, 10),
    batch_size: int = 1024,
    window: int = 1,
    started: Callable[[str], None] | None = None,
) -> list[Compared]:
    """Run methods on a graph, each in a process of its own, and measure their cuts.

    Parameters
    ----------
    graph
        The graph; it is not changed and nothing is stored.
    methods
        Names from `PARTITIONERS`.
    num_parts
        P, the number of parts that the numbers are for.
    num_clusters
        As for ``graph.partition``.
    num_neighbors, batch_size, window
        Of the training whose traffic is estimated.
    started
        Called with the name of each method before it runs.

    Raises
    ------
    PartitionError
        If a method is unknown, not installed, or fails; if `num_parts` exceeds the
        clusters; or if the sampling cannot be.
    """
    for method in methods:
        find_partitioner(method)
        check_installed(method)
    count = default_clusters(graph.num_nodes) if num_clusters is None else num_clusters
    found = []
    for method in methods:
        if started is not None:
            started(method)
        run = run_measured(graph, method, count, seed)
        ordered = PartitionedGraph.from_clusters(
            graph, run.clusters, {"method": method}
        )
        quality = ordered.quality(num_parts, num_neighbors, batch_size, window=window)
        found.append(_row(method, ordered.num_clusters, quality, run))
    return found


def _row(method: str, num_clusters: int, quality: Quality, run: Measured) -> Compared:
    """Put a method's numbers together."""
    return Compared(
        method=method,
        num_parts=quality.num_parts,
        num_clusters=num_clusters,
        edge_cut=quality.edge_cut,
        halo_share=quality.halo_share,
        replication_factor=quality.replication_factor,
        node_balance=quality.node_balance,
        edge_balance=quality.edge_balance,
        seed_balance=quality.seed_balance,
        remote_rows_per_step=quality.remote_rows_per_step,
        remote_bytes_per_step=quality.remote_bytes_per_step,
        seconds=run.seconds,
        peak_bytes=run.peak_bytes,
    )
