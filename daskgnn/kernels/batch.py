"""The last step of preparing a window: feature rows and minibatches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.kernels.aggregate import (
    Sources,
    aggregate_grouped,
    frozen,
    gather_rows,
    gcn_coefficients,
)
from daskgnn.kernels.coefficients import add_self_loops
from daskgnn.kernels.exchange import (
    FeatureRequest,
    answer_rows,
    gather_labels,
    labels_of,
    needs_ids,
    needs_weighted_degree,
    seeds_of,
)
from daskgnn.kernels.features import dense, is_dense
from daskgnn.kernels.record import ArrayRecord
from daskgnn.kernels.tables import Tables, members_of

if TYPE_CHECKING:
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.exchange import FeatureReply, HeldPart
    from daskgnn.kernels.halo_cache import HaloCache
    from daskgnn.kernels.sampled import LayerRows, SampledGraph
    from daskgnn.kernels.targets import TargetRows
    from daskgnn.kernels.traffic import Traffic


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
    graph: SampledGraph
    """Of storage ids none is left; `original_ids` and `weighted_degree` have n."""
    labels: np.ndarray
    """[sizes[0]] or [sizes[0], classes]"""
    key: int
    """The step's key for dropout."""
    num_seeds: int
    """Targets of the step over all parts."""
    targets: TargetRows | None = None
    """Which seeds each target has, where target i is not simply seed i."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Nodes within 0, 1, ... layers of the seeds."""
        return self.graph.sizes


@dataclass(frozen=True)
class PreparedWindow(ArrayRecord):
    """All prepared steps of one part."""

    steps: tuple[PreparedStep, ...]
    traffic: Traffic


@dataclass(frozen=True)
class StepMeta:
    """What the plan says of a step beyond its seeds."""

    dropout_key: int
    num_seeds: int
    targets: TargetRows | None = None
    """Of one part: see `PreparedStep`."""


def assemble_minibatches(
    graphs: tuple[SampledGraph, ...],
    traffic: Traffic,
    near: dict[int, HeldPart],
    asked: dict[int, FeatureRequest],
    answers: dict[int, FeatureReply],
    book: PartitionBook,
    part: int,
    meta: list[StepMeta],
    first_aggregation: str | None,
    cache: HaloCache | None = None,
    *,
    half: bool = False,
) -> PreparedWindow:
    """Turn sampled nodes and received rows into what a model is given.

    Parameters
    ----------
    graphs : tuple of SampledGraph
        One a step.
    traffic : Traffic
        Of sampling them.
    near : dict
        `part`, and other parts that lie here, by number.
    asked, answers : dict
        By each other part: what was asked of it, and what it has answered.
    facts : list of StepMeta
    first_aggregation : {None, "mean", "sum", "max", "gcn"}
        Aggregate the neighbours of the outermost destinations here, group by
        owner: neighbours in row order within a group, groups in part order.
    cache : HaloCache or None
        Rows that were not asked for because they are here.
    half : bool
        Round what a first aggregation prepares to bfloat16.
    """
    ids = [graph.ids for graph in graphs]
    labels = _labels(graphs, near, answers, book)
    others = set(near) - {part}
    for other in others:
        held = near[other]
        if not is_dense(held.features):
            wanted = members_of(book, other, ids).members(ids[0].dtype)
            seeds = seeds_of(graphs, book, other)
            asked = {**asked, other: FeatureRequest(wanted, seeds=seeds)}
            given = (held.adjacency, held.features, asked[other], first_aggregation)
            answers = {**answers, other: answer_rows(*given, held.labels)}
    in_place = {other: held for other, held in near.items() if other not in answers}
    tables = Tables.of(book, part, in_place, ids, asked, answers, cache)
    ready = tables.groups()
    channels = near[part].features.shape[1]
    room = _Room(graphs, first_aggregation, channels, half)
    steps = tuple(
        _finish_step(graph, own, fact, tables, ready, first_aggregation, room)
        for graph, own, fact in zip(graphs, labels, meta, strict=True)
    )
    for other in others - set(answers):
        rows, nbytes = tables.read_in_place(other, ids, first_aggregation)
        seeds = seeds_of(graphs, book, other)
        label = near[other].labels[:1].nbytes
        nbytes += len(seeds) * (seeds.itemsize + label)
        traffic = traffic.received(other, rows, nbytes)
    for other, found in answers.items():
        if nbytes := asked[other].nbytes:
            nbytes += found.nbytes
            traffic = traffic.received(other, len(found.values), nbytes)
    traffic = traffic.without_messages(others)
    if cache is not None:
        traffic = traffic.used_cache(tables.cache_hits(), cache.row_bytes)
    return PreparedWindow(steps, traffic)


