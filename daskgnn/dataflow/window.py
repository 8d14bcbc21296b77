"""The part of a window that does not depend on parameters, as a task graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask
from dask.task_spec import List, TaskRef

from daskgnn.dataflow.halo_cache import add_update
from daskgnn.dataflow.sampling import (
    ColocatedParts,
    Round,
    Sampling,
    ask,
    complete_round,
    draw_round,
    exchange_round,
    look_up,
    remote_slots,
    sample_round,
    serve,
)
from daskgnn.dataflow.steps.tasks import add_task
from daskgnn.kernels.batch import PreparedWindow, StepMeta, assemble_minibatches
from daskgnn.kernels.exchange import FeatureReply, FeatureRequest, answer_rows, ask_rows
from daskgnn.kernels.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from daskgnn.dataflow.blocks import Blocks
    from daskgnn.dataflow.halo_cache import CachePlan
    from daskgnn.dataflow.part import PartBlocks
    from daskgnn.dataflow.sampling import PackedSampler, SampledWindow
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.halo_cache import HaloCache
    from daskgnn.kernels.targets import TargetRows


@dataclass(frozen=True)
class WindowSeeds:
    """The seeds of a window, and facts about its steps, from the global plan."""

    runs: list[list[np.ndarray]]
    """[P][W] storage ids: the seeds of each part in each step."""
    step_keys: np.ndarray
    """uint64 [W], keys of the draws."""
    meta: list[StepMeta]
    targets: list[list[TargetRows | None]] | None = None
    """[P][W], which seeds each target has, where some are not simply the seeds."""

    def meta_of(self, part: int) -> list[StepMeta]:
        """Return what is said of a part's steps, [W]."""
        if self.targets is None:
            return self.meta
        pairs = zip(self.meta, self.targets[part], strict=True)
        return [replace(meta, targets=rows) for meta, rows in pairs]


@dataclass(frozen=True)
class InputPlan:
    """How the input of the first layer is prepared in a run."""

    first_aggregation: str | None
    half: bool = False
    """Whether its inputs are rounded to bfloat16, as its products are."""
    remote_aggregation: bool = True
    """Whether owners reduce groups of neighbours where that takes fewer bytes."""


@dataclass(frozen=True)
class Preparation:
    """What is the same for every window of a run."""

    run: str
    sampler: PackedSampler
    book: PartitionBook
    blocks: Blocks
    inputs: InputPlan
    cache: CachePlan | None = None
    read_in_place: bool = True
    """Whether blocks in memory that a worker can read are read there."""

    def caches_after(self, window: int) -> list[Any]:
        """Return the keys of what a window leaves for the next one to use."""
        if self.cache is None:
            return []
        return self.cache.held(window, self.book.num_parts)


def prepare_window(
    plan: Preparation,
    window: int,
    seeds: WindowSeeds,
    memories: Sequence[Any] | None = None,
) -> tuple[dict[Any, Any], list[Any]]:
    """Return the graph that prepares a window, and its P keys of prepared windows.

    One message a pair of parts, a round and a window; a part's own rows send nothing.

    Parameters
    ----------
    memories : sequence, optional
        [P], the memory that each part lies in: parts of one memory read each other's
        blocks in place, and send nothing. By default each has one of its own.
    """
    tasks: dict[Any, Any] = {}
    parts = range(plan.book.num_parts)
    near = [_near(plan, part, memories) for part in parts]
    sampler, keys = plan.sampler.sampler, seeds.step_keys
    states: list[Any] = [
        Sampling(sampler.start(runs, keys, plan.book), Traffic.none(len(parts)))
        for runs in seeds.runs
    ]
    threads = max(int(dask.config.get("gnn.sampling-threads")), 1)
    for number in range(sampler.rounds):
        how = Round(plan.sampler, plan.book, number, keys, threads)
        if how.exchanges:
            states = _add_exchange(tasks, plan, window, states, how)
        else:
            states = [
                _add_round(tasks, plan, window, near[part], states[part], how)
                for part in parts
            ]
    prepared = [
        _add_batch(tasks, plan, window, near[part], states[part], seeds.meta_of(part))
        for part in parts
    ]
    return tasks, prepared


def _near(
    plan: Preparation, part: int, memories: Sequence[Any] | None
) -> ColocatedParts:
    everyone = range(plan.book.num_parts)
    if memories is None or not plan.read_in_place:
        near: tuple[int, ...] = (part,)
    else:
        near = tuple(p for p in everyone if memories[p] == memories[part])
    return ColocatedParts(part, near, tuple(p for p in everyone if p not in near))


