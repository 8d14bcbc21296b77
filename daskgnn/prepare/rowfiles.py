"""Sort buckets of edges, one after the other, into CSR rows in files."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.graph.edges.rowsort import sort_rows
from daskgnn.kernels.jit import njit
from daskgnn.kernels.record import ArrayRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from daskgnn.prepare.pieces import PieceWork

SAVE_SECONDS = 10.0
"""How often it is written down how far a stage is."""
# Of an entry while its bucket is sorted: itself, its column, and room for sorting.
_SORT_BYTES = 20
_LEAST_STEP = 1 << 16
INDPTR, INDICES, WEIGHTS = "indptr.npy", "indices.bin", "weights.bin"


@dataclass
class RowFiles:
    """CSR rows in the files of a folder, written from the first row to the last."""

    folder: Path
    num_nodes: int
    weighted: bool
    buckets: int = 0
    """Buckets that have been sorted to rows."""
    entries: int = 0
    """Entries of their rows."""
    given: int = 0
    """Entries that were given in their own direction."""

    def __post_init__(self) -> None:
        """Begin the files where no bucket is done."""
        self.folder.mkdir(exist_ok=True)
        if not self.buckets:
            path, shape = self.folder / INDPTR, (self.num_nodes + 1,)
            np.lib.format.open_memmap(path, "w+", np.int64, shape).flush()

    def state(self) -> dict[str, int]:
        """Return how far the files are written, as plain content for JSON."""
        return {name: getattr(self, name) for name in ("buckets", "entries", "given")}

    def take(
        self,
        sizes: Sequence[int],
        rows: Iterator[Iterable[SortedRows]],
        save: Callable[[dict[str, int]], None],
        told: Callable[[int], Any] = int,
    ) -> None:
        """Write the rows of all buckets that are not yet done.

        Parameters
        ----------
        sizes
            Entries of each bucket.
        rows
            The sorted rows of each bucket that is not done.
        save
            Called with the state every few seconds, when all it says is on the disk.
        told
            Called with the entries of each bucket.
        """
        indptr, saved = np.load(self.folder / INDPTR, mmap_mode="r+"), time.monotonic()
        with self._open(INDICES, 4) as indices, self._open(WEIGHTS, 4) as weights:
            for size, bucket in zip(sizes[self.buckets :], rows, strict=True):
                for found in bucket:
                    ends = found.indptr[1:] + self.entries
                    indptr[found.first + 1 : found.last + 1] = ends
                    found.columns.tofile(indices)
                    found.weights.tofile(weights)
                    self.entries += len(found.columns)
                    self.given += found.given
                self.buckets += 1
                told(size)
                last_one = self.buckets == len(sizes)
                if last_one or time.monotonic() - saved > SAVE_SECONDS:
                    for file in (indices, weights):
                        file.flush()
                        os.fsync(file.fileno())
                    indptr.flush()
                    save(self.state())
                    saved = time.monotonic()

    def _open(self, name: str, size: int) -> Any:
        """Open a file, cut back to the entries that count."""
        path = self.folder / name
        path.touch()
        os.truncate(path, self.entries * size)
        return path.open("ab")

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Map the finished rows: int64 [N+1], int32 [E], float32 [E] if weighted."""
        indptr = np.load(self.folder / INDPTR, mmap_mode="r")
        shape = (self.entries,)
        if not self.entries:
            none = np.empty(0, np.float32)
            return indptr, np.empty(0, np.int32), none if self.weighted else None
        indices = np.memmap(self.folder / INDICES, np.int32, "r", shape=shape)
        weights = None
        if self.weighted:
            weights = np.memmap(self.folder / WEIGHTS, np.float32, "r", shape=shape)
        return indptr, indices, weights


@dataclass(frozen=True)
class SortedRows(ArrayRecord):
    """Finished CSR rows `first` to ``last - 1``."""

    first: int
    last: int
    indptr: np.ndarray
    """int64 [last - first + 1]."""
    columns: np.ndarray
    """int32 [n], each row sorted, without repeats."""
    weights: np.ndarray
    """float32 [n], or [0] where there are none."""
    given: int
    """Entries that were given in their own direction."""


def sort_bucket(work: PieceWork, bucket: int) -> Iterator[SortedRows]:
    """Yield a bucket's rows, in runs where it takes more than the budget."""
    for first, last, entries, values in _runs(work, bucket):
        rows = _sort(first, last, entries, values, work.add)
        yield SortedRows(first, last, *rows)


def _runs(
    work: PieceWork, bucket: int
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Yield runs of a bucket's rows with their entries and weights, as they came.

    All at once where they fit; else the bucket is read once for each run of rows.
    """
    first, last = work.bounds(bucket)
    count = work.size(bucket)
    if count * _SORT_BYTES <= work.budget or last - first == 1:
        yield first, last, *work.read(bucket, 0, count)
        return
    step = max(work.budget // (2 * _SORT_BYTES), _LEAST_STEP)
    sizes = np.zeros(last - first, np.int64)
    for start in range(0, count, step):
        entries, _ = work.read(bucket, start, min(step, count - start))
        rows = (entries >> np.uint64(32)).astype(np.int64) - first
        sizes += np.bincount(rows, minlength=len(sizes))
    begin = 0
    while begin < len(sizes):
        fits = np.searchsorted(np.cumsum(sizes[begin:]), step, side="right")
        end = begin + max(int(fits), 1)
        entries = np.empty(int(sizes[begin:end].sum()), np.uint64)
        values = np.empty(len(entries) if work.weighted else 0, np.float32)
        at = 0
        for start in range(0, count, step):
            found, weights = work.read(bucket, start, min(step, count - start))
            owner = (found >> np.uint64(32)).astype(np.int64)
            mine = (owner >= first + begin) & (owner < first + end)
            found = found[mine]
            entries[at : at + len(found)] = found
            if work.weighted:
                values[at : at + len(found)] = weights[mine]
            at += len(found)
        yield first + begin, first + end, entries, values
        begin = end


def _sort(
    first: int, last: int, entries: np.ndarray, values: np.ndarray, add: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return rows `first` to ``last - 1``: int64 indptr, int32 columns, weights.

    The last number counts the entries that were given in their own direction.
    """
    indptr = np.zeros(last - first + 1, np.int64)
    columns = np.empty(len(entries), np.int32)
    kept = np.empty(len(values), np.float32)
    _place_rows(entries, values, first, indptr, columns, kept)
    given = int(sort_rows(indptr, columns, kept, add, first)[0])
    total = int(indptr[-1])
    return indptr, columns[:total], kept[: total if len(kept) else 0], given


@njit(cache=True, nogil=True)
def _place_rows(
    entries: Any, values: Any, first: int, indptr: Any, columns: Any, kept: Any
) -> None:
    """Put entries into rows, in order; an edge's reverse is kept as ``~column``."""
    for entry in entries:
        indptr[np.int64(entry >> np.uint64(32)) - first + 1] += 1
    for row in range(1, len(indptr)):
        indptr[row] += indptr[row - 1]
    ends = indptr.copy()
    for i in range(len(entries)):
        row = int(np.int64(entries[i] >> np.uint64(32))) - first
        low = np.int64(entries[i] & np.uint64(0xFFFFFFFF))
        column = low >> 1
        at = ends[row]
        ends[row] += 1
        columns[at] = (-1 - column) if low & 1 else column
        if len(values):
            kept[at] = values[i]
