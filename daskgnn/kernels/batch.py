"""The last part of preparing a window: feature rows, and what a model is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import aggregate_grouped, gather_rows, gcn_coefficients
from daskgnn.kernels.features import SparseRows, dense, is_dense, some_rows

if TYPE_CHECKING:
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.hops import Sampling, StepNodes, Traffic, WindowNodes


@dataclass(frozen=True)
class FeatureRows:
    """Feature rows of some nodes, with what belongs to the nodes."""

    values: np.ndarray | SparseRows
    """float32 [m, F]; sparse where the features are stored so."""
    original_ids: np.ndarray
    """int64 [m]"""
    strength: np.ndarray
    """float32 [m]"""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.values.nbytes + self.original_ids.nbytes + self.strength.nbytes


@dataclass(frozen=True)
class PreparedStep:
    """Everything of one step of one part that does not depend on parameters.

    Rows follow the step's nodes in discovery order: the first ``sizes[0]`` are
    the seeds, the first ``sizes[h]`` the nodes within *h* hops.
    """

    x: np.ndarray
    """float32 [n, F], n = ``sizes[-1]``; with `aggregated`, n = ``sizes[-2]``."""
    aggregated: np.ndarray | None
    """float32 [sizes[-2], F], the first layer's aggregation where it was asked."""
    sizes: tuple[int, ...]
    indptr: np.ndarray
    """int64 [sizes[-2] + 1], rows of the nodes that some layer computes."""
    indices: np.ndarray
    """int32 [indptr[-1]], local node numbers."""
    weights: np.ndarray | None
    """float32 [indptr[-1]], edge weights."""
    ids: np.ndarray
    """int64 [sizes[-1]], original ids."""
    degree: np.ndarray
    """int64 [sizes[-2]], in-neighbours in the whole graph."""
    strength: np.ndarray
    """float32 [sizes[-1]], sum of in-edge weights in the whole graph."""
    labels: np.ndarray
    """[sizes[0]] or [sizes[0], classes]"""
    key: int
    """The step's key for dropout."""
    num_seeds: int
    """Seeds of the step over all parts."""


@dataclass(frozen=True)
class PreparedWindow:
    """All prepared steps of one part."""

    steps: tuple[PreparedStep, ...]
    traffic: Traffic


@dataclass(frozen=True)
class StepFacts:
    """What the plan says of a step beyond its seeds."""

    dropout_key: int
    num_seeds: int


def wanted_rows(window: WindowNodes, sampling: Sampling, part: int) -> np.ndarray:
    """Return the storage ids of `part` that the window needs, each once, sorted."""
    ids = [step.ids[sampling.owned(step.ids, part)] for step in window.steps]
    return np.unique(np.concatenate(ids))


def answer_rows(block: AdjacencyBlock, features: Any, ids: np.ndarray) -> FeatureRows:
    """Return the feature rows of `ids`, which the block's part owns."""
    rows = ids.astype(np.int64) - block.start
    return FeatureRows(
        some_rows(features, rows), block.original_ids[rows], block.strength[rows]
    )


@dataclass(frozen=True)
class _Tables:
    """Where to find each node's features: the own block, or what was received."""

    local: FeatureRows
    local_ids: np.ndarray | None
    """Sorted ids of the local rows; None where they are the whole block."""
    received: FeatureRows
    wanted: dict[int, np.ndarray]
    start: int

    def locate(self, ids: np.ndarray, owner: np.ndarray, part: int) -> np.ndarray:
        """Return the row, int64, of each storage id in its table."""
        own = owner == part
        row = np.empty(len(ids), np.int64)
        mine = ids[own].astype(np.int64)
        if self.local_ids is None:
            row[own] = mine - self.start
        else:
            row[own] = np.searchsorted(self.local_ids, mine)
        base = 0
        for other in sorted(self.wanted):
            here = owner == other
            row[here] = base + np.searchsorted(self.wanted[other], ids[here])
            base += len(self.wanted[other])
        return row


def finish(
    window: WindowNodes,
    block: AdjacencyBlock,
    features: Any,
    wanted: dict[int, np.ndarray],
    answers: dict[int, FeatureRows],
    sampling: Sampling,
    part: int,
    facts: list[StepFacts],
    first_aggregation: str | None,
) -> PreparedWindow:
    """Turn sampled nodes and received rows into what a model is given.

    Parameters
    ----------
    window : WindowNodes
        After the last hop, with local numbers as columns.
    wanted, answers : dict
        By other part: the ids asked for (`wanted_rows`) and the rows received.
    facts : list of StepFacts
    first_aggregation : {None, "mean", "sum", "max", "gcn"}
        Aggregate the neighbours of the outermost destinations here, group by
        owner: neighbours in row order within a group, groups in part order.
    """
    tables = _tables(window, block, features, wanted, answers, sampling, part)
    steps = tuple(
        _finish_step(step, fact, tables, sampling, part, first_aggregation)
        for step, fact in zip(window.steps, facts, strict=True)
    )
    traffic = window.traffic
    for other, rows in answers.items():
        if len(rows.values):
            asked = wanted[other].nbytes
            traffic = traffic.received(other, len(rows.values), asked + rows.nbytes)
    return PreparedWindow(steps, traffic)


