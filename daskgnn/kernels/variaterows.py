"""Answer a request by variates: LABOR's rows of a block, for a window of steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.coefficients import weights_or_empty
from daskgnn.kernels.frontier import offsets, take_rows
from daskgnn.kernels.hops import frozen_all, look_up, pieces_of
from daskgnn.kernels.importance import count_drawable, improve
from daskgnn.kernels.labor import (
    draw_rows,
    draw_scored_rows,
    estimate_rows,
    order_by_place,
)
from daskgnn.kernels.neighbor import ALL
from daskgnn.kernels.numbering import RowColumns, number_nodes
from daskgnn.kernels.threads import for_each
from daskgnn.kernels.variates import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.hops import Request, SampledRows

IN_CACHE = 2**22
"""Blocks of more entries are read in the order of storage: rows that lie near each
other share pages, and memory is what a scan waits for."""


@dataclass(frozen=True)
class LaborRule:
    """How rows are drawn and estimated."""

    updates: int
    """How often pi is updated; -1 until it settles."""
    to_one: bool
    """Whether a row's estimate adds up to 1 (Hajek), else Horvitz-Thompson."""


@dataclass(frozen=True)
class LaborPart:
    """A part's rows, as LABOR reads them."""

    block: AdjacencyBlock
    names: np.ndarray
    """uint32 [E], names of the columns: see `daskgnn.kernels.variates`."""
    draw_weights: np.ndarray | None
    """float32 [E], none below zero; None if all neighbours count alike."""
    num_nodes: int
    """Nodes of the whole graph."""

    @property
    def entries(self) -> tuple[Any, ...]:
        """Neighbours, weights and names, as kernels take them."""
        block = self.block
        return frozen_all((block.indices, weights_or_empty(block.weights), self.names))


@dataclass(frozen=True)
class _Rows:
    """Some of the rows that were asked for."""

    first: np.ndarray
    """int64 [m], where they begin."""
    degree: np.ndarray
    """int64 [m]"""
    limits: np.ndarray
    """int64 [m], how many entries are kept on average."""

    def some(self, piece: slice | np.ndarray) -> _Rows:
        """Return a run of the rows, or those at some places."""
        return _Rows(self.first[piece], self.degree[piece], self.limits[piece])

    @property
    def room(self) -> int:
        """Entries that are room enough for most draws."""
        expected = int(np.minimum(self.degree, self.limits).sum())
        return expected + expected // 8 + int(self.degree.max(initial=0)) + 1024

    @property
    def bounds(self) -> np.ndarray:
        """uint64 [m], what variates of uniform draws are to be below."""
        kept = np.minimum(self.limits, self.degree).astype(np.uint64)
        return (kept << np.uint64(32)) // np.maximum(self.degree, 1).astype(np.uint64)


@dataclass(frozen=True)
class _Drawn:
    """Entries that were kept, row after row."""

    counts: np.ndarray
    columns: np.ndarray
    weights: np.ndarray
    """float32, empty where every edge weighs 1."""
    chances: np.ndarray
    """float64, their probabilities; empty where they are not needed."""

    @classmethod
    def joined(cls, runs: list[_Drawn]) -> _Drawn:
        """Return several runs of rows as one."""
        if len(runs) == 1:
            return runs[0]
        fields = ("counts", "columns", "weights", "chances")
        return cls(*(np.concatenate([getattr(r, f) for r in runs]) for f in fields))

    def put_back(self, order: np.ndarray) -> _Drawn:
        """Return rows that were drawn in some order as they were asked for.

        There are no `chances` yet.
        """
        starts, counts = np.empty((2, len(order)), np.int64)
        starts[order], counts[order] = offsets(self.counts)[:-1], self.counts
        columns, weights = np.empty_like(self.columns), np.empty_like(self.weights)
        starts, lengths = frozen_all((starts, counts))
        take_rows(frozen(self.columns), starts, lengths, columns)
        if len(weights):
            take_rows(frozen(self.weights), starts, lengths, weights)
        return _Drawn(counts, columns, weights, self.chances)


def answer_by_variates(
    part: LaborPart,
    asked: Request,
    keys: np.ndarray,
    limits: Callable[[np.ndarray], np.ndarray],
    rule: LaborRule,
    threads: int = 1,
) -> SampledRows:
    """Sample the rows that `asked` names from the block that owns them.

    The result does not depend on `threads`, the number of threads to use.

    Parameters
    ----------
    keys : uint64 [W]
        Of each step's variates.
    limits : callable
        Returns how many entries of rows of given degrees are kept on average, int64.
    """
    first, found = look_up(part.block, asked.ids, int(ALL), threads)
    rows = _Rows(first, found.degree, limits(found.degree))
    means = None
    if part.draw_weights is None and not rule.updates:
        drawn = _draw_uniform(part, rows, asked.offsets, keys, threads)
        if not rule.to_one:
            chances = np.repeat(rows.bounds / float(EVERYTHING), drawn.counts)
            means = _estimate(drawn.counts, rows.degree, chances, rule)
    else:
        runs = [slice(a, b) for a, b in pairwise(asked.offsets.tolist())]
        drawn = _Drawn.joined(
            for_each(
                lambda s: _draw_scored(part, rows.some(runs[s]), keys[s], rule.updates),
                range(len(runs)),
                threads,
            )
        )
        means = _estimate(drawn.counts, rows.degree, drawn.chances, rule)
    return replace(
        found,
        counts=drawn.counts,
        columns=drawn.columns,
        weights=None if part.block.weights is None else drawn.weights,
        mean_weights=means,
    )


