"""Exact evaluation, layer by layer over all neighbours, as task graphs.

Only halo rows move between parts, and no task holds more of a layer than one
part's rows and its halo.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.task_spec import DataNode, List, TaskRef

from daskgnn.dataflow.steps.tasks import add_task
from daskgnn.dataflow.steps.tree import reduce_known, reduction_tree
from daskgnn.kernels.exchange import FeatureRequest, answer_rows
from daskgnn.kernels.features import RowReader
from daskgnn.kernels.halo import find_halo, halo_of_owner, whole_part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.dataflow.blocks import Blocks
    from daskgnn.dataflow.part import PartBlocks
    from daskgnn.dataflow.steps.tree import Range
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.exchange import FeatureReply
    from daskgnn.kernels.halo import Halo
    from daskgnn.kernels.targets import PartTargets

    SplitTargets = dict[str, PartTargets]
    Rows = tuple[np.ndarray, dict[str, np.ndarray]]


@dataclass(frozen=True)
class WholeGraph:
    """Keys of what every evaluation of a run uses, by part."""

    run: str
    book: PartitionBook
    blocks: Blocks
    halo: tuple[Any, ...]
    inputs: tuple[Any, ...]

    @property
    def keys(self) -> list[Any]:
        """The keys to hold between evaluations."""
        parts = range(self.book.num_parts)
        wanted = [_halo_key(self.run, q, p) for p in parts for q in parts if p != q]
        return [*self.halo, *self.inputs, *wanted]


@dataclass(frozen=True)
class Scoring:
    """How outputs are scored."""

    partial: Callable[..., Any]
    """``(program, outputs [m, C], table rows, PartTargets) -> contribution``"""
    merge: Callable[..., Any]
    """``(program, contribution, contribution) -> contribution``"""
    tables: tuple[str, ...]
    """Node tables whose rows go with the outputs."""


def _halo_key(run: str, owner: int, part: int) -> Any:
    return ("halo-ids", run, owner, part)


def prepare_whole_graph(
    run: str, book: PartitionBook, blocks: Blocks, first_aggregation: str | None
) -> tuple[dict[Any, Any], WholeGraph]:
    """Return the graph that finds the halos and gathers the first layer's input."""
    tasks: dict[Any, Any] = {}
    parts = range(book.num_parts)
    halo = tuple(("halo", run, p) for p in parts)
    inputs = tuple(("whole-part", run, p) for p in parts)
    for p in parts:
        found = add_task(tasks, halo[p], halo_of, blocks.of(p))
        replies = []
        for q in parts:
            if q == p:
                continue
            ids = _halo_key(run, q, p)
            wanted = add_task(tasks, ids, halo_of_owner, found, book, q)
            rows = ("halo-rows", run, p, q)
            replies.append(add_task(tasks, rows, serve_halo, blocks.of(q), wanted))
        given = (blocks.of(p), found, List(*replies), book, p, first_aggregation)
        add_task(tasks, inputs[p], whole_part, *given)
    return tasks, WholeGraph(run, book, blocks, halo, inputs)


def evaluate_layers(
    whole: WholeGraph,
    evaluation: int,
    num_layers: int,
    layer: Callable[..., np.ndarray],
    programs: list[Any],
    weights: Any,
) -> tuple[dict[Any, Any], list[Any]]:
    """Return the graph of all layers, and the P keys of the outputs [n_p, C].

    Parameters
    ----------
    layer : callable
        ``(program, weights, i, block, halo, whole part, own rows or None,
        halo rows) -> float32 [n_p, D]``
    """
    name = ("parameters", whole.run, evaluation, 0)
    tasks: dict[Any, Any] = {name: DataNode(name, weights)}
    parts = range(whole.book.num_parts)
    before: list[Any] = []
    for i in range(num_layers):
        after = [("hidden", whole.run, evaluation, i, p) for p in parts]
        for p in parts:
            sent = []
            for q in parts if i else ():
                if q == p:
                    continue
                key = ("send-hidden", whole.run, evaluation, i, p, q)
                ids = TaskRef(_halo_key(whole.run, q, p))
                hidden, start = TaskRef(before[q]), int(whole.book.bounds[q])
                sent.append(add_task(tasks, key, take_hidden, hidden, ids, start))
            how = (layer, TaskRef(programs[p]), TaskRef(name), i)
            known = (whole.blocks.of(p), TaskRef(whole.halo[p]))
            own = (TaskRef(whole.inputs[p]), TaskRef(before[p]) if i else None)
            given = (*how, *known, *own, List(*sent))
            add_task(tasks, after[p], compute_layer, *given)
        before = after
    return tasks, before


def halo_of(blocks: PartBlocks) -> Halo:
    """Return the halo of a part."""
    whole = blocks.whole_rows()
    halo = find_halo(whole)
    if blocks.adjacency.is_whole:
        return halo
    return replace(halo, weights=whole.weights)


def serve_halo(blocks: PartBlocks, ids: np.ndarray) -> FeatureReply:
    """Return what a part has of another's halo."""
    held, features = blocks.content, blocks.features
    if isinstance(features, RowReader):  # who asks reads them too
        held = replace(held, features=np.empty((len(features), 0), np.float32))
    return answer_rows(held, FeatureRequest(ids))


def take_hidden(hidden: np.ndarray, ids: np.ndarray, start: int) -> np.ndarray:
    """Return a part's rows that another part has in its halo."""
    return np.take(hidden, ids.astype(np.int64) - start, axis=0)


