"""Merge the owners' answers into a part's next frontier or its local CSR."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.frontier import (
    group_by_owner,
    offsets,
    place_rows,
    take_rows,
)
from daskgnn.kernels.hops import (
    SampledRows,
    StepNodes,
    WindowNodes,
    frozen_all,
    slice_arrays,
)
from daskgnn.kernels.neighbor import ALL
from daskgnn.kernels.numbering import RowColumns, number_nodes
from daskgnn.kernels.sampled import LocalRows, SampledGraph
from daskgnn.kernels.threads import for_each

if TYPE_CHECKING:
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.neighbor import FanOut


@dataclass(frozen=True)
class Answers:
    """The owners' replies to one part, in the order of their part numbers."""

    parts: tuple[int, ...]
    replies: tuple[SampledRows, ...]
    columns: np.ndarray
    """int [*], all replies' columns, one after the other."""
    weights: np.ndarray | None
    mean_weights: np.ndarray | None
    starts: tuple[np.ndarray, ...]
    """int64 [rows + 1] of each reply: where its rows begin in `columns`."""

    @classmethod
    def of(cls, answers: dict[int, SampledRows]) -> Answers:
        """Line up the answers of some parts."""
        parts = tuple(sorted(answers))
        replies = tuple(answers[part] for part in parts)
        bases = offsets([len(r.columns) for r in replies])
        pairs = zip(bases, replies, strict=False)
        starts = tuple(base + offsets(reply.counts) for base, reply in pairs)
        weights, means = (
            _concatenate(given) if given else None
            for given in (
                [r.weights for r in replies if r.weights is not None],
                [r.mean_weights for r in replies if r.mean_weights is not None],
            )
        )
        columns = _concatenate([r.columns for r in replies])
        return cls(parts, replies, columns, weights, means, starts)


def merge_answers(
    window: WindowNodes,
    answers: dict[int, SampledRows],
    book: PartitionBook,
    fan_out: FanOut,
    hop: int,
    threads: int = 1,
) -> WindowNodes:
    """Add the owners' `answers` to a part's window and find the next hop.

    `answers` maps those parts that own some of the frontier to its rows, in the order
    of `request`. After the last hop the columns become local numbers.
    The result does not depend on `threads`, the number of threads to use.
    """
    given = Answers.of(answers)
    groups = for_each(
        lambda step: by_owner(step.frontier, book.bounds), window.steps, threads
    )
    taken = np.cumsum([[0] * book.num_parts, *(np.diff(e) for _, e in groups)], 0)
    limits, last = fan_out.limits, hop + 1 == fan_out.num_hops
    columns, weights = window.columns, window.weights
    if not last:
        columns = _concatenate([columns, given.columns])
        weights = _join_weights(weights, given.weights)
    base = 0 if last else len(window.columns)

    def grow(s: int) -> StepNodes:
        step = add_rows(window.steps[s], groups[s], taken[s], given, base)
        if last:
            return _number(step, window, given, limits[-1], book.num_nodes)
        # The previous hop has numbered the nodes in rows that were known before.
        seen = step.sizes[-2] if fan_out.shrinks(hop) else 0
        counts = step.counts
        if fan_out.shares:
            counts = np.minimum(counts, fan_out.row_limits(hop, step.degree))
        rows = RowColumns.of(columns, step.starts, counts, slice(seen, None))
        met = step.ids, [rows], limits[hop], book.num_nodes
        ids, _ = number_nodes(*met, numbered=False)
        return replace(step, ids=ids, sizes=(*step.sizes, len(ids)))

    steps = for_each(grow, range(len(window.steps)), threads)
    if last:
        columns, weights = columns[:0].copy(), None
    return WindowNodes(tuple(steps), window.step_keys, columns, weights)


def merge_layer(
    window: WindowNodes,
    answers: dict[int, SampledRows],
    book: PartitionBook,
    threads: int = 1,
) -> WindowNodes:
    """Make the owners' `answers` a layer of its own, and find the nodes of the next.

    `answers` has the rows of all nodes met so far, in the order of `request`.
    The result does not depend on `threads`, the number of threads to use.
    """
    given = Answers.of(answers)
    groups = for_each(
        lambda step: by_owner(step.ids, book.bounds), window.steps, threads
    )
    taken = np.cumsum([[0] * book.num_parts, *(np.diff(e) for _, e in groups)], 0)

    def grow(s: int) -> StepNodes:
        step = add_rows(window.steps[s], groups[s], taken[s], given, 0)
        rows = RowColumns.of(given.columns, step.starts, step.counts, slice(None))
        known = step.ids, [rows], int(ALL), book.num_nodes
        ids, local = number_nodes(*known, numbered=True)
        weights, means = (
            None if values is None else _take_weights([rows], [values], len(local))
            for values in (given.weights, given.mean_weights)
        )
        layer = LocalRows(offsets(step.counts), local, weights, means)
        none = step.starts[:0]  # the next layer's rows are other ones
        step = replace(step, ids=ids, sizes=(*step.sizes, len(ids)))
        return replace(step, starts=none, counts=none, layers=(*step.layers, layer))

    steps = for_each(grow, range(len(window.steps)), threads)
    return replace(window, steps=tuple(steps))


