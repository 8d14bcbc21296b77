"""From the user's node ids to nodes 0..N-1.

Whole numbers that are dense stay as they are. Sparse or negative ones are numbered in
ascending order, words in the order in which they are met; the graph keeps the ids in
``node_ids``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.convert import MAX_NODES, check_num_nodes, check_range

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.graph.edges.assemble import Spool

FEW = 4
"""Ids are mapped from where the largest is so many times what occurs."""

Ids = Literal["auto", "keep", "map"]


class WordIds:
    """Numbers for words, in the order in which they are met."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._number)

    def number(self, words: np.ndarray) -> np.ndarray:
        """Return int64 [n], the numbers of words [n]; new ones get the next."""
        import pandas as pd

        codes, found = pd.factorize(words)
        table = self._number
        numbers = [table.setdefault(word, len(table)) for word in found]
        return np.array(numbers, np.int64)[codes]

    def words(self) -> np.ndarray:
        """Return str [N], the words by number."""
        return np.array(list(self._number), dtype=np.str_)


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


def pack_ids(node_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays in which a store keeps ids (N,), in original order.

    Words are their UTF-8 bytes, one after the other, and where each ends.
    """
    if node_ids.dtype.kind != "U":
        return {"node_ids": node_ids}
    words = [word.encode("utf-8", "surrogatepass") for word in node_ids.tolist()]
    return {
        "node_ids_utf8": np.frombuffer(b"".join(words), np.uint8),
        "node_ids_ends": np.cumsum([len(word) for word in words], dtype=np.int64),
    }


def unpack_ids(read: Callable[[str], np.ndarray], names: Any) -> np.ndarray | None:
    """Return the ids that `pack_ids` packed, or None if a store has none.

    Parameters
    ----------
    read
        The name of an array -> the array.
    names
        The arrays that there are.
    """
    if "node_ids" in names:
        return read("node_ids")
    if "node_ids_utf8" not in names:
        return None
    text, ends = read("node_ids_utf8").tobytes(), read("node_ids_ends").tolist()
    pieces = zip([0, *ends[:-1]], ends, strict=True)
    return np.array(
        [text[i:j].decode("utf-8", "surrogatepass") for i, j in pieces], np.str_
    )


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
