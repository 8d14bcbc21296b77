"""Rows of a layer whose nodes were drawn: cut to these, and numbered.

Shapes: m rows asked for with E entries, k sampled nodes ("members") of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.coefficients import weights_or_empty
from daskgnn.kernels.counter import GOLDEN
from daskgnn.kernels.frontier import offsets
from daskgnn.kernels.hops import Request, StepNodes, frozen_all
from daskgnn.kernels.jit import njit
from daskgnn.kernels.merge import Answers, add_rows, by_owner
from daskgnn.kernels.record import ArrayRecord
from daskgnn.kernels.sampled import LocalRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.hops import SampledRows

ROW_NORMS = ("gcn", "mean")
"""Whose squared entries nodes are drawn by: see `row_factors`."""


@dataclass(frozen=True)
class Members(ArrayRecord):
    """The sampled nodes of a layer, for every step of a window."""

    ids: np.ndarray
    """int [k], storage ids, step after step, ascending in each."""
    offsets: np.ndarray
    """int64 [W + 1], where each step's begin."""
    inverse: np.ndarray
    """float64 [k], what a member counts for: one over its probability, or the like."""

    @classmethod
    def joined(cls, steps: Sequence[tuple[np.ndarray, np.ndarray]]) -> Members:
        """Line up the ids and their `inverse` of each step."""
        ids, inverse = (np.concatenate(arrays) for arrays in zip(*steps, strict=True))
        return cls(ids, offsets([len(one) for one, _ in steps]), inverse)

    def of(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids and their `inverse` of one step."""
        there = slice(self.offsets[step], self.offsets[step + 1])
        return self.ids[there], self.inverse[there]


@dataclass(frozen=True)
class CutRequest(Request):
    """Rows requested from one owner, and the nodes of which they keep the edges."""

    members: Members

    @property
    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        return self.ids.nbytes + self.offsets.nbytes + self.members.nbytes


def row_factors(
    norm: str, degree: np.ndarray, weighted_degree: np.ndarray
) -> np.ndarray:
    """Return float64 [m], each row's share of its squared normalised entries.

    "gcn": an entry is ``w / sqrt((s_v + 1) (s_u + 1))`` with the weighted degrees *s*:
    its square is ``w**2`` times the factors of v and of u. "mean": it is ``1 / d_v``
    with the degree *d*: its square is the factor of v.
    """
    if norm == "mean":
        return 1.0 / np.maximum(degree, 1).astype(np.float64) ** 2
    total = weighted_degree.astype(np.float64) + 1
    return np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)


def column_factors(norm: str, weighted_degree: np.ndarray) -> np.ndarray:
    """Return float64 [n], the share of nodes as sources: see `row_factors`."""
    if norm == "mean":
        return np.ones(len(weighted_degree))
    return row_factors(norm, weighted_degree, weighted_degree)


@njit(cache=True, nogil=True)
def add_squares(rows: Any, sums: Any) -> None:
    """Add to `sums` [n] the squared entries of rows.

    Parameters
    ----------
    rows : int [E], int64 [m + 1], float64 [m], float32 [E] or [0]
        Where in `sums` each entry counts; where rows begin, and the end; their factors;
        weights, none where every entry weighs 1.
    """
    places, ends, factors, weights = rows
    for i in range(len(factors)):
        for e in range(ends[i], ends[i + 1]):
            w = np.float64(weights[e]) if len(weights) else 1.0
            sums[places[e]] += w * w * factors[i]


def cut_rows(rows: SampledRows, asked: np.ndarray, members: Members) -> SampledRows:
    """Return rows with the edges from members alone.

    Parameters
    ----------
    rows
        Whole rows.
    asked
        int64 [W + 1], where each step's rows begin.
    members
        The nodes that were sampled.

    Returns
    -------
    SampledRows
        Its `columns` are int32, places among the step's members.
    """
    size = int(rows.counts.sum())
    places = np.empty(size, np.int32)
    weights = np.empty(0 if rows.weights is None else size, np.float32)
    counts = np.empty(len(rows.counts), np.int64)
    kept = _cut(
        frozen_all((rows.counts, rows.columns, weights_or_empty(rows.weights))),
        frozen_all((asked, members.ids, members.offsets)),
        (counts, places, weights),
    )
    return replace(
        rows,
        counts=counts,
        columns=places[:kept].copy(),
        weights=None if rows.weights is None else weights[:kept].copy(),
    )


@njit(cache=True, nogil=True)
def _cut(rows: Any, steps: Any, out: Any) -> int:
    """Write counts, places and weights of the edges that are kept; return how many."""
    counts, columns, weights = rows
    asked, members, member_offsets = steps
    out_counts, out_places, out_weights = out
    begin = kept = 0
    for step in range(len(asked) - 1):
        ids = members[member_offsets[step] : member_offsets[step + 1]]
        # Most columns are no members: a few bits that stay in the processor's cache
        # tell so of all but one in 64.
        bits = 6
        while 1 << bits < 64 * len(ids):
            bits += 1
        shift = np.uint64(64 - bits)
        seen = np.zeros(1 << (bits - 6), np.uint64)
        for node in ids:
            place = (np.uint64(node) * GOLDEN) >> shift
            seen[place >> np.uint64(6)] |= np.uint64(1) << (place & np.uint64(63))
        for i in range(asked[step], asked[step + 1]):
            before = kept
            for e in range(begin, begin + counts[i]):
                place = (np.uint64(columns[e]) * GOLDEN) >> shift
                word = seen[place >> np.uint64(6)]
                if not (word >> (place & np.uint64(63))) & np.uint64(1):
                    continue
                k = np.searchsorted(ids, columns[e])
                if k < len(ids) and ids[k] == columns[e]:
                    out_places[kept] = k
                    if len(weights) > 0:
                        out_weights[kept] = weights[e]
                    kept += 1
            begin += counts[i]
            out_counts[i] = kept - before
    return kept


@dataclass(frozen=True)
class LayerNodes(ArrayRecord):
    """What one step of one part has met, layer by layer."""

    nodes: StepNodes
    """Without rows; of the destinations of the last layer it knows the degrees."""
    rows: tuple[LocalRows, ...] = ()
    """One CSR for each layer so far."""


def add_layer(
    steps: Sequence[LayerNodes],
    answers: dict[int, SampledRows],
    members: Members,
    book: PartitionBook,
    *,
    normalize: bool,
) -> list[LayerNodes]:
    """Return the steps with one more layer, of rows that were cut to members.

    Parameters
    ----------
    answers
        Of all owners of the steps' nodes, from `cut_rows`.
    normalize
        Whether the mean weights of a row sum to 1, where it has edges.
    """
    given = Answers.of(answers)
    groups = [by_owner(step.nodes.ids, book.bounds) for step in steps]
    taken = np.cumsum([[0] * book.num_parts, *(np.diff(e) for _, e in groups)], 0)
    out = []
    for s, step in enumerate(steps):
        grown = add_rows(step.nodes, groups[s], taken[s], given, 0)
        out.append(_one_layer(step, grown, given, members.of(s), normalize))
    return out


def _one_layer(
    step: LayerNodes,
    grown: StepNodes,
    given: Answers,
    members: tuple[np.ndarray, np.ndarray],
    normalize: bool,
) -> LayerNodes:
    """Number the sources of a layer: its destinations, then members in their order."""
    ids, inverse = members
    local = np.full(len(ids), -1, np.int32)
    place = np.searchsorted(ids, grown.ids)
    known = np.flatnonzero(np.append(ids, -1)[place] == grown.ids)
    local[place[known]] = known
    indptr = offsets(grown.counts)
    indices = np.empty(indptr[-1], np.int32)
    weights = np.empty(0 if given.weights is None else indptr[-1], np.float32)
    means = np.empty(indptr[-1], np.float32)
    new = _number(
        frozen_all((grown.starts, grown.counts, grown.degree, frozen(inverse))),
        frozen_all((given.columns, weights_or_empty(given.weights), indptr)),
        (local, len(grown.ids), normalize),
        (indices, weights, means),
    )
    rows = LocalRows(indptr, indices, None if given.weights is None else weights, means)
    none = np.empty(0, np.int64)
    met = np.concatenate([grown.ids, ids[new].astype(grown.ids.dtype)])
    nodes = replace(
        grown, ids=met, sizes=(*grown.sizes, len(met)), starts=none, counts=none
    )
    return LayerNodes(nodes, (*step.rows, rows))


@njit(cache=True, nogil=True)
def _number(rows: Any, entries: Any, how: Any, out: Any) -> Any:
    """Write the local numbers, weights and mean weights of rows.

    Parameters
    ----------
    rows : int64 [r] three times, float64 [k]
        Where rows begin, their counts and degrees; what members count for.
    entries : int32 [*], float32 [*] or [0], int64 [r + 1]
        Places among members, edge weights, and the row pointers to be.
    how : int32 [k], int, bool
        Local numbers of members, -1 where they have none yet; the number of
        destinations; whether to normalise.
    out : int32 [E], float32 [E] or [0], float32 [E]

    Returns
    -------
    int64 [*]
        The members that are new, ascending.
    """
    starts, counts, degree, inverse = rows
    places, weights, indptr = entries
    local, count, normalize = how
    indices, out_weights, means = out
    used = np.zeros(len(local), np.bool_)
    for i in range(len(starts)):
        for e in range(starts[i], starts[i] + counts[i]):
            used[places[e]] = True
    new = np.empty(len(local), np.int64)
    num_new = 0
    for k in range(len(local)):
        if used[k] and local[k] < 0:
            local[k] = count + num_new
            new[num_new] = k
            num_new += 1
    for i in range(len(starts)):
        total = np.float64(degree[i])
        if normalize:
            total = np.float64(0)
            for e in range(starts[i], starts[i] + counts[i]):
                total += inverse[places[e]]
        for j in range(counts[i]):
            e, to = starts[i] + j, indptr[i] + j
            indices[to] = local[places[e]]
            means[to] = inverse[places[e]] / total
            if len(weights) > 0:
                out_weights[to] = weights[e]
    return new[:num_new].copy()
