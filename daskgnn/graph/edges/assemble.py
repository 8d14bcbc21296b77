"""From chunks of edges to CSR rows: counted, placed, sorted in place.

What is held is the rows themselves, two numbers a node and one chunk; chunks wait in a
file when they exceed the memory limit. N nodes, E edges.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING

import numpy as np
from dask.utils import format_bytes, parse_bytes

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.rounding import to_float32
from daskgnn.graph.edges.rowsort import count_entries, place_entries, sort_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Chunk = tuple[np.ndarray, np.ndarray, np.ndarray | None]

MEMORY_LIMIT = "1 GiB"
"""Default memory limit of a reader, not counting the finished graph."""
LEAST_LIMIT = 1 << 20
_STEP = 1 << 22


def limit_bytes(memory_limit: int | str | None) -> int:
    """Return a memory limit in bytes.

    Raises
    ------
    GraphFormatError
        If it cannot be read, or is below 1 MiB.
    """
    try:
        found = int(parse_bytes(MEMORY_LIMIT if memory_limit is None else memory_limit))
    except (ValueError, TypeError, AttributeError):
        found = 0
    if found < LEAST_LIMIT:
        raise GraphFormatError(
            f"memory_limit={memory_limit!r}: give at least "
            f"{format_bytes(LEAST_LIMIT)}, like memory_limit='2 GiB'"
        )
    return found


@dataclass(frozen=True)
class CSRRows:
    """CSR rows (row = destination, columns = its sources) and what was dropped."""

    indptr: np.ndarray
    """int64 [N+1]."""
    indices: np.ndarray
    """int32 [E], each row sorted, without repeats."""
    positions: np.ndarray | None
    """int64 [E], the input edge each entry came from; None if not asked for."""
    report: dict[str, int]
    """Counts of input edges, dropped ones, and nodes without an edge."""


_spool_folder: ContextVar[str | None] = ContextVar("spool folder", default=None)


@contextmanager
def spools_in(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Have spools write into a folder, not where temporary files usually go."""
    token = _spool_folder.set(os.fspath(folder))
    try:
        yield
    finally:
        _spool_folder.reset(token)


@dataclass(eq=False)
class Spool:
    """Edges in the order they came; in a file beyond a limit."""

    limit: int
    """Bytes of edges that may wait in memory."""
    weighted: bool = False
    """Whether every edge has a weight."""
    count: int = 0
    """E so far."""
    low: int = 0
    """The smallest id so far, or 0."""
    high: int = -1
    """The largest id so far."""
    rounded: int = 0
    """Weights that lost digits as float32."""
    _kept: list[Chunk] = field(default_factory=list)
    _held: int = 0
    _file: IO[bytes] | None = None
    _lengths: list[int] = field(default_factory=list)

    def append(
        self,
        source: np.ndarray,
        destination: np.ndarray,
        weight: np.ndarray | None = None,
    ) -> None:
        """Add a chunk of edges: int64 ids [n], weights [n] where weighted."""
        if not len(source):
            return
        if weight is not None and self.weighted:
            weight, lost = to_float32(weight)
            self.rounded += lost
        for ids in (source, destination):
            self.low = min(self.low, int(ids.min()))
            self.high = max(self.high, int(ids.max()))
        self.count += len(source)
        self._kept.append((source, destination, weight if self.weighted else None))
        self._held += len(source) * (20 if self.weighted else 16)
        if self._held > self.limit:
            self._spill()

    def _spill(self) -> None:
        """Move what waits in memory to the file."""
        if self._file is None:
            # Open as long as the spool exists: closing deletes the file.
            self._file = tempfile.TemporaryFile(  # noqa: SIM115
                prefix="daskgnn-edges-", dir=_spool_folder.get()
            )
            weakref.finalize(self, self._file.close)
        self._lengths += write_edges(self._file, self._kept)
        self._kept, self._held = [], 0

    @property
    def lengths(self) -> list[int]:
        """Edges of each chunk."""
        return [*self._lengths, *(len(chunk[0]) for chunk in self._kept)]

    def chunks(self, first: int = 0) -> Iterator[Chunk]:
        """Yield every chunk from one on again, in order."""
        if self._file is not None:
            yield from read_edges(self._file, self._lengths, self.weighted, first)
        yield from self._kept[max(first - len(self._lengths), 0) :]

    def drop(self) -> None:
        """Give back what the edges take, in memory and on the disk."""
        if self._file is not None:
            self._file.truncate(0)
        self._kept, self._lengths, self._held = [], [], 0

    def renumber(self, number: Callable[[np.ndarray], np.ndarray]) -> Spool:
        """Return a spool with every id replaced by `number` of it."""
        found = Spool(self.limit, self.weighted)
        for source, destination, weight in self.chunks():
            found.append(number(source), number(destination), weight)
        return found


def write_edges(file: IO[bytes], chunks: Iterable[Chunk]) -> list[int]:
    """Write chunks of edges where a file stands; return how many edges each has."""
    lengths = []
    for chunk in chunks:
        for array in chunk:
            if array is not None:
                file.write(np.ascontiguousarray(array).view(np.uint8).data)
        lengths.append(len(chunk[0]))
    return lengths


