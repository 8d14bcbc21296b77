"""The nodes that a layer can draw from: sources of edges into its destinations.

A part knows the candidates that it owns. Who owns a destination reads its row, adds up
the squared entries of the row's columns, and reports them to who owns these. A step's
destinations grow from layer to layer, so what was reported before stays.

Shapes: n candidates of a part in a step, W steps, P parts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.coefficients import weights_or_empty
from daskgnn.kernels.frontier import offsets, take_rows
from daskgnn.kernels.hops import Request, first_nodes, frozen_all
from daskgnn.kernels.layerrows import add_squares, column_factors, row_factors
from daskgnn.kernels.layerwise import Histogram, Offer, Terms, race_keys
from daskgnn.kernels.merge import Answers, add_rows, by_owner
from daskgnn.kernels.neighbor import ALL
from daskgnn.kernels.numbering import RowColumns, number_nodes
from daskgnn.kernels.record import ArrayRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.hops import SampledRows


@dataclass(frozen=True)
class Candidates(ArrayRecord):
    """The candidates of one part in one step, and its destinations."""

    ids: np.ndarray
    """int [n], storage ids in the order in which they were reported."""
    totals: np.ndarray
    """float64 [n], sums of squared entries without their `factors`."""
    original_ids: np.ndarray
    """int64 [k], of the first candidates; of all after `with_facts`."""
    factors: np.ndarray
    """float64 [k], see `daskgnn.kernels.layerrows.column_factors`."""
    destinations: np.ndarray
    """int [*], the part's nodes whose rows count, ascending."""
    fresh: np.ndarray
    """int [*], nodes whose rows are to be read next."""

    @classmethod
    def none(cls, seeds: np.ndarray) -> Candidates:
        """Return what a part knows before the seeds' rows are read."""
        ids, sums = seeds[:0], np.empty(0)
        return cls(ids, sums, np.empty(0, np.int64), sums, ids, seeds)

    @property
    def values(self) -> np.ndarray:
        """Sums of squared entries, float64 [n]."""
        return self.totals * self.factors

    def with_facts(self, facts: Facts, some: slice, norm: str) -> Candidates:
        """Return the candidates with what their own part knows of the new ones."""
        factors = column_factors(norm, facts.weighted_degree[some])
        return replace(
            self,
            original_ids=np.concatenate([self.original_ids, facts.original_ids[some]]),
            factors=np.concatenate([self.factors, factors]),
        )

    def grown(self, ids: np.ndarray) -> Candidates:
        """Return them with further destinations, some of which may be known."""
        fresh = np.setdiff1d(ids, self.destinations, assume_unique=True)
        return replace(
            self, destinations=np.union1d(self.destinations, fresh), fresh=fresh
        )


@dataclass(frozen=True)
class Facts(ArrayRecord):
    """What a part knows of some of its nodes."""

    original_ids: np.ndarray
    """int64 [n]"""
    weighted_degree: np.ndarray
    """float32 [n]"""

    @classmethod
    def of(cls, block: AdjacencyBlock, ids: np.ndarray) -> Facts:
        """Look up nodes of a block by their storage ids."""
        own = ids.astype(np.int64) - block.start
        if block.weights is None:
            degree = (block.indptr[own + 1] - block.indptr[own]).astype(np.float32)
        else:
            degree = block.weighted_degree[own]
        return cls(block.original_ids[own], degree)


@dataclass(frozen=True)
class Sums(ArrayRecord):
    """Sums of squared entries by column, of one step and any owner."""

    ids: np.ndarray
    """int [n], distinct columns, owner after owner."""
    sums: np.ndarray
    """float64 [n]"""
    ends: np.ndarray
    """int64 [P + 1], where each owner's end."""


@dataclass(frozen=True)
class Report(ArrayRecord):
    """What a part tells an owner of its nodes, for every step of a window."""

    ids: np.ndarray
    """int [n], columns of rows that were read, step after step."""
    sums: np.ndarray
    """float64 [n]"""
    offsets: np.ndarray
    """int64 [W + 1]"""
    seeds: Request
    """The part's seeds of the owner; none after the first layer."""


