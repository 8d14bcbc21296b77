"""A hash of everything that is stored of a graph, in whatever it is stored."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.graph.store.store import Arrays

_BYTES = 1 << 25


def content_digest(
    arrays: Arrays, told: Callable[[str, int, int], Any] = lambda *_: None
) -> str:
    """Return the SHA-256 of all arrays of a graph, names, shapes and types included."""
    found, facts = hashlib.sha256(), arrays.arrays
    total = sum(int(np.prod(a.shape, dtype=int)) for a in facts.values())
    done = 0
    for name in sorted(facts):
        array = facts[name]
        width = array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=int))
        found.update(f"{name} {tuple(array.shape)} {array.dtype.str};".encode())
        step = max(_BYTES // max(width, 1), 1)
        for start in range(0, array.shape[0], step):
            rows = arrays.read(name, start, min(start + step, array.shape[0]))
            found.update(np.ascontiguousarray(rows).view(np.uint8).data)
            done += rows.size
            told("comparing", done, total)
    return found.hexdigest()
