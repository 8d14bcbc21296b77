"""Properties of nodes as daskgnn has them: features, labels and splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskgnn.errors import GraphFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

SPLITS = ("train", "val", "test")


def feature_rows(
    columns: Sequence[pa.Array], names: Sequence[str], keys: np.ndarray, width: int = 0
) -> np.ndarray:
    """Return float32 [m, F] of one property of lists or bytes, or of several numbers.

    Parameters
    ----------
    keys
        [m], whose rows they are.
    width
        F, if it is known.

    Raises
    ------
    GraphFormatError
        If a node has no number, or another count of them, naming it.
    """
    found = [_numbers(c, n, keys) for c, n in zip(columns, names, strict=True)]
    rows = found[0] if len(found) == 1 else np.concatenate(found, axis=1)
    if width and len(keys) and rows.shape[1] != width:
        raise _unequal(names[0], keys[0], rows.shape[1], width)
    return np.ascontiguousarray(rows.reshape(len(keys), -1 if len(keys) else width))


def _numbers(column: pa.Array, name: str, keys: np.ndarray) -> np.ndarray:
    """Return a property as float32 [m, k]."""
    if column.null_count:
        key = keys[int(np.flatnonzero(column.is_null().to_numpy(False))[0])]
        raise GraphFormatError(
            f"node {key} has no {name!r}, which is a feature: give it a number, or "
            "leave the property out"
        )
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy(zero_copy_only=False).astype(np.float32)[:, None]
    if pa.types.is_fixed_size_list(kind):
        values = column.flatten().to_numpy(zero_copy_only=False)
        return values.astype(np.float32).reshape(len(column), -1)
    if pa.types.is_binary(kind):
        lengths = pc.binary_length(column).to_numpy(zero_copy_only=False)
        values = np.frombuffer(b"".join(column.to_pylist()), np.uint8)
        rows = _table(values, lengths, name, keys)
        return rows.view(np.float32)
    if pa.types.is_list(kind):
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        values = column.flatten().to_numpy(zero_copy_only=False)
        return _table(values.astype(np.float32), lengths, name, keys)
    raise GraphFormatError(
        f"{name!r} is of type {kind}, expected numbers, lists of numbers, or float32 "
        "numbers as bytes"
    )


def _table(
    values: np.ndarray, lengths: np.ndarray, name: str, keys: np.ndarray
) -> np.ndarray:
    """Return rows of one length, or refuse the first that has another one."""
    if len(lengths) and (lengths != lengths[0]).any():
        place = int(np.argmax(lengths != lengths[0]))
        raise _unequal(name, keys[place], lengths[place], lengths[0])
    return values.reshape(len(lengths), -1)


def _unequal(name: str, key: object, found: int, expected: int) -> GraphFormatError:
    return GraphFormatError(
        f"{name!r} of node {key} has length {found}, expected {expected}, as others "
        "have: features are of one length"
    )


def label_numbers(column: pa.Array, classes: Sequence[str] | None) -> np.ndarray:
    """Return labels as int64 [m], -1 where there is none.

    Parameters
    ----------
    classes
        What words stand for; None where labels are numbers.
    """
    if classes is not None:
        column = pc.index_in(column, value_set=pa.array(classes, column.type))
    elif not pa.types.is_integer(column.type):
        raise GraphFormatError(
            f"labels are of type {column.type}, expected whole numbers or words"
        )
    filled = pc.fill_null(column, -1)
    return np.array(filled.to_numpy(zero_copy_only=False), np.int64)


def split_of(column: pa.Array) -> np.ndarray:
    """Return the place in `SPLITS` of each node's word, -1 where it is none."""
    return label_numbers(column, SPLITS)
