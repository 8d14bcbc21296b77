"""The part of a window that does not depend on parameters, as a task graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
from dask.task_spec import List, Task, TaskRef

from daskgnn.dataflow.halo_cache import add_update
from daskgnn.kernels.batch import PreparedWindow, StepFacts, finish
from daskgnn.kernels.exchange import Asked, FeatureRows, answer_rows, ask_rows
from daskgnn.kernels.hops import (
    Rows,
    Sampling,
    WindowNodes,
    answer,
    first_nodes,
    request,
)
from daskgnn.kernels.merge import merge

if TYPE_CHECKING:
    import numpy as np

    from daskgnn.dataflow.blocks import Blocks
    from daskgnn.dataflow.halo_cache import CachePlan
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.halo_cache import HaloCache


@dataclass(frozen=True)
class WindowSeeds:
    """What the global plan says of a window."""

    runs: list[list[np.ndarray]]
    """[P][W] storage ids: the seeds of each part in each step."""
    step_keys: np.ndarray
    """uint64 [W], keys of the draws."""
    facts: list[StepFacts]


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

    def caches_after(self, window: int) -> list[Any]:
        """Return the keys of what a window leaves for the next one to use."""
        if self.cache is None:
            return []
        return self.cache.held(window, self.sampling.num_parts)


def prepare_window(
    plan: Preparation, window: int, seeds: WindowSeeds
) -> tuple[dict[Any, Any], list[Any]]:
    """Return the graph that prepares a window, and its P keys of prepared windows.

    One message a pair of parts, a hop and a window; a part's own rows send nothing.
    """
    tasks: dict[Any, Any] = {}
    parts = range(plan.sampling.num_parts)
    first = [
        first_nodes(runs, seeds.step_keys, plan.label_template, len(parts))
        for runs in seeds.runs
    ]
    frontier: list[Any] = list(first)
    for hop in range(plan.sampling.fan_out.num_hops):
        frontier = [
            _add_hop(tasks, plan, window, hop, part, frontier[part], seeds.step_keys)
            for part in parts
        ]
    keys = [
        _add_batch(tasks, plan, window, part, frontier[part], seeds.facts)
        for part in parts
    ]
    return tasks, keys


def _add_hop(
    tasks: dict[Any, Any],
    plan: Preparation,
    window: int,
    hop: int,
    part: int,
    frontier: WindowNodes | TaskRef,
    step_keys: np.ndarray,
) -> TaskRef:
    """Add one hop of one part: ask, serve, merge."""
    threads = max(int(dask.config.get("gnn.sampling-threads")), 1)
    others: list[int] = []
    replies = []
    key: Any
    asked: Any
    for other in _others(plan, part):
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
        tasks[key] = Task(
            key,
            answer,
            plan.blocks.adjacency_of(other),
            plan.blocks.labels_of(other) if hop == 0 else None,
            asked,
            step_keys,
            plan.sampling,
            hop,
            plan.blocks.draw_weights_of(other),
            threads,
        )
        others.append(other)
        replies.append(TaskRef(key))
    key = ("sample", plan.run, window, hop, part)
    tasks[key] = Task(
        key,
        sample_hop,
        frontier,
        plan.blocks.adjacency_of(part),
        plan.blocks.labels_of(part) if hop == 0 else None,
        tuple(others),
        List(*replies),
        plan.sampling,
        hop,
        part,
        plan.blocks.draw_weights_of(part),
        threads,
    )
    return TaskRef(key)


def sample_hop(
    frontier: WindowNodes,
    block: AdjacencyBlock,
    labels: np.ndarray | None,
    others: tuple[int, ...],
    replies: list[Rows],
    sampling: Sampling,
    hop: int,
    part: int,
    draw_weights: np.ndarray | None,
    threads: int = 1,
) -> WindowNodes:
    """Sample a part's own share of a hop and merge it with the others' replies."""
    own = answer(
        block,
        labels,
        request(frontier, sampling, part),
        frontier.step_keys,
        sampling,
        hop,
        draw_weights,
        threads,
    )
    answers = {part: own, **dict(zip(others, replies, strict=True))}
    return merge(frontier, answers, sampling, hop, part, threads)


def _add_batch(
    tasks: dict[Any, Any],
    plan: Preparation,
    window: int,
    part: int,
    nodes: Any,
    facts: list[StepFacts],
) -> Any:
    """Add the gather of one part's feature rows and what makes batches of them."""
    others = _others(plan, part)
    cache = None if plan.cache is None else plan.cache.before(window, part)
    asked, replies = [], []
    for other in others:
        want = ("want", plan.run, window, "rows", other, part)
        tasks[want] = Task(
            want,
            ask_rows,
            nodes,
            plan.sampling,
            other,
            plan.blocks.features_of(part),
            plan.first_aggregation,
            plan.remote_aggregation,
            cache,
        )
        rows = ("rows", plan.run, window, part, other)
        tasks[rows] = Task(
            rows,
            answer_rows,
            plan.blocks.adjacency_of(other),
            plan.blocks.features_of(other),
            TaskRef(want),
            plan.first_aggregation,
        )
        asked.append(TaskRef(want))
        replies.append(TaskRef(rows))
    if plan.cache is not None:
        add_update(tasks, plan.cache, window, part, nodes, others, asked, replies)
    key = ("gather", plan.run, window, part)
    tasks[key] = Task(
        key,
        gather_window,
        nodes,
        plan.blocks.adjacency_of(part),
        plan.blocks.features_of(part),
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


def gather_window(
    nodes: WindowNodes,
    block: AdjacencyBlock,
    features: Any,
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
    return finish(
        nodes,
        block,
        features,
        dict(zip(others, asked, strict=True)),
        dict(zip(others, replies, strict=True)),
        sampling,
        part,
        facts,
        first_aggregation,
        cache,
        half=half,
    )


def _others(plan: Preparation, part: int) -> list[int]:
    return [p for p in range(plan.sampling.num_parts) if p != part]
