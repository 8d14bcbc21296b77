"""Checks of a graph's arrays, with a one-line error for each.

N nodes, E entries, F features, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from daskgnn.errors import GraphFormatError
from daskgnn.graph.memory.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from daskgnn.graph.edges.convert import Features

SPLITS = ("train", "val", "test")
_BLOCK = 1 << 24
_UNNAMED = Origin()


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
            f"row {row} of indices is not sorted or repeats a neighbour",
            python="build the graph with from_edge_index or from_scipy",
            shell="store the edges as edge_index",
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


def _first_bad_place(array: np.ndarray) -> tuple[int, ...] | None:
    """Return where the first NaN or Inf is, looking at one block at a time."""
    step = max(1, _BLOCK // max(1, int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), step):
        finite = np.isfinite(array[start : start + step])
        if not finite.all():
            row, *columns = (int(i) for i in np.argwhere(~finite)[0])
            return (start + row, *columns)
    return None


def _not_finite(value: np.floating) -> str:
    """Return what a message calls a number that is not finite."""
    return "NaN" if np.isnan(value) else "Inf, or a number too large for float32"


def check_features(
    features: Features, num_nodes: int, origin: Origin = _UNNAMED
) -> None:
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
    if hasattr(features, "rows") and not sp.issparse(features):
        return  # rows that are made, or read, when somebody asks for them
    values = features if isinstance(features, np.ndarray) else features.data
    place = _first_bad_place(values)
    if place is None:
        return
    bad = values[place]
    if not isinstance(features, np.ndarray):
        entry = place[0]
        row = int(np.searchsorted(features.indptr, entry, side="right")) - 1
        place = row, int(features.indices[entry])
    row, column = place
    raise GraphFormatError(
        f"features of {origin.node(row)} hold {_not_finite(bad)} "
        f"({origin.feature(column)}), expected finite float32",
        python=origin.remedy or "pass np.nan_to_num(features)",
        shell=origin.remedy or "store finite numbers",
    )


def check_edge_values(
    weight: np.ndarray | None,
    attributes: dict[str, np.ndarray],
    rows: tuple[np.ndarray, np.ndarray],
    origin: Origin = _UNNAMED,
) -> None:
    """Check edge weights (finite, not negative) and attributes (one row an entry).

    Raises
    ------
    GraphFormatError
        If they do not fit.
    """
    num_edges = len(rows[1])
    named = attributes if weight is None else {"edge_weight": weight} | attributes
    for name, values in named.items():
        if values.ndim == 0 or len(values) != num_edges:
            raise GraphFormatError(
                f"{name} has shape {values.shape}, "
                f"expected {num_edges} rows, one an edge"
            )
        place = _first_bad_place(values) if values.dtype.kind == "f" else None
        if place is not None:
            raise GraphFormatError(
                f"{name} holds {_not_finite(values[place])} "
                f"({_edge(place[0], rows, origin)}), expected finite numbers"
            )
    if weight is None:
        return
    if weight.ndim != 1 or weight.dtype != np.float32:
        raise GraphFormatError(
            f"edge_weight has shape {weight.shape} and dtype {weight.dtype}, "
            f"expected (E,) float32: give more than one value an edge as edge_attr"
        )
    if num_edges and weight.min() < 0:
        edge = _edge(int(weight.argmin()), rows, origin)
        raise GraphFormatError(
            f"edge_weight holds {weight.min()} ({edge}), expected numbers >= 0",
            python="give signed values as edge_attr",
            shell="store weights that are not negative",
        )


def _edge(entry: int, rows: tuple[np.ndarray, np.ndarray], origin: Origin) -> str:
    """Return an edge as the user calls it: ``the edge from 'a' to 'b'``."""
    indptr, indices = rows
    end = int(np.searchsorted(indptr, entry, side="right")) - 1
    return f"the edge from {origin.shown(int(indices[entry]))} to {origin.shown(end)}"


def check_labels(
    labels: np.ndarray, num_nodes: int, num_classes: int, origin: Origin = _UNNAMED
) -> None:
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
        _check_classes(labels, num_classes, origin)
        return
    if labels.shape[1] != num_classes:
        raise GraphFormatError(
            f"labels have {labels.shape[1]} columns but num_classes={num_classes}: "
            f"pass num_classes={labels.shape[1]}"
        )
    good = (labels == 0) | (labels == 1) | np.isnan(labels)
    if not good.all():
        row, column = (int(i) for i in np.argwhere(~good)[0])
        raise GraphFormatError(
            f"labels hold {labels[row, column]}, expected 0, 1 or NaN in (N, C) labels "
            f"({origin.node(row)}, column {column}): pass class numbers as (N,)"
        )


def check_node_ids(node_ids: np.ndarray, num_nodes: int) -> None:
    """Check that there is one id a node, int64 or text.

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
            f"expected ({num_nodes},) int64 or text"
        )


def check_class_names(names: Sequence[str], num_classes: int) -> None:
    """Check that every class has a name of its own.

    Raises
    ------
    GraphFormatError
        If one lacks a name, or two have the same.
    """
    if len(names) != num_classes or len(set(names)) < len(names):
        raise GraphFormatError(
            f"class_names are {len(set(names))} different names, expected one for each "
            f"of {num_classes} classes"
        )


def _check_classes(labels: np.ndarray, num_classes: int, origin: Origin) -> None:
    if labels.dtype != np.int64:
        raise GraphFormatError(f"labels have dtype {labels.dtype}, expected int64")
    low, high = int(labels.min()), int(labels.max())
    if low < -1 or high >= num_classes:
        bad = low if low < -1 else high
        node = origin.node(int(np.argmax(labels == bad)))
        raise GraphFormatError(
            f"labels hold {bad}, expected 0..{num_classes - 1}, or -1 for not given "
            f"({node}): check num_classes={num_classes}"
        )


def check_splits(
    splits: Mapping[str, np.ndarray],
    labels: np.ndarray | None,
    num_nodes: int,
    origin: Origin = _UNNAMED,
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
                f"splits {other} and {name} overlap: both hold "
                f"{origin.node(taken[0])}, expected each node in one split at most"
            )
        owner[ids] = list(splits).index(name) + 1
        if labels is not None:
            _check_given(name, ids, labels, origin)


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


def _check_given(
    name: str, ids: np.ndarray, labels: np.ndarray, origin: Origin
) -> None:
    chosen = labels[ids]
    bad = chosen == -1 if labels.ndim == 1 else np.isnan(chosen).any(axis=1)
    if bad.any():
        node = origin.node(int(ids[bad.argmax()]))
        column = f" in column {origin.labels!r}{origin.of_table}"
        raise GraphFormatError(
            f"split {name} holds {node} whose label is not given"
            f"{column if origin.labels else ' (-1 or NaN)'}: take such nodes out of "
            "the split"
        )
