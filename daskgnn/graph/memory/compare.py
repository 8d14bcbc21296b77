"""Partitioners side by side on one graph."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from daskgnn.graph.memory.partitioned import PartitionedGraph
from daskgnn.graph.memory.vertexcut import VertexCutGraph
from daskgnn.partition import PARTITIONERS, check_installed, find_partitioner
from daskgnn.partition.book import default_clusters
from daskgnn.partition.measured import Measured, run_measured
from daskgnn.partition.methods.vertexcut import VERTEX_CUTS, VertexCut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.graph.memory.data import GraphData


COMPARABLE = (*PARTITIONERS, *VERTEX_CUTS)
"""Names that `compare` knows: partitioners, and vertex-cuts."""


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
    """Share of the entries whose ends' masters lie in different parts."""
    halo_share: float
    """Halo nodes over all nodes that the parts hold."""
    replication_factor: float
    """Nodes that the parts hold, own and others', over N; of a vertex-cut, a node is
    held by its master's part and by every part that holds one of its edges, as they
    are stored."""
    node_balance: float
    """Largest part over the mean, in nodes."""
    edge_balance: float
    """In entries; of a vertex-cut, by the part that holds them."""
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
    started: Callable[[str], None] | None = None,
    **traffic: Any,
) -> list[Compared]:
    """Run methods on a graph, each in a process of its own, and measure their cuts.

    Parameters
    ----------
    graph
        The graph; it is not changed and nothing is stored.
    methods
        Names from `COMPARABLE`.
    num_parts
        P, the number of parts that the numbers are for.
    num_clusters
        As for ``graph.partition``.
    started
        Called with the name of each method before it runs.
    traffic
        Of the training whose traffic is estimated: num_neighbors, batch_size, window,
        as of `PartitionedGraph.quality`.

    Raises
    ------
    PartitionError
        If a method is unknown, not installed, or fails; if `num_parts` exceeds the
        clusters; or if the sampling cannot be.
    """
    for method in methods:
        check_method(method)
    count = default_clusters(graph.num_nodes) if num_clusters is None else num_clusters
    found = []
    for method in methods:
        if started is not None:
            started(method)
        run = run_measured(graph, method, count, seed)
        ordered = _ordered(graph, method, run)
        quality = ordered.quality(num_parts, **traffic)
        told: dict[str, Any] = {
            field.name: getattr(source, field.name)
            for source in (quality, run)
            for field in fields(Compared)
            if hasattr(source, field.name)
        }
        found.append(Compared(method, num_clusters=ordered.num_clusters, **told))
    return found


def _ordered(graph: GraphData, method: str, run: Measured) -> PartitionedGraph:
    """Put a graph into the order that a method gave."""
    partitioner = {"method": method}
    if run.holders is None:
        return PartitionedGraph.from_clusters(graph, run.clusters, partitioner)
    cut = VertexCut(run.clusters, run.holders)
    return VertexCutGraph.from_cut(graph, cut, partitioner)


def check_method(method: str) -> None:
    """Raise `PartitionError` unless a method can be compared here."""
    if method not in VERTEX_CUTS:
        find_partitioner(method, COMPARABLE)
        check_installed(method)
