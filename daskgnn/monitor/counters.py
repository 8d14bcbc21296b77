"""What this process has done as a worker: counts that only rise, for its metrics."""

from __future__ import annotations

import threading
from collections import Counter

_LOCK = threading.Lock()
_COUNTS: Counter[tuple[str, str]] = Counter()


def count(name: str, label: str = "", amount: float = 1) -> None:
    """Add to a count; no computation reads it."""
    with _LOCK:
        _COUNTS[name, label] += amount  # type: ignore[assignment]


def counted() -> dict[tuple[str, str], float]:
    """Return all counts, by name and label."""
    with _LOCK:
        return dict(_COUNTS)
