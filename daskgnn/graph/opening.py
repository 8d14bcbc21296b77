"""`open_graph`: a graph from a store, from memory or from a source of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError
from daskgnn.graph.databases.schemes import open_source, scheme_of
from daskgnn.graph.datasets.known import is_store
from daskgnn.graph.graph import Graph
from daskgnn.graph.sources.check import check_source
from daskgnn.graph.sources.rows import check_feature_place
from daskgnn.graph.sources.source import GraphSource
from daskgnn.graph.sources.stored import MemorySource, ZarrSource

if TYPE_CHECKING:
    from daskgnn.graph.memory.partitioned import PartitionedGraph


def open_graph(
    graph: str | os.PathLike[str] | GraphSource | PartitionedGraph,
    num_parts: int = 1,
    features: str = "auto",
) -> Graph:
    """Open a stored graph, or a graph from another source, with any number of parts.

    Of a store, only metadata are read, and every chunk is checked to be there with its
    size. Arrays are read, and their checksums compared, when they are computed. Edges
    and dense features of a database are read when training draws them.

    Parameters
    ----------
    graph : str, path, PartitionedGraph or GraphSource
        The path of a store that ``data.partition(...).save(path)`` has written, or its
        address in an object store (``s3://bucket/graph.zarr``, or any that fsspec
        knows); a database that ``daskgnn load`` has filled, such as
        "ladybug:cora.lbug"; what ``data.partition(...)`` returns; or a source of your
        own.
    num_parts : int, default 1
        Number of parts, P: runs of whole clusters, balanced by training nodes and
        edges.
    features : {"auto", "memory", "disk"}, default "auto"
        Where training reads feature rows: from the workers' memory, or from the store's
        files, or the database, when a step needs them. "auto" is "disk" for a source
        whose edges are read on demand, and "memory" for others. Results are the same.

    Returns
    -------
    Graph
        The graph as lazy Dask arrays with one chunk a part.

    Raises
    ------
    StoreError
        If there is no store, an incomplete one, or one of a newer format.
    InputError
        If `graph` is no graph, or features are sparse and are to stay on disk.
    PartitionError
        If `num_parts` is not in 1..num_clusters.

    Examples
    --------
    >>> import daskgnn
    >>> daskgnn.open_graph(daskgnn.load_dataset("karate").partition(8), num_parts=2)
    Graph('karate', 34 nodes, 156 edges, 34 features, 2 classes, 2 of at most 8 parts)
    """
    source = source_of(graph)
    check_source(source)
    source.check()
    return Graph(source, num_parts, check_feature_place(features, source))


def is_stored(place: str | os.PathLike[str]) -> bool:
    """Return whether a command line's GRAPH is a store or a database."""
    return scheme_of(place) is not None or is_store(os.fspath(place))


def source_of(graph: Any) -> GraphSource:
    """Return the source that is meant."""
    kind = graph if isinstance(graph, type) else type(graph)
    if issubclass(kind, GraphSource):  # of a class `check_source` says what is wrong
        return graph
    if isinstance(graph, str | os.PathLike):
        if scheme_of(graph):
            return open_source(os.fspath(graph))
        return ZarrSource(graph)
    if hasattr(graph, "stored_arrays"):
        return MemorySource(graph)
    raise InputError(
        f"open_graph got {type(graph).__name__}, expected the path of a store, a "
        "partitioned graph or a GraphSource: open_graph(graph.partition(), num_parts=2)"
    )
