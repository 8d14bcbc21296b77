"""Graph files: plain ``.npz`` archives without pickles."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from daskgnn.errors import DatasetError, GraphFormatError
from daskgnn.graph.edges import convert
from daskgnn.graph.edges.rounding import warn_of_rounding
from daskgnn.graph.edges.splits import split_arrays
from daskgnn.graph.memory.checks import SPLITS, is_symmetric
from daskgnn.graph.memory.data import GraphData
from daskgnn.graph.readers.spellings import Archive

BROKEN_ARCHIVE = (
    *(ValueError, OSError, EOFError, KeyError, AttributeError),
    *(NotImplementedError, zipfile.BadZipFile),
)
"""What a damaged archive of arrays raises while it is read."""


def read_npz(path: str | Path, **options: Any) -> GraphData:
    """Read a graph file of daskgnn: an ``.npz`` archive without pickles.

    It has the arrays ``indptr`` int64 [N+1] and ``indices`` [E], the CSR of an
    undirected graph, and optionally ``labels`` [N]; ``features`` [N, F], or
    ``feat_indptr``, ``feat_indices``, ``feat_data`` and ``feat_shape``, their CSR;
    ``edge_weight`` [E]; and ``train_mask``, ``val_mask`` and ``test_mask`` [N], or
    [k, N] for k splits. Other usual names (``x``, ``y``, ``train_masks``, ...) are
    known as well; arrays that are not used are named in a warning. `read_numpy` reads
    edge lists in ``.npy`` and ``.npz`` files.

    Parameters
    ----------
    path : str or path
        The file.
    **options : dict
        ``name``, by default the name of the file; ``metric``; ``num_classes``;
        ``split_index``: as of `from_edge_index`.

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
    path = Path(path)
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


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz without pickles.

    Raises
    ------
    DatasetError
        If it is missing, damaged or something else.
    """
    if not path.is_file():
        raise DatasetError(f"file {path} is missing: get it again")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except BROKEN_ARCHIVE as error:
        raise DatasetError(
            f"{path} is damaged or not an .npz of plain arrays ({error}): "
            f"get the file again"
        ) from None


def _from_npz_arrays(
    arrays: dict[str, np.ndarray],
    path: Path,
    name: str,
    *,
    metric: str | None = None,
    num_classes: int | None = None,
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
    weight = archive.take_option("edge_weight")
    archive.close()
    labels, features = found.get("labels"), found.get("features")
    targets = None if labels is None else convert.label_array(labels)
    matrix = None if features is None else convert.feature_matrix(features, report)
    if weight is not None:
        weight = convert.edge_values(weight, "edge_weight", len(indices), report)
    warn_of_rounding(report, name)
    return GraphData(
        indptr,
        indices,
        edge_weight=weight,
        features=matrix,
        labels=targets,
        num_classes=convert.count_classes(targets, num_classes),
        splits=split_arrays(
            {key: found.get(key) for key in SPLITS}, num_nodes, split_index
        ),
        name=name,
        metric=metric,
        report=report,
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
