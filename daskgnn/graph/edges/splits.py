"""Splits as users give them: masks, one or several, or node ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.columns import as_column, is_bool, mask_of
from daskgnn.graph.edges.convert import as_array, check_rows_are_counted


def split_ids(value: Any, name: str, num_nodes: int) -> np.ndarray:
    """Return a split, given as a bool mask (N,) or as node ids, as sorted int64 ids.

    Raises
    ------
    GraphFormatError
        For a mask of another length, ids that are not integers, or repeated ids.
    """
    array = as_array(_without_nulls(value, name), name)
    if array.dtype.kind == "b":
        check_rows_are_counted(value, name)
        if array.shape != (num_nodes,):
            raise GraphFormatError(
                f"{name} mask has shape {array.shape}, expected ({num_nodes},): "
                f"pass one bool per node, or node ids"
            )
        return np.flatnonzero(array).astype(np.int64)
    if array.ndim != 1:
        raise GraphFormatError(
            f"{name} has shape {array.shape}, expected ids (n,) or a mask "
            f"({num_nodes},): pass one column"
        )
    if array.dtype.kind == "f" and array.size:
        raise GraphFormatError(
            f"{name} has dtype {array.dtype}, expected integer ids or a bool mask",
            python=f"pass {name}.astype(np.int64)",
            shell=f"store {name} so",
        )
    if array.dtype == np.uint64 and array.max(initial=0) > np.uint64(2**63 - 1):
        raise GraphFormatError(
            f"{name} holds node {array.max()}, expected 0..{num_nodes - 1}"
        )
    ids = np.sort(array.astype(np.int64))
    twice = np.flatnonzero(ids[1:] == ids[:-1])
    if len(twice):
        raise GraphFormatError(
            f"{name} names node {ids[twice[0]]} twice",
            python=f"pass np.unique({name}), or for a mask {name}.astype(bool)",
            shell=f"store each node once, or for a mask {name} as true and false",
        )
    return ids


def _without_nulls(value: Any, name: str) -> Any:
    """Return a mask whose nulls are false; what is no mask with nulls as it is."""
    if str(getattr(value, "dtype", "")) not in ("object", "boolean", "bool[pyarrow]"):
        return value
    if np.ndim(value) != 1:
        return value
    column = as_column(value, name)
    if not is_bool(column.type):
        return value
    check_rows_are_counted(value, name)
    return mask_of(pc.fill_null(column, False))


def _one_split(value: Any, name: str, num_nodes: int, chosen: int | None) -> Any:
    """Return the mask [N] that is chosen of several; what is no such mask as it is.

    Raises
    ------
    GraphFormatError
        If none is chosen, or there is none of that number.
    """
    array = as_array(_without_nulls(value, name), name)
    if array.dtype.kind != "b" or array.ndim != 2 or num_nodes not in array.shape:
        return value
    masks = array.T if array.shape[0] == num_nodes else array
    if chosen is None and len(masks) == 1:
        chosen = 0
    if chosen is None or not 0 <= chosen < len(masks):
        said = "" if chosen is None else f"split_index is {chosen}, but "
        raise GraphFormatError(
            f"{said}{name} mask has shape {array.shape}, that is {len(masks)} splits",
            python=f"pass split_index=0 to {len(masks) - 1}",
            shell="store the graph with daskgnn partition and --split-index 0 to "
            f"{len(masks) - 1}",
        )
    return masks[chosen]


def split_arrays(
    given: dict[str, Any], num_nodes: int, split_index: int | None = None
) -> dict[str, np.ndarray]:
    """Return the splits that are given (not None), as by :func:`split_ids`.

    Of a mask that holds several splits, [N, k] or [k, N], one is taken.
    """
    return {
        name: split_ids(
            _one_split(value, name, num_nodes, split_index), name, num_nodes
        )
        for name, value in given.items()
        if value is not None
    }
