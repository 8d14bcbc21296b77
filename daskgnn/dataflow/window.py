"""The part of a window that does not depend on parameters, as a task graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask
from dask.task_spec import List, Task, TaskRef

from daskgnn.dataflow.halo_cache import add_update
from daskgnn.kernels.batch import PreparedWindow, StepFacts, finish
from daskgnn.kernels.exchange import Asked, FeatureRows, answer_rows, ask_rows
from daskgnn.kernels.hops import (
    Request,
    Rows,
    Sampling,
    WindowNodes,
    answer,
    first_nodes,
    request,
)
from daskgnn.kernels.merge import merge
from daskgnn.kernels.spread import Drawn, Entries, look_up_entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from daskgnn.dataflow.blocks import Blocks
    from daskgnn.dataflow.halo_cache import CachePlan
    from daskgnn.dataflow.part import PartBlocks
    from daskgnn.kernels.halo_cache import HaloCache
    from daskgnn.kernels.targets import TargetRows


@dataclass(frozen=True)
class WindowSeeds:
    """What the global plan says of a window."""

    runs: list[list[np.ndarray]]
    """[P][W] storage ids: the seeds of each part in each step."""
    step_keys: np.ndarray
    """uint64 [W], keys of the draws."""
    facts: list[StepFacts]
    targets: list[list[TargetRows | None]] | None = None
    """[P][W], which seeds each target has, where some are not simply the seeds."""

    def facts_of(self, part: int) -> list[StepFacts]:
        """Return what is said of a part's steps, [W]."""
        if self.targets is None:
            return self.facts
        pairs = zip(self.facts, self.targets[part], strict=True)
        return [replace(facts, targets=rows) for facts, rows in pairs]


@dataclass(frozen=True)
class Preparation:
    """What is the same for every window of a run."""

    run: str
    sampling: Sampling
    blocks: Blocks
    first_aggregation: str | None
    label_template: np.ndarray
    """An empty array of the labels' dtype and trailing shape."""
    half: bool = False
    """Whether the first layer's inputs are rounded to bfloat16, as its products are."""
    remote_aggregation: bool = True
    """Whether owners reduce groups of neighbours where that takes fewer bytes."""
    cache: CachePlan | None = None
    read_in_place: bool = True
    """Whether blocks in memory that a worker can read are read there."""

    def caches_after(self, window: int) -> list[Any]:
        """Return the keys of what a window leaves for the next one to use."""
        if self.cache is None:
            return []
        return self.cache.held(window, self.sampling.num_parts)


def prepare_window(
    plan: Preparation,
    window: int,
    seeds: WindowSeeds,
    memories: Sequence[Any] | None = None,
) -> tuple[dict[Any, Any], list[Any]]:
    """Return the graph that prepares a window, and its P keys of prepared windows.

    One message a pair of parts, a hop and a window; a part's own rows send nothing.

    Parameters
    ----------
    memories : sequence, optional
        [P], the memory that each part lies in: parts of one memory read each other's
        blocks in place, and send nothing. By default each has one of its own.
    """
    tasks: dict[Any, Any] = {}
    parts = range(plan.sampling.num_parts)
    near = [_near(plan, part, memories) for part in parts]
    first = [
        first_nodes(runs, seeds.step_keys, plan.label_template, len(parts))
        for runs in seeds.runs
    ]
    frontier: list[Any] = list(first)
    for hop in range(plan.sampling.fan_out.num_hops):
        frontier = [
            _add_hop(
                tasks, plan, window, hop, near[part], frontier[part], seeds.step_keys
            )
            for part in parts
        ]
    keys = [
        _add_batch(
            tasks, plan, window, near[part], frontier[part], seeds.facts_of(part)
        )
        for part in parts
    ]
    return tasks, keys


@dataclass(frozen=True)
class _Near:
    """A part, and those whose blocks its tasks can read in place."""

    part: int
    parts: tuple[int, ...]
    """Ascending; the part itself is one of them."""
    far: tuple[int, ...]
    """All others."""


def _near(plan: Preparation, part: int, memories: Sequence[Any] | None) -> _Near:
    everyone = range(plan.sampling.num_parts)
    if memories is None or not plan.read_in_place:
        near: tuple[int, ...] = (part,)
    else:
        near = tuple(p for p in everyone if memories[p] == memories[part])
    return _Near(part, near, tuple(p for p in everyone if p not in near))