def read_edges(
    file: IO[bytes], lengths: list[int], weighted: bool, first: int
) -> Iterator[Chunk]:
    """Yield what `write_edges` wrote to a file, from chunk number `first` on."""
    file.seek(sum(lengths[:first]) * (20 if weighted else 16))
    for length in lengths[first:]:
        source = np.fromfile(file, np.int64, length)
        destination = np.fromfile(file, np.int64, length)
        weight = np.fromfile(file, np.float32, length) if weighted else None
        yield source, destination, weight


def build_rows(
    spool: Spool,
    num_nodes: int,
    *,
    directed: bool,
    keep_self_loops: bool,
    add: bool = False,
) -> tuple[CSRRows, np.ndarray | None]:
    """Turn spooled edges, all ids below N, into sorted CSR rows without repeats.

    Parameters
    ----------
    directed
        If False every edge is entered both ways.
    add
        Whether the edges are entries of a matrix: repeats are added up, in an
        undirected graph (u, v) with u < v counts before (v, u), and there are no
        weights where all would be 1. Else, of repeats and of an edge given both ways,
        the first that came counts.

    Returns
    -------
    Rows, np.ndarray or None
        The rows, whose counts are those of `to_rows`, and float32
        weights [E] if the spool has them.
    """
    kept = np.float32 if spool.weighted else None
    rows, values = _build(spool.chunks, num_nodes, kept, directed, keep_self_loops, add)
    return rows, None if add and all_ones(values) else values


def all_ones(weights: np.ndarray | None) -> bool:
    """Tell whether weights say nothing: each is 1."""
    if weights is None:
        return True
    starts = range(0, len(weights), _STEP)
    return all((weights[start : start + _STEP] == 1).all() for start in starts)


def to_rows(
    edges: np.ndarray,
    num_nodes: int,
    *,
    directed: bool = False,
    keep_self_loops: bool = False,
    track: bool = False,
) -> CSRRows:
    """Turn checked edges (2, E) into sorted CSR rows without repeats.

    Parameters
    ----------
    edges
        Integer array (2, E) of sources and destinations, all below ``num_nodes``.
    directed
        If False every edge is entered both ways.
    track
        Also return which input edge each entry came from. Of repeats, and of an
        edge given both ways in an undirected graph, the first given counts.
    """

    def chunks() -> Iterator[Chunk]:
        for start in range(0, edges.shape[1], _STEP):
            part = edges[:, start : start + _STEP].astype(np.int64)
            places = np.arange(start, start + part.shape[1]) if track else None
            yield part[0], part[1], places

    kept = np.int64 if track else None
    rows, places = _build(chunks, num_nodes, kept, directed, keep_self_loops)
    return replace(rows, positions=places)


def _build(
    chunks: Callable[[], Iterator[Chunk]],
    num_nodes: int,
    kept: type | None,
    directed: bool,
    keep_self_loops: bool,
    add: bool = False,
) -> tuple[CSRRows, np.ndarray | None]:
    """Count the entries of each row, put them there, and sort.

    Parameters
    ----------
    kept
        The dtype of the values that come with edges, None where there are none.
    add
        Whether the values of repeats are added up.
    """
    counts = np.zeros(num_nodes + 1, np.int64)
    loops = edges = 0
    chosen = (not directed, keep_self_loops)
    for source, destination, _ in chunks():
        loops += count_entries(source, destination, 0, *chosen, counts)
        edges += len(source)
    indptr = np.cumsum(counts)
    total = int(indptr[-1])
    entries = np.empty(total, np.int32)
    values: np.ndarray = np.empty(0 if kept is None else total, kept or np.float32)
    counts[:] = indptr
    none = np.empty(0, values.dtype)
    for source, destination, given in chunks():
        edges_given = (source, destination, none if given is None else given)
        place_entries(edges_given, *chosen, counts, entries, values)
    del counts
    own, lost = sort_rows(indptr, entries, values, add, 0)
    total = int(indptr[-1])
    # In place: the rest of the memory is returned without a copy.
    entries.resize(total, refcheck=False)
    if kept is not None:
        values.resize(total, refcheck=False)
    counted = (edges, int(loops), int(own))
    rows = reported_rows(indptr, entries, counted, directed, keep_self_loops)
    if lost:
        rows.report["weights_rounded"] = int(lost)
    return rows, None if kept is None else values


def reported_rows(
    indptr: np.ndarray,
    indices: np.ndarray,
    counted: tuple[int, int, int],
    directed: bool,
    keep_self_loops: bool,
) -> CSRRows:
    """Return finished rows with a report of what was dropped and added.

    Parameters
    ----------
    counted
        Edges and self-loops that were given, and entries that were given in their own
        direction.
    """
    edges, loops, own = counted
    dropped = 0 if keep_self_loops else loops
    report = {
        "input_edges": edges,
        "self_loops_dropped": dropped,
        "self_loops_kept": loops - dropped,
        "duplicates_dropped": edges - own - dropped,
    }
    alone = indptr[1:] == indptr[:-1]
    if directed:
        for start in range(0, len(indices), _STEP):
            alone[indices[start : start + _STEP]] = False
    else:
        report["reverse_edges_added"] = len(indices) - own
    report["isolated_nodes"] = int(np.count_nonzero(alone))
    return CSRRows(indptr, indices, None, report)
