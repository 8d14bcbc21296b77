"""Edges beyond memory to CSR rows in files: buckets of rows, then each bucket sorted.

An entry is 8 bytes: the row, the column, and whether it is the reverse of a given edge.
Entries keep the order in which they came, so that what is left of repeated edges is
what `daskgnn.graph.assemble.build_rows` leaves. N nodes, E entries.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numba import njit

from daskgnn.graph.assemble import sort_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAX_BUCKETS = 256
"""Files that are written side by side."""
SAVE_SECONDS = 10.0
"""How often it is written down how far a stage is."""
_ENTRY = 8
_WEIGHT = 4
# Of an entry while its bucket is sorted: itself, its column, and room for sorting.
_SORT_BYTES = 20
_LEAST_STEP = 1 << 16
_INDPTR, _INDICES, _WEIGHTS = "indptr.npy", "indices.bin", "weights.bin"


class EdgeSource(Protocol):
    """Edges that come a chunk at a time, always the same chunks."""

    def chunks(
        self, first: int = 0
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Yield int64 sources and destinations [n] and float32 weights, or None.

        Chunks before the first are left out.
        """


@dataclass
class BucketState:
    """How far the edges have been put into buckets: what is safe on the disk."""

    chunks: int = 0
    """Chunks of edges that are done."""
    edges: int = 0
    """The edges in them."""
    loops: int = 0
    """The self-loops among these."""
    entries: list[int] | None = None
    """Entries of each bucket."""


@dataclass
class RowState:
    """How far the buckets have been sorted to rows."""

    buckets: int = 0
    """Buckets that are done."""
    entries: int = 0
    """Entries of their rows."""
    given: int = 0
    """Entries that were given in their own direction."""


