"""Edges beyond memory into buckets of rows, in files.

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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from daskgnn.graph.assemble import Chunk

MAX_BUCKETS = 256
"""Files that are written side by side."""
SAVE_SECONDS = 10.0
"""How often it is written down how far a stage is."""
ENTRY_BYTES = 8
WEIGHT_BYTES = 4


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


def bucket_shift(num_nodes: int, num_buckets: int) -> int:
    """Return by how many bits a row is shifted to tell its bucket."""
    return max((-(-num_nodes // num_buckets) - 1).bit_length(), 0)


def bucket_bounds(bucket: int, shift: int, num_nodes: int) -> tuple[int, int]:
    """Return the first row of a bucket and that after its last."""
    first = bucket << shift
    return first, min(first + (1 << shift), num_nodes)


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
        self.shift = bucket_shift(num_nodes, num_buckets)
        self.count = -(-num_nodes // (1 << self.shift))
        self.state = state or BucketState()
        if self.state.entries is None:
            self.state.entries = [0] * self.count
        folder.mkdir(exist_ok=True)

    def bounds(self, bucket: int) -> tuple[int, int]:
        """Return the first row of a bucket and that after its last."""
        return bucket_bounds(bucket, self.shift, self.num_nodes)

    def path(self, bucket: int) -> Path:
        """Return the file of a bucket's entries."""
        return self.folder / f"{bucket}.entries"

    def weights_path(self, bucket: int) -> Path:
        """Return the file of a bucket's weights."""
        return self.folder / f"{bucket}.weights"

    def size(self, bucket: int) -> int:
        """Return how many entries a bucket has."""
        assert self.state.entries is not None
        return self.state.entries[bucket]

    def read(
        self, bucket: int, start: int, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return some entries of a bucket, and their weights if there are any."""
        path = self.path(bucket)
        entries = np.fromfile(path, np.uint64, count, offset=start * ENTRY_BYTES)
        if not self.weighted:
            return entries, np.empty(0, np.float32)
        path, begin = self.weights_path(bucket), start * WEIGHT_BYTES
        return entries, np.fromfile(path, np.float32, count, offset=begin)

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
        kinds = [(self.path, ENTRY_BYTES)]
        if self.weighted:
            kinds.append((self.weights_path, WEIGHT_BYTES))
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
        chunk = (source, destination, weight)
        found = arrange(chunk, self.shift, self.count, both, loops)
        entries, values, ends, met = found
        for bucket in range(self.count):
            first, last = int(ends[bucket]), int(ends[bucket + 1])
            if first == last:
                continue
            _write(files[bucket], entries[first:last])
            if self.weighted:
                _write(files[self.count + bucket], values[first:last])
            self.state.entries[bucket] += last - first
        return met


def arrange(
    chunk: Chunk, shift: int, num_buckets: int, both: bool, loops: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return the entries of a chunk of edges, bucket after bucket.

    Parameters
    ----------
    both
        Whether an edge is entered both ways.
    loops
        Whether self-loops are.

    Returns
    -------
    np.ndarray, np.ndarray, np.ndarray, int
        uint64 entries [n], their float32 weights if there are any, int64
        [num_buckets + 1], where each bucket begins, and the self-loops met.
    """
    source, destination, weight = chunk
    weights = np.empty(0, np.float32) if weight is None else weight
    sizes = np.zeros(num_buckets + 1, np.int64)
    met = _count_entries(source, destination, shift, both, loops, sizes)
    ends = np.cumsum(sizes)
    entries = np.empty(int(ends[-1]), np.uint64)
    values = np.empty(len(entries) if weight is not None else 0, np.float32)
    given = (source, destination, weights)
    _place_entries(given, shift, both, loops, ends.copy(), entries, values)
    return entries, values, ends, int(met)


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
    edges: Any,
    shift: int,
    both: bool,
    loops: bool,
    ends: Any,
    entries: Any,
    values: Any,
) -> None:
    """Write entries, bucket after bucket, each in the order in which they came."""
    source, destination, weights = edges
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
