"""Halo caches as tasks: loaded once, or carried from window to window.

Nothing of a cache lives outside the task graph. A static one is a block like those of
the graph, loaded again where a worker is lost. A least-recently-used one is a result
of each window, held until the next has it; it starts empty again every few windows,
which bounds what is computed again when it is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from dask.task_spec import List, TaskRef

from daskgnn.dataflow.memory import feature_row_bytes
from daskgnn.dataflow.steps.tasks import add_task
from daskgnn.kernels.exchange import FeatureRequest, answer_rows, bytes_beside
from daskgnn.kernels.halo_cache import choose_static, fill_cache, update_lru

if TYPE_CHECKING:
    from daskgnn.dataflow.executor import Executor
    from daskgnn.dataflow.part import PartBlocks
    from daskgnn.dataflow.window import Preparation
    from daskgnn.graph.graph import Graph
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.exchange import FeatureReply


@dataclass(frozen=True)
class CachePlan:
    """How the parts of a run cache rows of remote nodes."""

    policy: str
    """"static" or "lru"."""
    capacity: int
    """Rows a part."""
    run: str
    reset: int
    """Windows after which a least-recently-used cache starts empty again."""
    sparse: bool = False
    """Whether rows are kept as sparse rows."""

    def before(self, window: int, part: int) -> TaskRef | None:
        """Refer to a part's cache as a window finds it; None if it is empty."""
        if self.policy == "static":
            return TaskRef(_key(self.run, part))
        if window % self.reset == 0:
            return None
        return TaskRef(_key(self.run, window - 1, part))

    def held(self, window: int, num_parts: int) -> list[Any]:
        """Return the keys of the caches after a window, which the next one needs."""
        if self.policy == "static" or (window + 1) % self.reset == 0:
            return []
        return [_key(self.run, window, part) for part in range(num_parts)]


def _key(run: str, *rest: int) -> Any:
    """Return the key of a part's cache; one that changes is a window's, too."""
    return ("halo-cache", run, *rest)


def plan_cache(
    graph: Graph,
    feature_dtype: str,
    first_aggregation: str | None,
    policy: str,
    nbytes: int,
    run: str,
    *,
    sparse: bool = False,
) -> CachePlan | None:
    """Return the plan of a run's caches, None where they would hold no row.

    Parameters
    ----------
    nbytes : int
        Of one part's cache.
    sparse : bool
        Whether its rows are sparse: as many as fit if they are as large as the mean.
    """
    row = feature_row_bytes(graph, feature_dtype, sparse=sparse)
    row += graph.index_dtype.itemsize + 8 * (policy == "lru")
    row += bytes_beside(first_aggregation)
    reset = max(int(dask.config.get("gnn.halo-cache-reset")), 1)
    capacity = int(nbytes / row)
    if capacity < 1 or graph.num_parts < 2:
        return None
    return CachePlan(policy, capacity, run, reset, sparse)


def load_static(
    executor: Executor, plan: Preparation, graph: Graph, batch_size: int
) -> None:
    """Start the tasks that fill each part's static cache, where the plan has one.

    A step takes the same share of each part's training nodes, as far as the cache's
    choice is concerned.
    """
    if plan.cache is None or plan.cache.policy != "static":
        return
    book, train = graph.partition_book, graph.splits["train"]
    cuts = np.searchsorted(train, book)
    tasks: dict[Any, Any] = {}
    for part in range(graph.num_parts):
        seeds = train[cuts[part] : cuts[part + 1]]
        _add_static(tasks, plan, part, seeds, batch_size / graph.num_parts)
    keys = [_key(plan.run, part) for part in range(graph.num_parts)]
    executor.submit(tasks, keys, lasting=True)


def _add_static(
    tasks: dict[Any, Any],
    plan: Preparation,
    part: int,
    seeds: np.ndarray,
    seeds_per_step: float,
) -> None:
    """Add the tasks of one part's static cache."""
    assert plan.cache is not None
    limits = plan.sampler.sampler.neighbors_per_layer()
    given: Any = (plan.blocks.of(part), plan.book, limits, seeds, seeds_per_step)
    key = ("halo-cache-ids", plan.run, part)
    ids = add_task(tasks, key, choose_cached_rows, *given, plan.cache.capacity)
    replies = []
    for owner in range(plan.book.num_parts):
        if owner == part:
            continue
        rows = ("halo-cache-rows", plan.run, part, owner)
        given = (plan.blocks.of(owner), ids, plan.book, owner)
        how = plan.inputs.first_aggregation
        replies.append(add_task(tasks, rows, serve_cache, *given, how))
    given = (ids, List(*replies), plan.cache.sparse)
    add_task(tasks, _key(plan.run, part), fill_cache, *given)


def choose_cached_rows(blocks: PartBlocks, *given: Any) -> np.ndarray:
    """Return the ids of a part's static cache: see `choose_static`."""
    return choose_static(blocks.whole_rows(), *given)


def serve_cache(
    blocks: PartBlocks,
    ids: np.ndarray,
    book: PartitionBook,
    owner: int,
    first_aggregation: str | None,
) -> FeatureReply:
    """Return what `owner` has of a cache's rows."""
    mine = FeatureRequest(ids[book.owned(ids, owner)])
    return answer_rows(blocks, mine, first_aggregation)


def add_update(
    tasks: dict[Any, Any],
    plan: CachePlan,
    window: int,
    part: int,
    exchanged: tuple[Any, ...],
) -> None:
    """Add the task of a part's cache after a window, where the next one needs it.

    Parameters
    ----------
    exchanged : tuple
        The sampled window, who was asked, what for, and the replies.
    """
    if not plan.held(window, 1):
        return
    key = _key(plan.run, window, part)
    given = (plan.before(window, part), *exchanged, window, plan.capacity)
    add_task(tasks, key, update_lru, *given, plan.sparse)
