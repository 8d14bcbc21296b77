"""Convert users' arrays to numpy arrays of the types the library uses.

Nothing here knows of torch, NetworkX or PyG: their objects are met by what they
can do. Values are judged later, in :mod:`daskgnn.graph.memory.checks`.
N nodes, E edges, F features, C classes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.columns import as_column, is_bool, is_numeric, only_counts
from daskgnn.graph.edges.meaning import Classes, no_class, read_classes
from daskgnn.graph.edges.rounding import to_float32
from daskgnn.values import is_whole

Features: TypeAlias = np.ndarray | Any
"""Dense (N, F), or ``scipy.sparse.csr_array``, which mypy does not know."""

MAX_NODES = 2**31
"""Node ids are stored as int32."""
_SPARSE_IDS = 1 << 24
_RENUMBER = "renumber the nodes 0..N-1 with np.unique(ids, return_inverse=True)"


def as_array(value: Any, name: str) -> np.ndarray:
    """Return ``value`` as a numpy array of numbers or booleans.

    Raises
    ------
    GraphFormatError
        If it holds anything else, or rows of unequal length.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    if np.ma.is_masked(value):
        raise GraphFormatError(
            f"{name} is a masked array with {np.ma.count_masked(value)} values masked, "
            f"expected all of them: pass {name}.filled(...)"
        )
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise GraphFormatError(
            f"{name} cannot be read as an array ({error}): pass a numpy array"
        ) from None
    if array.dtype.kind == "O":
        array = _numbers_of(array, name)
    if array.dtype.kind not in "biuf":
        raise GraphFormatError(
            f"{name} has dtype {array.dtype}, expected numbers",
            python="pass a numeric numpy array",
            shell=f"store {name} as numbers",
        )
    return array


def _numbers_of(array: np.ndarray, name: str) -> np.ndarray:
    """Return objects that are numbers as such, NaN where there is none."""
    column = as_column(array.reshape(-1), name)
    if not is_numeric(column):
        return array
    if column.null_count and is_bool(column.type):
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(array.shape)


def _is_plain(value: Any) -> bool:
    """Tell whether a value is an array of numbers, or becomes one."""
    if hasattr(value, "detach") or isinstance(value, str):
        return True
    if isinstance(value, list | tuple) and any(isinstance(v, str) for v in value):
        return False  # as an array each would be as wide as the longest
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except (TypeError, ValueError, OverflowError):
        return True  # what is wrong is said later


def check_rows_are_counted(value: Any, name: str) -> None:
    """Raise `GraphFormatError` for rows that pandas' index names, other than 0..N-1."""
    index = getattr(value, "index", None)
    if index is None or callable(index) or not hasattr(value, "to_numpy"):
        return
    if not only_counts(index):
        raise GraphFormatError(
            f"{name} has an index other than 0..{len(index) - 1}, which would be "
            f"ignored: pass {name}.to_numpy() if it is in order, or give the ids and "
            "the columns as a table"
        )


def feature_matrix(value: Any, report: dict[str, int] | None = None) -> Features:
    """Return node features as float32: (N, F) dense, or CSR where given sparse.

    The report is told how many lost digits.
    """
    if sp.issparse(value):
        return _canonical(value, report)
    if "sparse" in str(getattr(value, "layout", "")):
        return _canonical(_from_torch_sparse(value), report)
    check_rows_are_counted(value, "features")
    array = as_array(value, "features")
    if array.ndim != 2:
        raise GraphFormatError(
            f"features have shape {array.shape}, expected (N, F)",
            python="pass features.reshape(N, -1)",
            shell="store them with a row per node and a column per feature",
        )
    return _rounded(array, "features", report)


def _rounded(array: np.ndarray, what: str, report: dict[str, int] | None) -> np.ndarray:
    """Return numbers as float32; the report is told how many lost digits."""
    found, lost = to_float32(array)
    if lost and report is not None:
        report[f"{what}_rounded"] = report.get(f"{what}_rounded", 0) + lost
    return found


def _canonical(matrix: Any, report: dict[str, int] | None) -> sp.csr_array:
    if matrix.ndim != 2:
        raise GraphFormatError(
            f"features have shape {matrix.shape}, expected (N, F): pass a 2-D matrix"
        )
    rows = sp.csr_array(matrix)
    if not rows.has_canonical_format:
        rows = rows.copy()  # the user's own matrix stays as it is
        rows.sum_duplicates()
    values = _rounded(rows.data, "features", report)
    return sp.csr_array((values, rows.indices, rows.indptr), shape=rows.shape)


