"""Threads and precision of torch, set while a task runs."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLOAT32_PRODUCTS = {
    "float32": "highest",
    "medium": "medium",
    "bf16": "highest",
    "fp16": "highest",
}
"""Torch's names for how float32 products are done in each precision."""


class _Settings:
    """Settings of the process, which tasks in other threads may be using.

    Tasks with the same settings share them; others wait. The last to leave puts back
    what was there.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._users = 0
        self._wanted = self._before = (0, "")

    @contextmanager
    def hold(self, threads: int, precision: str = "float32") -> Iterator[None]:
        """Compute with so many threads and such float32 products, whatever was set."""
        wanted = (threads, _FLOAT32_PRODUCTS[precision])
        with self._changed:
            while self._users and self._wanted != wanted:
                self._changed.wait()
            if not self._users:
                self._before = _current()
            self._wanted = wanted
            self._users += 1
            # Some of torch's settings belong to the thread: set in each.
            _apply(wanted)
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                if not self._users:
                    _apply(self._before)
                self._changed.notify_all()


def _current() -> tuple[int, str]:
    return torch.get_num_threads(), torch.get_float32_matmul_precision()


def _apply(settings: tuple[int, str]) -> None:
    threads, precision = settings
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if torch.get_float32_matmul_precision() != precision:
        torch.set_float32_matmul_precision(precision)


computing = _Settings().hold


def half_precision(precision: str) -> AbstractContextManager[object]:
    """Have the products of what runs inside take 16 bits, for "bf16" and "fp16"."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast("cpu", dtype, enabled=precision in ("bf16", "fp16"))
