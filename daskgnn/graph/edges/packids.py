"""Ids of nodes as a store keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT: Any = np.dtypes.StringDType()
"""Type of ids that are words: numpy's text of variable width."""
STEP = 1 << 16
"""Words that are Python's at a time."""


def pack_ids(node_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays in which a store keeps ids (N,), in original order.

    Words are their UTF-8 bytes, one after the other, and where each ends.
    """
    if node_ids.dtype.kind not in "UT":
        return {"node_ids": node_ids}
    text, ends = bytearray(), np.empty(len(node_ids), np.int64)
    for start in range(0, len(node_ids), STEP):
        for at, word in enumerate(node_ids[start : start + STEP].tolist(), start):
            text += word.encode("utf-8", "surrogatepass")
            ends[at] = len(text)
    return {"node_ids_utf8": np.frombuffer(text, np.uint8), "node_ids_ends": ends}


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
    found, begin = np.empty(len(ends), TEXT), 0
    for start in range(0, len(ends), STEP):
        words = []
        for end in ends[start : start + STEP]:
            words.append(text[begin:end].decode("utf-8", "surrogatepass"))
            begin = end
        found[start : start + len(words)] = words
    return found