def _from_torch_sparse(tensor: Any) -> sp.coo_array:
    entries = tensor.detach().cpu().to_sparse_coo().coalesce()
    values, indices = np.asarray(entries.values()), np.asarray(entries.indices())
    return sp.coo_array((values, tuple(indices)), shape=tuple(entries.shape))


def label_array(value: Any) -> np.ndarray:
    """Return labels as int64 (N,) with -1, or float32 (N, C) with NaN, for "not given".

    They are read as `label_classes` reads them.
    """
    return label_classes(value).labels


def label_classes(value: Any) -> Classes:
    """Return labels of any kind as classes.

    A column (N, 1) counts as (N,). Two or more columns are independent yes/no
    targets: 1, 0, and NaN or -1 where not given.
    """
    if isinstance(value, Classes):
        return value
    check_rows_are_counted(value, "labels")
    if np.ma.is_masked(value):
        value = _not_given(value)
    if sp.issparse(value):
        value = value.toarray()
    if not _is_plain(value) and getattr(value, "ndim", 1) == 1:
        return read_classes(as_column(value, "labels"))
    array = as_array(value, "labels")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 1:
        return Classes(_class_numbers(array))
    if array.ndim != 2:
        raise GraphFormatError(
            f"labels have shape {array.shape}, expected (N,) classes or (N, C) of 0 "
            "and 1: pass one row per node"
        )
    table = array.astype(np.float32)
    rounded = (table != array) & ~np.isnan(table)
    if rounded.any():
        raise GraphFormatError(
            f"labels hold {array[rounded][0]!s}, expected 0, 1 or NaN in (N, C) "
            "labels: pass class numbers as (N,)"
        )
    table[table == -1] = np.nan
    return Classes(table)


def _not_given(array: Any) -> np.ndarray:
    """Return a masked array of labels with NaN, or None, for what is masked."""
    kind = float if array.dtype.kind in "biuf" else object
    found = np.array(array.data, kind)
    found[np.ma.getmaskarray(array)] = np.nan if kind is float else None
    return found


