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
NO_TIME = np.iinfo(np.int64).min


def feature_rows(
    columns: Sequence[pa.Array], names: Sequence[str], keys: np.ndarray, width: int = 0
) -> np.ndarray:
    """Return float32 [m, F] of one property of lists or bytes, or of several numbers.

    Parameters
    ----------
    keys
        [m], whose rows they are; at least one.
    width
        F, if it is known.

    Raises
    ------
    GraphFormatError
        If a node has no number, or another count of them, naming it.
    """
    each = width if len(columns) == 1 else 0
    pairs = zip(columns, names, strict=True)
    rows = [_numbers(column, name, keys, each) for column, name in pairs]
    return np.ascontiguousarray(np.concatenate(rows, axis=1))


def _numbers(column: pa.Array, name: str, keys: np.ndarray, width: int) -> np.ndarray:
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
        return _table(values.view(np.float32), lengths // 4, name, keys, width)
    if pa.types.is_list(kind):
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        values = column.flatten().to_numpy(zero_copy_only=False)
        return _table(values.astype(np.float32), lengths, name, keys, width)
    raise GraphFormatError(
        f"{name!r} is of type {kind}, expected numbers, lists of numbers, or float32 "
        "numbers as bytes"
    )


def _table(
    values: np.ndarray, lengths: np.ndarray, name: str, keys: np.ndarray, width: int
) -> np.ndarray:
    """Return rows of one length, or refuse the first that has another one."""
    expected = width or int(lengths[0])
    if (lengths != expected).any():
        place = int(np.argmax(lengths != expected))
        raise GraphFormatError(
            f"{name!r} of node {keys[place]} has length {lengths[place]}, expected "
            f"{expected}, as others have: features are of one length"
        )
    return values.reshape(len(lengths), expected)


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


def times_of(column: pa.Array) -> np.ndarray:
    """Return times as int64 [m], `NO_TIME` where there is none.

    Dates are days since 1970, timestamps are in the unit of their column.
    """
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_temporal(kind)):
        raise GraphFormatError(
            f"times are of type {kind}, expected whole numbers, dates or timestamps"
        )
    if pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    filled = pc.fill_null(column.cast(pa.int64()), NO_TIME)
    return np.array(filled.to_numpy(zero_copy_only=False), np.int64)


def split_by_time(column: pa.Array, bounds: Sequence[int | None]) -> np.ndarray:
    """Return the place in `SPLITS` of each node by its time, -1 without one.

    Parameters
    ----------
    bounds
        The first time of "val", and that of "test".
    """
    times = times_of(column)
    found = np.searchsorted(np.array(bounds, np.int64), times, "right")
    found[times == NO_TIME] = -1
    return found


def split_of(column: pa.Array) -> np.ndarray:
    """Return the place in `SPLITS` of each node's word, -1 where it is none."""
    return label_numbers(column, SPLITS)
