"""One part's neighbourhoods for a window of steps, hop by hop.

A part asks the owners of its frontier for rows (`request`), owners sample and
answer (`answer`), and the part merges the answers and finds the next frontier
(`merge` in `daskgnn.kernels.merge`). Everything is a pure function of arrays; who
carries the arrays from part to part is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.coefficients import weights_or_empty
from daskgnn.kernels.frontier import count_between, offsets, take_between
from daskgnn.kernels.neighbor import look_up_rows, sample_rows
from daskgnn.kernels.record import ArrayRecord
from daskgnn.kernels.split import read_slots, slot_arguments
from daskgnn.kernels.threads import for_each

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.neighbor import FanOut
    from daskgnn.kernels.sampled import LocalRows


@dataclass(frozen=True)
class StepNodes:
    """The nodes that one step of one part has met."""

    ids: np.ndarray
    """int [n], storage ids in discovery order."""
    sizes: tuple[int, ...]
    """Nodes within 0, 1, ... hops: prefixes of `ids`."""
    starts: np.ndarray
    """int64 [r], where the row of each of the first r nodes begins."""
    counts: np.ndarray
    """int64 [r], its sampled length."""
    original_ids: np.ndarray
    """int64 [r]"""
    degree: np.ndarray
    """int64 [r], in-neighbours in the whole graph."""
    weighted_degree: np.ndarray
    """float32 [r], sum of the in-edges' weights in the whole graph."""
    indices: np.ndarray | None = None
    """int32 [sum(counts)], after the last hop: local numbers, row after row."""
    weights: np.ndarray | None = None
    """float32 [sum(counts)], edge weights beside `indices`."""
    indptr: np.ndarray | None = None
    """int64 [r + 1], of `indices`: `starts` and the end."""
    layers: tuple[LocalRows, ...] = ()
    """The rows of each layer so far, where each has a CSR of its own: no row is known
    then when the next one begins."""

    @property
    def frontier(self) -> np.ndarray:
        """The nodes whose rows are not known yet."""
        return self.ids[len(self.starts) :]


@dataclass(frozen=True)
class WindowNodes:
    """All steps of a window for one part, and the rows they point into."""

    steps: tuple[StepNodes, ...]
    step_keys: np.ndarray
    """uint64 [W]"""
    columns: np.ndarray
    """int [*], storage ids; empty after the last hop."""
    weights: np.ndarray | None
    """float32 [*], edge weights beside `columns`."""


@dataclass(frozen=True)
class Request(ArrayRecord):
    """Rows requested from one owner, for every step of a window."""

    ids: np.ndarray
    """int [n], storage ids, step after step."""
    offsets: np.ndarray
    """int64 [W + 1], where each step's ids begin."""


@dataclass(frozen=True)
class SampledRows(ArrayRecord):
    """An owner's answer: sampled rows and what belongs to their nodes."""

    counts: np.ndarray
    columns: np.ndarray
    weights: np.ndarray | None
    original_ids: np.ndarray
    degree: np.ndarray
    weighted_degree: np.ndarray
    mean_weights: np.ndarray | None = None
    """float32, beside `columns`: see `daskgnn.kernels.sampled.LocalRows`."""


def first_nodes(seeds: list[np.ndarray], step_keys: np.ndarray) -> WindowNodes:
    """Return the window before its first hop.

    Parameters
    ----------
    seeds : list of int [run]
        This part's seeds of each step, storage ids.
    step_keys : uint64 [W]
    """
    none = np.empty(0, np.int64)
    steps = tuple(
        StepNodes(run, (len(run),), none, none, none, none, none.astype(np.float32))
        for run in seeds
    )
    dtype = seeds[0].dtype if seeds else np.dtype(np.int64)
    return WindowNodes(steps, step_keys, np.empty(0, dtype), None)


def request(window: WindowNodes, book: PartitionBook, part: int) -> Request:
    """Return the rows that the frontier of `window` needs from `part`."""
    low, high = (int(bound) for bound in book.bounds[part : part + 2])
    frontiers = [frozen(step.frontier) for step in window.steps]
    begins = offsets([count_between(ids, low, high) for ids in frontiers])
    wanted = np.empty(begins[-1], window.columns.dtype)
    for ids, begin, end in zip(frontiers, begins[:-1], begins[1:], strict=True):
        take_between(ids, low, high, wanted[begin:end])
    return Request(wanted, begins)


