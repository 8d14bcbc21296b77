"""Feature rows that stay in a store's files and are read when they are wanted."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np

from daskgnn.errors import InputError, StoreError
from daskgnn.graph.manifest import REMEDY, check_chunk
from daskgnn.graph.store import Store, open_store
from daskgnn.kernels.features import RowReader, normalize_rows
from daskgnn.kernels.half import TABLE_DTYPES, check_range, narrow, widen
from daskgnn.kernels.preads import read_rows

FEATURES = ("memory", "disk")
"""Where a run has feature rows."""


@dataclass(frozen=True)
class DiskRows(RowReader):
    """Features of a part, read row by row; what `load_features` holds in memory.

    Chunks are stored as they are, so a row lies at a place that can be computed.
    """

    path: str
    checksum: str
    """Of the store."""
    start: int
    """Storage id of the first row."""
    stop: int
    """That after the last."""
    columns: int
    """F."""
    feature_dtype: str
    """What rows are returned as: "float32", "float16" or "bfloat16"."""
    normalize: bool
    """Whether each row is divided by its sum."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and F."""
        return self.stop - self.start, self.columns

    @property
    def dtype(self) -> np.dtype:
        """Of the rows that are returned."""
        return np.dtype(TABLE_DTYPES[self.feature_dtype])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return rows int [m], counted from the part's first, as a table [m, F].

        Raises
        ------
        StoreError
            If the store was replaced, or a chunk cannot be read.
        InputError
            If a number is too large for the dtype, naming its node.
        """
        store = open_store(self.path, self.checksum)
        ids = np.asarray(rows, np.int64) + self.start
        if len(ids) and not self.start <= ids.min() <= ids.max() < self.stop:
            raise IndexError(f"rows of {self.start}:{self.stop} were asked for")
        # Ascending ids are the rule; any other order is read in theirs.
        if (ids[1:] < ids[:-1]).any():
            distinct, place = np.unique(ids, return_inverse=True)
            return self.take(distinct - self.start)[place]
        return self._as_asked(store, ids, _read_stored(store, ids))

    def of_graph(self, num_nodes: int) -> DiskRows:
        """Return what reads the rows of all N nodes, by their storage ids."""
        return replace(self, start=0, stop=num_nodes)

    def _as_asked(self, store: Store, ids: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Return stored rows in the dtype asked for."""
        if store.feature_dtype == self.feature_dtype and not self.normalize:
            return found.view(self.dtype)
        values = widen(found)
        if self.normalize:
            values = normalize_rows(values)
        if self.feature_dtype == "float32":
            return values

        def name(row: int) -> int:
            return int(store.read("original_ids", int(ids[row]), int(ids[row]) + 1)[0])

        check_range(values, self.feature_dtype, "node", name)
        return narrow(values, self.feature_dtype)


def _read_stored(store: Store, ids: np.ndarray) -> np.ndarray:
    """Return rows in ascending order [m, F], as they are stored."""
    array = store.arrays["features"]
    rows, columns = array.chunks
    width = columns * array.dtype.itemsize
    out = np.empty((len(ids), columns), array.dtype)
    chunks = np.arange(len(ids) and ids[0] // rows, len(ids) and ids[-1] // rows + 2)
    bounds = np.searchsorted(ids, chunks * rows)
    for chunk, first, last in zip(chunks, bounds, bounds[1:], strict=False):
        if first == last:
            continue
        path = os.path.join(store.path, "features", "c", str(chunk), "0")
        offsets = (ids[first:last] - chunk * rows) * width
        if _read_chunk(path, offsets, out[first:last]) >= 0:
            raise StoreError(
                f"chunk 'c/{chunk}/0' of array 'features' in {store.path!r} cannot be "
                f"read: {REMEDY}"
            )
    return out


def _read_chunk(path: str, offsets: np.ndarray, out: np.ndarray) -> int:
    """Read rows of one chunk's file; return the first that is not there, or -1."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return 0
    try:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        return read_rows(file, offsets, out)
    finally:
        os.close(file)


def open_rows(
    path: str,
    start: int,
    stop: int,
    feature_dtype: str,
    normalize: bool,
    checksum: str,
) -> DiskRows:
    """Return the feature rows ``start`` to ``stop - 1`` of a store, left on its disk.

    Chunks are compared with the manifest by their size and the checksum that they end
    with; what a chunk holds is not read (``daskgnn info --validate`` does).

    Raises
    ------
    StoreError
        If a chunk is missing, cut short or another one.
    """
    store = open_store(path, checksum)
    array = store.arrays["features"]
    for i in range(start // array.chunks[0], -(-stop // array.chunks[0])):
        chunk = f"c/{i}/0"
        check_chunk(path, "features", chunk, store.manifest.chunks["features"][chunk])
    columns = int(array.shape[1])
    return DiskRows(path, checksum, start, stop, columns, feature_dtype, normalize)


def check_features(where: str, store: Store) -> str:
    """Return `where` if features can be left there.

    Raises
    ------
    InputError
        If it is no such place, or features are CSR.
    """
    if where not in FEATURES:
        words = ", ".join(map(repr, FEATURES))
        raise InputError(f"features={where!r}, expected one of {words}")
    if where == "disk" and "features" not in store.arrays:
        lack = "are stored as CSR" if store.feature_dtype else "are missing"
        raise InputError(
            f"features='disk': those of {store.path!r} {lack}, and only dense rows can "
            "be read one by one: leave features='disk' out"
        )
    return where