def _class_numbers(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint64 and (array > np.uint64(2**31)).any():
        raise no_class("labels", array.max())
    if array.dtype.kind != "f":
        return np.ascontiguousarray(array, dtype=np.int64)
    given = ~np.isnan(array)
    values = array[given]
    wrong = values != np.clip(np.floor(values), -(2**31), 2**31)
    if wrong.any():
        node = int(np.flatnonzero(given)[np.argmax(wrong)])
        where = f"(node {node}, dtype {array.dtype})"
        raise no_class("labels", f"{values[wrong][0]:g} {where}")
    labels = np.full(array.shape, -1, dtype=np.int64)
    labels[given] = values.astype(np.int64)
    return labels


def keeps_self_loops(self_loops: Any) -> bool:
    """Return whether self-loops are kept.

    Raises
    ------
    GraphFormatError
        Unless it is "drop" or "keep".
    """
    if self_loops not in ("drop", "keep"):
        raise GraphFormatError(
            f"self_loops is {self_loops!r}, expected 'drop' or 'keep': "
            f"pass self_loops='drop'"
        )
    return bool(self_loops == "keep")


def count_classes(labels: np.ndarray | None, num_classes: int | None) -> int:
    """Return C: as given, else the columns of labels, else the largest class + 1."""
    if num_classes is not None:
        if isinstance(num_classes, bool) or num_classes != int(num_classes):
            raise GraphFormatError(
                f"num_classes is {num_classes!r}, expected an integer"
            )
        return int(num_classes)
    if labels is None:
        return 0
    return labels.shape[1] if labels.ndim == 2 else int(labels.max(initial=-1)) + 1


def edge_values(
    value: Any, name: str, num_edges: int, report: dict[str, int] | None = None
) -> np.ndarray:
    """Return one value or row of values an edge; float64 becomes float32.

    So do whole numbers where they are weights. The report is told how many lost digits.
    """
    check_rows_are_counted(value, name)
    array = as_array(value, name)
    if array.ndim == 0 or len(array) != num_edges:
        raise GraphFormatError(
            f"{name} has shape {array.shape} for {num_edges} edges: "
            f"pass one row per edge, in the order of edge_index"
        )
    weights = name == "edge_weight"
    if array.dtype == np.float64 or weights:
        return _rounded(array, "weights" if weights else "edge_attr", report)
    return array


def edge_array(edge_index: Any) -> np.ndarray:
    """Return ``edge_index`` as an integer array (2, E), or say what is wrong with it.

    Raises
    ------
    GraphFormatError
        For another shape, or ids that are float, NaN or bool.
    """
    edges = as_array(edge_index, "edge_index")
    if edges.ndim != 2 or edges.shape[0] != 2:
        hint = "edge_index.T" if edges.ndim == 2 else "np.stack([source, destination])"
        raise GraphFormatError(
            f"edge_index has shape {edges.shape}, expected (2, E)",
            python=f"pass {hint}",
            shell="store sources and destinations as its two rows",
        )
    if edges.shape[1] == 0:
        return np.empty((2, 0), dtype=np.int64)
    if edges.dtype.kind == "f" and np.isnan(edges).any():
        raise GraphFormatError(
            "edge_index holds NaN, expected integer node ids: drop those edges first"
        )
    if edges.dtype.kind not in "iu":
        raise GraphFormatError(
            f"edge_index has dtype {edges.dtype}, expected integers",
            python="pass edge_index.astype(np.int64)",
            shell="store whole numbers",
        )
    return edges


def check_num_nodes(num_nodes: Any) -> int:
    """Return ``num_nodes`` as an int between 1 and 2**31.

    Raises
    ------
    GraphFormatError
        If it is anything else.
    """
    if not is_whole(num_nodes):
        raise GraphFormatError(
            f"num_nodes is {num_nodes!r}, expected an integer: pass num_nodes=N"
        )
    if num_nodes < 1:
        raise GraphFormatError(
            f"the graph is empty: num_nodes is {num_nodes}, expected at least 1"
        )
    if num_nodes > MAX_NODES:
        raise GraphFormatError(
            f"num_nodes is {num_nodes}, over the limit of 2**31: {_RENUMBER}"
        )
    return int(num_nodes)


def known_num_nodes(
    features: Any, labels: np.ndarray | None, splits: dict[str, Any]
) -> int | None:
    """Return N where features, labels or a mask tell it, else None."""
    for array in (features, labels):
        if array is not None:
            rows = array.shape[0] if hasattr(array, "shape") else len(array)
            return check_num_nodes(rows)
    for name, value in splits.items():
        if value is not None:
            mask = as_array(value, name)
            if mask.dtype.kind == "b" and mask.ndim == 1:
                return check_num_nodes(len(mask))
    return None


def check_ids(edges: np.ndarray, num_nodes: int | None) -> int:
    """Check that ids lie in 0..N-1 and return N: as given, else the largest id + 1.

    Raises
    ------
    GraphFormatError
        For an empty list, or ids that are negative, too large, or over 2**31.
    """
    if edges.shape[1] == 0:
        raise GraphFormatError(
            "the graph is empty: edge_index has no edges, expected at least 1"
        )
    low, high = int(edges.min()), int(edges.max())
    check_range(low, high, num_nodes, "edge_index holds", _RENUMBER)
    if num_nodes is None and high >= max(_SPARSE_IDS, 64 * edges.shape[1]):
        raise GraphFormatError(
            f"edge_index holds node id {high} but only {edges.shape[1]} edges: "
            f"pass num_nodes={high + 1} if it is meant, else {_RENUMBER}"
        )
    return high + 1 if num_nodes is None else num_nodes


def check_range(
    low: int, high: int, num_nodes: int | None, holds: str, remedy: str
) -> None:
    """Raise `GraphFormatError` unless ids from `low` to `high` can be nodes.

    Parameters
    ----------
    holds
        What holds them, like "edges hold".
    remedy
        What to do about ids that are out of range.
    """
    if low < 0:
        raise GraphFormatError(f"{holds} node id {low}, expected 0..N-1: {remedy}")
    if high >= MAX_NODES:
        raise GraphFormatError(
            f"{holds} node id {high}, over the limit of 2**31: {remedy}"
        )
    if num_nodes is not None and high >= num_nodes:
        raise GraphFormatError(
            f"{holds} node id {high}, expected below num_nodes={num_nodes}: "
            f"pass num_nodes={high + 1}, or {remedy}"
        )
