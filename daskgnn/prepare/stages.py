"""From edges that do not fit in memory to a store, in stages that can be resumed.

Edges go to buckets of rows, buckets become CSR rows in files, the rows are mapped and
partitioned, and the store is written from them: what a graph in memory becomes, array
for array. Held are numbers of the nodes, and edges a piece at a time.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from daskgnn.errors import ClusterError, InputError, StoreError
from daskgnn.graph.datasets.synthetic import CHUNK, Synthetic
from daskgnn.graph.edges.assemble import LEAST_LIMIT, limit_bytes, spools_in
from daskgnn.graph.edges.inputfiles import find_files
from daskgnn.graph.memory.data import GraphData
from daskgnn.graph.memory.partitioned import PartitionedGraph
from daskgnn.graph.memory.partitioning import partition_graph
from daskgnn.graph.sources.packed import check_path_everywhere
from daskgnn.graph.store.writer import check_target
from daskgnn.partition.assignment import is_assignment, partitioner_name
from daskgnn.partition.book import default_clusters
from daskgnn.partition.estimate import PREFERRED, check_fits, estimate
from daskgnn.partition.partitioners import (
    AUTO_EDGES,
    check_installed,
    find_partitioner,
    is_installed,
)
from daskgnn.paths import target_path
from daskgnn.prepare.mapper import Mapper
from daskgnn.prepare.rowstage import RowStage, bar, sort_budget
from daskgnn.prepare.storestage import StoreStage
from daskgnn.prepare.workfolder import WorkFolder, load_nodes, save_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PREPARE_LIMIT = "4 GiB"
"""Default memory limit of preparation."""
_NODES = "nodes.joblib"


def prepare(
    source: Any,
    out: str | os.PathLike[str],
    *,
    method: Any = "auto",
    num_clusters: int | None = None,
    seed: int = 0,
    feature_dtype: str = "float32",
    memory_limit: int | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = False,
    tell: Callable[[str], Any] = str,
    client: Any = None,
    **options: Any,
) -> str:
    r"""Make a store of a graph whose edges do not fit in memory.

    This takes about 50 bytes a node, the memory of the partitioner, and edges piece by
    piece; meanwhile edges and rows are in files beside `out`, in all about 16 bytes a
    directed edge. The store equals that of
    ``load_dataset(source).partition(...).save(out)``.

    Parameters
    ----------
    source : str, path, list of them or Synthetic
        Files of a format that is read as a stream of edges, or a
        `daskgnn.graph.datasets.synthetic.Synthetic` graph.
    out : str or path
        Directory of the store; it appears when it is complete.
    method : str, array of int, path or callable, default "auto"
        The partitioner, as of `GraphData.partition`; "auto" selects one that fits in
        `memory_limit`.
    num_clusters : int, optional
        Number of clusters; by default 64, or N // 4 where that is less.
    seed : int, default 0
        Seed of the partitioner.
    feature_dtype : {"float32", "float16", "bfloat16"}, default "float32"
        Type that dense features are rounded to and stored as.
    memory_limit : int or str, optional
        Memory that may be used, with a cluster by all of its threads together: bytes,
        or for instance "8 GiB"; by default 4 GiB.
    overwrite : bool, default False
        Whether to replace a store that exists.
    resume : bool, default False
        Whether to continue a preparation with the same input and options that was
        interrupted, if there is one.
    progress : bool, default False
        Whether to show a progress bar.
    tell : callable, optional
        Called with the name of each stage when it begins.
    client : distributed.Client, optional
        A cluster whose workers sort and store the edges; they must see the directory of
        `out` under the same path. Files are read, and the graph is partitioned, in this
        process. The store is the same.
    **options : dict
        Arguments of `read_edge_list`.

    Returns
    -------
    str
        The absolute path of the store.

    Raises
    ------
    StoreError
        If `out` exists, or was begun with other input or options.
    GraphFormatError
        If the nodes alone do not fit in `memory_limit`; as the readers.
    PartitionError
        If the partitioner does not fit in it.
    ClusterError
        If a worker does not see the directory of `out`.

    Examples
    --------
    >>> import os, tempfile
    >>> import daskgnn
    >>> from daskgnn.prepare import prepare
    >>> folder = tempfile.mkdtemp()
    >>> edges = os.path.join(folder, "edges.txt")
    >>> with open(edges, "w") as file:
    ...     file.writelines(f"{i} {(i + 1) % 50}\n" for i in range(50))
    >>> store = prepare(edges, os.path.join(folder, "ring.zarr"), method="range")
    >>> daskgnn.open_graph(store)
    Graph('edges', 50 nodes, 100 edges, 0 features, 0 classes, 1 of at most 12 parts)
    """
    target = target_path(out)
    check_target(target, overwrite or resume)
    limit = limit_bytes(PREPARE_LIMIT if memory_limit is None else memory_limit)
    mapper = Mapper(client)
    if isinstance(source, Synthetic):
        sort_budget(source.num_nodes, limit, mapper.slots)
    content = {
        "input": _describe(source),
        "reader options": {name: _plain(value) for name, value in options.items()},
        "memory limit": limit,
        "method": _plain(method),
        "num clusters": num_clusters,
        "seed": seed,
        "feature dtype": feature_dtype,
        "place of work": "here" if client is None else "a cluster",
    }
    folder = WorkFolder(target, content, resume)
    stage = RowStage(folder, limit, mapper, progress, tell)
    with _left_in_order(folder, target):
        # What was not there at first is ours: the last run ended after placing it.
        placed = "placing" in folder.state and os.path.lexists(target)
        if overwrite or not placed:
            check_target(target, overwrite)
            _check_folder(folder, client)
            data = _graph(stage, source, options)
            ordered = _ordered(stage, data, method, num_clusters, seed)
            folder.save(placing=True)
            _write(stage, ordered, target, overwrite, feature_dtype)
        folder.remove()
    return target


@contextmanager
def _left_in_order(folder: WorkFolder, target: str) -> Iterator[None]:
    """Let go of a work folder at the end; remove it where the input was wrong."""
    try:
        yield
    except InputError as error:
        if not isinstance(error, StoreError | ClusterError):
            folder.remove()
        raise
    except OSError as error:
        raise StoreError(
            f"{target!r} cannot be prepared ({error.strerror or error}): free some "
            "space and continue with resume"
        ) from error
    finally:
        folder.close()


def _write(
    stage: RowStage,
    ordered: PartitionedGraph,
    target: str,
    overwrite: bool,
    feature_dtype: str,
) -> None:
    """Write the rows, in order, to the store."""
    stage.tell("rows to the store")
    folder = stage.folder.path
    with bar("rows to the store", ordered.nbytes, stage.shown) as told:
        fill = None
        if stage.mapper.client is not None:
            store = StoreStage(folder, stage.mapper)
            ordered = store.counted(ordered)
            fill = store.fill(ordered, feature_dtype)
        where = folder / f"store-{uuid4().hex}"
        ordered.save(target, overwrite, feature_dtype, where, told.update, fill)


def _check_folder(folder: WorkFolder, client: Any) -> None:
    """Make sure that every worker sees a work folder.

    A name that nobody has used tells it from another folder at the same path.
    """
    probe = folder.path / f"probe-{uuid4().hex}"
    probe.touch()
    try:
        check_path_everywhere(client, str(probe), "OUT")
    except ClusterError:
        if len(folder.state) == 1:  # what was begun, and nothing that was done
            folder.remove()
        raise
    finally:
        probe.unlink(missing_ok=True)


def _describe(source: Any) -> Any:
    """Return what tells one input from another."""
    if isinstance(source, Synthetic):
        return asdict(source)
    found = [(str(path.resolve()), path.stat()) for path in find_files(source)]
    return [[name, about.st_size, about.st_mtime_ns] for name, about in found]


def _plain(value: Any) -> Any:
    """Return an option as something for JSON that differs where it does."""
    if hasattr(value, "shape"):
        digest = hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()
        return [str(value.dtype), list(value.shape), digest]
    if callable(value):
        return partitioner_name(value)
    return value if isinstance(value, int | str | float | list | None) else str(value)


def _graph(stage: RowStage, source: Any, options: dict[str, Any]) -> GraphData:
    """Return the graph with its rows in files; what is done already is not redone."""
    folder = stage.folder
    if "nodes" not in folder.state:
        stage.tell("read edges")
        if isinstance(source, Synthetic):
            found = _draw(source, stage)
        else:
            with spools_in(folder.path):
                found = _read(source, stage, options)
        save_nodes(folder.path / _NODES, found)
        folder.save(nodes=True)
    indptr, indices, weights = stage.files().arrays()
    nodes = load_nodes(folder.path / _NODES)
    return GraphData(indptr, indices, edge_weight=weights, **nodes)


def _read(path: Any, stage: RowStage, options: dict[str, Any]) -> GraphData:
    """Read a file as a stream of edges."""
    from daskgnn.graph.readers.open_file import read_graph

    limit = max(stage.limit // 4, LEAST_LIMIT)
    options = {**options, "memory_limit": limit, "build_rows": stage}
    return read_graph(path, progress=stage.shown, **options)


def _draw(source: Synthetic, stage: RowStage) -> GraphData:
    """Draw a synthetic graph; its labels go to a file."""
    rows, _ = stage(source, source.num_nodes, directed=False, keep_self_loops=False)
    path = stage.folder.path / "drawn-labels.npy"
    labels = np.lib.format.open_memmap(path, "w+", np.int64, (source.num_nodes,))
    for start in range(0, source.num_nodes, CHUNK):
        ids = np.arange(start, min(start + CHUNK, source.num_nodes))
        labels[start : start + len(ids)] = source.classes(ids)
    return GraphData(
        rows.indptr,
        rows.indices,
        features=source.features(),
        labels=labels,
        num_classes=source.num_classes,
        splits=source.splits(),
        name=source.kind,
        metric="accuracy",
        report=rows.report,
    )


def _ordered(
    stage: RowStage, data: GraphData, method: Any, num_clusters: int | None, seed: int
) -> PartitionedGraph:
    """Partition the graph, or read how it was."""
    stage.tell("partition")
    folder = stage.folder
    names = ("original_ids", "cluster_bounds", "cluster_names")
    if "partitioner" not in folder.state:
        if num_clusters is None and not is_assignment(method):
            num_clusters = default_clusters(data.num_nodes)
        chosen = fitting_method(method, data.num_nodes, data.num_edges, stage.limit)
        found = partition_graph(data, num_clusters, chosen, seed)
        for name in names:
            np.save(folder.path / f"{name}.npy", getattr(found, name))
        folder.save(partitioner=found.partitioner)
    ids, bounds, numbers = (
        np.load(folder.path / f"{name}.npy", mmap_mode="r") for name in names
    )
    return PartitionedGraph(data, ids, bounds, folder.state["partitioner"], numbers)


def fitting_method(method: Any, num_nodes: int, num_edges: int, limit: int) -> Any:
    """Return what "auto" means in so much memory; others as they are, if they fit.

    Raises
    ------
    PartitionError
        If the method does not fit.
    """
    if is_assignment(method) or callable(method):
        return method
    if method != "auto":
        find_partitioner(method)
        check_installed(method)
        found = estimate(method, num_nodes, num_edges, limit, mapped=True)
        check_fits(found, num_nodes, num_edges, mapped=True)
        return method
    small = ("metis",) if num_edges < AUTO_EDGES else ()
    for name in (*small, *PREFERRED):
        found = estimate(name, num_nodes, num_edges, limit, mapped=True)
        if is_installed(name) and found.fits:
            return name
    return "range"