def _add_round(
    tasks: dict[Any, Any],
    plan: Preparation,
    window: int,
    near: ColocatedParts,
    state: Sampling | TaskRef,
    how: Round,
) -> TaskRef:
    """Add one round of one part: ask, serve, merge."""
    part, number = near.part, how.number
    others, asked, replies = [], [], []
    key: Any
    for other in near.far:
        if isinstance(state, Sampling):
            # The driver knows the seeds, so it makes no empty requests.
            wanted: Any = ask(state, how, other)
            if not len(wanted.value.ids):
                continue
        else:
            key = ("want", plan.run, window, number, other, part)
            wanted = add_task(tasks, key, ask, state, how, other)
        key = ("serve", plan.run, window, number, part, other)
        others.append(other)
        asked.append(wanted)
        served = add_task(tasks, key, serve, plan.blocks.of(other), wanted, how)
        replies.append(served)
    held = List(*(plan.blocks.of(p) for p in near.parts))
    asking = replace(near, far=tuple(others))
    sources = (state, asking, held, List(*asked), List(*replies), how)
    key = ("sample", plan.run, window, number, part)
    if plan.book.held is None:
        return add_task(tasks, key, sample_round, *sources)
    draw = ("draw", plan.run, window, number, part)
    drawn = add_task(tasks, draw, draw_round, *sources)
    found = _add_look_ups(tasks, plan, (window, number), near, drawn)
    given = (state, drawn, near, held, *found, how)
    return add_task(tasks, key, complete_round, *given)


def _add_look_ups(
    tasks: dict[Any, Any],
    plan: Preparation,
    when: tuple[int, int],
    near: ColocatedParts,
    drawn: TaskRef,
) -> tuple[List, List]:
    """Add the look-ups, with parts far away, of entries that these hold.

    Returns
    -------
    tuple
        What is asked of each far part, and what it answers.
    """
    asked, replies = [], []
    for other in near.far:
        key: Any = ("refer", plan.run, *when, other, near.part)
        asked.append(add_task(tasks, key, remote_slots, drawn, plan.book, other))
        key = ("look-up", plan.run, *when, near.part, other)
        blocks = plan.blocks.of(other)
        replies.append(add_task(tasks, key, look_up, blocks, asked[-1]))
    return List(*asked), List(*replies)


def _add_exchange(
    tasks: dict[Any, Any],
    plan: Preparation,
    window: int,
    states: list[Any],
    how: Round,
) -> list[Any]:
    """Add a round in which all parts give each other what they request."""
    parts = range(plan.book.num_parts)
    for part in parts:
        for other in parts:
            key: Any = ("want", plan.run, window, how.number, other, part)
            add_task(tasks, key, ask, states[part], how, other)
    after = []
    for part in parts:
        wants = [("want", plan.run, window, how.number, part, q) for q in parts]
        key = ("sample", plan.run, window, how.number, part)
        given = (states[part], part, List(*map(TaskRef, wants)), how)
        after.append(add_task(tasks, key, exchange_round, *given))
    return after


def _add_batch(
    tasks: dict[Any, Any],
    plan: Preparation,
    window: int,
    near: ColocatedParts,
    nodes: Any,
    meta: list[StepMeta],
) -> Any:
    """Add the gather of one part's feature rows and what makes batches of them."""
    part, others, inputs = near.part, near.far, plan.inputs
    cache = None if plan.cache is None else plan.cache.before(window, part)
    asked, replies = [], []
    for other in others:
        want = ("want", plan.run, window, "rows", other, part)
        given = (nodes, plan.book, other, plan.blocks.of(part), inputs, cache)
        asked.append(add_task(tasks, want, want_rows, *given))
        rows = ("rows", plan.run, window, part, other)
        wanted = (plan.blocks.of(other), asked[-1], inputs.first_aggregation)
        replies.append(add_task(tasks, rows, serve_rows, *wanted))
    exchanged = (nodes, near, List(*asked), List(*replies))
    if plan.cache is not None:
        add_update(tasks, plan.cache, window, part, exchanged)
    key = ("gather", plan.run, window, part)
    held = List(*(plan.blocks.of(p) for p in near.parts))
    how = (GatherPlan(plan.book, meta, inputs), cache)
    add_task(tasks, key, gather_window, *exchanged, held, *how)
    return key


@dataclass(frozen=True)
class GatherPlan:
    """How a window's batches are made: the same for all its parts."""

    book: PartitionBook
    meta: list[StepMeta]
    inputs: InputPlan


def want_rows(
    nodes: SampledWindow,
    book: PartitionBook,
    owner: int,
    blocks: PartBlocks,
    inputs: InputPlan,
    cache: HaloCache | None = None,
) -> FeatureRequest:
    """Return what a window needs of `owner`; `blocks` are those of who asks."""
    how = (inputs.first_aggregation, inputs.remote_aggregation, cache)
    return ask_rows(nodes.graphs, book, owner, blocks.features, *how)


def serve_rows(
    blocks: PartBlocks, asked: FeatureRequest, first_aggregation: str | None = None
) -> FeatureReply:
    """Return the feature rows, groups and labels that are asked of a part."""
    held = (blocks.adjacency, blocks.features)
    return answer_rows(*held, asked, first_aggregation, blocks.labels)


def gather_window(
    nodes: SampledWindow,
    near: ColocatedParts,
    asked: list[FeatureRequest],
    replies: list[FeatureReply],
    blocks: list[PartBlocks],
    how: GatherPlan,
    cache: HaloCache | None = None,
) -> PreparedWindow:
    """Gather a part's feature rows of a window and make its batches."""
    return assemble_minibatches(
        nodes.graphs,
        nodes.traffic,
        dict(zip(near.parts, blocks, strict=True)),
        dict(zip(near.far, asked, strict=True)),
        dict(zip(near.far, replies, strict=True)),
        how.book,
        near.part,
        how.meta,
        how.inputs.first_aggregation,
        cache,
        half=how.inputs.half,
    )
