"""Copy a graph as it is stored: into a database, out of it, or to another store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError, StoreError
from daskgnn.graph.databases.content import content_digest
from daskgnn.graph.databases.loading import OWN, load_arrays
from daskgnn.graph.databases.schemes import new_database, scheme_of
from daskgnn.graph.graph import Graph
from daskgnn.graph.opening import source_of
from daskgnn.graph.sources.stored import StoredSource
from daskgnn.graph.store.store import open_store
from daskgnn.graph.store.writer import ArraySource, write_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.graph.memory.partitioned import PartitionedGraph
    from daskgnn.graph.store.store import Arrays

    Told = Callable[[str, int, int], Any]


def copy_graph(
    graph: str | os.PathLike[str] | Graph | PartitionedGraph,
    place: str | os.PathLike[str],
    overwrite: bool = False,
    links: bool = True,
    told: Told = lambda stage, done, total: None,
) -> str:
    """Copy a graph to a store or into a database, a piece at a time.

    Order, clusters, splits and features are kept, so that training gives the same
    parameters from either. What was written is read again and compared. If loading into
    a database is interrupted, the same call continues it.

    Parameters
    ----------
    graph : str, path, Graph or PartitionedGraph
        A store or a database, or what ``data.partition(...)`` returns.
    place : str or path
        Where to: a database such as "ladybug:cora.lbug", or the path of a store.
    overwrite : bool, default False
        Whether to replace a graph that exists there.
    links : bool, default True
        Whether a database gets the edges as relationships, too, for people who query
        them. Training does not read them.
    told : callable, optional
        Called with the stage, and how much of it is done: ``told(stage, done, total)``.

    Returns
    -------
    str
        The place, absolute.

    Raises
    ------
    InputError
        If the graph comes from a source of your own, or is a vertex-cut.
    StoreError
        If something is at the place, it cannot be written, or differs from the graph
        after writing.

    Examples
    --------
    >>> import os, tempfile
    >>> import daskgnn
    >>> folder = tempfile.mkdtemp()
    >>> path = daskgnn.load_dataset("karate").partition(8).save(f"{folder}/k.zarr")
    >>> other = daskgnn.copy_graph(path, f"{folder}/copy.zarr")
    >>> daskgnn.open_graph(other).graph_hash == daskgnn.open_graph(path).graph_hash
    True
    """
    source = graph.source if isinstance(graph, Graph) else source_of(graph)
    if not isinstance(source, StoredSource):
        raise InputError(
            f"copy_graph got a {type(source).__name__}, expected a store, a database "
            "or a partitioned graph: copy_graph(data.partition(), place)"
        )
    if scheme_of(place) is None:
        return _write_store(source.arrays, place, overwrite, told)
    database = new_database(os.fspath(place), overwrite)
    try:
        load_arrays(source.arrays, database, links=links, told=told)
    finally:
        database.close()
    return database.place


def _write_store(
    arrays: Arrays, place: str | os.PathLike[str], overwrite: bool, told: Told
) -> str:
    """Write arrays as a store, and compare."""
    sources = [
        ArraySource(n, a.shape, a.dtype, _rows_of(arrays, n), compress=n != "features")
        for n, a in arrays.arrays.items()
    ]
    total = sum(s.dtype.itemsize * int(np.prod(s.shape, dtype=int)) for s in sources)
    done = 0

    def tell(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        told("writing", done, total)

    attributes = {n: v for n, v in arrays.attributes.items() if n not in OWN}
    path = write_store(place, sources, attributes, overwrite, told=tell)
    expected = arrays.attributes.get("content") or content_digest(arrays)
    if content_digest(open_store(path), told) != expected:
        raise StoreError(
            f"{path} does not hold the graph after writing: something changed it, or "
            "the disk is failing"
        )
    return path


def _rows_of(arrays: Arrays, name: str) -> Callable[[int, int], Any]:
    return lambda start, stop: arrays.read(name, start, stop)
