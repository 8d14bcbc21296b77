"""What methods of lower folders start in higher ones; the package fills it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

STARTED: dict[str, Callable[..., Any]] = {}
"""By name, what a method hands over to."""