def answer(
    block: AdjacencyBlock,
    asked: Request,
    step_keys: np.ndarray,
    fan_out: FanOut,
    hop: int,
    draw_weights: np.ndarray | None = None,
    threads: int = 1,
    drawable: np.ndarray | None = None,
) -> SampledRows:
    """Sample the rows that `asked` names from the block that owns them.

    `draw_weights` (float32 [E]) makes the draws weighted; where some are 0, `drawable`
    (int64 [n]) says how many of each row are not.
    Of a vertex-cut, columns that other parts hold are places
    (`daskgnn.kernels.entries`).
    The result does not depend on `threads`, the number of threads to use.
    """
    first, found = look_up(block, asked.ids, fan_out.width(hop), threads)
    if drawable is not None or fan_out.shares or fan_out.replace:
        rest = found.degree
        if drawable is not None:
            rest = drawable[asked.ids.astype(np.int64) - block.start]
        counts = fan_out.row_counts(hop, found.degree, rest)
        found = replace(found, counts=counts)
    pieces = pieces_of(len(first), threads)
    bases = offsets([int(found.counts[piece].sum()) for piece in pieces])
    columns = np.empty(bases[-1], block.indices.dtype)
    weights = np.empty(0 if block.weights is None else bases[-1], np.float32)
    rows = asked.ids.astype(np.int64) - block.start
    split_rows = block.split_rows and slot_arguments(block, rows, first, found.counts)
    weighed = weights_or_empty(block.weights), weights_or_empty(draw_weights)
    given = (
        frozen_all((columns[:0] if split_rows else block.indices, *weighed)),
        frozen_all((first, found.degree, found.counts, found.original_ids)),
        frozen_all((asked.offsets, step_keys)),
        (fan_out.whole, fan_out.drawn, fan_out.replace),
    )

    def sample(piece: tuple[slice, int]) -> None:
        rows, base = piece
        where: Any = (rows.start, rows.stop, base), (columns, weights)
        sample_rows(*given, *where)
        if split_rows:
            read_slots(*split_rows, *where)

    for_each(sample, list(zip(pieces, bases.tolist(), strict=False)), threads)
    if block.reader is not None:
        repeated = np.repeat(rows, found.counts)
        entries = block.reader.entries(repeated, columns.astype(np.int64))
    else:
        entries = columns, None if block.weights is None else weights
    return replace(found, columns=entries[0], weights=entries[1])


def look_up(
    block: AdjacencyBlock, ids: np.ndarray, width: int, threads: int
) -> tuple[np.ndarray, SampledRows]:
    """Return where the rows of `ids` begin, and `Rows` without any columns."""
    m = len(ids)
    first, counts, row_ids, degree = (np.empty(m, np.int64) for _ in range(4))
    weighted_degree = np.empty(m, np.float32)
    outputs = (first, counts, row_ids, degree, weighted_degree)
    given = weights_or_empty(None if block.weights is None else block.weighted_degree)
    known = frozen_all((block.indptr, block.original_ids, given))

    def look_up(piece: slice) -> None:
        asked, out = frozen(ids[piece]), slice_arrays(outputs, piece)
        look_up_rows(known, asked, block.start, width, out)

    for_each(look_up, pieces_of(m, threads), threads)
    return first, SampledRows(counts, ids[:0], None, row_ids, degree, weighted_degree)


def pieces_of(length: int, threads: int) -> list[slice]:
    """Cut `length` rows into a piece for each thread."""
    cuts = [length * i // threads for i in range(threads + 1)]
    return [slice(a, b) for a, b in pairwise(cuts)]


def frozen_all(arrays: Iterable[np.ndarray]) -> tuple[Any, ...]:
    """Return read-only views of `arrays`."""
    return tuple(frozen(array) for array in arrays)


def slice_arrays(arrays: Iterable[Any], piece: slice) -> tuple[Any, ...]:
    """Return a piece of each of `arrays`."""
    return tuple(array[piece] for array in arrays)
