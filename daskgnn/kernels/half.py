"""Feature tables in half the bytes: float16 and bfloat16 as plain 16-bit integers.

Numba computes with neither and numpy lacks bfloat16, so a table's dtype says what its
bits mean: float32 is itself, uint16 is bfloat16, int16 is float16. Kernels read
elements through `daskgnn.kernels.bfloat.read` and add up in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.bfloat import read, written
from daskgnn.kernels.jit import njit

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE_DTYPES: dict[str, type] = {
    "float32": np.float32,
    "float16": np.int16,
    "bfloat16": np.uint16,
}
"""What features may be kept as, and the dtype of such a table."""

_NAMES = {
    np.dtype(np.float32): "float32",
    np.dtype(np.int16): "float16",
    np.dtype(np.float16): "float16",
    np.dtype(np.uint16): "bfloat16",
}
# The smallest number that is rounded to infinity: half a step above the largest.
_LIMITS = {
    "float16": np.float32(65520),
    "bfloat16": np.uint32(0x7F7F8000).view(np.float32),
}


@njit(cache=True, nogil=True)
def _widen(table: np.ndarray, out: np.ndarray) -> None:
    for row in range(table.shape[0]):
        for f in range(table.shape[1]):
            out[row, f] = read(table[row, f])


@njit(cache=True, nogil=True)
def _narrow_bfloat16(values: np.ndarray, out: np.ndarray) -> None:
    for row in range(values.shape[0]):
        for f in range(values.shape[1]):
            out[row, f] = written(values[row, f], out[row, f])


@njit(cache=True, nogil=True)
def _narrow_float16(bits: np.ndarray, out: np.ndarray) -> None:
    """Round to nearest even; numpy is slow where results are subnormal."""
    for row in range(bits.shape[0]):
        for f in range(bits.shape[1]):
            out[row, f] = np.int16(_float16_bits(bits[row, f]))


@njit(cache=True, nogil=True, inline="always")
def _float16_bits(value: Any) -> Any:
    """Return the float16 bits of a float32's; those of a NaN as numpy has them."""
    sign = (value >> np.uint32(16)) & np.uint32(0x8000)
    size = value & np.uint32(0x7FFFFFFF)
    if size > np.uint32(0x7F800000):
        kept = (size >> np.uint32(13)) & np.uint32(0x3FF)
        return sign | np.uint32(0x7C00) | max(kept, np.uint32(1))
    if size >= np.uint32(0x47800000):  # 2**16, or infinite
        return sign | np.uint32(0x7C00)
    if size >= np.uint32(0x38800000):  # 2**-14: normal in both
        shift, whole = np.uint32(13), size - np.uint32(0x38000000)
    else:  # by 25 places and more nothing is left
        shift = min(np.uint32(126) - (size >> np.uint32(23)), np.uint32(25))
        whole = (size & np.uint32(0x7FFFFF)) | np.uint32(0x800000)
    kept = whole >> shift
    below = (np.uint32(1) << (shift - np.uint32(1))) - np.uint32(1)
    return sign | ((whole + below + (kept & np.uint32(1))) >> shift)


@njit(cache=True, nogil=True)
def _first_row_beyond(values: np.ndarray, limit: float) -> int:
    """Return the first row with a finite number of at least `limit`, or -1."""
    for row in range(values.shape[0]):
        found = False
        for f in range(values.shape[1]):
            size = abs(values[row, f])
            found |= limit <= size < np.inf
        if found:
            return row
    return -1


def check_dtype_name(name: str) -> str:
    """Return `name` if features may be kept so.

    Raises
    ------
    InputError
        If not.
    """
    if name not in TABLE_DTYPES:
        raise InputError(
            f"feature_dtype is {name!r}, expected one of {', '.join(TABLE_DTYPES)}"
        )
    return name


def dtype_name(table: np.ndarray) -> str:
    """Return "float32", "float16" or "bfloat16": what the bits of `table` mean.

    Raises
    ------
    InputError
        If its dtype is none of a feature table.
    """
    if table.dtype not in _NAMES:
        raise InputError(
            f"a feature table has dtype {table.dtype}, expected float32, int16 (the "
            "bits of float16) or uint16 (the bits of bfloat16)"
        )
    return _NAMES[table.dtype]


def widen(table: np.ndarray) -> np.ndarray:
    """Return a table [n, F] as float32, itself where it is float32.

    The conversion is exact.

    Parameters
    ----------
    table
        float32, float16, int16 (float16 bits) or uint16 (bfloat16 bits).
    """
    if dtype_name(table) == "float32":
        return table
    if table.dtype == np.float16:
        table = table.view(np.int16)
    out = np.empty(table.shape, np.float32)
    _widen(_read_only(table), out)
    return out


def narrow(values: np.ndarray, name: str) -> np.ndarray:
    """Return float32 values [n, F] as a table of a dtype, rounded to nearest even.

    Parameters
    ----------
    name : {"float32", "float16", "bfloat16"}

    Returns
    -------
    numpy.ndarray
        float32 (`values` itself), int16 (float16 bits) or uint16 (bfloat16 bits).

    Raises
    ------
    InputError
        If a finite number is too large for the dtype, naming row and column.
    """
    if check_dtype_name(name) == "float32":
        return values
    check_range(values, name)
    values = np.ascontiguousarray(values, np.float32)
    out: np.ndarray = np.empty(values.shape, TABLE_DTYPES[name])
    if name == "bfloat16":
        _narrow_bfloat16(_read_only(values), out)
    else:
        _narrow_float16(_read_only(values.view(np.uint32)), out)
    return out


def check_range(
    values: np.ndarray,
    name: str,
    what: str = "row",
    id_of: Callable[[int], Any] | None = None,
    column_of: Callable[[int], str] = "column {}".format,
) -> None:
    """Check that no finite number of `values` [n, F] becomes infinite in a dtype.

    Parameters
    ----------
    what, id_of
        How the error names a row: "row 3", or "node 17" with ``id_of(3) == 17``.
    column_of
        How it names a column.

    Raises
    ------
    InputError
        If one does, naming its row and column.
    """
    if name not in _LIMITS:
        return
    limit = _LIMITS[name]
    row = _first_row_beyond(_read_only(values), float(limit))
    if row < 0:
        return
    size = np.abs(values[row])
    column = int(np.argmax((size >= limit) & np.isfinite(size)))
    named = row if id_of is None else id_of(row)
    other = "bfloat16" if name == "float16" else "float32"
    raise InputError(
        f"features hold {values[row, column]} ({what} {named}, {column_of(column)}), "
        f"too large for {name}: scale them or use {other}"
    )


def _read_only(array: np.ndarray) -> np.ndarray:
    """Return a C-contiguous view (or copy) that kernels compile one variant for."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
