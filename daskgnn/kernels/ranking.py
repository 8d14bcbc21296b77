"""Rounds of local push: which rows seeds need, and which nodes they choose at last.

In each round a part asks the owners of nodes with large residuals for their rows. An
owner sends a row only if the residual is large for the row's length, too, so no more
than ``1 / epsilon`` neighbours, but for a seed's own row, which is always sent. Rows
are kept once for a window, however many seeds use them; a seed uses those it was
granted, which depends on nothing but the graph and the seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.frontier import offsets, take_rows
from daskgnn.kernels.hops import frozen_all
from daskgnn.kernels.pagerank import choose_nodes, find_candidates
from daskgnn.kernels.record import ArrayRecord
from daskgnn.kernels.subgraphs import (
    NodeSets,
    bounds_of,
    by_spans,
    joined,
    step_offsets,
)

if TYPE_CHECKING:
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook


class PushRule(NamedTuple):
    """How personalised PageRank is approximated."""

    size: int
    """Most nodes of a subgraph."""
    alpha: float
    """Probability that a walk ends at a node."""
    epsilon: float
    """Least residual that is pushed, divided by the node's degree."""

    def pushes(self, residual: np.ndarray, degree: np.ndarray) -> np.ndarray:
        """Return which nodes are to be pushed: bool."""
        return residual >= self.epsilon * np.maximum(degree, 1)


@dataclass(frozen=True)
class KnownRows:
    """The rows that a window has received, or just their degrees."""

    ids: np.ndarray
    """int [R], storage ids, ascending."""
    firsts: np.ndarray
    """int64 [R], where each row begins."""
    counts: np.ndarray
    """int64 [R], length of the row: the degree, or 0 where it was not sent."""
    degree: np.ndarray
    """int64 [R]"""
    columns: np.ndarray

    def places(self, ids: np.ndarray) -> np.ndarray:
        """Return where nodes are among the ids, or would be; at most R - 1."""
        found = np.searchsorted(self.ids, ids)
        return np.minimum(found, max(len(self.ids) - 1, 0))


@dataclass(frozen=True)
class Ranking:
    """The K seeds of a window between two rounds."""

    steps: np.ndarray
    """int64 [W + 1], which seeds belong to each step."""
    granted: np.ndarray
    """int [G], nodes whose rows a seed may use, its own first."""
    starts: np.ndarray
    """int64 [K + 1], where each seed's begin."""
    candidates: np.ndarray
    """int [C], nodes that seeds may be granted next."""
    residuals: np.ndarray
    """float64 [C]"""
    candidate_starts: np.ndarray
    """int64 [K + 1]"""
    rows: KnownRows
    wanted: RowRequest
    """What is asked of all owners, by storage id."""


@dataclass(frozen=True)
class RowRequest(ArrayRecord):
    """Nodes, and the largest residual that some seed has there."""

    ids: np.ndarray
    residuals: np.ndarray


@dataclass(frozen=True)
class FoundRows(ArrayRecord):
    """Rows, or of nodes that are not to be pushed just degrees."""

    counts: np.ndarray
    degree: np.ndarray
    columns: np.ndarray


def first_ranking(seeds: list[np.ndarray]) -> Ranking:
    """Return the window before its first round."""
    ids, none = joined(seeds), np.empty(0, np.int64)
    residuals, starts = np.full(len(ids), np.inf), np.arange(len(ids) + 1)
    rows = KnownRows(ids[:0], none, none, none, ids[:0])
    nothing = ids[:0], np.zeros(len(ids) + 1, np.int64)
    found = Ranking(
        step_offsets(seeds),
        *nothing,
        ids,
        residuals,
        starts,
        rows,
        RowRequest(ids[:0], residuals[:0]),
    )
    return replace(found, wanted=_wanted(found, rule=None))


def _wanted(ranking: Ranking, rule: PushRule | None) -> RowRequest:
    """Return the candidates whose rows are not known, or just their degrees."""
    ids, begins = _unique(ranking.candidates)
    order = np.argsort(ranking.candidates, kind="stable")
    residuals = np.zeros(len(ids))
    if len(ids):
        residuals = np.maximum.reduceat(ranking.residuals[order], begins)
    rows = ranking.rows
    if rule is None or not len(rows.ids):
        return RowRequest(ids, residuals)
    at = rows.places(ids)
    told = rows.ids[at] == ids
    degree = rows.degree[at]
    more = (rows.counts[at] < degree) & rule.pushes(residuals, degree)
    return RowRequest(ids[~told | more], residuals[~told | more])


