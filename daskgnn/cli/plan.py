"""The expected memory of training on a store, for ``daskgnn info``."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskgnn.dataflow.memory import MemoryPlan
    from daskgnn.graph.graph import Graph


def plan_training(
    graph: Graph,
    *,
    workers: int,
    num_neighbors: list[int],
    batch_size: int,
    hidden_channels: int,
    feature_dtype: str | None,
    memory_limit: str | None,
) -> MemoryPlan:
    """Plan the memory of training GraphSAGE, as the run itself does.

    Parameters
    ----------
    memory_limit
        Of one worker; an equal share of the machine's memory if not given.

    Raises
    ------
    InputError
        If not even one prepared step fits, naming what to lower.
    """
    import dask
    from distributed.system import MEMORY_LIMIT

    from daskgnn import config as _config  # noqa: F401  (the defaults)
    from daskgnn.dataflow.memory import WindowBudget, estimate_step, plan_memory
    from daskgnn.graph.edges.assemble import limit_bytes
    from daskgnn.sampling import NeighborSampler

    limit = MEMORY_LIMIT // max(workers, 1)
    if memory_limit is not None:
        limit = limit_bytes(memory_limit)
    hidden = [hidden_channels] * (len(num_neighbors) - 1)
    widths = [graph.num_features, *hidden, graph.num_classes]
    count = sum((2 * before + 1) * width for before, width in pairwise(widths))
    budget = WindowBudget(
        limit,
        int(dask.config.get("gnn.window")),
        int(dask.config.get("gnn.look-ahead")),
        float(dask.config.get("gnn.memory-share")),
    )
    return plan_memory(
        graph,
        estimate_step(graph, NeighborSampler(num_neighbors), batch_size, "mean"),
        budget,
        num_workers=max(workers, 1),
        feature_dtype=feature_dtype or graph.feature_dtype or "float32",
        num_parameters=count,
    )


def plain(plan: MemoryPlan) -> dict[str, Any]:
    """Return a plan as plain numbers, for JSON."""
    names = "parts block_bytes window window_bytes parameter_bytes memory_limit peak"
    return {name: getattr(plan, name) for name in names.split()}