def _add_hop(
    tasks: dict[Any, Any],
    plan: Preparation,
    window: int,
    hop: int,
    near: _Near,
    frontier: WindowNodes | TaskRef,
    step_keys: np.ndarray,
) -> TaskRef:
    """Add one hop of one part: ask, serve, merge."""
    threads = max(int(dask.config.get("gnn.sampling-threads")), 1)
    part = near.part
    others: list[int] = []
    replies = []
    key: Any
    asked: Any
    for other in near.far:
        if isinstance(frontier, WindowNodes):
            # The driver knows the seeds: it asks at once, and not in vain.
            asked = request(frontier, plan.sampling, other)
            if not len(asked.ids):
                continue
        else:
            key = ("want", plan.run, window, hop, other, part)
            tasks[key] = Task(key, request, frontier, plan.sampling, other)
            asked = TaskRef(key)
        key = ("serve", plan.run, window, hop, part, other)
        given = (plan.blocks.of(other), asked, step_keys, plan.sampling, hop, threads)
        tasks[key] = Task(key, serve, *given)
        others.append(other)
        replies.append(TaskRef(key))
    held = List(*(plan.blocks.of(p) for p in near.parts))
    sources = (frontier, near.parts, held, tuple(others), List(*replies))
    how = (plan.sampling, hop, part, threads)
    key = ("sample", plan.run, window, hop, part)
    if plan.sampling.held is None:
        tasks[key] = Task(key, sample_hop, *sources, *how)
        return TaskRef(key)
    draw: Any = ("draw", plan.run, window, hop, part)
    tasks[draw] = Task(draw, draw_hop, *sources, *how)
    asked, replies = _add_look_ups(tasks, plan, window, hop, near, TaskRef(draw))
    others = list(near.far)
    found = (near.parts, held, tuple(others), List(*asked), List(*replies))
    tasks[key] = Task(key, fill_hop, frontier, TaskRef(draw), *found, *how)
    return TaskRef(key)


def _add_look_ups(
    tasks: dict[Any, Any],
    plan: Preparation,
    window: int,
    hop: int,
    near: _Near,
    drawn: TaskRef,
) -> tuple[list[TaskRef], list[TaskRef]]:
    """Add the look-ups, with parts far away, of entries of rows that are spread.

    Returns
    -------
    tuple
        What is asked of each far part, and what it answers.
    """
    asked, replies = [], []
    for other in near.far:
        key: Any = ("refer", plan.run, window, hop, other, near.part)
        tasks[key] = Task(key, refer, drawn, plan.sampling, other)
        asked.append(TaskRef(key))
        key = ("look-up", plan.run, window, hop, near.part, other)
        tasks[key] = Task(key, look_up, plan.blocks.of(other), asked[-1])
        replies.append(TaskRef(key))
    return asked, replies


def serve(
    blocks: PartBlocks,
    asked: Request,
    step_keys: np.ndarray,
    sampling: Sampling,
    hop: int,
    threads: int = 1,
) -> Rows:
    """Sample what is asked of a part; see `daskgnn.kernels.hops.answer`."""
    return answer(
        blocks.adjacency,
        blocks.labels if hop == 0 else None,
        asked,
        step_keys,
        sampling,
        hop,
        blocks.draw_weights,
        threads,
    )


def sample_hop(
    frontier: WindowNodes,
    near: tuple[int, ...],
    blocks: list[PartBlocks],
    others: tuple[int, ...],
    replies: list[Rows],
    sampling: Sampling,
    hop: int,
    part: int,
    threads: int = 1,
) -> WindowNodes:
    """Sample a hop of a part from the blocks at hand; merge with others' replies."""
    here = (frontier, near, blocks, others, replies)
    answers = _answers(*here, sampling, hop, part, threads)
    return merge(frontier, answers, sampling, hop, part, threads)


def draw_hop(
    frontier: WindowNodes,
    near: tuple[int, ...],
    blocks: list[PartBlocks],
    others: tuple[int, ...],
    replies: list[Rows],
    sampling: Sampling,
    hop: int,
    part: int,
    threads: int = 1,
) -> Drawn:
    """Sample a hop of a part of a vertex-cut; some entries are yet to be looked up."""
    here = (frontier, near, blocks, others, replies)
    return Drawn.of(_answers(*here, sampling, hop, part, threads))


def _answers(
    frontier: WindowNodes,
    near: tuple[int, ...],
    blocks: list[PartBlocks],
    others: tuple[int, ...],
    replies: list[Rows],
    sampling: Sampling,
    hop: int,
    part: int,
    threads: int,
) -> dict[int, Rows]:
    """Return all owners' answers to a part, by owner."""
    answers = {}
    for owner, held in zip(near, blocks, strict=True):
        asked = request(frontier, sampling, owner)
        if owner == part or len(asked.ids):
            keys = frontier.step_keys
            answers[owner] = serve(held, asked, keys, sampling, hop, threads)
    return answers | dict(zip(others, replies, strict=True))


