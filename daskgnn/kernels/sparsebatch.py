"""A window's minibatches where features stay sparse.

All rows that a part's window reads are brought together in one table, each once; a
step names its rows. Nothing is aggregated ahead: products with the weights come first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.batch import PreparedStep, PreparedWindow, labels_of_steps
from daskgnn.kernels.exchange import FeatureReply, FeatureRequest, answer_rows, seeds_of
from daskgnn.kernels.features import SparseInput, SparseTable, some_rows
from daskgnn.kernels.idset import IdSet, rank_of
from daskgnn.kernels.jit import njit
from daskgnn.kernels.tables import members_of

if TYPE_CHECKING:
    from daskgnn.kernels.batch import GatherPlan
    from daskgnn.kernels.book import ColocatedParts
    from daskgnn.kernels.exchange import HeldPart
    from daskgnn.kernels.halo_cache import HaloCache
    from daskgnn.kernels.sampled import SampledGraph, SampledWindow

Array = np.ndarray


@njit(cache=True, nogil=True)
def _find(ids: Array, known: IdSet, places: Array, out: Array) -> int:
    """Write to `out` [n] each id's place, by its rank; return how many have none."""
    words, before = known.words, known.before
    lacking = 0
    for j in range(len(ids)):
        rank = rank_of(words, before, np.int64(ids[j]))
        if rank < 0:
            lacking += 1
        else:
            out[j] = places[rank]
    return lacking


def assemble_sparse(
    window: SampledWindow,
    near: ColocatedParts,
    asked: list[FeatureRequest],
    replies: list[FeatureReply],
    held: list[HeldPart],
    plan: GatherPlan,
    cache: HaloCache | None = None,
) -> PreparedWindow:
    """Turn sampled nodes and received rows into what a model is given.

    Parameters are those of `daskgnn.kernels.batch.assemble_minibatches`.
    """
    graphs, book, traffic = window.graphs, plan.book, window.traffic
    here = dict(zip(near.parts, held, strict=True))
    requests = dict(zip(near.far, asked, strict=True))
    answers = dict(zip(near.far, replies, strict=True))
    ids = [graph.ids for graph in graphs]
    labels = labels_of_steps(graphs, here, answers, book)
    for part, blocks in here.items():
        wanted = members_of(book, part, ids).members(ids[0].dtype)
        seeds = seeds_of(graphs, book, part)
        requests[part] = FeatureRequest(wanted, seeds=seeds)
        answers[part] = answer_rows(blocks, requests[part])
    pieces = [(requests[part].ids, answers[part]) for part in sorted(answers)]
    for part, found in answers.items():
        if part != near.part and (nbytes := requests[part].nbytes):
            nbytes += found.nbytes
            traffic = traffic.received(part, len(found.values), nbytes)
    traffic = traffic.without_messages(set(here) - {near.part})
    if cache is not None:
        used = _used(cache, ids, book.num_nodes, [own for own, _ in pieces])
        pieces.append(used)
        cuts = np.searchsorted(used[0], book.bounds)
        each = row_bytes(used[1], used[0].itemsize)
        saved = np.diff(np.concatenate([[0], np.cumsum(each)])[cuts])
        traffic = traffic.used_cache(np.diff(cuts), saved)
    rows = Gathered(pieces, book.num_nodes)
    steps = tuple(
        PreparedStep(
            *rows.of(graph), own, meta.dropout_key, meta.num_seeds, meta.targets
        )
        for graph, own, meta in zip(graphs, labels, plan.meta, strict=True)
    )
    return PreparedWindow(steps, traffic)


class Gathered:
    """Rows of a window, with what belongs to their nodes.

    Parameters
    ----------
    pieces : list
        int [m] storage ids, each in one piece only, and what is known of them.
    num_nodes : int
    """

    def __init__(
        self, pieces: list[tuple[Array, FeatureReply]], num_nodes: int
    ) -> None:
        ids = np.concatenate([own for own, _ in pieces])
        self._known = IdSet.of([ids], 0, num_nodes)
        self._places = frozen(np.argsort(ids).astype(np.int32))
        tables: list[Any] = [found.values for _, found in pieces]
        self._table = SparseTable.joined(tables)
        self._original_ids = np.concatenate([f.original_ids for _, f in pieces])
        self._degrees = np.concatenate([f.weighted_degree for _, f in pieces])

    def of(self, graph: SampledGraph) -> tuple[SparseInput, None, SampledGraph]:
        """Return a step's feature rows, no aggregation, and its graph.

        Raises
        ------
        ValueError
            If a row is nowhere.
        """
        rows = np.empty(len(graph.ids), np.int32)
        lacking = _find(frozen(graph.ids), self._known, self._places, rows)
        if lacking:
            raise ValueError(f"{lacking} rows were not received")
        kept = replace(
            graph,
            ids=graph.ids[:0],
            original_ids=self._original_ids[rows],
            weighted_degree=self._degrees[rows],
        )
        return SparseInput(self._table, rows), None, kept


def row_bytes(found: Any, id_bytes: int) -> Array:
    """Return the bytes that each row of a reply takes on its way, with its id."""
    table = found.values
    each = table.indices.itemsize + (table.data.itemsize if len(table.data) else 0)
    beside = sum(
        0 if array is None else array.itemsize
        for array in (found.original_ids, found.weighted_degree)
    )
    own = table.indptr.itemsize + id_bytes + beside
    return np.asarray(np.diff(table.indptr) * each + own)


def _used(
    cache: HaloCache, ids: list[Array], num_nodes: int, others: list[Array]
) -> tuple[Array, FeatureReply]:
    """Return the ids and rows of a cache that a window uses."""
    wanted = IdSet.of(ids, 0, num_nodes, without=others)
    rows = np.flatnonzero(wanted.flags(cache.ids))
    ids_there, degrees = (
        None if array is None else array[rows]
        for array in (cache.original_ids, cache.weighted_degree)
    )
    found = FeatureReply(some_rows(cache.values, rows), ids_there, degrees)
    return cache.ids[rows], found