class RowBuckets:
    """Entries by range of their rows, in files of one folder."""

    def __init__(
        self,
        folder: Path,
        num_nodes: int,
        num_buckets: int,
        weighted: bool,
        state: BucketState | None = None,
    ) -> None:
        """Open buckets as `state` left them; without one they are empty."""
        self.folder = folder
        self.num_nodes = num_nodes
        self.weighted = weighted
        # A power of two, so that a shift tells the bucket.
        self.shift = max((-(-num_nodes // num_buckets) - 1).bit_length(), 0)
        self.count = -(-num_nodes // (1 << self.shift))
        self.state = state or BucketState()
        if self.state.entries is None:
            self.state.entries = [0] * self.count
        folder.mkdir(exist_ok=True)

    def bounds(self, bucket: int) -> tuple[int, int]:
        """Return the first row of a bucket and that after its last."""
        first = bucket << self.shift
        return first, min(first + (1 << self.shift), self.num_nodes)

    def path(self, bucket: int) -> Path:
        """Return the file of a bucket's entries."""
        return self.folder / f"{bucket}.entries"

    def weights_path(self, bucket: int) -> Path:
        """Return the file of a bucket's weights."""
        return self.folder / f"{bucket}.weights"

    def remove(self, count: int) -> None:
        """Remove the files of the first buckets."""
        for bucket in range(count):
            self.path(bucket).unlink(missing_ok=True)
            self.weights_path(bucket).unlink(missing_ok=True)

    def fill(
        self,
        source: EdgeSource,
        *,
        directed: bool,
        keep_self_loops: bool,
        save: Callable[[BucketState], None],
        told: Callable[[int], Any] = int,
    ) -> None:
        """Put all edges of a source, but for those already in `state`, into buckets.

        Parameters
        ----------
        save
            Called every few seconds, when all that the state says is on the disk.
        told
            Called with the number of edges of each chunk.
        """
        state = self.state
        assert state.entries is not None
        files, saved = self._open(state.entries), time.monotonic()
        try:
            for ends in source.chunks(state.chunks):
                loops = self._put(*ends, files, not directed, keep_self_loops)
                state.chunks += 1
                state.edges += len(ends[0])
                state.loops += loops
                told(len(ends[0]))
                if time.monotonic() - saved > SAVE_SECONDS:
                    _flush(files)
                    save(state)
                    saved = time.monotonic()
            _flush(files)
            save(state)
        finally:
            for file in files:
                os.close(file)

    def _open(self, entries: list[int]) -> list[int]:
        """Open all files, cut back to the entries that count."""
        kinds = [(self.path, _ENTRY)]
        if self.weighted:
            kinds.append((self.weights_path, _WEIGHT))
        files = []
        for path, size in kinds:
            for bucket, count in enumerate(entries):
                file = os.open(path(bucket), os.O_RDWR | os.O_CREAT, 0o666)
                os.ftruncate(file, count * size)
                os.lseek(file, 0, os.SEEK_END)
                files.append(file)
        return files

    def _put(
        self,
        source: np.ndarray,
        destination: np.ndarray,
        weight: np.ndarray | None,
        files: list[int],
        both: bool,
        loops: bool,
    ) -> int:
        """Put one chunk into its buckets; return its self-loops."""
        assert self.state.entries is not None
        sizes = np.zeros(self.count + 1, np.int64)
        met = _count_entries(source, destination, self.shift, both, loops, sizes)
        ends = np.cumsum(sizes)
        starts = ends.copy()
        entries = np.empty(int(ends[-1]), np.uint64)
        values = np.empty(len(entries) if weight is not None else 0, np.float32)
        given = np.empty(0, np.float32) if weight is None else weight
        _place_entries(
            source, destination, given, self.shift, both, loops, starts, entries, values
        )
        for bucket in range(self.count):
            first, last = int(ends[bucket]), int(ends[bucket + 1])
            if first == last:
                continue
            _write(files[bucket], entries[first:last])
            if self.weighted:
                _write(files[self.count + bucket], values[first:last])
            self.state.entries[bucket] += last - first
        return int(met)


def _flush(files: list[int]) -> None:
    """Bring what was written to the disk."""
    for file in files:
        os.fsync(file)


def _write(file: int, array: np.ndarray) -> None:
    """Write all of an array where a file stands."""
    data = array.view(np.uint8).data
    while len(data):
        data = data[os.write(file, data) :]


@njit(cache=True, nogil=True)
def _count_entries(
    source: Any, destination: Any, shift: int, both: bool, loops: bool, sizes: Any
) -> int:
    """Add the entries of each bucket b to ``sizes[b + 1]``; return the self-loops."""
    met = 0
    for i in range(len(source)):
        u, v = source[i], destination[i]
        if u == v:
            met += 1
            if loops:
                sizes[(v >> shift) + 1] += 1
            continue
        sizes[(v >> shift) + 1] += 1
        if both:
            sizes[(u >> shift) + 1] += 1
    return met


@njit(cache=True, nogil=True)
def _place_entries(
    source: Any,
    destination: Any,
    weights: Any,
    shift: int,
    both: bool,
    loops: bool,
    ends: Any,
    entries: Any,
    values: Any,
) -> None:
    """Write entries, bucket after bucket, each in the order in which they came."""
    for i in range(len(source)):
        u, v = source[i], destination[i]
        if u == v and not loops:
            continue
        at = ends[v >> shift]
        ends[v >> shift] += 1
        entries[at] = np.uint64((v << 32) | (u << 1))
        if len(weights):
            values[at] = weights[i]
        if both and u != v:
            at = ends[u >> shift]
            ends[u >> shift] += 1
            entries[at] = np.uint64((u << 32) | (v << 1) | 1)
            if len(weights):
                values[at] = weights[i]


class RowFiles:
    """CSR rows in the files of a folder, written from the first row to the last."""

    def __init__(
        self, folder: Path, num_nodes: int, weighted: bool, state: RowState | None
    ) -> None:
        """Open the files as `state` left them."""
        self.folder = folder
        self.weighted = weighted
        self.num_nodes = num_nodes
        self.state = state or RowState()
        folder.mkdir(exist_ok=True)
        if not self.state.buckets:
            fresh = np.lib.format.open_memmap(
                folder / _INDPTR, "w+", np.int64, (num_nodes + 1,)
            )
            fresh[0] = 0
            fresh.flush()

    def take(
        self,
        buckets: RowBuckets,
        budget: int,
        save: Callable[[RowState], None],
        told: Callable[[int], Any] = int,
    ) -> None:
        """Sort all buckets that are not yet done, and remove each.

        Parameters
        ----------
        budget
            Bytes that sorting may take; a bucket that needs more is sorted in pieces.
        save
            Called every few seconds, when all that the state says is on the disk; the
            files of buckets go only after it.
        told
            Called with the entries of each bucket.
        """
        assert buckets.state.entries is not None
        indptr, saved = np.load(self.folder / _INDPTR, mmap_mode="r+"), time.monotonic()
        with self._open(_INDICES, 4) as indices, self._open(_WEIGHTS, 4) as weights:
            for bucket in range(self.state.buckets, buckets.count):
                for first, last, entries, values in _pieces(buckets, bucket, budget):
                    rows, columns, kept, given = _sort(first, last, entries, values)
                    rows[1:] += self.state.entries
                    indptr[first + 1 : last + 1] = rows[1:]
                    columns.tofile(indices)
                    kept.tofile(weights)
                    self.state.entries += len(columns)
                    self.state.given += given
                self.state.buckets += 1
                told(buckets.state.entries[bucket])
                last_one = self.state.buckets == buckets.count
                if last_one or time.monotonic() - saved > SAVE_SECONDS:
                    for file in (indices, weights):
                        file.flush()
                        os.fsync(file.fileno())
                    indptr.flush()
                    save(self.state)
                    saved = time.monotonic()
                    buckets.remove(self.state.buckets)

    def _open(self, name: str, size: int) -> Any:
        """Open a file, cut back to the entries that count."""
        path = self.folder / name
        path.touch()
        os.truncate(path, self.state.entries * size)
        return path.open("ab")

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Map the finished rows: int64 [N+1], int32 [E], float32 [E] if weighted."""
        indptr = np.load(self.folder / _INDPTR, mmap_mode="r")
        shape = (self.state.entries,)
        if not shape[0]:
            none = np.empty(0, np.float32)
            return indptr, np.empty(0, np.int32), none if self.weighted else None
        indices = np.memmap(self.folder / _INDICES, np.int32, "r", shape=shape)
        weights = None
        if self.weighted:
            weights = np.memmap(self.folder / _WEIGHTS, np.float32, "r", shape=shape)
        return indptr, indices, weights


def _pieces(
    buckets: RowBuckets, bucket: int, budget: int
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Yield runs of a bucket's rows with their entries and weights, as they came.

    All at once where they fit; else the file is read once for each run of rows.
    """
    assert buckets.state.entries is not None
    first, last = buckets.bounds(bucket)
    count = buckets.state.entries[bucket]
    if count * _SORT_BYTES <= budget or last - first == 1:
        yield first, last, *_read(buckets, bucket, 0, count)
        return
    step = max(budget // (2 * _SORT_BYTES), _LEAST_STEP)
    sizes = np.zeros(last - first, np.int64)
    for start in range(0, count, step):
        entries, _ = _read(buckets, bucket, start, min(step, count - start))
        rows = (entries >> np.uint64(32)).astype(np.int64) - first
        sizes += np.bincount(rows, minlength=len(sizes))
    begin = 0
    while begin < len(sizes):
        fits = np.searchsorted(np.cumsum(sizes[begin:]), step, side="right")
        end = begin + max(int(fits), 1)
        entries = np.empty(int(sizes[begin:end].sum()), np.uint64)
        values = np.empty(len(entries) if buckets.weighted else 0, np.float32)
        at = 0
        for start in range(0, count, step):
            found, weights = _read(buckets, bucket, start, min(step, count - start))
            owner = (found >> np.uint64(32)).astype(np.int64)
            mine = (owner >= first + begin) & (owner < first + end)
            found = found[mine]
            entries[at : at + len(found)] = found
            if buckets.weighted:
                values[at : at + len(found)] = weights[mine]
            at += len(found)
        yield first + begin, first + end, entries, values
        begin = end


def _read(
    buckets: RowBuckets, bucket: int, start: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return some entries of a bucket, and their weights if there are any."""
    path = buckets.path(bucket)
    entries = np.fromfile(path, np.uint64, count, offset=start * _ENTRY)
    if not buckets.weighted:
        return entries, np.empty(0, np.float32)
    path = buckets.weights_path(bucket)
    return entries, np.fromfile(path, np.float32, count, offset=start * _WEIGHT)


def _sort(
    first: int, last: int, entries: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return rows `first` to ``last - 1``: int64 indptr, int32 columns, weights.

    The last number counts the entries that were given in their own direction.
    """
    indptr = np.zeros(last - first + 1, np.int64)
    columns = np.empty(len(entries), np.int32)
    kept = np.empty(len(values), np.float32)
    _place_rows(entries, values, first, indptr, columns, kept)
    given = int(sort_rows(indptr, columns, kept))
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
