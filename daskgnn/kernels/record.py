"""Dataclasses of arrays that know their size in bytes."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


class ArrayRecord:
    """Base of dataclasses of arrays, and of such dataclasses."""

    @property
    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        values = (getattr(self, name) for name in self.__dataclass_fields__)  # type: ignore[attr-defined]
        return sum(getattr(value, "nbytes", 0) for value in values)


def array_bytes(value: Any) -> int:
    """Return the bytes of the arrays in (nested) dataclasses, tuples and dicts.

    A dataclass that is there several times counts once.
    """
    return _bytes(value, set())


def _bytes(value: Any, seen: set[int]) -> int:
    if isinstance(value, np.ndarray):
        # A broadcast array holds one number.
        return int(value.nbytes) if value.base is None or any(value.strides) else 8
    if is_dataclass(value):
        if id(value) in seen:
            return 0
        seen.add(id(value))
        return 64 + sum(_bytes(getattr(value, f.name), seen) for f in fields(value))
    if isinstance(value, dict):
        return sum(_bytes(v, seen) for v in value.values())
    if isinstance(value, tuple | list):
        return sum(_bytes(v, seen) for v in value)
    return int(getattr(value, "nbytes", 32))  # of a sparse array, for instance
