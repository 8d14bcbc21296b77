"""From the user's node ids to nodes 0..N-1.

Whole numbers that are dense stay as they are. Sparse or negative ones are numbered in
ascending order, words in the order in which they are met; the graph keeps the ids in
``node_ids``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.columns import as_column
from daskgnn.graph.edges.convert import MAX_NODES, check_num_nodes, check_range
from daskgnn.graph.edges.packids import STEP, TEXT
from daskgnn.kernels.words import WordTable

if TYPE_CHECKING:
    from daskgnn.graph.edges.assemble import Spool

FEW = 4
"""Ids are mapped from where the largest is so many times what occurs."""


Ids = Literal["auto", "keep", "map"]


class WordIds:
    """Numbers for words, in the order in which they are met."""

    def __init__(self, spelled: bool = False) -> None:
        self.spelled = spelled
        """Whether they come from text, where a number is a word as well."""
        self.missing_at: str | None = None
        """Where the first one is that says nothing among numbers, like "NA"."""
        self._table = WordTable()

    def __len__(self) -> int:
        """How many there are."""
        return self._table.count

    def number(self, words: Any, add: bool = True) -> np.ndarray:
        """Return int64 [n], the numbers of words [n], text without nulls.

        New ones get the next number, or -1 where they are not added.
        """
        column = words if isinstance(words, pa.Array) else as_column(words, "ids")
        encoded = column.cast(pa.large_string()).dictionary_encode()
        numbers = self._table.number(*_bytes_of(encoded.dictionary), add)
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        return numbers.astype(np.int64)[codes]

    def texts(self) -> pa.Array:
        """Return the words by number, text [N], without a copy."""
        buffers = [
            None,
            pa.py_buffer(self._table.begins),
            pa.py_buffer(self._table.text),
        ]
        return pa.LargeStringArray.from_buffers(len(self), *buffers[1:])

    def words(self) -> np.ndarray:
        """Return the words by number, variable-width text [N]."""
        return id_array(self.texts())


def _bytes_of(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the UTF-8 bytes of text [n] and int64 [n + 1], where each begins."""
    if not len(texts):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    _, bounds, data = texts.buffers()
    begins = np.frombuffer(bounds, np.int64)[
        texts.offset : texts.offset + len(texts) + 1
    ]
    text = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return text, begins


def id_array(texts: pa.Array) -> np.ndarray:
    """Return text [n] as numpy has it where each element has its own length."""
    found = np.empty(len(texts), TEXT)
    for start in range(0, len(texts), STEP):
        part = texts.slice(start, STEP)
        found[start : start + len(part)] = part.to_numpy(zero_copy_only=False)
    return found


def check_ids_option(ids: Any) -> None:
    """Raise `GraphFormatError` unless `ids` is one of the three words."""
    if ids not in ("auto", "keep", "map"):
        raise GraphFormatError(
            f"ids is {ids!r}, expected 'auto', 'keep' or 'map': pass ids='auto'"
        )


def number_ids(
    spool: Spool, ids: Ids, num_nodes: int | None
) -> tuple[Spool, int, np.ndarray | None]:
    """Decide what whole-number ids of one edge or more mean.

    Parameters
    ----------
    ids
        "keep" takes them as nodes 0..N-1, "map" numbers those that occur; "auto" maps
        where some are negative, or under a quarter of the numbers up to the largest
        occur, unless `num_nodes` is given.

    Returns
    -------
    Spool, int, np.ndarray or None
        The edges, N, and int64 [N], the id of each node where they were mapped.

    Raises
    ------
    GraphFormatError
        If ids do not fit.
    """
    known = None
    if ids == "map" or (ids == "auto" and num_nodes is None):
        known = distinct_ids(spool)
        if ids == "auto" and spool.low >= 0 and len(known) * FEW > spool.high:
            known = None
    if known is not None:
        if len(known) > MAX_NODES:
            raise GraphFormatError(f"{len(known)} nodes exceed the limit of 2**31")
        mapped = spool.renumber(lambda found: np.searchsorted(known, found))
        return mapped, len(known), known
    count = None if num_nodes is None else check_num_nodes(num_nodes)
    check_range(spool.low, spool.high, count, "edges hold", "pass ids='map'")
    return spool, spool.high + 1 if count is None else count, None


def distinct_ids(spool: Spool) -> np.ndarray:
    """Return int64, the ids that occur, in ascending order."""
    if spool.low >= 0 and spool.high < max(spool.limit, 1 << 20):
        # A mark for each number up to the largest takes less than sorting.
        seen = np.zeros(spool.high + 1, bool)
        for source, destination, _ in spool.chunks():
            seen[source] = seen[destination] = True
        return np.flatnonzero(seen).astype(np.int64)
    known = np.empty(0, np.int64)
    waiting: list[np.ndarray] = []
    held = 0
    for source, destination, _ in spool.chunks():
        waiting += [np.unique(source), np.unique(destination)]
        held += len(waiting[-1]) + len(waiting[-2])
        if held > max(len(known), 1 << 20):
            known, waiting, held = np.unique(np.concatenate([known, *waiting])), [], 0
    return np.unique(np.concatenate([known, *waiting]))
