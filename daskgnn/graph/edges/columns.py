"""What a column of a user's table, file or array says: one reading for all sources.

A column becomes an Arrow array of a few types: whole numbers, float64, bool, text, or
lists. What pandas takes for missing is null; bytes are UTF-8; decimals are numbers.
What such a column means as ids, classes, features or a mask is decided here as well.
N nodes, F features, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskgnn.errors import GraphFormatError, first_line

MISSING = frozenset(
    "#N/A;#N/A N/A;#NA;-1.#IND;-1.#QNAN;-NaN;-nan;1.#IND;1.#QNAN;<NA>;N/A;NA;NULL;NaN;"
    "None;n/a;nan;null".split(";")
)
"""What pandas takes for a missing number: here only among numbers, else it is a word."""
LARGEST = 2**63 - 1
_EXACT = 2.0**53
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_WHOLE = r"^[+-]?[0-9]+(?:\.0*)?$"
_PADDED = r"^[+-]?0[0-9]"
_INFINITE = r"^[+-]?[iI]nf(?:inity)?$"
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
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
        values = _mixed(list(values))
    try:
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        return _plain(values)
    except pa.ArrowException as error:
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
    if is_text(column) or _is_bytes(kind):
        return column.cast(pa.large_binary()).cast(pa.large_string())
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
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or _is_bool(kind)
    )


def is_list(column: pa.Array) -> bool:
    """Tell whether each value of a column is a list."""
    kind, types = column.type, pa.types
    return bool(
        types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    )


def _is_bool(kind: pa.DataType) -> bool:
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
        return value.decode("utf-8", "replace")
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Decimal | Real):
        if value != value:  # noqa: PLR0124
            return None
        return int(value) if isinstance(value, Decimal) and value % 1 == 0 else float(value)
    return None if str(value) in ("NaT", "<NA>") else str(value)


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


def number_words(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return two masks [n] of text: which are numbers, and which say nothing.

    The words of `MISSING` are among the latter.
    """
    said = pc.fill_null(texts, "")
    numbers = pc.or_(
        pc.match_substring_regex(said, _NUMBER),
        pc.match_substring_regex(said, _INFINITE),
    )
    absent = pc.is_in(said, pa.array(["", *MISSING], said.type))
    return _mask(numbers), _mask(absent)


def _mask(column: pa.Array) -> np.ndarray:
    found: np.ndarray = np.asarray(column.to_numpy(zero_copy_only=False), bool)
    return found


def read_text(texts: pa.Array, names: bool = True) -> pa.Array:
    """Return what a column of text says: numbers if all of it are, else the words.

    An empty text is null, and among numbers a word of `MISSING`.

    Parameters
    ----------
    names
        Whether the texts name something, so that "02" is 2 only where "2" is not among
        them.
    """
    numbers, absent = number_words(texts)
    if numbers.any() and (numbers | absent).all():
        plain = pc.if_else(pa.array(numbers), texts, None)
        if not names or _tell_apart(plain):
            return _parsed(plain)
    words = pc.if_else(pc.equal(texts, ""), None, texts)
    truths = pc.unique(words.drop_null()).to_pylist()
    if truths and all(word in _TRUE + _FALSE for word in truths):
        true = pc.is_in(words, pa.array(_TRUE, words.type))
        return pc.if_else(words.is_null(), None, true)
    return words


def _parsed(texts: pa.Array) -> pa.Array:
    """Return texts that are numbers as int64, or as float64."""
    plain = pc.replace_substring_regex(texts, r"^\+", "")
    try:
        return pc.replace_substring_regex(plain, r"\.0*$", "").cast(pa.int64())
    except pa.ArrowInvalid:
        return plain.cast(pa.float64())


def _tell_apart(texts: pa.Array) -> bool:
    """Tell whether no number with leading zeros is also written without them."""
    known = pc.unique(texts.drop_null())
    padded = _mask(pc.match_substring_regex(known, _PADDED))
    if not padded.any():
        return True
    values = _parsed(known).to_numpy(zero_copy_only=False)
    found, counts = np.unique(values, return_counts=True)
    return bool((counts[np.searchsorted(found, values[padded])] == 1).all())


