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
from daskgnn.kernels.exchange import Asked, answer_rows, needs_ids, needs_strength
from daskgnn.kernels.features import is_dense
from daskgnn.kernels.tables import Tables, members_of

if TYPE_CHECKING:
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.exchange import FeatureRows
    from daskgnn.kernels.halo_cache import HaloCache
    from daskgnn.kernels.hops import Sampling, StepNodes, Traffic, WindowNodes
    from daskgnn.kernels.targets import TargetRows


@dataclass(frozen=True)
class PreparedStep:
    """Everything of one step of one part that does not depend on parameters.

    Rows follow the step's nodes in discovery order: the first ``sizes[0]`` are
    the seeds, the first ``sizes[h]`` the nodes within *h* hops.
    """

    x: np.ndarray
    """float32, or uint16 for bfloat16 bits, [n, F]; n = ``sizes[-1]``, with
    `aggregated` ``sizes[-2]``."""
    aggregated: np.ndarray | None
    """[sizes[-2], F], the first layer's aggregation where it was asked. Its rows and
    those of `x` lie side by side: one product takes both."""
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
    """Targets of the step over all parts."""
    targets: TargetRows | None = None
    """Which seeds each target has, where target i is not simply seed i."""


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
    targets: TargetRows | None = None
    """Of one part: see `PreparedStep`."""


def finish(
    window: WindowNodes,
    blocks: dict[int, tuple[AdjacencyBlock, Any]],
    asked: dict[int, Asked],
    answers: dict[int, FeatureRows],
    sampling: Sampling,
    part: int,
    facts: list[StepFacts],
    first_aggregation: str | None,
    cache: HaloCache | None = None,
    *,
    half: bool = False,
) -> PreparedWindow:
    """Turn sampled nodes and received rows into what a model is given.

    Parameters
    ----------
    window : WindowNodes
        After the last hop, with local numbers as columns.
    blocks : dict
        By part: the rows and the features of `part`, and of others that lie here.
    asked, answers : dict
        By each other part: what was asked of it, and what it has answered.
    facts : list of StepFacts
    first_aggregation : {None, "mean", "sum", "max", "gcn"}
        Aggregate the neighbours of the outermost destinations here, group by
        owner: neighbours in row order within a group, groups in part order.
    cache : HaloCache or None
        Rows that were not asked for because they are here.
    half : bool
        Round what a first aggregation prepares to bfloat16.
    """
    ids = [step.ids for step in window.steps]
    near = set(blocks) - {part}
    for other in near:
        block, features = blocks[other]
        if not is_dense(features):
            wanted = members_of(sampling, other, ids).members(ids[0].dtype)
            asked = {**asked, other: Asked(wanted)}
            rows = answer_rows(block, features, asked[other], first_aggregation)
            answers = {**answers, other: rows}
    blocks = {other: held for other, held in blocks.items() if other not in answers}
    tables = Tables.of(sampling, part, blocks, ids, asked, answers, cache)
    ready = tables.groups()
    limit = sampling.fan_out.limits[-1]
    channels = blocks[part][1].shape[1]
    room = _Room(window, first_aggregation, channels, half)
    steps = tuple(
        _finish_step(
            step, fact, tables, ready, limit, first_aggregation, room.next(step)
        )
        for step, fact in zip(window.steps, facts, strict=True)
    )
    traffic = window.traffic
    for other in near - set(answers):
        traffic = traffic.received(
            other, *tables.read_in_place(other, ids, first_aggregation)
        )
    for other, rows in answers.items():
        count = len(rows.values)
        if count or asked[other].num_groups:
            nbytes = asked[other].nbytes + rows.nbytes
            traffic = traffic.received(other, count, nbytes)
    traffic = traffic.without_messages(near)
    if cache is not None:
        traffic = traffic.used_cache(tables.cache_hits(), cache.row_bytes)
    return PreparedWindow(steps, traffic)


class _Room:
    """The inputs of all steps of a window in one allocation: fewer page faults."""

    def __init__(
        self,
        window: WindowNodes,
        first_aggregation: str | None,
        channels: int,
        half: bool,
    ) -> None:
        self._channels = channels
        self._layer = -2 if first_aggregation else -1
        # The self loops of a GCN are added to whole float32 rows.
        self._paired = first_aggregation in ("sum", "mean", "max")
        self._lone = first_aggregation == "gcn"
        columns = 2 * channels if first_aggregation else channels
        rows = sum(step.sizes[self._layer] for step in window.steps)
        dtype = np.uint16 if half and self._paired else np.float32
        self._inputs = np.empty(rows * columns, dtype)
        self._used = 0

    def next(self, step: StepNodes) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the next step's share: x, and its aggregation."""
        size, width = step.sizes[self._layer], self._channels
        if self._paired:
            both = self._take(size, 2 * width)
            return both[:, width:], both[:, :width]
        x = self._take(size, width)
        return x, self._take(size, width) if self._lone else None

    def _take(self, rows: int, columns: int) -> np.ndarray:
        start, self._used = self._used, self._used + rows * columns
        return self._inputs[start : self._used].reshape(rows, columns)


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
        facts.targets,
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