def refer(drawn: Drawn, sampling: Sampling, other: int) -> np.ndarray:
    """Return the places of the entries that a part needs of another."""
    assert sampling.held is not None
    return drawn.places(sampling.held, other)


def look_up(blocks: PartBlocks, places: np.ndarray) -> Entries:
    """Return the entries at some places that a part holds."""
    return look_up_entries(blocks.adjacency, places)


def fill_hop(
    frontier: WindowNodes,
    drawn: Drawn,
    near: tuple[int, ...],
    blocks: list[PartBlocks],
    others: tuple[int, ...],
    asked: list[np.ndarray],
    replies: list[Entries],
    sampling: Sampling,
    hop: int,
    part: int,
    threads: int = 1,
) -> WindowNodes:
    """Put the entries that were looked up in their places; merge."""
    wanted = {p: refer(drawn, sampling, p) for p in near}
    entries = {
        p: look_up(held, wanted[p]) for p, held in zip(near, blocks, strict=True)
    }
    wanted |= dict(zip(others, asked, strict=True))
    entries |= dict(zip(others, replies, strict=True))
    assert sampling.held is not None
    answers = drawn.filled(sampling.held, entries)
    window = merge(frontier, answers, sampling, hop, part, threads)
    traffic = window.traffic
    for other, found in entries.items():
        if other != part and len(found.columns):
            nbytes = wanted[other].nbytes + found.nbytes
            traffic = traffic.received(other, 0, nbytes)
    return replace(window, traffic=traffic)


def _add_batch(
    tasks: dict[Any, Any],
    plan: Preparation,
    window: int,
    near: _Near,
    nodes: Any,
    facts: list[StepFacts],
) -> Any:
    """Add the gather of one part's feature rows and what makes batches of them."""
    part, others = near.part, near.far
    cache = None if plan.cache is None else plan.cache.before(window, part)
    asked, replies = [], []
    for other in others:
        want = ("want", plan.run, window, "rows", other, part)
        tasks[want] = Task(
            want,
            want_rows,
            nodes,
            plan.sampling,
            other,
            plan.blocks.of(part),
            plan.first_aggregation,
            plan.remote_aggregation,
            cache,
        )
        rows = ("rows", plan.run, window, part, other)
        given = (plan.blocks.of(other), TaskRef(want), plan.first_aggregation)
        tasks[rows] = Task(rows, serve_rows, *given)
        asked.append(TaskRef(want))
        replies.append(TaskRef(rows))
    if plan.cache is not None:
        add_update(tasks, plan.cache, window, part, nodes, others, asked, replies)
    key = ("gather", plan.run, window, part)
    tasks[key] = Task(
        key,
        gather_window,
        nodes,
        near.parts,
        List(*(plan.blocks.of(p) for p in near.parts)),
        tuple(others),
        List(*asked),
        List(*replies),
        plan.sampling,
        part,
        facts,
        plan.first_aggregation,
        cache,
        plan.half,
    )
    return key


def want_rows(
    nodes: WindowNodes,
    sampling: Sampling,
    owner: int,
    blocks: PartBlocks,
    first_aggregation: str | None,
    aggregate: bool,
    cache: HaloCache | None = None,
) -> Asked:
    """Return what a window needs of `owner`; `blocks` are those of who asks."""
    return ask_rows(
        nodes, sampling, owner, blocks.features, first_aggregation, aggregate, cache
    )


def serve_rows(
    blocks: PartBlocks, asked: Asked, first_aggregation: str | None = None
) -> FeatureRows:
    """Return the feature rows and groups that are asked of a part."""
    return answer_rows(blocks.adjacency, blocks.features, asked, first_aggregation)


def gather_window(
    nodes: WindowNodes,
    near: tuple[int, ...],
    blocks: list[PartBlocks],
    others: tuple[int, ...],
    asked: list[Asked],
    replies: list[FeatureRows],
    sampling: Sampling,
    part: int,
    facts: list[StepFacts],
    first_aggregation: str | None,
    cache: HaloCache | None = None,
    half: bool = False,
) -> PreparedWindow:
    """Gather a part's feature rows of a window and make its batches."""
    held = dict(zip(near, blocks, strict=True))
    return finish(
        nodes,
        {p: (own.adjacency, own.features) for p, own in held.items()},
        dict(zip(others, asked, strict=True)),
        dict(zip(others, replies, strict=True)),
        sampling,
        part,
        facts,
        first_aggregation,
        cache,
        half=half,
    )