def spelled_ids(texts: pa.Array) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what distinct ids [n] are as whole numbers, or None if they are words.

    Returns
    -------
    np.ndarray, np.ndarray
        int64 [n], the numbers, and bool [n], where there is none: an id like "NA".
    """
    numbers, absent = number_words(texts)
    if not numbers.any() or not (numbers | absent).all():
        return None
    plain = texts.filter(pa.array(numbers))
    found = _whole_numbers(plain)
    if found is None or not _tell_apart(plain):
        return None
    values = np.zeros(len(texts), np.int64)
    values[numbers] = found
    return values, ~numbers


def _whole_numbers(texts: pa.Array) -> np.ndarray | None:
    """Return int64 [n] of texts that are numbers; None if one is not whole."""
    easy = pc.match_substring_regex(texts, _WHOLE)
    values = np.empty(len(texts), np.int64)
    plain = _mask(easy)
    try:
        values[plain] = _parsed(texts.filter(easy)).cast(pa.int64())
    except pa.ArrowInvalid:  # beyond 64 bits
        return None
    for at in np.flatnonzero(~plain):
        found = Decimal(texts[int(at)].as_py())
        if not found.is_finite() or found.adjusted() > 18 or found % 1:
            return None
        if abs(found) > LARGEST:
            return None
        values[at] = int(found)
    return values


def whole(column: pa.Array, name: str) -> pa.Array:
    """Return a column of ids of float64 as int64, if all are whole; others as it is.

    Raises
    ------
    GraphFormatError
        For numbers so large that float64 has no digits for their neighbours.
    """
    if not pa.types.is_floating(column.type):
        return column
    values = column.drop_null().to_numpy(zero_copy_only=False)
    if not np.array_equal(values, np.floor(values)) or np.isinf(values).any():
        return column
    if (np.abs(values) > _EXACT).any():
        raise GraphFormatError(
            f"{name}: ids are decimals like {np.abs(values).max():.0f}, beyond 2**53, "
            "where decimals cannot tell whole numbers apart: store them as integers"
        )
    return column.cast(pa.int64())


@dataclass(frozen=True, eq=False)
class Classes:
    """What a column of labels says."""

    labels: np.ndarray
    """int64 [N] with -1 for "not given", or float32 [N, C] with NaN."""
    names: tuple[str, ...] | None = None
    """The classes' names where labels are words, in alphabetical order."""


def read_classes(column: pa.Array, name: str = "labels") -> Classes:
    """Return the classes of a column of labels.

    Numbers are class numbers, also where they are written as text; words are classes in
    alphabetical order.

    Raises
    ------
    GraphFormatError
        If numbers are not whole, or lists are of unequal length.
    """
    if is_text(column):
        column = read_text(column)
    if is_list(column):
        return Classes(list_rows(column, name).astype(np.float32))
    if pa.types.is_null(column.type):
        return Classes(np.full(len(column), -1, np.int64))
    if is_numeric(column):
        return Classes(_class_numbers(column, name))
    encoded = column.cast(pa.large_string()).dictionary_encode()
    words = np.array(encoded.dictionary.to_pylist(), object)
    order = np.argsort(words)
    rank = np.empty(len(words) + 1, np.int64)
    rank[order], rank[-1] = np.arange(len(words)), -1
    codes = pc.fill_null(encoded.indices, len(words)).to_numpy(zero_copy_only=False)
    return Classes(rank[codes], tuple(words[order].tolist()))


def _class_numbers(column: pa.Array, name: str) -> np.ndarray:
    """Return int64 [N] of a column of numbers, -1 where there is none."""
    if pa.types.is_uint64(column.type):
        wrong = str(pc.max(column).as_py())
    else:
        if _is_bool(column.type):
            column = column.cast(pa.int64())
        values = pc.fill_null(column, -1).to_numpy(zero_copy_only=False)
        bad = values != np.clip(np.floor(values), -(2**31), 2**31)
        if not bad.any():
            return np.ascontiguousarray(values, np.int64)
        wrong = str(values[bad][0])
    raise GraphFormatError(
        f"{name} hold {wrong}, expected class numbers 0..C-1 or -1 for not given: pass "
        "integers"
    )


def read_mask(column: pa.Array, name: str, where: str) -> np.ndarray:
    """Return bool [N] of a column of true and false, or of 1 and 0.

    What is missing is not in the split.

    Raises
    ------
    GraphFormatError
        If it holds anything else.
    """
    if is_text(column):
        column = read_text(column)
    if pa.types.is_null(column.type):
        return np.zeros(len(column), bool)
    if not _is_bool(column.type):
        known = pc.fill_null(column, 0) if is_numeric(column) else None
        good = None if known is None else _mask(pc.is_in(known, pa.array([0, 1], known.type)))
        if known is None or good is None or not good.all():
            row = first_said(column) if good is None else int((~good).argmax())
            raise GraphFormatError(
                f"column {name!r} of {where} holds {value_at(column, row)} in row {row}, "
                "expected true or false"
            )
        column = pc.equal(known, 1)
    return _mask(pc.fill_null(column, False))


def first_said(column: pa.Array) -> int:
    """Return the first row that holds something."""
    return int(pc.index(column.is_valid(), pa.scalar(True)).as_py())


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
        raise GraphFormatError(
            f"{name} holds no numbers or lists of equal length: name the columns of "
            "features by features=[...]"
        )
    values = flat.to_numpy(zero_copy_only=False)
    return np.asarray(values).reshape(len(column), -1)


def _nested_rows(column: pa.Array, name: str) -> np.ndarray:
    """Return the numbers of lists of lists, each row's in one list."""
    rows = [np.ravel(np.asarray(row)).tolist() for row in column.to_pylist()]
    return list_rows(pa.array(rows), name)