def compute_layer(
    layer: Callable[..., np.ndarray],
    program: Any,
    weights: Any,
    i: int,
    blocks: PartBlocks,
    *rest: Any,
) -> np.ndarray:
    """Compute a layer of a part: see `evaluate_layers`."""
    return layer(program, weights, i, blocks.adjacency, *rest)


def score_parts(
    outputs: list[Any],
    blocks: Blocks,
    scoring: Scoring,
    programs: list[Any],
    bounds: np.ndarray,
    targets: list[SplitTargets],
) -> tuple[dict[Any, Any], Any]:
    """Return the graph of the splits' scores, and the key of their total.

    Only rows of targets' further nodes move between parts, and what parts contribute is
    merged in the fixed tree over parts.

    Parameters
    ----------
    targets : list of dict
        By part and split, the targets whose first node the part owns.
    """
    tasks: dict[Any, Any] = {}
    known: dict[Range, Any] = {}
    name = outputs[0][1:-1]
    for part, output in enumerate(outputs):
        received = {}
        for other, foreign in enumerate(outputs):
            here, stop = (int(bound) for bound in bounds[other : other + 2])
            wanted = {s: t.between(here, stop) for s, t in targets[part].items()}
            if other == part or not any(map(len, wanted.values())):
                continue
            key: Any = ("send-outputs", *name, part, other)
            given = (scoring.tables, TaskRef(foreign), blocks.of(other), here, wanted)
            received[other] = add_task(tasks, key, take_outputs, *given)
        key = ("score", *name, part + 1, part)
        own = (TaskRef(output), blocks.of(part), int(bounds[part]), targets[part])
        others = tuple(other < part for other in received), List(*received.values())
        whole = (scoring, TaskRef(programs[part]), *own, *others)
        add_task(tasks, key, score_part, *whole)
        known[part, part + 1] = key

    def add(left: Any, right: Any) -> Any:
        key = ("score-sum", *name, right[-2], left[-1])
        sources = map(TaskRef, (programs[left[-1]], left, right))
        add_task(tasks, key, merge_scores, scoring, *sources)
        return key

    tree = reduction_tree(len(outputs))
    reduce_known(tree, known, add)
    last = [known[side] for side in tree.last]
    return tasks, last[0] if len(last) == 1 else add(*last)


def take_outputs(
    tables: tuple[str, ...],
    output: np.ndarray,
    blocks: PartBlocks,
    start: int,
    wanted: dict[str, np.ndarray],
) -> dict[str, Rows]:
    """Return the outputs and table rows of some of a part's nodes, by split."""
    found = {}
    for split, ids in wanted.items():
        rows = ids - start
        beside = {name: getattr(blocks, name)[rows] for name in tables}
        found[split] = output[rows], beside
    return found


def score_part(
    scoring: Scoring,
    program: Any,
    output: np.ndarray,
    blocks: PartBlocks,
    start: int,
    targets: SplitTargets,
    before: tuple[bool, ...],
    received: list[dict[str, Rows]],
) -> dict[str, Any]:
    """Return what a part's targets contribute to each split's scores.

    Parameters
    ----------
    before : tuple of bool
        Which of `received` are of parts before this one.
    """
    found = {}
    for split, own in targets.items():
        if not own.count:
            continue
        ids = own.between(start, start + len(output))
        mine = take_outputs(scoring.tables, output, blocks, start, {split: ids})
        first = sum(before)
        pieces = [*received[:first], mine, *received[first:]]
        h = _joined([piece[split][0] for piece in pieces])
        tables = {
            name: _joined([piece[split][1][name] for piece in pieces])
            for name in scoring.tables
        }
        found[split] = scoring.partial(program, h, tables, own)
    return found


def _joined(pieces: list[np.ndarray]) -> np.ndarray:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def merge_scores(
    scoring: Scoring, program: Any, left: dict[str, Any], right: dict[str, Any]
) -> dict[str, Any]:
    """Return two parts' contributions as one, split by split."""
    merged = left | right
    for split in left.keys() & right.keys():
        merged[split] = scoring.merge(program, left[split], right[split])
    return merged


def in_chunks(
    outputs: list[Any],
    blocks: Blocks,
    wanted: Sequence[range | np.ndarray],
    token: str,
) -> tuple[dict[Any, Any], list[Any]]:
    """Return the graph that puts outputs into an order of nodes, and its chunk keys.

    Parameters
    ----------
    wanted
        By chunk, the original ids of its rows.
    """
    tasks: dict[Any, Any] = {}
    keys: list[Any] = []
    for c, ids in enumerate(wanted):
        picked = []
        for part, output in enumerate(outputs):
            key = ("pick-predictions", token, c, part)
            given = (TaskRef(output), blocks.of(part), ids)
            picked.append(add_task(tasks, key, pick_rows, *given))
        chunk = ("predict-" + token, c, 0)
        add_task(tasks, chunk, assemble_rows, List(*picked), len(ids))
        keys.append(chunk)
    return tasks, keys


def pick_rows(
    output: np.ndarray, blocks: PartBlocks, wanted: range | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a part's rows that are wanted, by original id, and their places."""
    ids = blocks.adjacency.original_ids
    if isinstance(wanted, range):
        here = (ids >= wanted.start) & (ids < wanted.stop)
        return ids[here] - wanted.start, output[here]
    order = np.argsort(ids)
    at = order[np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)]
    places = np.flatnonzero(ids[at] == wanted)
    return places, output[at[places]]


def assemble_rows(
    picked: list[tuple[np.ndarray, np.ndarray]], length: int
) -> np.ndarray:
    """Put rows of several parts into their places."""
    out = np.empty((length, picked[0][1].shape[1]), picked[0][1].dtype)
    for places, rows in picked:
        out[places] = rows
    return out
