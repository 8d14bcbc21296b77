"""What a column means as numbers, ids, classes or a mask: the same for every source.

N nodes, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.columns import (
    LARGEST,
    is_bool,
    is_list,
    is_numeric,
    is_text,
    list_rows,
    mask_of,
    trimmed,
    value_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MISSING = frozenset(
    [
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
    ]
)


_EXACT = 2.0**53


_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"


_WHOLE = r"^[+-]?[0-9]+(?:\.0*)?$"


_NO_WORD = r"^(?:[^\p{L}\p{N}_]+|[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?)$"


_PADDED = r"^[+-]?0[0-9xX]"


_INFINITE = r"^[+-]?[iI]nf(?:inity)?$"


_TRUE = ("true", "True", "TRUE")


_FALSE = ("false", "False", "FALSE")
_SAYS_MASK = (*_TRUE, *_FALSE, "0", "1")


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
    return mask_of(numbers), mask_of(absent)


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
    padded = mask_of(pc.match_substring_regex(known, _PADDED))
    if not padded.any():
        return True
    values = _parsed(known).to_numpy(zero_copy_only=False)
    found, counts = np.unique(values, return_counts=True)
    return bool((counts[np.searchsorted(found, values[padded])] == 1).all())


def is_padded(texts: pa.Array) -> bool:
    """Tell whether some text is a number with leading zeros, or like 0x1F."""
    return bool(pc.any(pc.match_substring_regex(texts, _PADDED)).as_py())


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
    plain = mask_of(easy)
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
    alphabetical order. Spaces at the ends of text are no part of it.

    Raises
    ------
    GraphFormatError
        If numbers are not whole, something like "?" or "1,000" is among numbers, or
        lists are of unequal length.
    """
    if is_text(column):
        column = trimmed(column)
        _refuse_signs(column, name)
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


def _refuse_signs(texts: pa.Array, name: str) -> None:
    """Raise `GraphFormatError` for text without a word where the rest is numbers."""
    numbers, absent = number_words(texts)
    if (numbers | absent).all() or not numbers.any():
        return
    signs = mask_of(pc.match_substring_regex(pc.fill_null(texts, ""), _NO_WORD))
    if (numbers | absent | signs).all():
        row = int((signs & ~numbers & ~absent).argmax())
        raise GraphFormatError(
            f"{name} hold {value_at(texts, row)} in row {row} among numbers, expected "
            "class numbers: leave it empty where no label is given"
        )


def _class_numbers(column: pa.Array, name: str) -> np.ndarray:
    """Return int64 [N] of a column of numbers, -1 where there is none."""
    if pa.types.is_uint64(column.type):
        raise no_class(name, pc.max(column).as_py())
    if is_bool(column.type):
        column = column.cast(pa.int64())
    values = pc.fill_null(column, -1).to_numpy(zero_copy_only=False)
    bad = values != np.clip(np.floor(values), -(2**31), 2**31)
    if bad.any():
        raise no_class(name, values[bad][0])
    return np.ascontiguousarray(values, np.int64)


def no_class(name: str, value: Any) -> GraphFormatError:
    """Return the error for a number among labels that is no class number."""
    return GraphFormatError(
        f"{name} hold {value}, expected class numbers 0..C-1 or -1 for not given: pass "
        "integers (numbers to predict are not labels but values of a task of your own: "
        "docs/limits.md)"
    )


def read_mask(column: pa.Array, name: str, place: Callable[[int], str]) -> np.ndarray:
    """Return bool [N] of a column of true and false, or of 1 and 0.

    What is missing is not in the split.

    Parameters
    ----------
    place
        What messages call a row.

    Raises
    ------
    GraphFormatError
        If it holds anything else.
    """
    if is_text(column):
        column = read_text(column)
    if pa.types.is_null(column.type):
        return np.zeros(len(column), bool)
    if is_bool(column.type):
        return mask_of(pc.fill_null(column, False))
    row = 0
    if is_numeric(column):
        known = pc.fill_null(column, 0)
        good = mask_of(pc.is_in(known, pa.array([0, 1], known.type)))
        if good.all():
            return mask_of(pc.equal(known, 1))
        row = int((~good).argmax())
    elif is_text(column):
        said = pc.fill_null(column, "1")
        row = pc.index(pc.is_in(said, pa.array(_SAYS_MASK, said.type)), False).as_py()
    row = max(row, 0)
    raise GraphFormatError(
        f"{place(row)}: {name} holds {value_at(column, row)}, expected true or false"
    )
