"""From edges that do not fit in memory to a store, in stages that can be resumed.

Edges go to buckets of rows, buckets become CSR rows in files, the rows are mapped and
partitioned, and the store is written from them: what a graph in memory becomes, array
for array. Held are numbers of the nodes, and edges a piece at a time.
"""

from __future__ import annotations

import hashlib
import os
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
from daskgnn.graph.sources.everywhere import check_path_everywhere
from daskgnn.graph.store.writer import check_target
from daskgnn.partition import AUTO_EDGES, check_installed, find_partitioner
from daskgnn.partition.assignment import is_assignment, partitioner_name
from daskgnn.partition.book import default_clusters
from daskgnn.partition.estimate import PREFERRED, check_fits, estimate
from daskgnn.prepare.mapper import Mapper
from daskgnn.prepare.rowfiles import RowFiles, RowState
from daskgnn.prepare.rowstage import RowStage, bar, sort_budget
from daskgnn.prepare.storestage import StoreStage
from daskgnn.prepare.workfolder import WorkFolder, load_nodes, save_nodes

if TYPE_CHECKING:
    from collections.abc import Callable

PREPARE_LIMIT = "4 GiB"
"""Default memory limit of preparation."""


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
    """Make a store of a graph whose edges do not fit in memory.

    It holds about 50 bytes a node, what the partitioner takes, and edges a piece at a
    time; edges and rows are in files beside `out` meanwhile, in all about 16 bytes an
    entry. The store is that of ``load_dataset(source).partition(...).save(out)``.

    Parameters
    ----------
    source
        A file or pattern of any format that is read as a stream of edges, or a
        `daskgnn.graph.datasets.synthetic.Synthetic`.
    out
        Where the store goes; it is there when it is complete.
    method, num_clusters, seed
        As of `GraphData.partition`; "auto" takes a method that fits.
    feature_dtype
        As of `PartitionedGraph.save`.
    memory_limit
        Bytes, or like "8 GiB", that preparing may hold, with a cluster all of its
        threads together; 4 GiB if not given.
    overwrite
        Whether to replace a store that is there.
    resume
        Go on with a preparation of the same input and options that was interrupted,
        or begin if there is none.
    progress
        Show a bar with the time left.
    tell
        Called with the name of each stage as it begins.
    client
        A `distributed.Client`: edges are put into buckets, sorted, and stored by tasks
        on its workers, which must see the folder of `out` under the same path. Files
        are read, and the graph is partitioned, in this process. The store is the same.
    options
        As of ``read_edge_list``.

    Returns
    -------
    str
        The absolute path.

    Raises
    ------
    StoreError
        If something is at `out`, or it was begun with other input or options.
    GraphFormatError
        If the nodes alone do not fit in `memory_limit`, or as for the readers.
    PartitionError
        If the method does not fit in it.
    ClusterError
        If a worker does not see the folder of `out`.
    """
    target = os.path.abspath(os.fspath(out))
    check_target(target, overwrite or resume)
    limit = limit_bytes(PREPARE_LIMIT if memory_limit is None else memory_limit)
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
    mapper = None if client is None else Mapper(client)
    if isinstance(source, Synthetic):
        sort_budget(source.num_nodes, limit, 1 if mapper is None else mapper.slots)
    folder = WorkFolder(target, content, resume)
    try:
        if "placing" in folder.state and not overwrite and os.path.lexists(target):
            # The file was put there by a previous run that ended right afterwards.
            folder.remove()
            return target
        check_target(target, overwrite)
        _check_folder(folder, mapper)
        stage = RowStage(folder, limit, mapper, progress, tell)
        data = _graph(folder, source, stage, options)
        tell("partition")
        ordered = _ordered(folder, data, limit, method, num_clusters, seed)
        folder.save(placing=True)
        _write(folder, ordered, stage, target, overwrite, feature_dtype)
        folder.remove()
    except (StoreError, ClusterError):
        raise
    except InputError:
        folder.remove()
        raise
    except OSError as error:
        raise StoreError(
            f"{target!r} cannot be prepared ({error.strerror or error}): free some "
            "space and continue with resume"
        ) from error
    finally:
        folder.close()
    return target


def _write(
    folder: WorkFolder,
    ordered: PartitionedGraph,
    stage: RowStage,
    target: str,
    overwrite: bool,
    feature_dtype: str,
) -> None:
    """Write the rows, in order, to the store."""
    stage.tell("rows to the store")
    with bar("rows to the store", ordered.nbytes, stage.shown) as told:
        fill = None
        if stage.mapper is not None:
            store = StoreStage(folder.path, stage.mapper)
            ordered = store.counted(ordered)
            fill = store.fill(ordered, feature_dtype)
        where = folder.path / f"store-{uuid4().hex}"
        ordered.save(target, overwrite, feature_dtype, where, told.update, fill)


def _check_folder(folder: WorkFolder, mapper: Mapper | None) -> None:
    """Make sure that every worker sees a work folder.

    A name that nobody has used tells it from another folder at the same path.
    """
    if mapper is None:
        return
    probe = folder.path / f"probe-{uuid4().hex}"
    probe.touch()
    try:
        check_path_everywhere(mapper.client, str(probe), "OUT")
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


def _graph(
    folder: WorkFolder, source: Any, stage: RowStage, options: dict[str, Any]
) -> GraphData:
    """Return the graph with its rows in files; what is done already is not redone."""
    if "nodes" not in folder.state:
        stage.tell("read edges")
        if isinstance(source, Synthetic):
            found = _draw(folder, source, stage)
        else:
            with spools_in(folder.path):
                found = _read(source, stage, options)
        folder.save(nodes=save_nodes(folder.path / "nodes", found))
    drawn = source.features() if isinstance(source, Synthetic) else None
    nodes = load_nodes(folder.path / "nodes", folder.state["nodes"], drawn)
    rows = RowState(**folder.state["rows"])
    weighted, count = folder.state["weighted"], folder.state["num_nodes"]
    files = RowFiles(folder.path / "rows", count, weighted, rows)
    indptr, indices, weights = files.arrays()
    return GraphData(indptr, indices, edge_weight=weights, **nodes)


def _read(path: Any, stage: RowStage, options: dict[str, Any]) -> GraphData:
    """Read a file as a stream of edges."""
    from daskgnn.graph.readers.open_file import read_graph

    limit = max(stage.limit // 4, LEAST_LIMIT)
    options = {**options, "memory_limit": limit, "build_rows": stage}
    return read_graph(path, progress=stage.shown, **options)


def _draw(folder: WorkFolder, source: Synthetic, build: RowStage) -> GraphData:
    """Draw a synthetic graph; its labels go to a file."""
    rows, _ = build(source, source.num_nodes, directed=False, keep_self_loops=False)
    path = folder.path / "drawn-labels.npy"
    shape = (source.num_nodes,)
    labels = np.lib.format.open_memmap(path, "w+", np.int64, shape)
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
    folder: WorkFolder,
    data: GraphData,
    limit: int,
    method: Any,
    num_clusters: int | None,
    seed: int,
) -> PartitionedGraph:
    """Partition the graph, or read how it was."""
    names = ("original_ids", "cluster_bounds", "cluster_names")
    if "partitioner" not in folder.state:
        count = (
            default_clusters(data.num_nodes) if num_clusters is None else num_clusters
        )
        chosen = fitting_method(method, data.num_nodes, data.num_edges, limit)
        found = partition_graph(data, count, chosen, seed)
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
        try:
            check_installed(name)
        except InputError:
            continue
        if found.fits:
            return name
    return "range"