def _estimate(
    counts: np.ndarray, degree: np.ndarray, chances: np.ndarray, rule: LaborRule
) -> np.ndarray:
    """Return float32 [S], what each kept entry counts for in the mean of its row."""
    means = np.empty(len(chances), np.float32)
    counts, degree, chances = frozen_all((counts, degree, chances))
    estimate_rows(counts, degree, chances, rule.to_one, means)
    return means


def _draw_uniform(
    part: LaborPart, rows: _Rows, begins: np.ndarray, keys: np.ndarray, threads: int
) -> _Drawn:
    """Draw rows with one bound for all entries of a row.

    `begins` (int64 [W + 1]) says where each step's rows begin.
    """

    def draw(piece: slice) -> _Drawn:
        some, order = rows.some(piece), None
        steps = np.clip(begins - piece.start, 0, len(some.first))
        if len(part.names) > IN_CACHE:
            order = np.empty(len(some.first), np.int32)
            first, steps = frozen_all((some.first, steps))
            order_by_place(first, steps, len(part.names), order)
            some = some.some(order)
        counts = np.empty(len(some.first), np.int64)
        given = (
            part.entries,
            frozen_all((some.first, some.degree, some.bounds)),
            frozen_all((steps, keys)),
        )

        def kernel(where: Any, out: tuple[Any, ...]) -> Any:
            return draw_rows(*given, where, counts, out)

        columns, weights = _filled(kernel, part, some)
        drawn = _Drawn(counts, columns, weights, np.empty(0))
        return drawn if order is None else drawn.put_back(order)

    return _Drawn.joined(for_each(draw, pieces_of(len(rows.first), threads), threads))


def _draw_scored(part: LaborPart, rows: _Rows, key: np.uint64, updates: int) -> _Drawn:
    """Draw the rows of one step, each entry with a probability of its own."""
    weights = frozen_all([weights_or_empty(part.draw_weights)])[0]
    drawable = rows.degree
    if part.draw_weights is not None:
        drawable = np.empty(len(rows.degree), np.int64)
        first, degree = frozen_all((rows.first, rows.degree))
        count_drawable(weights, first, degree, drawable)
    flat, numbers, pi = offsets(rows.degree)[:-1], np.empty(0, np.int32), np.empty(0)
    if updates:
        columns = RowColumns.of(
            part.block.indices, rows.first, rows.degree, slice(None)
        )
        none = np.empty(0, part.block.indices.dtype)
        known = none, [columns], int(ALL), part.num_nodes
        ids, numbers = number_nodes(*known, numbered=True)
        pi = np.ones(len(ids))
    given = frozen_all((rows.first, flat, rows.degree, drawable, rows.limits))
    c = np.empty(len(rows.first))
    improve(given, (weights, *frozen_all([numbers]), pi), updates, c)
    counts = np.empty(len(rows.first), np.int64)
    scores = (weights, *frozen_all((numbers, pi)))
    asked = (*given, *frozen_all([c]))

    def kernel(where: Any, out: tuple[Any, ...]) -> Any:
        return draw_scored_rows(part.entries, asked, scores, key, where, counts, out)

    return _Drawn(counts, *_filled(kernel, part, rows, np.dtype(np.float64)))


def _filled(
    kernel: Callable[[Any, tuple[Any, ...]], Any],
    part: LaborPart,
    rows: _Rows,
    *kinds: np.dtype[Any],
) -> tuple[np.ndarray, ...]:
    """Return what a kernel draws of all rows: columns, weights, arrays of `kinds`.

    A kernel stops where there may be no room for the next row.
    """
    size = rows.room
    weighed = 0 if part.block.weights is None else 1
    dtypes = [part.block.indices.dtype, np.dtype(np.float32), *kinds]
    shares = [1, weighed, *(1 for _ in kinds)]
    out: list[np.ndarray] = [
        np.empty(size * share, dtype)
        for share, dtype in zip(shares, dtypes, strict=True)
    ]
    row, place, end = 0, 0, len(rows.first)
    while True:
        row, place = kernel((row, end, place), tuple(out))
        if row == end:
            return tuple(array[:place] for array in out)
        size = 2 * size + int(rows.degree[row])
        for i, share in enumerate(shares):
            longer = np.empty(size * share, dtypes[i])
            longer[: place * share] = out[i][: place * share]
            out[i] = longer
