"""The command ``info``: describe a store."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from daskgnn.cli.declared import InfoOptions
from daskgnn.cli.errors import debug_option
from daskgnn.cli.options import PATH, options_of
from daskgnn.cli.preparing import named_classes
from daskgnn.display import words

if TYPE_CHECKING:
    from daskgnn.dataflow.memory import MemoryPlan
    from daskgnn.graph.graph import Graph

_PLANNED = "parts block_bytes window window_bytes parameter_bytes memory_limit peak"


@click.command()
@click.argument("store", type=PATH)
@options_of(InfoOptions)
@debug_option
def info(
    store: str,
    num_parts: int | None,
    as_json: bool,
    validate: bool,
    workers: int | None,
    features: str,
    num_neighbors: list[int],
    batch_size: int,
    **training: Any,
) -> None:
    """Describe STORE and the quality of its partition.

    With --workers: what training GraphSAGE on it will hold in memory.
    """
    from daskgnn.graph.opening import open_graph

    graph = open_graph(store, num_parts=num_parts or 1, features=features)
    if num_parts is None:
        num_parts = min(max(workers or 2, 1), graph.num_clusters)
        graph = open_graph(store, num_parts=num_parts, features=features)
    facts = describe(graph)
    shown: dict[str, Any] = {"num_neighbors": num_neighbors, "batch_size": batch_size}
    plan = None
    if workers is not None:
        plan = plan_training(graph, workers=workers, **shown, **training)
        facts["memory"] = {name: getattr(plan, name) for name in _PLANNED.split()}
    quality = graph.quality(num_parts, **shown)
    proof = None
    if validate:
        proof = _prove(store, graph)
    if as_json:
        facts["quality"] = asdict(quality)
        facts["valid"] = True if validate else None
        click.echo(json.dumps(facts, default=_plain))
        return
    facts.pop("memory", None)
    facts["class_names"] = named_classes(graph.class_names) or None
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' '):14} {words(value)}")
    click.echo(str(quality))
    if plan is not None:
        click.echo(str(plan))
    if proof is not None:
        click.echo(proof)


def _prove(store: str, graph: Graph) -> str:
    """Read everything that is stored, and tell that it is what was saved."""
    from daskgnn.graph.databases.source import DatabaseSource

    if isinstance(graph.source, DatabaseSource):
        return f"{graph.path}: valid, content {graph.source.prove()[:16]}"
    from daskgnn.graph.validate import validate

    return str(validate(store))


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
    from distributed.system import MEMORY_LIMIT

    from daskgnn.dataflow.memory import (
        WindowBudget,
        estimate_step,
        plan_memory,
        stays_sparse,
    )
    from daskgnn.graph.edges.assemble import limit_bytes
    from daskgnn.sampling import NeighborSampler

    limit = MEMORY_LIMIT // max(workers, 1)
    if memory_limit is not None:
        limit = limit_bytes(memory_limit)
    hidden = [hidden_channels] * (len(num_neighbors) - 1)
    widths = [graph.num_features, *hidden, graph.num_classes]
    count = sum((2 * before + 1) * width for before, width in pairwise(widths))
    sparse = stays_sparse(graph)
    ahead = None if sparse else "mean"
    how = NeighborSampler(num_neighbors), batch_size, ahead
    return plan_memory(
        graph,
        estimate_step(graph, *how, sparse=sparse),
        WindowBudget.configured(limit),
        num_workers=max(workers, 1),
        feature_dtype=feature_dtype or graph.feature_dtype or "float32",
        num_parameters=count,
        sparse=sparse,
    )


def describe(graph: Graph) -> dict[str, Any]:
    """Return the facts about an open graph that a table or JSON can show."""
    names = (
        "name num_nodes num_edges num_features feature_dtype num_classes directed "
        "weighted multilabel metric max_degree num_clusters num_parts graph_hash path "
        "class_names"
    )
    facts = {name: getattr(graph, name) for name in names.split()}
    facts["method"] = graph.partitioner.get("method")
    for name in ("spread_from", "spread_rows", "spread_entries"):
        if name in graph.partitioner:
            # Stored attributes keep the names of their format.
            facts[name.replace("spread", "split")] = graph.partitioner[name]
    return facts | {f"{name}_nodes": len(ids) for name, ids in graph.splits.items()}


def _plain(value: Any) -> Any:
    """Return numpy's scalars and arrays as JSON knows them."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
