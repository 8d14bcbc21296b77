"""Requests for feature rows of other parts, and the owners' replies.

A window needs remote nodes' feature rows. Where a model's first layer reduces raw
features, the owner can send a group reduced instead: the neighbours of one
destination that it owns. Each is computed by the same kernel in the same order, so
the choice changes bytes and no bit. It is made by `daskgnn.kernels.choice`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from daskgnn.kernels.aggregate import Rows, Sources, aggregate_grouped, frozen
from daskgnn.kernels.choice import (
    Costs,
    collect_groups,
    rows_or_sums,
    take_groups,
)
from daskgnn.kernels.coefficients import (
    group_coefficients,
    row_scales,
    weights_or_empty,
)
from daskgnn.kernels.features import SparseTable, is_dense, some_rows
from daskgnn.kernels.frontier import offsets
from daskgnn.kernels.idset import IdSet
from daskgnn.kernels.record import ArrayRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.halo_cache import HaloCache
    from daskgnn.kernels.sampled import SampledGraph, SampledWindow


class HeldPart(Protocol):
    """A part whose arrays can be read in place."""

    @property
    def adjacency(self) -> AdjacencyBlock:
        """Its rows of the graph."""

    @property
    def features(self) -> Any:
        """Its feature rows: see `daskgnn.kernels.features`."""

    @property
    def labels(self) -> Any:
        """[n] or [n, C]; rows may be read when they are asked for."""


@dataclass(frozen=True)
class Groups(ArrayRecord):
    """Groups of neighbours whose rows one owner is to sum."""

    starts: np.ndarray
    """int64 [G + 1], group *g* is ``members[starts[g]:starts[g + 1]]``."""
    members: np.ndarray
    """int [M], storage ids, in the order of the destination's neighbours."""
    scale: np.ndarray | None
    """float64 [G], for "gcn": the destination's share of its edges' weights."""
    weights: np.ndarray | None
    """float32 [M], for "gcn" on weighted graphs: the edges' weights."""


@dataclass(frozen=True)
class FeatureRequest(ArrayRecord):
    """A part's request to one owner, for a whole window."""

    ids: np.ndarray
    """int [m], storage ids of the rows wanted, each once, ascending."""
    groups: Groups | None = None
    seeds: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """int [k], storage ids of the seeds whose labels are wanted, step after step."""


@dataclass(frozen=True)
class FeatureReply(ArrayRecord):
    """Feature rows of some nodes, with what belongs to the nodes."""

    values: np.ndarray | SparseTable
    """[m, F] of the features' own dtype; sparse where the features are stored so."""
    original_ids: np.ndarray | None
    """int64 [m], where the model's first layer may need them."""
    weighted_degree: np.ndarray | None
    """float32 [m], likewise."""
    ready: np.ndarray | None = None
    """float32 [G, F], the groups that were asked for."""
    labels: np.ndarray = field(default_factory=lambda: np.empty(0))
    """[k] or [k, classes], of the seeds that were asked for."""


@dataclass(frozen=True)
class InputPlan:
    """How the input of the first layer is prepared in a run."""

    first_aggregation: str | None
    """None, or how neighbours of the outermost destinations are aggregated ahead:
    "mean", "sum", "max" or "gcn". They are grouped by owner: in row order within a
    group, groups in part order."""
    half: bool = False
    """Whether its inputs are rounded to bfloat16, as its products are."""
    remote_aggregation: bool = True
    """Whether owners reduce groups of neighbours where that takes fewer bytes."""
    sparse: bool = False
    """Whether features stay sparse; nothing is aggregated ahead then."""


def needs_ids(first_aggregation: str | None) -> bool:
    """Return whether a first layer may need the outermost nodes' original ids."""
    return first_aggregation is None


def needs_weighted_degree(first_aggregation: str | None) -> bool:
    """Return whether a first layer may need the outermost nodes' weighted degrees."""
    return first_aggregation in (None, "gcn")


def bytes_beside(first_aggregation: str | None) -> int:
    """Return the bytes of what goes with a feature row."""
    return 8 * needs_ids(first_aggregation) + 4 * needs_weighted_degree(
        first_aggregation
    )


def ask_rows(
    window: SampledWindow,
    book: PartitionBook,
    owner: int,
    own: HeldPart,
    inputs: InputPlan,
    cache: HaloCache | None = None,
) -> FeatureRequest:
    """Return what a window's steps need from `owner`, beyond what `cache` holds.

    `own` is the part that asks: its features tell the size of a row.
    """
    graphs, features = window.graphs, own.features
    first_aggregation = inputs.first_aggregation
    first, last = (int(bound) for bound in book.bounds[owner : owner + 2])
    held = [cache.ids] if cache is not None else []
    everything = [graph.ids for graph in graphs]
    wanted = IdSet.of(everything, first, last, without=held)
    ids = wanted.members(everything[0].dtype)
    seeds = seeds_of(graphs, book, owner)
    reduces = inputs.remote_aggregation and is_dense(features)
    # Owners do not know what a neighbour counts where that is not alike for all.
    reduces = reduces and graphs[0].outermost.mean_weights is None
    if not (reduces and first_aggregation):
        return FeatureRequest(ids, seeds=seeds)
    inner = IdSet.of([graph.ids[: graph.sizes[-2]] for graph in graphs], first, last)
    starts, members, ranks = _all_groups(graphs, wanted)
    costs = _costs(ids, features, first_aggregation, _weighted(graphs))
    taken, asked = rows_or_sums(starts, ranks, inner.flags(ids), costs)
    if not asked.any():
        return FeatureRequest(ids, seeds=seeds)
    sizes = np.diff(starts)
    places = np.repeat(asked, sizes)
    groups = Groups(offsets(sizes[asked]), members[places], None, None)
    if first_aggregation == "gcn":
        scale, weights = _gcn_groups(graphs, wanted, asked, places)
        groups = replace(groups, scale=scale, weights=weights)
    return FeatureRequest(ids[taken], groups, seeds)


