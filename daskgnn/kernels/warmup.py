"""Find out whether numba has compiled the kernels before.

Compiled kernels are kept on disk and read by every later process of that machine.
Where there are none, a first step takes some twenty seconds longer, which is to be
announced.
"""

from __future__ import annotations

from typing import Any

from daskgnn.kernels.frontier import place_rows
from daskgnn.kernels.neighbor import sample_rows
from daskgnn.kernels.numbering import number_rows

_NEEDED: tuple[Any, ...] = (sample_rows, place_rows, number_rows)
"""Kernels that every training runs."""


def compiled() -> bool:
    """Return whether this machine has the kernels of this version compiled.

    Where numba does not say, they count as not compiled.
    """
    return all(kernel.signatures or _on_disk(kernel) for kernel in _NEEDED)


def _on_disk(kernel: Any) -> bool:
    """Return whether the cache holds `kernel`, as its source is, for this CPU."""
    try:
        known = kernel._cache._cache_file._load_index()
        target = kernel.targetctx.codegen().magic_tuple()
        return any(target in key for key in known)
    except (AttributeError, OSError, TypeError):
        return False
