"""Graph files: plain ``.npz`` archives without pickles."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import DatasetError, GraphFormatError
from daskgnn.graph.edges import convert
from daskgnn.graph.edges.inputfiles import BROKEN, readable
from daskgnn.graph.edges.rounding import warn_of_rounding
from daskgnn.graph.edges.splits import split_arrays
from daskgnn.graph.memory.checks import SPLITS, is_symmetric
from daskgnn.graph.memory.data import GraphData
from daskgnn.graph.readers.names import given_node_ids, named_labels
from daskgnn.graph.readers.spellings import Archive
from daskgnn.paths import given_path

if TYPE_CHECKING:
    from collections.abc import Iterator

BROKEN_ARCHIVE = (
    *BROKEN,
    *(ValueError, KeyError, AttributeError, TypeError),
    *(NotImplementedError, zipfile.BadZipFile),
)
"""What a damaged archive of arrays raises while it is read."""


def read_npz(path: str | Path, **options: Any) -> GraphData:
    """Read a graph file of daskgnn: an ``.npz`` archive without pickles.

    It has the arrays ``indptr`` int64 [N+1] and ``indices`` [E], the CSR of an
    undirected graph, and optionally ``labels`` [N]; ``features`` [N, F], or
    ``feat_indptr``, ``feat_indices``, ``feat_data`` and ``feat_shape``, their CSR;
    ``edge_weight`` [E]; ``train_mask``, ``val_mask`` and ``test_mask`` [N], or [k, N]
    for k splits; and ``node_ids`` [N] and ``class_names`` [C]. Other usual names
    (``x``, ``y``, ``train_masks``, ...) are known as well; arrays that are not used are
    named in a warning. `read_numpy` reads edge lists in ``.npy`` and ``.npz`` files.

    Parameters
    ----------
    path : str or path
        The file.
    **options : dict
        ``name``, by default the name of the file; ``metric``; ``num_classes``;
        ``class_names``; ``split_index``: as of `from_edge_index`.

    Returns
    -------
    GraphData
        The checked graph.

    Raises
    ------
    DatasetError
        If the file is missing or damaged, or lacks an array.
    GraphFormatError
        If its arrays do not describe an undirected graph.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import daskgnn
    >>> path = os.path.join(tempfile.mkdtemp(), "path.npz")
    >>> np.savez(path, indptr=[0, 1, 3, 4], indices=[1, 0, 2, 1], labels=[0, 0, 1])
    >>> daskgnn.read_npz(path)
    GraphData('path', 3 nodes, 4 edges, 0 features, 2 classes)
    """
    path = Path(given_path(path))
    if not path.is_file():
        raise DatasetError(f"no file {path}: give the path of an .npz graph file")
    arrays = load_npz(path)
    missing = {"indptr", "indices"} - arrays.keys()
    if missing:
        raise DatasetError(
            f"{path} has no array {', '.join(sorted(missing))}, expected a graph file "
            f"with indptr and indices: it has {', '.join(sorted(arrays)) or 'none'}"
        )
    name = options.pop("name", path.stem)
    try:
        graph = _from_npz_arrays(arrays, path, name, **options)
    except GraphFormatError as error:
        raise GraphFormatError(f"{path}: {error}") from None
    if not is_symmetric(graph.indptr, graph.indices):
        raise GraphFormatError(
            f"{path}: indices lack the reverse of an edge, expected every edge both "
            f"ways: build the graph with daskgnn.from_edge_index"
        )
    return graph


def load_npz(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz without pickles: those of `names`, or all.

    Raises
    ------
    DatasetError
        If it is missing, damaged or something else.
    """
    with _opened(path) as file:
        return {key: file[key] for key in file.files if key in names or not names}


def npz_names(path: Path) -> set[str]:
    """Return the names of the arrays of an .npz, none of which is read.

    Raises
    ------
    DatasetError
        As for `load_npz`.
    """
    with _opened(path) as file:
        return set(file.files)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an .npz; what damage raises while it is read becomes a `DatasetError`."""
    if not path.is_file():
        raise DatasetError(f"file {path} is missing: get it again")
    with (
        readable(path, "is damaged or not an .npz of plain arrays", BROKEN_ARCHIVE),
        path.open("rb") as stream,
        np.load(stream, allow_pickle=False) as file,
    ):
        yield file


def _from_npz_arrays(
    arrays: dict[str, np.ndarray],
    path: Path,
    name: str,
    *,
    metric: str | None = None,
    num_classes: int | None = None,
    class_names: Any = None,
    split_index: int | None = None,
) -> GraphData:
    archive = Archive(arrays, path)
    kinds = {"indptr": np.int64, "indices": np.int32}
    indptr, indices = (_integers(arrays[key], kind) for key, kind in kinds.items())
    for key in kinds:
        archive.take([key])
    num_nodes, report = len(indptr) - 1, _report(indptr, indices)
    archive.take_option("num_nodes")
    found = archive.take_nodes(num_nodes)
    node_ids, names_given = archive.take_names()
    ids = given_node_ids(node_ids, num_nodes)
    weight = archive.take_option("edge_weight")
    archive.close()
    features = found.get("features")
    matrix = None if features is None else convert.feature_matrix(features, report)
    if weight is not None:
        weight = convert.edge_values(weight, "edge_weight", len(indices), report)
    warn_of_rounding(report, name)
    given = names_given if class_names is None else class_names
    targets, num_classes, names = named_labels(
        found.get("labels"), num_classes, given, ids
    )
    return GraphData(
        indptr,
        indices,
        edge_weight=weight,
        features=matrix,
        labels=targets,
        num_classes=num_classes,
        splits=split_arrays(
            {key: found.get(key) for key in SPLITS}, num_nodes, split_index
        ),
        name=name,
        metric=metric,
        report=report,
        node_ids=ids,
        class_names=names,
    )


def _report(indptr: np.ndarray, indices: np.ndarray) -> dict[str, int]:
    counts = np.diff(indptr)
    damaged = len(counts) == 0 or counts.min() < 0 or counts.sum() != len(indices)
    if damaged:  # GraphData says how
        return {}
    loops = np.repeat(np.arange(len(counts)), counts) == indices
    return {
        "input_edges": len(indices),
        "self_loops_kept": int(np.count_nonzero(loops)),
        "isolated_nodes": int(np.count_nonzero(counts == 0)),
    }


def _integers(array: np.ndarray, dtype: type) -> np.ndarray:
    """Return whole numbers in a type that holds them; what is none as it is."""
    if array.dtype.kind not in "iu" or not array.size:
        return array
    low, high = int(array.min()), int(array.max())
    if low < np.iinfo(dtype).min or high > np.iinfo(dtype).max:
        raise GraphFormatError(
            f"the rows hold {low if low < 0 else high}, expected numbers below "
            f"{np.iinfo(dtype).max + 1}"
        )
    return array.astype(dtype, copy=False)
