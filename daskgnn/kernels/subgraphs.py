"""A window's subgraphs, one for each seed: nodes by fan-out, then the edges between.

A part asks the owners of the nodes it met last for draws of their rows
(`ask_draws`, `answer_draws`, `merge_draws`), hop by hop. When all nodes are known, it
sends each set of nodes to the owners of some of them, and these answer which edges are
inside (`ask_sets`, `answer_sets`, `merge_sets`). Sets are small, so they are fewer
bytes than the rows of hubs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.coefficients import weights_or_empty
from daskgnn.kernels.frontier import group_by_owner, offsets, take_rows
from daskgnn.kernels.hops import Request, frozen_all
from daskgnn.kernels.hops import answer as draw_rows
from daskgnn.kernels.neighbor import FanOut
from daskgnn.kernels.record import ArrayRecord
from daskgnn.kernels.sampled import LocalRows, SampledGraph
from daskgnn.kernels.shadow import (
    draw_keys,
    grow_sets,
    induce_rows,
    order_by_hop,
    take_last,
    touches,
)
from daskgnn.kernels.threads import for_each

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook


@dataclass(frozen=True)
class NodeSets:
    """The nodes of the K subgraphs of a window: the seed of each, then others."""

    ids: np.ndarray
    """int [M], storage ids, set after set."""
    starts: np.ndarray
    """int64 [K + 1], where each set begins."""
    steps: np.ndarray
    """int64 [W + 1], which sets belong to each step."""


@dataclass(frozen=True)
class GrowingSets:
    """A window's sets while they grow."""

    sets: NodeSets
    known: np.ndarray
    """int64 [K], of how many nodes of each set neighbours were drawn."""
    keys: np.ndarray
    """uint64 [K], key of each seed's draws; before the first hop, of its step."""


@dataclass(frozen=True)
class DrawRequest(ArrayRecord):
    """Nodes of which one owner is to draw neighbours, for some sets."""

    ids: np.ndarray
    offsets: np.ndarray
    """int64 [k + 1], where each set's begin."""
    keys: np.ndarray
    """uint64 [k]"""


@dataclass(frozen=True)
class DrawnNodes(ArrayRecord):
    """Drawn neighbours, and at the first hop the seeds' original ids."""

    counts: np.ndarray
    columns: np.ndarray
    original_ids: np.ndarray


@dataclass(frozen=True)
class SetRequest(ArrayRecord):
    """Sets of which some nodes are an owner's."""

    ids: np.ndarray
    starts: np.ndarray


@dataclass(frozen=True)
class InducedRows(ArrayRecord):
    """Edges inside sets, of the rows that one owner has, and what it knows of nodes."""

    counts: np.ndarray
    columns: np.ndarray
    """int32, numbers within the set."""
    weights: np.ndarray | None
    original_ids: np.ndarray
    degree: np.ndarray
    weighted_degree: np.ndarray


@dataclass(frozen=True)
class Subgraphs:
    """The subgraphs induced on a window's sets."""

    sets: NodeSets
    indptr: np.ndarray
    """int64 [M + 1]"""
    indices: np.ndarray
    """int32 [E], numbers within the set."""
    weights: np.ndarray | None
    original_ids: np.ndarray
    degree: np.ndarray
    weighted_degree: np.ndarray


def step_offsets(seeds: list[np.ndarray]) -> np.ndarray:
    """Return which sets belong to each step, int64 [W + 1]."""
    return offsets([len(run) for run in seeds])


def first_sets(seeds: list[np.ndarray], step_keys: np.ndarray) -> GrowingSets:
    """Return a set for each seed, with nothing else in it."""
    ids, steps = joined(seeds), step_offsets(seeds)
    sets = NodeSets(ids, np.arange(len(ids) + 1), steps)
    keys = np.repeat(step_keys, np.diff(steps))
    return GrowingSets(sets, np.zeros(len(ids), np.int64), keys)


def ask_draws(growing: GrowingSets, book: PartitionBook, owner: int) -> DrawRequest:
    """Return the nodes of `owner` whose rows are to be drawn next."""
    ids, counts = _last_nodes(growing, *bounds_of(book, owner))
    some = counts > 0
    return DrawRequest(ids, offsets(counts[some]), growing.keys[some])


