"""From numbers of any type to float32, and what that loses."""

from __future__ import annotations

import warnings

import numpy as np

_DIGITS = 2**24
"""Up to where float32 has all whole numbers."""
_BLOCK = 1 << 20


def to_float32(array: np.ndarray) -> tuple[np.ndarray, int]:
    """Return numbers as float32, and how many of them lost digits that tell them apart.

    Those are numbers beyond 2**24 that changed, and numbers that became 0: decimals are
    rounded to 7 digits as always. One beyond float32 becomes Inf, which checks refuse.
    """
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(array, dtype=np.float32)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize < 4 or found is array:
        return found, 0
    lost = 0
    before, after = array.reshape(-1), found.reshape(-1)
    for start in range(0, len(before), _BLOCK):
        old, new = before[start : start + _BLOCK], after[start : start + _BLOCK]
        large = (np.abs(new) >= _DIGITS) & np.isfinite(new)
        lost += int(np.count_nonzero(_changed(old[large], new[large])))
        lost += int(np.count_nonzero((new == 0) & (old != 0)))
    return found, lost


def _changed(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Tell which numbers are others as float32."""
    exact = new.astype(np.float64)
    if old.dtype.kind == "f":
        return exact != old
    # Where a float is beyond the integers' type, it was rounded up to there.
    beyond = exact >= float(np.iinfo(old.dtype).max)
    found: np.ndarray = beyond | (np.where(beyond, 0, exact).astype(old.dtype) != old)
    return found


def warn_of_rounding(report: dict[str, int], name: str) -> None:
    """Say in a warning which numbers of a graph lost digits, by its report."""
    for what in ("features", "weights", "edge_attr"):
        count = report.get(f"{what}_rounded", 0)
        if count:
            warnings.warn(
                f"{name}: {count:,} {what} lost digits as float32, which has 7 "
                "(numbers beyond 2**24 that changed, or small ones that became 0): "
                "subtract the mean or scale them first",
                stacklevel=3,
            )
