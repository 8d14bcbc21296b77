"""Columns of users' tables, files and arrays as Arrow arrays of a few types.

They are whole numbers, float64, bool, text, or lists. What pandas takes for missing is
null; bytes are UTF-8; decimals are numbers. What a column means is decided in
`daskgnn.graph.edges.meaning`.
"""

from __future__ import annotations

from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskgnn.errors import GraphFormatError, first_line

LARGEST = 2**63 - 1
_UNREADABLE = (pa.ArrowException, TypeError, ValueError, OverflowError)


def as_column(values: Any, name: str) -> pa.Array:
    """Return values [n] as int64 (uint64 beyond), float64, bool, text, lists or null.

    Other types, like times, stay what they are.

    Raises
    ------
    GraphFormatError
        If bytes are no UTF-8, or the values are no column.
    """
    try:
        if not isinstance(values, pa.Array | pa.ChunkedArray):
            values = _from_objects(values) or pa.array(values, from_pandas=True)
    except _UNREADABLE:
        values = list(values)
    try:
        if isinstance(values, list):
            values = _mixed(values)
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        return _plain(values)
    except _UNREADABLE as error:
        raise GraphFormatError(
            f"{name} cannot be read as a column ({first_line(error)}): expected "
            "numbers, or text in UTF-8"
        ) from None


def _from_objects(values: Any) -> pa.Array | None:
    """Return fixed-width text or bytes of numpy as Arrow has them."""
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    return pa.array(values.tolist()) if kind in ("U", "T", "S") else None


def _plain(column: pa.Array) -> pa.Array:
    """Return a column in one of the few types."""
    kind, types = column.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(column.storage)
    if types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if types.is_uint64(kind) and (pc.max(column).as_py() or 0) > LARGEST:
        return column
    if types.is_integer(kind):
        return column.cast(pa.int64())
    if types.is_floating(kind):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    if types.is_decimal(kind):
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid:
            return column.cast(pa.float64())
    if _is_bytes(kind):
        column = column.cast(pa.large_binary())
    if is_text(column) or _is_bytes(kind):
        return column.cast(pa.large_string())
    return column


def is_text(column: pa.Array) -> bool:
    """Tell whether a column holds text."""
    kind = column.type
    view = getattr(pa.types, "is_string_view", lambda _: False)
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or view(kind)
    )


def is_numeric(column: pa.Array) -> bool:
    """Tell whether a column holds numbers, or true and false."""
    kind = column.type
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or is_bool(kind)
    )


def is_list(column: pa.Array) -> bool:
    """Tell whether each value of a column is a list."""
    kind, types = column.type, pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
    )


def is_bool(kind: pa.DataType) -> bool:
    """Tell whether a type is true and false."""
    return bool(pa.types.is_boolean(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
    )


def _mixed(values: list[Any]) -> pa.Array:
    """Return objects of several types: as numbers, or as text if one is a word."""
    found = [_simple(value) for value in values]
    kinds = {type(value) for value in found if value is not None}
    if list in kinds:
        return pa.array(found)
    if str in kinds:
        texts = [None if value is None else str(value) for value in found]
        return pa.array(texts, pa.large_string())
    if float in kinds:
        return pa.array([None if v is None else float(v) for v in found], pa.float64())
    try:
        return pa.array([None if v is None else int(v) for v in found], pa.int64())
    except OverflowError:
        return _mixed([str(value) for value in values])


def _simple(value: Any) -> Any:
    """Return an object as None, a number, a list or text."""
    if isinstance(value, list | tuple | np.ndarray):
        return np.ravel(np.asarray(value)).tolist()
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Decimal | Real):
        if value != value:
            return None
        return (
            int(value)
            if isinstance(value, Decimal) and value % 1 == 0
            else float(value)
        )
    return None if str(value) in ("NaT", "<NA>") else str(value)


def trimmed(column: pa.Array) -> pa.Array:
    """Return a column whose text has no spaces at its ends."""
    return pc.utf8_trim(column, " \t") if is_text(column) else column


def only_counts(index: Any) -> bool:
    """Tell whether pandas' index only counts rows, from 0 or anew for each part."""
    numbers = np.asarray(index)
    if numbers.dtype.kind not in "iu" or not len(numbers):
        return not len(numbers)
    steps = (numbers[1:] == numbers[:-1] + 1) | (numbers[1:] == 0)
    return bool(numbers[0] == 0 and steps.all())


def first_missing(column: pa.Array) -> int | None:
    """Return the first row of a column that holds nothing, if there is one."""
    if is_text(column):
        column = pc.if_else(pc.equal(column, ""), None, column)
    if not column.null_count:
        return None
    return int(pc.index(column.is_null(), pa.scalar(True)).as_py())


def value_at(column: pa.Array, row: int) -> str:
    """Return how a value is shown in a message."""
    return repr(column[row].as_py())


def mask_of(column: pa.Array) -> np.ndarray:
    """Return a column of true and false as numpy has it."""
    found: np.ndarray = np.asarray(column.to_numpy(zero_copy_only=False), bool)
    return found


def list_rows(column: pa.Array, name: str) -> np.ndarray:
    """Return float64 [N, n], or whole numbers, of a column of lists.

    Raises
    ------
    GraphFormatError
        If they are of unequal length, or hold no numbers.
    """
    row = first_missing(column)
    if row is not None:
        raise GraphFormatError(
            f"{name} has no list in row {row}, expected one in each row: fill it"
        )
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    flat = _plain(pc.list_flatten(column))
    while is_list(flat):  # lists of lists are one long list
        return _nested_rows(column, name)
    if len(np.unique(lengths)) > 1 or not (is_numeric(flat) or not len(flat)):
        raise no_numbers(name)
    values = flat.to_numpy(zero_copy_only=False)
    return np.asarray(values).reshape(len(column), -1)


def no_numbers(name: str) -> GraphFormatError:
    """Return the error for a column that cannot be features."""
    return GraphFormatError(
        f"{name} holds no numbers or lists of equal length",
        python="name the columns of features by features=[...]",
        shell="name the columns of features by --feature-columns a,b",
    )


def _nested_rows(column: pa.Array, name: str) -> np.ndarray:
    """Return the numbers of lists of lists, each row's in one list."""
    rows = [np.ravel(np.asarray(row)).tolist() for row in column.to_pylist()]
    return list_rows(pa.array(rows), name)
