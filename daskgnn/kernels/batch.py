"""The last part of preparing a window: feature rows, and what a model is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import (
    Sources,
    aggregate_grouped,
    frozen,
    gather_rows,
    gcn_coefficients,
)
from daskgnn.kernels.coefficients import add_self_loops
from daskgnn.kernels.exchange import needs_ids, needs_strength
from daskgnn.kernels.tables import Tables

if TYPE_CHECKING:
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.exchange import Asked, FeatureRows
    from daskgnn.kernels.halo_cache import HaloCache
    from daskgnn.kernels.hops import Sampling, StepNodes, Traffic, WindowNodes


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
    """int64 [n], original ids."""
    degree: np.ndarray
    """int64 [sizes[-2]], in-neighbours in the whole graph."""
    strength: np.ndarray
    """float32 [n], sum of in-edge weights in the whole graph."""
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


def finish(
    window: WindowNodes,
    block: AdjacencyBlock,
    features: Any,
    asked: dict[int, Asked],
    answers: dict[int, FeatureRows],
    sampling: Sampling,
    part: int,
    facts: list[StepFacts],
    first_aggregation: str | None,
    cache: HaloCache | None = None,
) -> PreparedWindow:
    """Turn sampled nodes and received rows into what a model is given.

    Parameters
    ----------
    window : WindowNodes
        After the last hop, with local numbers as columns.
    asked, answers : dict
        By other part: what was asked of it, and what it has answered.
    facts : list of StepFacts
    first_aggregation : {None, "mean", "sum", "max", "gcn"}
        Aggregate the neighbours of the outermost destinations here, group by
        owner: neighbours in row order within a group, groups in part order.
    cache : HaloCache or None
        Rows that were not asked for because they are here.
    """
    ids = [step.ids for step in window.steps]
    tables = Tables.of(sampling, part, block, features, ids, asked, answers, cache)
    ready = tables.groups()
    limit = sampling.fan_out.limits[-1]
    room = _Room.of(window, first_aggregation, features.shape[1])
    steps = tuple(
        _finish_step(
            step, fact, tables, ready, limit, first_aggregation, room.next(step)
        )
        for step, fact in zip(window.steps, facts, strict=True)
    )
    traffic = window.traffic
    for other, rows in answers.items():
        count = len(rows.values)
        if count or asked[other].num_groups:
            nbytes = asked[other].nbytes + rows.nbytes
            traffic = traffic.received(other, count, nbytes)
    if cache is not None:
        traffic = traffic.used_cache(tables.cache_hits(), cache.row_bytes)
    return PreparedWindow(steps, traffic)


class _Room:
    """The arrays of all steps of a window, one allocation each: fewer page faults."""

    def __init__(self, x: np.ndarray, aggregated: np.ndarray | None) -> None:
        self.x = x
        self.aggregated = aggregated
        self._used = 0

    @classmethod
    def of(
        cls, window: WindowNodes, first_aggregation: str | None, channels: int
    ) -> _Room:
        """Return room for the inputs of all steps."""
        layer = -2 if first_aggregation else -1
        shape = sum(step.sizes[layer] for step in window.steps), channels
        x = np.empty(shape, np.float32)
        return cls(x, np.empty(shape, np.float32) if first_aggregation else None)

    def next(self, step: StepNodes) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the next step's share."""
        size = step.sizes[-1] if self.aggregated is None else step.sizes[-2]
        share = slice(self._used, self._used + size)
        self._used += size
        return self.x[share], None if self.aggregated is None else self.aggregated[
            share
        ]


def _finish_step(
    step: StepNodes,
    facts: StepFacts,
    tables: Tables,
    ready: np.ndarray,
    limit: int,
    first_aggregation: str | None,
    room: tuple[np.ndarray, np.ndarray | None],
) -> PreparedStep:
    assert step.indices is not None  # after the last hop
    x, aggregated = room
    sources = tables.sources(step.ids, ready)
    gather_rows(sources, x)
    ids, strength = step.original_ids, step.strength
    if needs_ids(first_aggregation):
        ids = tables.take(step.ids, "original_ids")
    if needs_strength(first_aggregation):
        strength = tables.take(step.ids, "strength")
    if first_aggregation and aggregated is not None:
        aggregate_first(
            first_aggregation,
            (step.starts, step.starts + np.minimum(step.counts, limit), step.indices),
            sources,
            step.weights,
            step.degree,
            strength,
            x,
            aggregated,
        )
    return PreparedStep(
        x,
        aggregated,
        step.sizes,
        np.append(step.starts, len(step.indices)),
        step.indices,
        step.weights,
        ids[: len(x)],
        step.degree,
        strength[: len(x)],
        step.labels,
        facts.dropout_key,
        facts.num_seeds,
    )


def aggregate_first(
    kind: str,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    sources: Sources,
    weights: np.ndarray | None,
    degree: np.ndarray,
    strength: np.ndarray,
    own_rows: np.ndarray,
    out: np.ndarray,
) -> np.ndarray:
    """Write the first layer's aggregation of each row to `out` and return it.

    Parameters
    ----------
    kind : {"mean", "sum", "max", "gcn"}
        "gcn" adds the row's own features with the weight of the self loop.
    rows : (starts, ends, indices)
    sources
        See `daskgnn.kernels.aggregate.aggregate_grouped`.
    weights, degree, strength
        See `daskgnn.kernels.aggregate.gcn_coefficients`.
    own_rows : float32 [>= r, F]
        Features of the rows' own nodes, for "gcn".
    out : float32 [r, F]
    """
    coefficients = None
    if kind == "gcn":
        coefficients = gcn_coefficients(*rows, weights, degree, strength)
    aggregate_grouped(*rows, sources, kind, out, coefficients)
    if kind == "gcn":
        add_self_loops(out, frozen(own_rows), frozen(strength))
    return out