def _last_nodes(
    growing: GrowingSets, low: int, high: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return those last nodes of sets that lie in a range, and how many each has."""
    ids, starts = growing.sets.ids, growing.sets.starts
    known, counts = growing.known, np.empty(len(growing.known), np.int64)
    given = frozen(ids), frozen(starts), frozen(known)
    return take_last(*given, low, high, counts), counts


def answer_draws(
    block: AdjacencyBlock, asked: DrawRequest, fanout: int, hop: int, threads: int
) -> DrawnNodes:
    """Draw neighbours, by the key of the seed and the original id of the node."""
    keys, first = asked.keys, np.empty(0, np.int64)
    if hop == 0:
        first = block.original_ids[asked.ids.astype(np.int64) - block.start]
        keys = draw_keys(frozen(keys), frozen(first))
    wanted = Request(asked.ids, asked.offsets)
    found = draw_rows(block, wanted, keys, FanOut((fanout,)), 0, None, threads)
    return DrawnNodes(found.counts, found.columns, first)


def merge_draws(
    growing: GrowingSets,
    answers: dict[int, DrawnNodes],
    book: PartitionBook,
    hop: int,
    threads: int,
) -> GrowingSets:
    """Add the drawn neighbours to their sets."""
    sets, replies = growing.sets, [answers[part] for part in sorted(answers)]
    front, counts = _last_nodes(growing, 0, book.num_nodes)
    rows = places_in_replies(front, book, len(replies))
    lengths = joined([reply.counts for reply in replies])
    columns = joined([reply.columns for reply in replies])
    begins, lengths = offsets(lengths)[:-1][rows], lengths[rows]
    given = frozen_all((columns, begins, lengths, offsets(counts)))
    nodes = frozen_all((sets.ids, sets.starts))
    pieces = by_spans(lambda span: grow_sets(nodes, given, span), len(counts), threads)
    ids, sizes = (joined(list(arrays)) for arrays in zip(*pieces, strict=True))
    keys = growing.keys
    if hop == 0:
        original = joined([reply.original_ids for reply in replies])[rows]
        keys = draw_keys(frozen(keys), frozen(original))
    grown = NodeSets(ids, offsets(sizes), sets.steps)
    return GrowingSets(grown, np.diff(sets.starts), keys)


def ask_sets(sets: NodeSets, book: PartitionBook, owner: int) -> SetRequest:
    """Return the sets of which `owner` has a node."""
    given: Any = (*frozen_all((sets.ids, sets.starts)), *bounds_of(book, owner))
    some = touches(*given)
    if some.all():
        return SetRequest(sets.ids, sets.starts)
    sizes = np.diff(sets.starts)
    return SetRequest(sets.ids[np.repeat(some, sizes)], offsets(sizes[some]))


def answer_sets(block: AdjacencyBlock, asked: SetRequest, threads: int) -> InducedRows:
    """Return the edges between the nodes of each set, of rows that the block has."""
    rows = asked.ids.astype(np.int64) - block.start
    rows = rows[(rows >= 0) & (rows < block.num_rows)]
    indptr, indices, weights = _rows_of(block, rows)
    given = (*frozen_all((indptr, indices, weights_or_empty(weights))), block.start)
    sets = frozen_all((asked.ids, asked.starts))
    num_sets = len(asked.starts) - 1
    pieces = by_spans(lambda span: induce_rows(given, sets, span), num_sets, threads)
    counts, columns, kept = (joined(list(found)) for found in zip(*pieces, strict=True))
    known = block.original_ids, block.degree, block.weighted_degree
    told = (array[rows] for array in known)
    return InducedRows(counts, columns, None if weights is None else kept, *told)


def _rows_of(
    block: AdjacencyBlock, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return CSR arrays of a block, which hold at least the rows named."""
    if block.reader is None:
        return block.indptr, block.indices, block.weights
    lengths = np.zeros(block.num_rows, np.int64)
    wanted = np.unique(rows)
    lengths[wanted] = block.degree[wanted]
    indptr = offsets(lengths)
    repeated = np.repeat(np.arange(block.num_rows), lengths)
    slots = np.arange(indptr[-1]) - indptr[repeated]
    return indptr, *block.reader.entries(repeated, slots)


def merge_sets(
    sets: NodeSets, answers: dict[int, InducedRows], book: PartitionBook
) -> Subgraphs:
    """Put the owners' rows into the order of the sets' nodes."""
    replies = [answers[part] for part in sorted(answers)]
    lengths, columns, original_ids, degree, weighted_degree = (
        joined([getattr(reply, name) for reply in replies])
        for name in ("counts", "columns", "original_ids", "degree", "weighted_degree")
    )
    weights = [reply.weights for reply in replies if reply.weights is not None]
    kept = joined(weights) if weights else None
    if len(replies) == 1:
        known = original_ids, degree, weighted_degree
        return Subgraphs(sets, offsets(lengths), columns, kept, *known)
    rows = places_in_replies(sets.ids, book, len(replies))
    begins, lengths = offsets(lengths)[:-1][rows], lengths[rows]
    indices = np.empty(len(columns), np.int32)
    take_rows(frozen(columns), frozen(begins), frozen(lengths), indices)
    if kept is not None:
        given, kept = kept, np.empty(len(columns), np.float32)
        take_rows(frozen(given), frozen(begins), frozen(lengths), kept)
    known = original_ids[rows], degree[rows], weighted_degree[rows]
    return Subgraphs(sets, offsets(lengths), indices, kept, *known)


def graphs_by_hop(found: Subgraphs, num_layers: int) -> list[SampledGraph]:
    """Return a graph a step, its nodes by distance from the seeds."""
    sets, graphs = found.sets, []
    given = frozen_all((sets.starts, found.indptr, found.indices))
    for span in pairwise(sets.steps.tolist()):
        order, within, rows = order_by_hop(given, span, num_layers)
        indptr, indices, edges = rows
        weights = None if found.weights is None else found.weights[edges]
        inner = order[: within[num_layers - 1]]
        graphs.append(
            SampledGraph(
                sets.ids[order],
                tuple(within.tolist()),
                (LocalRows(indptr, indices, weights),),
                found.original_ids[inner],
                found.degree[inner],
                found.weighted_degree[inner],
            )
        )
    return graphs


def pooled_graphs(found: Subgraphs, num_layers: int) -> list[SampledGraph]:
    """Return a graph a step, in which each seed's nodes follow each other."""
    sets, graphs = found.sets, []
    for first, last in pairwise(sets.steps.tolist()):
        starts = sets.starts[first : last + 1]
        nodes = slice(starts[0], starts[-1])
        edges = slice(found.indptr[nodes.start], found.indptr[nodes.stop])
        pools = starts - starts[0]
        repeats = np.diff(found.indptr[starts])
        indices = found.indices[edges] + np.repeat(pools[:-1], repeats)
        weights = None if found.weights is None else found.weights[edges]
        indptr = found.indptr[nodes.start : nodes.stop + 1] - edges.start
        graphs.append(
            SampledGraph(
                sets.ids[nodes],
                (int(pools[-1]),) * (num_layers + 1),
                (LocalRows(indptr, indices.astype(np.int32), weights),),
                found.original_ids[nodes],
                found.degree[nodes],
                found.weighted_degree[nodes],
                pools=pools,
            )
        )
    return graphs


def bounds_of(book: PartitionBook, owner: int) -> tuple[int, int]:
    """Return the first storage id of a part, and that of the next one."""
    return int(book.bounds[owner]), int(book.bounds[owner + 1])


def places_in_replies(
    ids: np.ndarray, book: PartitionBook, num_replies: int
) -> np.ndarray:
    """Return where what was told of nodes is in the replies of their owners.

    Replies follow each other in the order of parts, and in each nodes are in order.
    """
    if num_replies == 1:
        return np.arange(len(ids))
    order = np.empty(len(ids), np.int32)
    ends = np.empty(len(book.bounds), np.int64)
    group_by_owner(frozen(ids), frozen(book.bounds), order, ends)
    places = np.empty(len(ids), np.int64)
    places[order] = np.arange(len(ids))
    return places


def by_spans(
    function: Callable[[Any], Any], count: int, threads: int
) -> list[tuple[np.ndarray, ...]]:
    """Return what a kernel gives of a span of sets for each thread."""
    cuts = [count * i // threads for i in range(threads + 1)]
    return for_each(function, list(pairwise(cuts)), threads)


def joined(arrays: list[np.ndarray]) -> np.ndarray:
    """Return arrays one after the other; of one, the array itself."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
