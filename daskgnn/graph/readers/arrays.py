"""Edges in numpy files, Dask arrays and Dask DataFrames."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from daskgnn.errors import DatasetError, GraphFormatError
from daskgnn.graph.edges.assemble import Spool, limit_bytes
from daskgnn.graph.edges.inputfiles import find_files, readable
from daskgnn.graph.memory.checks import SPLITS
from daskgnn.graph.readers.build import (
    BuildOptions,
    begin,
    build_graph,
    find_columns,
    take_options,
)
from daskgnn.graph.readers.memory import from_scipy
from daskgnn.graph.readers.names import given_node_ids
from daskgnn.graph.readers.npz import BROKEN_ARCHIVE, load_npz, npz_names, read_npz
from daskgnn.graph.readers.parquet import EdgeIds, refuse_index
from daskgnn.graph.readers.spellings import Archive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from daskgnn.graph.memory.data import GraphData

_BROKEN = (ValueError, OSError, EOFError, SyntaxError, TypeError)
"""What a damaged .npy raises while it is read."""


def read_numpy(path: Any, **options: Any) -> GraphData:
    """Read a graph from ``.npy`` or ``.npz`` files.

    An ``.npy`` file holds integers [2, E] or [E, 2] and is memory-mapped, not loaded.
    An ``.npz`` file holds ``edge_index``, or ``source`` and ``destination`` (or ``src``
    and ``dst``, or ``row`` and ``col``), and optionally ``edge_weight``; or a matrix
    written by ``scipy.sparse.save_npz``; or the arrays that `read_npz` reads. Beside
    the edges it may have features, labels and masks under the names that `read_npz`
    knows.

    Parameters
    ----------
    path : str, path or list of them
        One file, a pattern or a list of ``.npy`` files, or one ``.npz`` file.
    **options : dict
        Arguments of `read_edge_list` beyond `header`: `directed`, `nodes`, `labels`,
        ...

    Returns
    -------
    GraphData
        The checked graph.

    Raises
    ------
    DatasetError
        If a file is missing or damaged, or holds none of these.
    GraphFormatError
        If an array has another shape or type; as `from_edge_index`.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import daskgnn
    >>> path = os.path.join(tempfile.mkdtemp(), "edges.npy")
    >>> np.save(path, [[0, 1, 2], [1, 2, 3]])
    >>> daskgnn.read_numpy(path)
    GraphData('edges', 4 nodes, 6 edges, 0 features, 0 classes)
    """
    if find_files(path)[0].suffix.lower() == ".npz":
        return _read_npz(path, options)
    reading = begin(path, options)

    def chunks(file: Path, _: Any) -> Iterator[Any]:
        with readable(file, "is damaged or not an .npy of plain numbers", _BROKEN):
            edges = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
        yield from _slices(edges, reading.limit // 64, file)

    return build_graph(reading.collect(chunks), reading.options)


def _slices(
    edges: np.ndarray, rows: int, where: Any
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield edges of an array (2, E) or (E, 2), some at a time."""
    if edges.ndim != 2 or 2 not in edges.shape or edges.dtype.kind not in "iu":
        raise GraphFormatError(
            f"{where} holds {edges.dtype} {edges.shape}, expected whole numbers (2, E) "
            "or (E, 2)"
        )
    if edges.shape[0] != 2:
        edges = edges.T
    for start in range(0, edges.shape[1], max(rows, 1)):
        part = edges[:, start : start + max(rows, 1)]
        if part.dtype == np.uint64 and part.max(initial=0) >= 2**63:
            raise GraphFormatError(f"{where}: id {part.max()} exceeds 2**63 - 1")
        yield part[0].astype(np.int64), part[1].astype(np.int64)


def _read_npz(given: Any, options: dict[str, Any]) -> GraphData:
    """Read an .npz by the arrays it holds."""
    (path, *more) = find_files(given)
    if more:
        raise DatasetError(f"{given} matches {1 + len(more)} files, expected one .npz")
    names = npz_names(path)
    if {"indptr", "indices"} <= names and "shape" not in names:
        return read_npz(path, **_npz_options(options))
    if "format" not in names:
        return _from_arrays(load_npz(path), path, options)
    with readable(path, "is damaged or not a scipy matrix", BROKEN_ARCHIVE):
        matrix = sp.load_npz(path)
    # A matrix is in memory already, so there is no limit and no progress.
    unused = ("memory_limit", "progress")
    given = {key: value for key, value in options.items() if key not in unused}
    return from_scipy(matrix, **{"name": path.stem, **given})