def _tables(
    window: WindowNodes,
    block: AdjacencyBlock,
    features: Any,
    wanted: dict[int, np.ndarray],
    answers: dict[int, FeatureRows],
    sampling: Sampling,
    part: int,
) -> _Tables:
    if is_dense(features):
        local_ids = None
        local = FeatureRows(features, block.original_ids, block.strength)
    else:
        local_ids = wanted_rows(window, sampling, part)
        local = answer_rows(block, features, local_ids)
        local = replace(local, values=dense(local.values))
    parts = sorted(answers)
    width = features.shape[1]
    received = FeatureRows(
        _concatenate([dense(answers[q].values) for q in parts], (0, width), np.float32),
        _concatenate([answers[q].original_ids for q in parts], (0,), np.int64),
        _concatenate([answers[q].strength for q in parts], (0,), np.float32),
    )
    return _Tables(local, local_ids, received, wanted, block.start)


def _concatenate(
    arrays: list[np.ndarray], empty: tuple[int, ...], dtype: type
) -> np.ndarray:
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.empty(empty, dtype)


def _finish_step(
    step: StepNodes,
    facts: StepFacts,
    tables: _Tables,
    sampling: Sampling,
    part: int,
    first_aggregation: str | None,
) -> PreparedStep:
    assert step.indices is not None  # after the last hop
    owner = sampling.owner(step.ids)
    row = tables.locate(step.ids, owner, part)
    own = owner == part
    ids = _pick(tables.local.original_ids, tables.received.original_ids, own, row)
    strength = _pick(tables.local.strength, tables.received.strength, own, row)
    num_rows = step.sizes[-2] if first_aggregation else len(step.ids)
    values = (part, dense(tables.local.values), dense(tables.received.values))
    x = np.empty((num_rows, values[1].shape[1]), np.float32)
    gather_rows(owner, row, *values, x)
    aggregated = None
    if first_aggregation:
        ends = step.starts + np.minimum(step.counts, sampling.fan_out.limits[-1])
        aggregated = aggregate_first(
            first_aggregation,
            (step.starts, ends, step.indices),
            (owner, row, *values),
            step.weights,
            step.degree,
            strength,
            x,
        )
    return PreparedStep(
        x,
        aggregated,
        step.sizes,
        np.append(step.starts, len(step.indices)),
        step.indices,
        step.weights,
        ids,
        step.degree,
        strength,
        step.labels,
        facts.dropout_key,
        facts.num_seeds,
    )


def aggregate_first(
    kind: str,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    sources: tuple[np.ndarray, np.ndarray, int, np.ndarray, np.ndarray],
    weights: np.ndarray | None,
    degree: np.ndarray,
    strength: np.ndarray,
    own_rows: np.ndarray,
) -> np.ndarray:
    """Return the first layer's aggregation of each row, float32 [r, F].

    Parameters
    ----------
    kind : {"mean", "sum", "max", "gcn"}
        "gcn" adds the row's own features with the weight of the self loop.
    rows : (starts, ends, indices)
    sources : (owner, row, local_owner, local, received)
        See `daskgnn.kernels.aggregate.aggregate_grouped`.
    weights, degree, strength
        See `daskgnn.kernels.aggregate.gcn_coefficients`.
    own_rows : float32 [>= r, F]
        Features of the rows' own nodes.
    """
    count = len(rows[0])
    coefficients = None
    if kind == "gcn":
        coefficients = gcn_coefficients(*rows, weights, degree, strength)
    out = np.empty((count, sources[3].shape[1]), np.float32)
    owner, row, local_owner, local, received = sources
    aggregate_grouped(
        *rows, owner, row, local_owner, local, received, kind, out, coefficients
    )
    if kind == "gcn":
        loop = strength[:count, None] + np.float32(1)
        out += np.where(loop > 0, own_rows[:count] / np.where(loop > 0, loop, 1), 0)
    return out


def _pick(
    local: np.ndarray, received: np.ndarray, own: np.ndarray, row: np.ndarray
) -> np.ndarray:
    out = np.empty(len(row), local.dtype)
    out[own] = local[row[own]]
    out[~own] = received[row[~own]]
    return out