def layered_graphs(window: WindowNodes) -> list[SampledGraph]:
    """Return the graphs of a window after the last hop, with a CSR for each layer."""
    return [
        SampledGraph(
            step.ids,
            step.sizes,
            step.layers,
            step.original_ids,
            step.degree,
            step.weighted_degree,
        )
        for step in window.steps
    ]


def layers_of(step: StepNodes, fan_out: FanOut) -> tuple[LocalRows, ...]:
    """Return a CSR for each layer, of fan-outs that differ from row to row."""
    assert step.indices is not None
    layers = []
    for hop, size in enumerate(step.sizes[:-1]):
        limits = fan_out.row_limits(hop, step.degree[:size])
        rows = RowColumns(
            frozen(step.indices),
            frozen(step.starts[:size]),
            frozen(np.minimum(step.counts[:size], limits)),
        )
        indptr = offsets(rows.counts)
        indices = np.empty(indptr[-1], np.int32)
        take_rows(*rows, indices)
        weights = None
        if step.weights is not None:
            weights = _take_weights([rows], [step.weights], len(indices))
        layers.append(LocalRows(indptr, indices, weights))
    return tuple(layers)


def by_owner(ids: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of `ids` by owner, and where each owner's end."""
    order, ends = np.empty(len(ids), np.int32), np.empty(len(bounds), np.int64)
    group_by_owner(frozen(ids), frozen(bounds), order, ends)
    return order, ends


def _number(
    step: StepNodes,
    window: WindowNodes,
    given: Answers,
    limit: int,
    num_nodes: int,
) -> StepNodes:
    """Find the outermost nodes, and give all columns their local numbers."""
    known = step.sizes[-2] if len(step.sizes) > 1 else 0
    starts, counts = step.starts, step.counts
    rows = [
        RowColumns.of(window.columns, starts, counts, slice(known)),
        RowColumns.of(given.columns, starts, counts, slice(known, None)),
    ]
    ids, local = number_nodes(step.ids, rows, limit, num_nodes, numbered=True)
    weights = None
    if given.weights is not None:
        old = given.weights[:0] if window.weights is None else window.weights
        weights = _take_weights(rows, [old, given.weights], len(local))
    indptr = offsets(counts)
    return replace(
        step,
        ids=ids,
        sizes=(*step.sizes, len(ids)),
        starts=indptr[:-1],
        indices=local,
        weights=weights,
        indptr=indptr,
    )


def _take_weights(
    rows: list[RowColumns], values: list[np.ndarray], size: int
) -> np.ndarray:
    """Return float32 [size]: the rows' `values`, which are beside their columns."""
    out = np.empty(size, np.float32)
    begin = 0
    for row, value in zip(rows, values, strict=True):
        end = begin + int(row.counts.sum())
        take_rows(frozen(value), row.starts, row.counts, out[begin:end])
        begin = end
    return out


def add_rows(
    step: StepNodes,
    group: tuple[np.ndarray, np.ndarray],
    taken: np.ndarray,
    given: Answers,
    base: int,
) -> StepNodes:
    """Put the owners' rows into the frontier's order, behind the known rows.

    Parameters
    ----------
    group : (order, ends)
        The frontier's places by owner, see `group_by_owner`.
    taken : int64 [P]
        Rows of each owner's reply that belong to earlier steps.
    base : int
        Where the replies' columns begin.
    """
    known = len(step.starts)
    fields = ("starts", "counts", "original_ids", "degree", "weighted_degree")
    grown: dict[str, Any] = {
        name: _longer(getattr(step, name), len(step.ids)) for name in fields
    }
    order, ends = group
    for part, reply, starts in zip(
        given.parts, given.replies, given.starts, strict=True
    ):
        places = order[ends[part] : ends[part + 1]]
        span = slice(taken[part], taken[part] + len(places))
        told = (reply.counts, reply.original_ids, reply.degree, reply.weighted_degree)
        place_rows(
            frozen(places),
            base + int(starts[span.start]),
            frozen_all(slice_arrays(told, span)),
            slice_arrays(grown.values(), slice(known, None)),
        )
    return replace(step, **grown)


def _longer(array: np.ndarray, length: int) -> np.ndarray:
    """Return a copy of `array` [n] with room for `length` entries."""
    out = np.empty(length, array.dtype)
    out[: len(array)] = array
    return out


def _join_weights(old: np.ndarray | None, new: np.ndarray | None) -> np.ndarray | None:
    return new if old is None or new is None else np.concatenate([old, new])


def _concatenate(arrays: list[np.ndarray]) -> np.ndarray:
    """Return the arrays as one: the only one that is not empty, without a copy."""
    filled = [array for array in arrays if len(array)]
    if len(filled) > 1:
        return np.concatenate(filled)
    return filled[0] if filled else arrays[0]
