"""The command ``info``: what a store holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from daskgnn.cli.errors import debug_option
from daskgnn.cli.options import (
    FEATURE_DTYPES,
    FEATURES,
    NOT_NEGATIVE,
    PATH,
    POSITIVE,
    IntList,
)
from daskgnn.display import words

if TYPE_CHECKING:
    from daskgnn.graph.graph import Graph


@click.command()
@click.argument("store", type=PATH)
@click.option("--num-parts", type=POSITIVE, help="[default: workers, or 2]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--validate", is_flag=True, help="Read everything and prove the store right."
)
@click.option(
    "--workers",
    type=NOT_NEGATIVE,
    help="Plan the memory of training on so many; 0 = no cluster.",
)
@click.option(
    "--num-neighbors",
    type=IntList(),
    default="15,10",
    show_default=True,
    help="Of that training, and of the traffic that is estimated.",
)
@click.option("--batch-size", type=POSITIVE, default=1024, show_default=True)
@click.option("--hidden-channels", type=POSITIVE, default=128, show_default=True)
@click.option(
    "--features",
    type=click.Choice(FEATURES),
    default="memory",
    show_default=True,
    help="Where that training has feature rows.",
)
@click.option("--feature-dtype", type=click.Choice(FEATURE_DTYPES))
@click.option("--memory-limit", help="A worker's.  [default: a share of all memory]")
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
    from daskgnn.graph.graph import open_graph

    num_parts = num_parts or max(workers or 2, 1)
    graph = open_graph(store, num_parts=num_parts, features=features)
    facts = describe(graph)
    shown: dict[str, Any] = {"num_neighbors": num_neighbors, "batch_size": batch_size}
    plan = None
    if workers is not None:
        from daskgnn.cli.plan import plain, plan_training

        plan = plan_training(graph, workers=workers, **shown, **training)
        facts["memory"] = plain(plan)
    quality = graph.quality(num_parts, **shown)
    proof = None
    if validate:
        from daskgnn.graph.validate import validate as prove

        proof = str(prove(store))
    if as_json:
        facts["quality"] = asdict(quality)
        facts["valid"] = True if validate else None
        click.echo(json.dumps(facts, default=_plain))
        return
    facts.pop("memory", None)
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' '):14} {words(value)}")
    click.echo(str(quality))
    if plan is not None:
        click.echo(str(plan))
    if proof is not None:
        click.echo(proof)


def describe(graph: Graph) -> dict[str, Any]:
    """Return the facts about an open graph that a table or JSON can show."""
    names = (
        "name num_nodes num_edges num_features feature_dtype num_classes directed "
        "weighted multilabel metric max_degree num_clusters num_parts graph_hash path"
    )
    facts = {name: getattr(graph, name) for name in names.split()}
    facts["method"] = graph.partitioner.get("method")
    for name in ("spread_from", "spread_rows", "spread_entries"):
        if name in graph.partitioner:
            facts[name] = graph.partitioner[name]
    return facts | {f"{name}_nodes": len(ids) for name, ids in graph.splits.items()}


def _plain(value: Any) -> Any:
    """Return numpy's scalars and arrays as JSON knows them."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
