"""Import large libraries without looking for garbage among them."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def without_collections(*, frozen: bool = False) -> Iterator[None]:
    """Have Python not look for garbage while something is imported.

    All that is imported stays, and looking through it, again and again as it grows,
    takes a fifth of the time.

    Parameters
    ----------
    frozen : bool, default False
        Whether what there is then is never looked through later, either: for processes
        that are ours.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if frozen:
            gc.freeze()
        gc.enable()
