"""Dense rows of a stored array, read one by one from the files of its chunks.

Chunks are stored as they are, so a row lies at a place that can be computed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.errors import StoreError
from daskgnn.graph.store.manifest import REMEDY, check_chunk
from daskgnn.kernels.preads import read_rows

if TYPE_CHECKING:
    from daskgnn.graph.store.store import Store


def read_stored_rows(store: Store, ids: np.ndarray) -> np.ndarray:
    """Return feature rows of ascending ids [m, F], as they are stored.

    Raises
    ------
    StoreError
        If a chunk cannot be read.
    """
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


def check_row_chunks(store: Store, start: int, stop: int) -> None:
    """Compare the chunks of feature rows with the manifest, without reading them.

    By their size and the checksum that they end with (``daskgnn info --validate``
    reads them).

    Raises
    ------
    StoreError
        If a chunk is missing, cut short or another one.
    """
    rows = store.arrays["features"].chunks[0]
    for i in range(start // rows, -(-stop // rows)):
        chunk = f"c/{i}/0"
        expected = store.manifest.chunks["features"][chunk]
        check_chunk(store.path, "features", chunk, expected)
