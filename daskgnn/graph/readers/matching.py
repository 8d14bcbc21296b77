"""Ids of edges and of a table of nodes: which are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.columns import (
    first_missing,
    is_text,
)
from daskgnn.graph.edges.identify import WordIds, distinct_ids, id_array
from daskgnn.graph.edges.meaning import is_padded, spelled_ids, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.graph.edges.assemble import Spool
    from daskgnn.graph.readers.nodetable import NodeTable


def read_spelled(spool: Spool, words: WordIds | None) -> tuple[Spool, WordIds | None]:
    """Return edges of text whose ids are all numbers as edges between these numbers.

    Raises
    ------
    GraphFormatError
        If one says "NA" or the like among numbers: it is missing.
    """
    if words is None or not words.spelled:
        return spool, words
    found = spelled_ids(words.texts())
    if found is None:
        return spool, words
    numbers, absent = found
    _refuse_missing(words, absent)
    return spool.renumber(lambda ids: numbers[ids]), None


def _refuse_missing(words: WordIds, absent: np.ndarray) -> None:
    if absent.any():
        raise GraphFormatError(
            f"{words.missing_at} is missing where the other ids are numbers, expected "
            "two ids: leave the edge out"
        )


def match(
    spool: Spool, words: WordIds | None, table: NodeTable
) -> tuple[Spool, np.ndarray]:
    """Return edges whose ends are rows of a table, and the table's ids.

    Raises
    ------
    GraphFormatError
        If a row has no id or two have the same, or an edge names a node that the table
        lacks.
    """
    ids = _check_ids(table)
    if is_text(ids) and table.source.spelled:
        ids, spool, words = _agree(ids, spool, words, table)
    elif not is_text(ids):
        spool, words = read_spelled(spool, words)
    if not is_text(ids):
        numbers = np.asarray(ids.to_numpy(zero_copy_only=False))
        _refuse_repeats(numbers)
        if words is None:
            return spool.renumber(_finder(numbers)), numbers
    own = WordIds()
    texts = ids if is_text(ids) else ids.cast(pa.large_string())
    own.number(texts)
    if len(own) < len(texts):
        _refuse_repeats(np.asarray(texts.to_pylist(), object))
    kept = id_array(texts) if is_text(ids) else numbers
    if words is not None:
        known = own.number(words.texts(), add=False)
        if (known < 0).any():  # "2.0" is 2 where that helps
            spool, words = read_spelled(spool, words)
    if words is not None:
        known = _found(words.texts(), known)
        return spool.renumber(lambda ends: known[ends]), kept

    def named(ends: np.ndarray) -> np.ndarray:
        shown = pa.array(ends).cast(pa.large_string())
        return _found(shown, own.number(shown, add=False))

    return spool.renumber(named), kept


def _check_ids(table: NodeTable) -> pa.Array:
    """Return a table's ids as whole numbers or text, none missing."""
    ids: Any = table.ids
    row = first_missing(ids)
    if row is not None:
        raise GraphFormatError(
            f"{table.source.place(row)}: a row without an id, expected one in each"
        )
    ids = whole(ids, table.source.name)
    if pa.types.is_uint64(ids.type):
        raise GraphFormatError(
            f"{table.source.name}: id {pc.max(ids).as_py()} exceeds 2**63 - 1: give "
            "ids as text"
        )
    return ids if pa.types.is_integer(ids.type) else ids.cast(pa.large_string())


def _agree(
    ids: pa.Array, spool: Spool, words: WordIds | None, table: NodeTable
) -> tuple[pa.Array, Spool, WordIds | None]:
    """Decide whether ids of a text file, and those of edges, are numbers."""
    if words is not None and not words.spelled:
        alone = None if is_padded(ids) else spelled_ids(ids)
        plain = alone is not None and not alone[1].any()
        return pa.array(alone[0]) if alone and plain else ids, spool, words
    known = WordIds(spelled=True)
    rows = known.number(ids)
    ends = np.empty(0, np.int64)
    if words is not None:
        ends = known.number(words.texts())
    elif is_padded(ids):
        known.number(pa.array(distinct_ids(spool)).cast(pa.large_string()))
    found = spelled_ids(known.texts())
    if found is None:
        return ids, spool, words
    numbers, absent = found
    if absent[rows].any():
        row = int(absent[rows].argmax())
        raise GraphFormatError(
            f"{table.source.place(row)}: id {ids[row].as_py()!r} is missing where the "
            "other ids are numbers, expected one in each row"
        )
    if words is not None:
        _refuse_missing(words, absent[ends])
        spool = spool.renumber(lambda given: numbers[ends[given]])
    return pa.array(numbers[rows]), spool, None


def _refuse_repeats(ids: np.ndarray) -> None:
    """Raise `GraphFormatError` for an id of two rows."""
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < len(ids):
        raise GraphFormatError(
            f"the table of nodes has {counts.max()} rows with id "
            f"{values[counts.argmax()]}, expected one row per node"
        )


def _finder(ids: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what turns ids, whole numbers, into rows."""
    import pandas as pd

    index = pd.Index(ids)
    return lambda ends: _found(ends, np.asarray(index.get_indexer(ends), np.int64))


def _found(shown: Any, rows: np.ndarray) -> np.ndarray:
    """Return rows, each of which was found."""
    if (rows < 0).any():
        name = shown[int((rows < 0).argmax())]
        raise GraphFormatError(
            f"an edge names node {name!s}, which the table of nodes lacks: expected "
            "one row per node"
        )
    return rows