def summed_columns(
    fresh: Sequence[np.ndarray],
    step_keys: np.ndarray,
    answers: dict[int, SampledRows],
    book: PartitionBook,
    norm: str,
) -> list[Sums]:
    """Add up, for each step, the squared entries of rows that were read.

    Parameters
    ----------
    fresh
        int [*] for each step, the rows' nodes.
    step_keys
        uint64 [W].
    answers
        The rows, whole, by their owner.
    norm
        See `daskgnn.kernels.layerrows.row_factors`.
    """
    given = Answers.of(answers)
    steps = first_nodes(list(fresh), step_keys).steps
    groups = [by_owner(step.ids, book.bounds) for step in steps]
    taken = np.cumsum([[0] * book.num_parts, *(np.diff(e) for _, e in groups)], 0)
    weighed = weights_or_empty(given.weights if norm == "gcn" else None)
    out = []
    for s, step in enumerate(steps):
        rows = add_rows(step, groups[s], taken[s], given, 0)
        columns = RowColumns.of(given.columns, rows.starts, rows.counts, slice(None))
        ids, local = number_nodes(
            given.columns[:0], [columns], int(ALL), book.num_nodes, numbered=True
        )
        weights = np.empty(len(local) if len(weighed) else 0, np.float32)
        if len(weights):
            take_rows(frozen(weighed), columns.starts, columns.counts, weights)
        sums = np.zeros(len(ids))
        factors = row_factors(norm, rows.degree, rows.weighted_degree)
        entries = local, offsets(rows.counts), factors, weights
        add_squares(frozen_all(entries), sums)
        order, ends = by_owner(ids, book.bounds)
        out.append(Sums(ids[order], sums[order], ends))
    return out


def report_to(owner: int, steps: Sequence[Sums], seeds: Request) -> Report:
    """Return what an owner is told of its nodes."""
    spans = [slice(step.ends[owner], step.ends[owner + 1]) for step in steps]
    ids = [step.ids[span] for step, span in zip(steps, spans, strict=True)]
    sums = [step.sums[span] for step, span in zip(steps, spans, strict=True)]
    begins = offsets([len(some) for some in ids])
    return Report(np.concatenate(ids), np.concatenate(sums), begins, seeds)


def with_reports(
    steps: Sequence[Candidates], reports: Sequence[Report], num_nodes: int
) -> list[Candidates]:
    """Return each step's candidates with what all parts, in their order, report."""
    out = []
    for s, step in enumerate(steps):
        spans = [slice(r.offsets[s], r.offsets[s + 1]) for r in reports]
        ids = np.concatenate(
            [r.ids[span] for r, span in zip(reports, spans, strict=True)]
        ).astype(step.ids.dtype)
        sums = np.concatenate(
            [r.sums[span] for r, span in zip(reports, spans, strict=True)]
        )
        one = np.zeros(1, np.int64), np.array([len(ids)])
        columns = RowColumns.of(ids, *one, slice(None))
        met, local = number_nodes(
            step.ids, [columns], int(ALL), num_nodes, numbered=True
        )
        totals = np.bincount(local, sums, len(met)).astype(np.float64)
        totals[: len(step.ids)] += step.totals
        begins = [r.seeds.offsets[s : s + 2] for r in reports]
        seeds = [r.seeds.ids[a:b] for r, (a, b) in zip(reports, begins, strict=True)]
        known = np.union1d(step.destinations, np.concatenate(seeds))
        destinations = known.astype(step.ids.dtype)
        out.append(replace(step, ids=met, totals=totals, destinations=destinations))
    return out


def _drawable(step: Candidates, *, skip: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return float64 [n], what candidates are drawn by, and which are forced in."""
    forced = np.zeros(len(step.ids), np.bool_)
    if skip and len(step.destinations):
        place = np.searchsorted(step.destinations, step.ids)
        place = np.minimum(place, len(step.destinations) - 1)
        forced = step.destinations[place] == step.ids
    return np.where(forced, 0.0, step.values), forced


def offered(
    step: Candidates, form: str, size: int, key: np.uint64, *, skip: bool
) -> Offer:
    """Return what other parts must know before a layer's nodes are drawn."""
    values, _ = _drawable(step, skip=skip)
    keys = np.empty(0)
    if form == "released":
        keys = race_keys(frozen(step.original_ids), frozen(values), key)
        keys = np.sort(keys[np.isfinite(keys)])[:size]
    return Offer(Histogram.of(values), keys)


def drawn(
    step: Candidates, terms: Terms, part: int, key: np.uint64, *, skip: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a part's nodes of a layer.

    Returns
    -------
    tuple
        int [m] storage ids, ascending; float64 [m], what each counts for.
    """
    values, forced = _drawable(step, skip=skip)
    order = np.argsort(step.ids)
    ids, values, forced = step.ids[order], values[order], forced[order]
    known = step.original_ids[order]
    places, inverse = terms.draw(part, values, terms.prepared(values), known, key)
    if not forced.any():
        return ids[places], inverse
    counts: Any = np.where(forced, 1.0, 0.0)
    counts[places] = inverse
    kept = np.flatnonzero(counts)
    return ids[kept], counts[kept]
