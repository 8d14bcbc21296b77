"""Counts of what a part received from other parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Traffic:
    """What one part received from each other part (its own entry is zero).

    Rows and bytes count alike whether they were sent or read where they lay.
    """

    rows: np.ndarray
    """int64 [P], feature rows, each once a window."""
    nbytes: np.ndarray
    """int64 [P], of requests and answers."""
    messages: np.ndarray
    """int64 [P], answers that were sent."""
    hits: np.ndarray
    """int64 [P], rows that were in a halo cache."""
    saved: np.ndarray
    """int64 [P], bytes of these rows."""

    @classmethod
    def none(cls, num_parts: int) -> Traffic:
        """Return the traffic before anything was received."""
        return cls(*(np.zeros(num_parts, np.int64) for _ in range(5)))

    def received(self, part: int, rows: int, nbytes: int) -> Traffic:
        """Return the traffic with one more answer from `part`."""
        here = np.arange(len(self.rows)) == part
        return replace(
            self,
            rows=self.rows + here * rows,
            nbytes=self.nbytes + here * nbytes,
            messages=self.messages + here,
        )

    def without_messages(self, parts: Iterable[int]) -> Traffic:
        """Return the traffic where nothing was sent by `parts`: it was read there."""
        messages = self.messages.copy()
        messages[list(parts)] = 0
        return replace(self, messages=messages)

    def used_cache(self, hits: np.ndarray, saved: np.ndarray) -> Traffic:
        """Return the traffic with cached rows and their bytes, by owner, counted."""
        return replace(self, hits=self.hits + hits, saved=self.saved + saved)
