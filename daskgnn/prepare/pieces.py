"""Sort edges into rows in pieces, by any process that sees the shared folder.

First pieces of the edges are put in the order of buckets of rows, then each bucket is
gathered and sorted. A step's files are there as a whole or not at all, and say the same
however often it is done: one that was killed, or is done twice, changes nothing.

An entry is 8 bytes: the row, the column, and whether it is the reverse of a given edge.
Entries keep the order in which they came, so that what is left of repeated edges is
what `daskgnn.graph.edges.assemble.build_rows` leaves. N nodes, E entries.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import numpy as np

from daskgnn.graph.edges.assemble import read_edges, write_edges
from daskgnn.graph.edges.rowsort import count_entries
from daskgnn.kernels.jit import njit
from daskgnn.prepare.rowfiles import SortedRows, sort_bucket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from daskgnn.graph.edges.assemble import Chunk, Spool

_EDGES, _LOOPS, _ENDS = 0, 1, 2
_FACTS = "pieces.npy"


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that is at `path` when all of it is on the disk."""
    fresh = path.with_name(f"{path.name}.{uuid4().hex}.new")
    try:
        with fresh.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


class EdgeSource(Protocol):
    """Edges that come a chunk at a time, always the same chunks."""

    @property
    def lengths(self) -> list[int]:
        """Edges of each chunk."""

    def chunks(self, first: int = 0) -> Iterator[Chunk]:
        """Yield int64 sources and destinations [n] and float32 weights, or None.

        Chunks before the first are left out.
        """


@dataclass(frozen=True)
class SavedEdges:
    """Chunks of edges in a file."""

    path: str
    lengths: list[int]
    """Edges of each chunk."""
    weighted: bool

    def chunks(self, first: int = 0) -> Iterator[Chunk]:
        """Yield all chunks from one on."""
        with open(self.path, "rb") as file:
            yield from read_edges(file, self.lengths, self.weighted, first)


def save_edges(spool: Spool, path: Path) -> SavedEdges:
    """Write all that a reader has read to a file that other processes can open."""
    with whole_file(path) as file:
        lengths = write_edges(file, spool.chunks())
    return SavedEdges(str(path), lengths, spool.weighted)


def cut_pieces(lengths: list[int], least: int) -> list[tuple[int, int, int]]:
    """Return (number, first chunk, chunks) of runs of at least so many edges."""
    found: list[tuple[int, int, int]] = []
    first = edges = 0
    for chunk, length in enumerate(lengths):
        edges += length
        if edges >= least or chunk == len(lengths) - 1:
            found.append((len(found), first, chunk + 1 - first))
            first, edges = chunk + 1, 0
    return found


@dataclass(frozen=True)
class PieceWork:
    """What every task of one preparation is given."""

    folder: Path
    """Seen by all."""
    num_nodes: int
    num_buckets: int
    """That are asked for; `count` are made."""
    weighted: bool
    directed: bool
    keep_self_loops: bool
    budget: int
    """Bytes that sorting a bucket may take."""
    add: bool = False
    """Whether repeats are added up, as entries of a matrix."""

    @cached_property
    def shift(self) -> int:
        """By how many bits a row is shifted to tell its bucket."""
        return max((-(-self.num_nodes // self.num_buckets) - 1).bit_length(), 0)

    @property
    def count(self) -> int:
        """How many buckets there are."""
        return -(-self.num_nodes // (1 << self.shift))

    def path(self, kind: str, number: int) -> Path:
        """Return a file of the folder."""
        return self.folder / f"{number}.{kind}"

    @cached_property
    def _begins(self) -> np.ndarray:
        """int64 [pieces, buckets + 1]."""
        return np.load(self.folder / _FACTS)

    def bounds(self, bucket: int) -> tuple[int, int]:
        """Return the first row of a bucket and that after its last."""
        first = bucket << self.shift
        return first, min(first + (1 << self.shift), self.num_nodes)

    def size(self, bucket: int) -> int:
        """Return how many entries a bucket has."""
        return int((self._begins[:, bucket + 1] - self._begins[:, bucket]).sum())

    def read(
        self, bucket: int, start: int, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return some entries of a bucket, piece after piece, and their weights."""
        entries = np.empty(count, np.uint64)
        values = np.empty(count if self.weighted else 0, np.float32)
        place = 0
        for piece, begins in enumerate(self._begins):
            first, last = int(begins[bucket]), int(begins[bucket + 1])
            low, high = max(start, place), min(start + count, place + last - first)
            if low < high:
                at, into = first + low - place, slice(low - start, high - start)
                for kind, out in (("entries", entries), ("weights", values)):
                    if len(out):
                        path = self.path(kind, piece)
                        out[into] = _read(path, out.dtype, at, high - low)
            place += last - first
        return entries, values


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
    met = count_entries(source, destination, shift, both, loops, sizes)
    ends = np.cumsum(sizes)
    entries = np.empty(int(ends[-1]), np.uint64)
    values = np.empty(len(entries) if weight is not None else 0, np.float32)
    given = (source, destination, weights)
    _place_entries(given, shift, both, loops, ends.copy(), entries, values)
    return entries, values, ends, int(met)


def put_piece(
    work: PieceWork, source: EdgeSource, number: int, first: int, chunks: int
) -> int:
    """Put some chunks of the edges in the order of their buckets; return the edges.

    Nothing is done where that was done before.
    """
    facts = work.path("piece.npy", number)
    if facts.exists():
        return int(np.load(facts)[_EDGES])
    chunk = _joined(list(islice(source.chunks(first), chunks)))
    both, loops = not work.directed, work.keep_self_loops
    entries, values, begins, met = arrange(chunk, work.shift, work.count, both, loops)
    with whole_file(work.path("entries", number)) as file:
        entries.tofile(file)
    if work.weighted:
        with whole_file(work.path("weights", number)) as file:
            values.tofile(file)
    # The record that the other files are complete is written last.
    with whole_file(facts) as file:
        np.save(file, np.concatenate(([len(chunk[0]), met], begins)))
    return len(chunk[0])


def _joined(chunks: list[Chunk]) -> Chunk:
    """Return some chunks as one; a single one is not copied."""
    if len(chunks) == 1:
        return chunks[0]
    source, destination = (np.concatenate([c[i] for c in chunks]) for i in (0, 1))
    weights = [chunk[2] for chunk in chunks if chunk[2] is not None]
    return source, destination, np.concatenate(weights) if weights else None


def join_pieces(work: PieceWork, count: int) -> dict[str, Any]:
    """Write down where each bucket begins in each piece, and return the totals.

    They are ``edges``, ``loops``, and ``sizes``, the entries of each bucket.
    """
    facts = np.stack([np.load(work.path("piece.npy", i)) for i in range(count)])
    with whole_file(work.folder / _FACTS) as file:
        np.save(file, facts[:, _ENDS:])
    sizes = np.diff(facts[:, _ENDS:], axis=1).sum(axis=0)
    edges, loops = facts[:, [_EDGES, _LOOPS]].sum(axis=0).tolist()
    return {"edges": edges, "loops": loops, "sizes": sizes.tolist()}


def _read(path: Path, dtype: Any, first: int, count: int) -> np.ndarray:
    """Return some numbers of a file."""
    offset = first * np.dtype(dtype).itemsize
    found = np.fromfile(path, dtype, count, offset=offset)
    if len(found) != count:
        raise OSError(f"{path} is truncated")
    return found


def sort_whole(work: PieceWork, bucket: int) -> list[SortedRows]:
    """Return all of a bucket's rows, for a task."""
    return list(sort_bucket(work, bucket))


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
