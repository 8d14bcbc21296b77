"""Independent pieces of a kernel's work, on several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def for_each(
    function: Callable[[Piece], Result], pieces: Sequence[Piece], threads: int
) -> list[Result]:
    """Return ``[function(piece) for piece in pieces]``, on at most so many threads.

    The pieces share nothing that they write to, so the result does not depend on
    `threads`; kernels that release the interpreter's lock run side by side.
    """
    if threads <= 1 or len(pieces) <= 1:
        return [function(piece) for piece in pieces]
    with ThreadPoolExecutor(min(threads, len(pieces))) as pool:
        return list(pool.map(function, pieces))
