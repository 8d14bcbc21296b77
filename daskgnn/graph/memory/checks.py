"""Checks of a graph's arrays, with a one-line error for each.

N nodes, E entries, F features, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from daskgnn.errors import GraphFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskgnn.graph.edges.convert import Features

SPLITS = ("train", "val", "test")
_BLOCK = 1 << 24


def check_rows(indptr: np.ndarray, indices: np.ndarray) -> int:
    """Check CSR rows and return N.

    Raises
    ------
    GraphFormatError
        For an empty graph, row pointers that fall or do not cover ``indices``, or
        rows that are unsorted, repeat a column or leave 0..N-1.
    """
    _check_pointers(indptr, indices)
    num_nodes = len(indptr) - 1
    if len(indices) == 0:
        raise GraphFormatError("the graph is empty: no edges, expected at least 1")
    # A piece at a time: rows may be in a file, and larger than memory.
    for start in range(0, len(indices), _BLOCK):
        _check_columns(indptr, indices[start : start + _BLOCK + 1], start)
    return num_nodes


def _check_columns(indptr: np.ndarray, columns: np.ndarray, start: int) -> None:
    """Check the entries from `start` on, and the first one after them."""
    num_nodes = len(indptr) - 1
    low, high = int(columns.min()), int(columns.max())
    if low < 0 or high >= num_nodes:
        raise GraphFormatError(
            f"indices hold node id {low if low < 0 else high}, "
            f"expected 0..{num_nodes - 1}"
        )
    falls = columns[1:] <= columns[:-1]
    first, last = np.searchsorted(indptr, (start + 1, start + len(columns)))
    falls[indptr[first:last] - start - 1] = False
    if falls.any():
        at = start + int(falls.argmax())
        row = int(np.searchsorted(indptr, at, side="right")) - 1
        raise GraphFormatError(
            f"row {row} of indices is not sorted or repeats a neighbour: "
            f"build the graph with from_edge_index or from_scipy"
        )


def _check_pointers(indptr: np.ndarray, indices: np.ndarray) -> None:
    for name, array in (("indptr", indptr), ("indices", indices)):
        kinds = (np.int64,) if name == "indptr" else (np.int32, np.int64)
        if array.ndim != 1 or array.dtype not in kinds:
            raise GraphFormatError(
                f"{name} has shape {array.shape} and dtype {array.dtype}, "
                f"expected one dimension of {np.dtype(kinds[0])}"
            )
    if len(indptr) < 2:
        raise GraphFormatError("the graph is empty: indptr names no node")
    falls = indptr[1:] < indptr[:-1]
    if falls.any():
        raise GraphFormatError(
            f"indptr falls after row {int(falls.argmax())}, expected it never to: "
            f"the file or array is damaged"
        )
    if indptr[0] != 0 or indptr[-1] != len(indices):
        raise GraphFormatError(
            f"indptr runs from {indptr[0]} to {indptr[-1]}, "
            f"expected 0 to {len(indices)}, the length of indices"
        )


def is_symmetric(indptr: np.ndarray, indices: np.ndarray) -> bool:
    """Tell whether every entry (i, j) of checked rows has its (j, i)."""
    num_nodes = len(indptr) - 1
    ones = np.ones(len(indices), dtype=np.int8)
    turned = sp.csr_array((ones, indices, indptr), shape=(num_nodes, num_nodes)).tocsc()
    return np.array_equal(turned.indptr, indptr) and np.array_equal(
        turned.indices, indices
    )


def _first_bad_row(array: np.ndarray) -> int | None:
    """Return the first row that holds NaN or Inf, looking at one block at a time."""
    step = max(1, _BLOCK // max(1, int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), step):
        finite = np.isfinite(array[start : start + step])
        if not finite.all():
            return start + int(np.argwhere(~finite)[0, 0])
    return None


def check_features(features: Features, num_nodes: int) -> None:
    """Check that features are (N, F) float32 without NaN or Inf.

    Raises
    ------
    GraphFormatError
        If they are not.
    """
    if features.ndim != 2 or features.dtype != np.float32:
        raise GraphFormatError(
            f"features have shape {features.shape} and dtype {features.dtype}, "
            f"expected (N, F) float32"
        )
    if features.shape[0] != num_nodes:
        raise GraphFormatError(
            f"features have {features.shape[0]} rows, expected {num_nodes}, one a node"
        )
    if not isinstance(features, np.ndarray) and not sp.issparse(features):
        return  # rows that are made, or read, when somebody asks for them
    values = features if isinstance(features, np.ndarray) else features.data
    row = _first_bad_row(values)
    if row is not None:
        if not isinstance(features, np.ndarray):
            row = int(np.searchsorted(features.indptr, row, side="right")) - 1
        raise GraphFormatError(
            f"features of node {row} hold NaN or Inf, expected finite float32: "
            f"pass np.nan_to_num(features)"
        )


def check_edge_values(
    weight: np.ndarray | None, attributes: dict[str, np.ndarray], num_edges: int
) -> None:
    """Check edge weights (finite, not negative) and attributes (one row an entry).

    Raises
    ------
    GraphFormatError
        If they do not fit.
    """
    named = attributes if weight is None else {"edge_weight": weight} | attributes
    for name, values in named.items():
        if values.ndim == 0 or len(values) != num_edges:
            raise GraphFormatError(
                f"{name} has shape {values.shape}, "
                f"expected {num_edges} rows, one an edge"
            )
        if values.dtype.kind == "f" and _first_bad_row(values) is not None:
            raise GraphFormatError(f"{name} holds NaN or Inf, expected finite numbers")
    if weight is None:
        return
    if weight.ndim != 1 or weight.dtype != np.float32:
        raise GraphFormatError(
            f"edge_weight has shape {weight.shape} and dtype {weight.dtype}, "
            f"expected (E,) float32: give more than one value an edge as edge_attr"
        )
    if num_edges and weight.min() < 0:
        raise GraphFormatError(
            f"edge_weight holds {weight.min()}, expected numbers >= 0: "
            f"give signed values as edge_attr"
        )


def check_labels(labels: np.ndarray, num_nodes: int, num_classes: int) -> None:
    """Check int64 (N,) classes with -1, or float32 (N, C) of 0, 1 and NaN.

    Raises
    ------
    GraphFormatError
        If they are something else.
    """
    if labels.ndim not in (1, 2) or len(labels) != num_nodes:
        raise GraphFormatError(
            f"labels have shape {labels.shape}, expected {num_nodes} rows, one a node"
        )
    if labels.ndim == 1:
        _check_classes(labels, num_classes)
        return
    if labels.shape[1] != num_classes:
        raise GraphFormatError(
            f"labels have {labels.shape[1]} columns but num_classes={num_classes}: "
            f"pass num_classes={labels.shape[1]}"
        )
    good = (labels == 0) | (labels == 1) | np.isnan(labels)
    if not good.all():
        raise GraphFormatError(
            f"labels hold {labels[~good][0]}, expected 0, 1 or NaN in (N, C) labels: "
            f"pass class numbers as (N,)"
        )


def check_node_ids(node_ids: np.ndarray, num_nodes: int) -> None:
    """Check that there is one id a node, int64 or str.

    Raises
    ------
    GraphFormatError
        If they are something else.
    """
    if node_ids.shape != (num_nodes,) or (
        node_ids.dtype != np.int64 and node_ids.dtype.kind not in "UT"
    ):
        raise GraphFormatError(
            f"node_ids have shape {node_ids.shape} and dtype {node_ids.dtype}, "
            f"expected ({num_nodes},) int64 or str"
        )


def _check_classes(labels: np.ndarray, num_classes: int) -> None:
    if labels.dtype != np.int64:
        raise GraphFormatError(f"labels have dtype {labels.dtype}, expected int64")
    low, high = int(labels.min()), int(labels.max())
    if low < -1 or high >= num_classes:
        raise GraphFormatError(
            f"labels hold {low if low < -1 else high}, expected 0..{num_classes - 1}, "
            f"or -1 for not given: check num_classes={num_classes}"
        )


def check_splits(
    splits: Mapping[str, np.ndarray], labels: np.ndarray | None, num_nodes: int
) -> None:
    """Check that splits are sorted ids in 0..N-1, disjoint, not empty and labelled.

    Raises
    ------
    GraphFormatError
        If they are not.
    """
    owner = np.zeros(num_nodes, dtype=np.int8)
    for name, ids in splits.items():
        _check_split(name, ids, num_nodes)
        taken = ids[owner[ids] > 0]
        if len(taken):
            other = list(splits)[owner[taken[0]] - 1]
            raise GraphFormatError(
                f"splits {other} and {name} overlap: both hold node {taken[0]}, "
                f"expected each node in one split at most"
            )
        owner[ids] = list(splits).index(name) + 1
        if labels is not None:
            _check_given(name, ids, labels)


def _check_split(name: str, ids: np.ndarray, num_nodes: int) -> None:
    if name not in SPLITS:
        raise GraphFormatError(
            f"split {name!r} is unknown, expected train, val or test"
        )
    if len(ids) == 0:
        raise GraphFormatError(
            f"split {name} is empty, expected at least one node: leave {name} out"
        )
    if ids.ndim != 1 or ids.dtype != np.int64 or (ids[1:] <= ids[:-1]).any():
        raise GraphFormatError(
            f"split {name} is not sorted unique int64: pass np.unique(ids)"
        )
    if ids[0] < 0 or ids[-1] >= num_nodes:
        raise GraphFormatError(
            f"split {name} holds node {ids[0] if ids[0] < 0 else ids[-1]}, "
            f"expected 0..{num_nodes - 1}"
        )


def _check_given(name: str, ids: np.ndarray, labels: np.ndarray) -> None:
    chosen = labels[ids]
    bad = chosen == -1 if labels.ndim == 1 else np.isnan(chosen).any(axis=1)
    if bad.any():
        raise GraphFormatError(
            f"split {name} holds node {ids[bad.argmax()]} whose label is not given "
            f"(-1 or NaN): take such nodes out of the split"
        )
