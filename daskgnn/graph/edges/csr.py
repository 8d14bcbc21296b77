"""Edge lists to CSR rows, by sorting 64-bit keys: vectorised at any size.

An edge (source, destination) is the key ``destination << bits | source``; sorted
keys are rows in order, and equal keys are repeats. N nodes, E edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.convert import as_array

MAX_NODES = 2**31
"""Node ids are stored as int32."""
_SPARSE_IDS = 1 << 24
_RENUMBER = "renumber the nodes 0..N-1 with np.unique(ids, return_inverse=True)"


@dataclass(frozen=True)
class CSRRows:
    """CSR rows (row = destination, columns = its sources) and what was dropped."""

    indptr: np.ndarray
    """int64 [N+1]."""
    indices: np.ndarray
    """int32 [E], each row sorted, without repeats."""
    positions: np.ndarray | None
    """int64 [E], the input edge each entry came from; None if not asked for."""
    report: dict[str, int]
    """Counts of input edges, dropped ones, and nodes without an edge."""


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
            f"edge_index has shape {edges.shape}, expected (2, E): pass {hint}"
        )
    if edges.shape[1] == 0:
        return np.empty((2, 0), dtype=np.int64)
    if edges.dtype.kind == "f" and np.isnan(edges).any():
        raise GraphFormatError(
            "edge_index holds NaN, expected integer node ids: drop those edges first"
        )
    if edges.dtype.kind not in "iu":
        raise GraphFormatError(
            f"edge_index has dtype {edges.dtype}, expected integers: "
            f"pass edge_index.astype(np.int64)"
        )
    return edges


def check_num_nodes(num_nodes: Any) -> int:
    """Return ``num_nodes`` as an int between 1 and 2**31.

    Raises
    ------
    GraphFormatError
        If it is anything else.
    """
    if isinstance(num_nodes, bool) or not isinstance(num_nodes, int | np.integer):
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
            return check_num_nodes(array.shape[0])
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