def _unique(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct ids, ascending, and where each first is among the sorted ones."""
    found, counts = np.unique(ids, return_counts=True)
    return found, offsets(counts)[:-1]


def ask_rows(ranking: Ranking, book: PartitionBook, owner: int) -> RowRequest:
    """Return the rows that are wanted of `owner`."""
    wanted = ranking.wanted
    mine = slice(*np.searchsorted(wanted.ids, bounds_of(book, owner)).tolist())
    return RowRequest(wanted.ids[mine], wanted.residuals[mine])


def answer_rows(
    block: AdjacencyBlock, asked: RowRequest, rule: PushRule, *, first: bool
) -> FoundRows:
    """Return the rows of those nodes that are to be pushed, and all degrees."""
    rows = asked.ids.astype(np.int64) - block.start
    begins, degree = block.indptr[rows], block.indptr[rows + 1] - block.indptr[rows]
    sent = rule.pushes(asked.residuals, degree)
    counts = degree if first else np.where(sent, degree, 0)
    if block.reader is not None:
        repeated = np.repeat(np.arange(len(rows)), counts)
        slots = np.arange(len(repeated)) - offsets(counts)[repeated]
        columns = block.reader.entries(rows[repeated], slots)[0]
    else:
        columns = np.empty(int(counts.sum()), block.indices.dtype)
        take_rows(frozen(block.indices), frozen(begins), frozen(counts), columns)
    return FoundRows(counts, degree, columns)


def merge_rows(
    ranking: Ranking, answers: dict[int, FoundRows], rule: PushRule, threads: int
) -> Ranking:
    """Grant seeds the rows that arrived, push, and find what is wanted next."""
    ranking = _granted(ranking, answers, rule)
    num_seeds, (pool, granted) = len(ranking.starts) - 1, _arguments(ranking)
    how = rule.alpha, rule.epsilon
    pieces = by_spans(
        lambda span: find_candidates(pool, granted, span, how), num_seeds, threads
    )
    ids, residuals, counts = (joined(list(a)) for a in zip(*pieces, strict=True))
    ranking = replace(
        ranking,
        candidates=ids,
        residuals=residuals,
        candidate_starts=offsets(counts),
    )
    return replace(ranking, wanted=_wanted(ranking, rule))


def last_rows(
    ranking: Ranking, answers: dict[int, FoundRows], rule: PushRule, threads: int
) -> NodeSets:
    """Grant seeds the rows that arrived, push, and choose each seed's nodes."""
    ranking = _granted(ranking, answers, rule)
    num_seeds, (pool, granted) = len(ranking.starts) - 1, _arguments(ranking)
    how = rule.alpha, rule.epsilon
    pieces = by_spans(
        lambda span: choose_nodes(pool, granted, span, how, rule.size),
        num_seeds,
        threads,
    )
    ids, counts = (joined(list(arrays)) for arrays in zip(*pieces, strict=True))
    return NodeSets(ids, offsets(counts), ranking.steps)


def _arguments(ranking: Ranking) -> Any:
    """Return the rows that are known, and those granted, as kernels take them."""
    rows = ranking.rows
    pool = frozen_all((rows.ids, rows.firsts, rows.counts, rows.columns))
    return pool, frozen_all((rows.places(ranking.granted), ranking.starts))


def _granted(
    ranking: Ranking, answers: dict[int, FoundRows], rule: PushRule
) -> Ranking:
    """Return the seeds with the rows that they can use now."""
    rows = _with_answers(ranking, answers)
    degree = rows.degree[rows.places(ranking.candidates)]
    grant = rule.pushes(ranking.residuals, degree)
    old, new = np.diff(ranking.starts), np.diff(ranking.candidate_starts)
    seeds = np.arange(len(old))
    owner = np.concatenate([np.repeat(seeds, old), np.repeat(seeds, new)[grant]])
    nodes = np.concatenate([ranking.granted, ranking.candidates[grant]])
    order = np.argsort(owner, kind="stable")
    starts = offsets(np.bincount(owner, minlength=len(seeds)))
    return replace(ranking, granted=nodes[order], starts=starts, rows=rows)


def _with_answers(ranking: Ranking, answers: dict[int, FoundRows]) -> KnownRows:
    """Return the rows that are known with those that arrived, in place of degrees."""
    before, replies = ranking.rows, [answers[part] for part in sorted(answers)]
    ids = ranking.wanted.ids  # ascending, so owners' replies follow each other
    counts = joined([reply.counts for reply in replies])
    firsts = len(before.columns) + offsets(counts)[:-1]
    kept = np.isin(before.ids, ids, invert=True)
    merged = np.concatenate([before.ids[kept], ids])
    order = np.argsort(merged, kind="stable")
    degree = joined([reply.degree for reply in replies])
    columns = joined([reply.columns for reply in replies])
    return KnownRows(
        merged[order],
        np.concatenate([before.firsts[kept], firsts])[order],
        np.concatenate([before.counts[kept], counts])[order],
        np.concatenate([before.degree[kept], degree])[order],
        np.concatenate([before.columns, columns]),
    )
