"""The last step of preparing a window: feature rows and minibatches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.kernels.aggregate import (
    Rows,
    Sources,
    aggregate_grouped,
    edge_scales,
    frozen,
    gather_rows,
    gcn_coefficients,
)
from daskgnn.kernels.coefficients import add_self_loops
from daskgnn.kernels.exchange import (
    FeatureRequest,
    answer_rows,
    labels_of,
    needs_ids,
    needs_weighted_degree,
    seeds_of,
)
from daskgnn.kernels.features import dense, is_dense
from daskgnn.kernels.record import ArrayRecord
from daskgnn.kernels.tables import Tables, members_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.kernels.book import ColocatedParts, PartitionBook
    from daskgnn.kernels.exchange import FeatureReply, HeldPart, InputPlan
    from daskgnn.kernels.features import SparseInput
    from daskgnn.kernels.halo_cache import HaloCache
    from daskgnn.kernels.sampled import LayerRows, SampledGraph, SampledWindow
    from daskgnn.kernels.targets import TargetRows
    from daskgnn.kernels.traffic import Traffic


@dataclass(frozen=True)
class PreparedStep:
    """Everything of one step of one part that does not depend on parameters.

    Rows follow the step's nodes in discovery order: the first ``sizes[0]`` are
    the seeds, the first ``sizes[h]`` the nodes within *h* hops.
    """

    x: np.ndarray | SparseInput
    """float32, or uint16 for bfloat16 bits, [n, F]; n = ``sizes[-1]``, with
    `aggregated` ``sizes[-2]``. Sparse where features stay so."""
    aggregated: np.ndarray | None
    """[sizes[-2], F], the first layer's aggregation where it was asked. Its rows and
    those of `x` lie side by side: one product takes both."""
    graph: SampledGraph
    """Of storage ids none is left; `original_ids` and `weighted_degree` have n."""
    labels: np.ndarray
    """[k] or [k, classes], of the seeds."""
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

    @property
    def seed_rows(self) -> np.ndarray | slice:
        """Which of the nodes are the seeds."""
        pools = self.graph.pools
        return slice(self.sizes[0]) if pools is None else pools[:-1]


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


@dataclass(frozen=True)
class GatherPlan:
    """How a window's minibatches are made of what its part has and was sent."""

    book: PartitionBook
    meta: list[StepMeta]
    inputs: InputPlan


def assemble_minibatches(
    window: SampledWindow,
    near: ColocatedParts,
    asked: list[FeatureRequest],
    replies: list[FeatureReply],
    held: list[HeldPart],
    plan: GatherPlan,
    cache: HaloCache | None = None,
) -> PreparedWindow:
    """Turn sampled nodes and received rows into what a model is given.

    Parameters
    ----------
    asked, replies : list
        What was asked of each part far away, and what it has answered.
    held : list
        The parts that lie here, in the order of ``near.parts``.
    cache : HaloCache or None
        Rows that were not asked for because they are here.
    """
    graphs, book, traffic = window.graphs, plan.book, window.traffic
    first_aggregation = plan.inputs.first_aggregation
    here = dict(zip(near.parts, held, strict=True))
    requests = dict(zip(near.far, asked, strict=True))
    answers = dict(zip(near.far, replies, strict=True))
    ids = [graph.ids for graph in graphs]
    labels = labels_of_steps(graphs, here, answers, book)
    others = set(here) - {near.part}
    for other in others:
        if not is_dense(here[other].features):
            wanted = members_of(book, other, ids).members(ids[0].dtype)
            seeds = seeds_of(graphs, book, other)
            requests[other] = FeatureRequest(wanted, seeds=seeds)
            answers[other] = answer_rows(
                here[other], requests[other], first_aggregation
            )
    in_place = {other: held for other, held in here.items() if other not in answers}
    tables = Tables(book, near.part, in_place, ids, requests, answers, cache)
    rooms = _rooms(graphs, plan.inputs, here[near.part].features.shape[1])
    steps = tuple(
        _finish_step(*given, tables, first_aggregation)
        for given in zip(graphs, labels, plan.meta, rooms, strict=True)
    )
    for other in others - set(answers):
        rows, nbytes = tables.read_in_place(other, ids, first_aggregation)
        seeds = seeds_of(graphs, book, other)
        label = labels[0].itemsize * int(np.prod(labels[0].shape[1:], dtype=int))
        nbytes += len(seeds) * (seeds.itemsize + label)
        traffic = traffic.received(other, rows, nbytes)
    for other, found in answers.items():
        if nbytes := requests[other].nbytes:
            nbytes += found.nbytes
            traffic = traffic.received(other, len(found.values), nbytes)
    traffic = traffic.without_messages(others)
    if cache is not None:
        traffic = traffic.used_cache(
            hits := tables.cache_hits(), hits * cache.row_bytes
        )
    return PreparedWindow(steps, traffic)


def labels_of_steps(
    graphs: tuple[SampledGraph, ...],
    here: dict[int, HeldPart],
    answers: dict[int, FeatureReply],
    book: PartitionBook,
) -> list[np.ndarray]:
    """Return the labels of each step's seeds, read here or received."""
    given = {p: labels_of(held, seeds_of(graphs, book, p)) for p, held in here.items()}
    given |= {p: reply.labels for p, reply in answers.items()}
    some = next(iter(given.values()))
    out = [np.empty((len(g.seeds), *some.shape[1:]), some.dtype) for g in graphs]
    for owner, labels in given.items():
        base = 0
        for graph, own in zip(graphs, out, strict=True):
            places = np.flatnonzero(book.owned(graph.seeds, owner))
            own[places] = labels[base : base + len(places)]
            base += len(places)
    return out


def _rooms(
    graphs: tuple[SampledGraph, ...], inputs: InputPlan, width: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yield room for each step's x and its aggregation.

    Rooms of like steps are of one size, up to an eighth larger than needed: what an
    earlier window has left free fits, and the heap does not grow.
    """
    op = inputs.first_aggregation
    # The self loops of a GCN are added to whole float32 rows.
    paired = op in ("sum", "mean", "max")
    sizes = [graph.sizes[-2 if op else -1] for graph in graphs]
    columns = 2 * width if op else width
    dtype = np.uint16 if inputs.half and paired else np.float32
    for size in sizes:
        unit = 1 << max(size.bit_length() - 4, 0)
        room = np.empty((-(-size // unit) * unit, columns), dtype)[:size]
        if paired:
            yield room[:, width:], room[:, :width]
        elif op:
            x, aggregated = room.reshape(2, size, width)
            yield x, aggregated
        else:
            yield room, None


def _finish_step(
    graph: SampledGraph,
    labels: np.ndarray,
    meta: StepMeta,
    room: tuple[np.ndarray, np.ndarray | None],
    tables: Tables,
    first_aggregation: str | None,
) -> PreparedStep:
    x, aggregated = room
    sources = tables.sources(graph.ids)
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
    edges = Rows.of(*rows)
    if kind != "gcn":
        scaled = edge_scales(edges, rows.mean_weights, degree, kind)
        if scaled is not None:
            return aggregate_grouped(edges, sources, "gcn", out, scaled)
        return aggregate_grouped(edges, sources, kind, out)
    known = rows.weights, degree, weighted_degree, rows.mean_weights
    coefficients = gcn_coefficients(edges, *known)
    aggregate_grouped(edges, sources, kind, out, coefficients)
    add_self_loops(out, frozen(dense(own_rows[: len(out)])), frozen(weighted_degree))
    return out