def _labels(
    graphs: tuple[SampledGraph, ...],
    near: dict[int, HeldPart],
    answers: dict[int, FeatureReply],
    book: PartitionBook,
) -> list[np.ndarray]:
    """Return the labels of each step's seeds, read here or received."""
    given = {
        owner: labels_of(held.adjacency, held.labels, seeds_of(graphs, book, owner))
        for owner, held in near.items()
    }
    received = {owner: rows.labels for owner, rows in answers.items()}
    given |= {owner: rows for owner, rows in received.items() if rows is not None}
    return gather_labels(graphs, book, given)


class _Room:
    """The inputs of all steps of a window in one allocation: fewer page faults."""

    def __init__(
        self,
        graphs: tuple[SampledGraph, ...],
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
        rows = sum(step.sizes[self._layer] for step in graphs)
        dtype = np.uint16 if half and self._paired else np.float32
        self._inputs = np.empty(rows * columns, dtype)
        self._used = 0

    def next(self, step: SampledGraph) -> tuple[np.ndarray, np.ndarray | None]:
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
    graph: SampledGraph,
    labels: np.ndarray,
    meta: StepMeta,
    tables: Tables,
    ready: np.ndarray,
    first_aggregation: str | None,
    room: _Room,
) -> PreparedStep:
    x, aggregated = room.next(graph)
    sources = tables.sources(graph.ids, ready)
    gather_rows(sources, x)
    ids, weighted_degree = graph.original_ids, graph.weighted_degree
    if needs_ids(first_aggregation):
        ids = tables.take(graph.ids, "original_ids")
    if needs_weighted_degree(first_aggregation):
        weighted_degree = tables.take(graph.ids, "weighted_degree")
    if first_aggregation and aggregated is not None:
        known = (sources, graph.degree, weighted_degree, x)
        aggregate_first(first_aggregation, graph.outermost, *known, aggregated)
    kept = replace(
        graph,
        ids=graph.ids[:0],
        original_ids=ids[: len(x)],
        weighted_degree=weighted_degree[: len(x)],
    )
    said = meta.dropout_key, meta.num_seeds, meta.targets
    return PreparedStep(x, aggregated, kept, labels, *said)


def aggregate_first(
    kind: str,
    rows: LayerRows,
    sources: Sources,
    degree: np.ndarray,
    weighted_degree: np.ndarray,
    own_rows: np.ndarray,
    out: np.ndarray,
) -> np.ndarray:
    """Write the first layer's aggregation of each row to `out` and return it.

    Parameters
    ----------
    kind : {"mean", "sum", "max", "gcn"}
        "gcn" adds the row's own features with the weight of the self loop.
    rows : LayerRows
    sources
        See `daskgnn.kernels.aggregate.aggregate_grouped`.
    degree, weighted_degree
        See `daskgnn.kernels.aggregate.gcn_coefficients`.
    own_rows : [>= r, F]
        Features of the rows' own nodes, for "gcn".
    out : float32 [r, F]
    """
    if kind != "gcn":
        return aggregate_grouped(*rows[:3], sources, kind, out)
    coefficients = gcn_coefficients(*rows, degree, weighted_degree)
    aggregate_grouped(*rows[:3], sources, kind, out, coefficients)
    add_self_loops(out, frozen(dense(own_rows[: len(out)])), frozen(weighted_degree))
    return out
