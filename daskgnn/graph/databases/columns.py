"""Which arrays of a graph are columns of its nodes, and how rows are packed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from daskgnn.kernels.rowcheck import row_checks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


@dataclass(frozen=True)
class Column:
    """An array of which each node has a row: a column of the table ``Node``."""

    array: str
    """Name of the array in a store."""
    name: str
    kind: str
    """"ints" or "bytes"."""
    pointers: str
    """The array that says where rows begin; empty where all are equally long."""
    dtype: np.dtype
    shape: tuple[int, ...]
    """Of an entry, or of a row where all are equally long."""

    @property
    def check(self) -> str:
        """Name of the column of checksums."""
        return f"{self.name}_check"

    def packed(self, ids: np.ndarray, bounds: np.ndarray, values: np.ndarray) -> Any:
        """Return rows as the database has them, and their checksums.

        Parameters
        ----------
        ids
            int64 [m], storage ids.
        bounds
            int64 [m + 1], where each row begins in `values`, and their end.
        values
            [k] or [m, F]
        """
        if self.kind == "ints":
            values = values.astype(np.int64)
            rows: Any = pa.ListArray.from_arrays(bounds.astype(np.int32), values)
        else:
            rows = _binary(values, bounds)
        return rows, pa.array(row_checks(ids, bounds, values))

    def unpacked(self, rows: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Return where each row begins, int64 [m + 1], and all values as stored."""
        ends = np.frombuffer(rows.buffers()[1], np.int32)
        bounds = ends[rows.offset : rows.offset + len(rows) + 1].astype(np.int64)
        if self.kind == "ints":
            values = rows.values.to_numpy(zero_copy_only=False)
            return bounds - bounds[0], values[bounds[0] : bounds[-1]]
        content = np.frombuffer(rows.buffers()[2] or b"", np.uint8)
        values = content[bounds[0] : bounds[-1]].view(self.dtype)
        return (bounds - bounds[0]) // self.dtype.itemsize, values


def columns_of(arrays: Mapping[str, Any]) -> list[Column]:
    """Return the columns that the arrays of a store become; the rest are none."""
    found = []
    for name, array in arrays.items():
        known = _COLUMNS.get(name)
        if known is None and name.startswith("edge_attr/"):
            # The name may be anything, and stays out of all queries.
            place = sorted(n for n in arrays if n.startswith("edge_attr/")).index(name)
            known = (f"edge_attribute_{place}", "indptr")
        if known is None:
            continue
        column, pointers = known
        kind = "ints" if name == "indices" else "bytes"
        dtype, shape = np.dtype(array.dtype), tuple(array.shape[1:])
        found.append(Column(name, column, kind, pointers, dtype, shape))
    return found


_COLUMNS = {
    "indices": ("neighbors", "indptr"),
    "edge_weight": ("edge_weights", "indptr"),
    "features": ("features", ""),
    "labels": ("label_bytes", ""),
    "features_indices": ("feature_ids", "features_indptr"),
    "features_data": ("feature_values", "features_indptr"),
}


def _binary(values: np.ndarray, bounds: np.ndarray) -> pa.Array:
    """Return rows of numbers as an array of bytes."""
    values = np.ascontiguousarray(values)
    width = values.itemsize * int(np.prod(values.shape[1:], dtype=int))
    ends = pa.py_buffer((bounds * width).astype(np.int32))
    content = pa.py_buffer(values.reshape(-1).view(np.uint8))
    return pa.Array.from_buffers(pa.binary(), len(bounds) - 1, [None, ends, content])
