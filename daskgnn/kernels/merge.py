"""The owners' answers put together: a part's next frontier, or its local numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.frontier import (
    group_by_owner,
    offsets_of,
    place_rows,
    take_rows,
)
from daskgnn.kernels.hops import (
    Rows,
    Sampling,
    StepNodes,
    WindowNodes,
    cut,
    frozen_all,
    offsets,
)
from daskgnn.kernels.numbering import RowColumns, number_nodes
from daskgnn.kernels.threads import for_each


@dataclass(frozen=True)
class _Answers:
    """The owners' replies to one part, in the order of their part numbers."""

    parts: tuple[int, ...]
    replies: tuple[Rows, ...]
    columns: np.ndarray
    """int [*], all replies' columns, one after the other."""
    weights: np.ndarray | None
    starts: tuple[np.ndarray, ...]
    """int64 [rows + 1] of each reply: where its rows begin in `columns`."""

    @classmethod
    def of(cls, answers: dict[int, Rows]) -> _Answers:
        """Line up the answers of some parts."""
        parts = tuple(sorted(answers))
        replies = tuple(answers[part] for part in parts)
        bases = offsets([len(r.columns) for r in replies])
        starts = tuple(
            base + offsets_of(frozen(r.counts))
            for base, r in zip(bases, replies, strict=False)
        )
        given = [r.weights for r in replies if r.weights is not None]
        weights = _concatenate(given) if given else None
        columns = _concatenate([r.columns for r in replies])
        return cls(parts, replies, columns, weights, starts)


def merge(
    window: WindowNodes,
    answers: dict[int, Rows],
    sampling: Sampling,
    hop: int,
    part: int,
    threads: int = 1,
) -> WindowNodes:
    """Add the owners' `answers` to the window of `part` and find the next hop.

    `answers` maps every part to its rows, in the order of `request`. After the
    last hop the columns become local numbers.
    The result does not depend on `threads`, the number of threads to use.
    """
    given = _Answers.of(answers)
    groups = for_each(
        lambda step: _by_owner(step.frontier, sampling.bounds), window.steps, threads
    )
    taken = np.cumsum([[0] * sampling.num_parts, *(np.diff(e) for _, e in groups)], 0)
    last = hop + 1 == sampling.fan_out.num_hops
    columns, weights = window.columns, window.weights
    if not last:
        columns = _concatenate([columns, given.columns])
        weights = _join_weights(weights, given.weights)
    base = 0 if last else len(window.columns)

    def grow(s: int) -> StepNodes:
        step = _add_rows(window.steps[s], groups[s], taken[s], given, base, hop)
        if last:
            return _number(step, window, given, sampling)
        return _next_hop(step, columns, sampling, hop)

    steps = for_each(grow, range(len(window.steps)), threads)
    if last:
        columns, weights = columns[:0].copy(), None
    traffic = window.traffic
    for owner, rows in answers.items():
        if owner != part and len(rows.counts):
            asked = len(rows.counts) * window.columns.itemsize
            traffic = traffic.received(owner, 0, asked + rows.nbytes)
    return WindowNodes(tuple(steps), window.step_keys, columns, weights, traffic)


def _by_owner(ids: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of `ids` by owner, and where each owner's end."""
    order, ends = np.empty(len(ids), np.int32), np.empty(len(bounds), np.int64)
    group_by_owner(frozen(ids), frozen(bounds), order, ends)
    return order, ends


def _next_hop(
    step: StepNodes, columns: np.ndarray, sampling: Sampling, hop: int
) -> StepNodes:
    """Find the nodes of the next hop, which is not the last."""
    limits = sampling.fan_out.limits
    # The hop before has met what it looked at in the rows known before.
    seen = step.sizes[-2] if hop and limits[hop] <= limits[hop - 1] else 0
    rows = RowColumns(columns, step.starts[seen:], step.counts[seen:])
    ids, _ = number_nodes(
        step.ids, [rows], limits[hop], sampling.num_nodes, numbered=False
    )
    return replace(step, ids=ids, sizes=(*step.sizes, len(ids)))


def _number(
    step: StepNodes, window: WindowNodes, given: _Answers, sampling: Sampling
) -> StepNodes:
    """Find the outermost nodes, and give all columns their local numbers."""
    known = step.sizes[-2] if len(step.sizes) > 1 else 0
    starts, counts = step.starts, step.counts
    rows = [
        RowColumns(window.columns, starts[:known], counts[:known]),
        RowColumns(given.columns, starts[known:], counts[known:]),
    ]
    limit = sampling.fan_out.limits[-1]
    ids, local = number_nodes(step.ids, rows, limit, sampling.num_nodes, numbered=True)
    weights = None
    if given.weights is not None:
        old = given.weights[:0] if window.weights is None else window.weights
        weights = _take_weights(rows, [old, given.weights], len(local))
    return replace(
        step,
        ids=ids,
        sizes=(*step.sizes, len(ids)),
        starts=offsets_of(frozen(counts))[:-1],
        indices=local,
        weights=weights,
    )


def _take_weights(
    rows: list[RowColumns], values: list[np.ndarray], size: int
) -> np.ndarray:
    """Return float32 [size]: the rows' `values`, which are beside their columns."""
    out = np.empty(size, np.float32)
    begin = 0
    for row, value in zip(rows, values, strict=True):
        end = begin + int(row.counts.sum())
        take_rows(frozen(value), frozen(row.starts), frozen(row.counts), out[begin:end])
        begin = end
    return out


def _add_rows(
    step: StepNodes,
    group: tuple[np.ndarray, np.ndarray],
    taken: np.ndarray,
    given: _Answers,
    base: int,
    hop: int,
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
    fields = ("starts", "counts", "original_ids", "degree", "strength")
    grown: dict[str, Any] = {
        name: _longer(getattr(step, name), len(step.ids)) for name in fields
    }
    labels = _label_room(given, len(step.ids)) if hop == 0 else step.labels
    order, ends = group
    for part, reply, starts in zip(
        given.parts, given.replies, given.starts, strict=True
    ):
        places = order[ends[part] : ends[part + 1]]
        span = slice(taken[part], taken[part] + len(places))
        told = (reply.counts, reply.original_ids, reply.degree, reply.strength)
        place_rows(
            frozen(places),
            base + int(starts[span.start]),
            *frozen_all(cut(told, span)),
            *cut(grown.values(), slice(known, None)),
        )
        if hop == 0 and reply.labels is not None:
            labels[places] = reply.labels[span]
    return replace(step, **grown, labels=labels)


def _longer(array: np.ndarray, length: int) -> np.ndarray:
    """Return a copy of `array` [n] with room for `length` entries."""
    out = np.empty(length, array.dtype)
    out[: len(array)] = array
    return out


def _label_room(given: _Answers, length: int) -> np.ndarray:
    """Return room for the labels of the seeds."""
    labels = next(r.labels for r in given.replies if r.labels is not None)
    return np.empty((length, *labels.shape[1:]), labels.dtype)


def _join_weights(old: np.ndarray | None, new: np.ndarray | None) -> np.ndarray | None:
    return new if old is None or new is None else np.concatenate([old, new])


def _concatenate(arrays: list[np.ndarray]) -> np.ndarray:
    """Return the arrays as one: the only one that is not empty, without a copy."""
    filled = [array for array in arrays if len(array)]
    if len(filled) > 1:
        return np.concatenate(filled)
    return filled[0] if filled else arrays[0]