def seeds_of(
    graphs: Sequence[SampledGraph], book: PartitionBook, owner: int
) -> np.ndarray:
    """Return the seeds that `owner` has, int [k], step after step."""
    return np.concatenate([g.seeds[book.owned(g.seeds, owner)] for g in graphs])


def _weighted(graphs: Sequence[SampledGraph]) -> bool:
    return graphs[0].outermost.weights is not None


def _all_groups(
    graphs: Sequence[SampledGraph], wanted: IdSet
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all groups of an owner in the window, step after step.

    Returns
    -------
    tuple
        int64 [G + 1] starts; int [M] storage ids of the members; int32 [M] their
        ranks in `wanted`, -1 for those in a cache.
    """
    layers = [Rows.of(*graph.outermost) for graph in graphs]
    edges = sum(int((layer.ends - layer.starts).sum()) for layer in layers)
    starts = np.zeros(sum(len(layer.starts) for layer in layers) + 1, np.int64)
    members = np.empty(edges, graphs[0].ids.dtype)
    ranks = np.empty(edges, np.int32)
    num_groups = 0
    for graph, layer in zip(graphs, layers, strict=True):
        out = (starts, members, ranks)
        num_groups = collect_groups(frozen(graph.ids), layer, wanted, num_groups, out)
    size = int(starts[num_groups])
    return starts[: num_groups + 1], members[:size], ranks[:size]


def _costs(
    ids: np.ndarray, features: Any, first_aggregation: str, weighted: bool
) -> Costs:
    """Return the bytes of a row, a group and a member of a group."""
    gcn = first_aggregation == "gcn"
    channels = features.shape[1]
    return Costs(
        row=channels * features.dtype.itemsize + ids.itemsize + 4 * gcn,
        group=channels * 4 + 8 + 8 * gcn,
        member=ids.itemsize + 4 * (gcn and weighted),
    )


def _gcn_groups(
    graphs: Sequence[SampledGraph],
    wanted: IdSet,
    asked: np.ndarray,
    places: np.ndarray,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the scales of the asked groups and, where edges weigh, the weights."""
    weighted = _weighted(graphs)
    scale = np.empty(len(asked), np.float64)
    weights = np.empty(len(places) if weighted else 0, np.float32)
    group = member = 0
    for graph in graphs:
        rows, given = Rows.of(*graph.outermost), graph.outermost.weights
        scales = row_scales(*rows[:2], graph.degree, graph.weighted_degree)
        given = weights[:0] if given is None else given
        taken = (frozen(given), weights[member:])
        counts = take_groups(frozen(graph.ids), rows, wanted, *taken)
        mine = scales[counts > 0]
        scale[group : group + len(mine)] = mine
        group += len(mine)
        member += int(counts.sum())
    return scale[asked], weights[places] if weighted else None


def answer_rows(
    held: HeldPart, asked: FeatureRequest, first_aggregation: str | None = None
) -> FeatureReply:
    """Return the rows, groups and labels asked for, of the part that owns them."""
    block, features = held.adjacency, held.features
    rows = asked.ids.astype(np.int64) - block.start
    return FeatureReply(
        some_rows(features, rows),
        block.original_ids[rows] if needs_ids(first_aggregation) else None,
        _weighted_degree(block, rows)
        if needs_weighted_degree(first_aggregation)
        else None,
        _reduce_groups(block, features, asked.groups, first_aggregation),
        labels_of(held, asked.seeds),
    )


def _weighted_degree(block: AdjacencyBlock, rows: np.ndarray) -> np.ndarray:
    """Return the sums of the weights of rows; without weights, nothing is kept."""
    if block.weights is None:
        return (block.indptr[rows + 1] - block.indptr[rows]).astype(np.float32)
    return block.weighted_degree[rows]


def labels_of(held: HeldPart, seeds: np.ndarray) -> np.ndarray:
    """Return the labels of some of a part's nodes, named by storage id."""
    found: np.ndarray = held.labels[seeds.astype(np.int64) - held.adjacency.start]
    return found


def _reduce_groups(
    block: AdjacencyBlock,
    features: np.ndarray,
    groups: Groups | None,
    first_aggregation: str | None,
) -> np.ndarray | None:
    """Return the groups reduced, float32 [G, F]; a mean's are sums."""
    if groups is None:
        return None
    rows = groups.members.astype(np.int64) - block.start
    weight = None
    if groups.scale is not None:
        members = weights_or_empty(groups.weights), _weighted_degree(block, rows)
        weight = group_coefficients(groups.starts, groups.scale, *members)
    op = {"mean": "sum"}.get(str(first_aggregation), str(first_aggregation))
    out = np.empty((len(groups.starts) - 1, features.shape[1]), np.float32)
    places = np.arange(len(rows), dtype=np.int32)
    edges = Rows(groups.starts[:-1], groups.starts[1:], places)
    sources = Sources.in_table(features, rows)
    return aggregate_grouped(edges, sources, op, out, weight)