def _npz_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that an .npz of finished rows takes."""
    used = ("name", "metric", "num_classes", "class_names", "split_index")
    taken = (*used, "memory_limit", "progress")
    for key in options:
        if key not in taken:
            raise GraphFormatError(
                f"an .npz with indptr and indices has no option {key!r}, expected one "
                f"of {', '.join(taken)}: it is already in CSR form"
            )
    return {key: options[key] for key in used if key in options}


def _from_arrays(
    arrays: dict[str, np.ndarray], path: Path, options: dict[str, Any]
) -> GraphData:
    """Build a graph of the arrays of an .npz."""
    build, archive = take_options(options, path.stem), Archive(arrays, path)
    weight = archive.take_option("edge_weight")
    edges = archive.take_edges()
    if edges is None:
        raise DatasetError(
            f"{path} has no array edge_index, nor source and destination, nor "
            f"indptr and indices: it has {', '.join(sorted(arrays)) or 'none'}"
        )
    nodes, known = archive.take_nodes(), archive.take_option("num_nodes")
    if known is not None and known.ndim == 0:
        nodes["num_nodes"] = int(known)
    for option, value in nodes.items():
        if getattr(build, option) is None:
            setattr(build, option, value)
    node_ids, class_names = archive.take_names()
    if build.class_names is None:
        build.class_names = class_names
    archive.close()
    if node_ids is not None:  # they are ids of the nodes 0..N-1
        build.ids = "keep" if build.ids == "auto" else build.ids
        if build.num_nodes is None:
            build.num_nodes = len(node_ids)
    graph = _of_edges(edges, weight, build, path)
    if node_ids is None or graph.node_ids is not None:
        return graph
    return replace(graph, node_ids=given_node_ids(node_ids, graph.num_nodes))


def _of_edges(edges: Any, weight: Any, build: BuildOptions, path: Path) -> GraphData:
    """Build a graph of the edges of an .npz and their weights."""
    if sp.issparse(edges):
        return _from_matrix(edges, build)
    count = edges.size // 2
    if weight is not None and (
        weight.shape != (count,) or weight.dtype.kind not in "iuf"
    ):
        raise GraphFormatError(
            f"{path}: weights are {weight.dtype} {weight.shape}, expected ({count},)"
        )
    spool = Spool(limit_bytes(build.memory_limit), weighted=weight is not None)
    for source, destination in _slices(edges, max(count, 1), path):
        spool.append(source, destination, weight)
    return build_graph(spool, build)


def _from_matrix(matrix: Any, build: BuildOptions) -> GraphData:
    """Build a graph of a matrix whose entry (i, j) is the edge i -> j."""
    names = ["features", "labels", "num_classes", "class_names", *SPLITS]
    names += ["split_index", "directed", "self_loops", "name", "metric"]
    taken = {name: getattr(build, name) for name in names}
    return from_scipy(matrix, **taken)


def from_dask(
    edges: Any,
    *,
    source: str | int = 0,
    destination: str | int = 1,
    weight: str | None = None,
    **options: Any,
) -> GraphData:
    """Build a graph from edges in a Dask array or DataFrame, one partition at a time.

    Partitions are computed by the current Dask scheduler: on the cluster if there is a
    client. Only the edges are collected in this process, within `memory_limit`.

    Parameters
    ----------
    edges : dask.array.Array or dask.dataframe.DataFrame
        Integers [2, E] or [E, 2], or a DataFrame with one row an edge.
    source : str or int, default 0
        Column of the edges' sources, by name or number.
    destination : str or int, default 1
        Column of their destinations.
    weight : str, optional
        Column of their weights.
    **options : dict
        Arguments of `read_edge_list` beyond `header`; `features`, `labels` and the
        splits may be Dask arrays.

    Returns
    -------
    GraphData
        The checked graph.

    Raises
    ------
    GraphFormatError
        If `edges` is something else, or a column is missing; as `from_edge_index`.

    Examples
    --------
    >>> import dask.array as da
    >>> import daskgnn
    >>> edges = da.from_array([[0, 1, 2], [1, 2, 3]], chunks=(2, 2))
    >>> daskgnn.from_dask(edges, num_nodes=5)
    GraphData('graph', 5 nodes, 6 edges, 0 features, 0 classes)
    """
    for name in ("features", "labels", *SPLITS):
        if hasattr(options.get(name), "dask"):
            options[name] = options[name].compute()
    build = take_options(options, "graph")
    spool = Spool(limit_bytes(build.memory_limit), weighted=weight is not None)
    ids = EdgeIds()
    if hasattr(edges, "columns"):
        places = (source, destination, weight)
        if edges.index.name is not None:
            refuse_index([edges.index.name], places, "the DataFrame")
            edges = edges.reset_index()
        names = list(edges.columns)
        wanted = [names[i] for i in find_columns(names, places, "the DataFrame")]
        first = 0
        for part in edges[wanted].partitions:
            frame = part.compute()
            columns = {name: frame[name] for name in wanted}
            spool.append(*ids.read(columns, "the DataFrame", first))
            first += len(frame)
    else:
        for ends in _dask_slices(edges):
            spool.append(*ends)
    return build_graph(spool, build, ids.words)


def _dask_slices(edges: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield a Dask array's edges, a chunk at a time."""
    if not hasattr(edges, "dask") or getattr(edges, "ndim", 0) != 2:
        raise GraphFormatError(
            f"from_dask got {type(edges).__name__}, expected a Dask array (2, E) or "
            "(E, 2), or a Dask DataFrame: use from_edge_index for numpy's"
        )
    if edges.shape[0] != 2:
        edges = edges.T
    edges = edges.rechunk({0: -1})
    for part in range(edges.numblocks[1]):
        block = np.asarray(edges.blocks[0, part].compute())
        yield from _slices(block, max(block.shape[1], 1), "edges")
