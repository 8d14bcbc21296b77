"""The command ``generate``, and what the commands that prepare a store share."""

from __future__ import annotations

from typing import Any

import click

from daskgnn.cli.data import refuse_existing, store_graph
from daskgnn.cli.errors import debug_option
from daskgnn.cli.options import (
    FEATURE_DTYPES,
    NOT_NEGATIVE,
    PATH,
    POSITIVE,
    preparing_options,
)
from daskgnn.cli.preparing import CLUSTER, prepare_store, refuse_cluster

STREAMED_EDGES = 25_000_000
"""Edges from which on a graph is drawn out of core: in memory they take 4 GB."""


@click.command()
@click.argument("kind", type=click.Choice(["planted", "rmat"]))
@click.argument("out", type=PATH)
@click.option("--nodes", type=POSITIVE, required=True, help="N; rmat takes 2**k.")
@click.option("--edges", type=POSITIVE, required=True, help="Undirected edges.")
@click.option("--classes", type=POSITIVE, help="Classes of the nodes.  [default: 10]")
@click.option("--features", type=NOT_NEGATIVE, help="Of a node.  [default: 32]")
@click.option("--method", default="auto", show_default=True, help="The partitioner.")
@click.option("--num-clusters", type=POSITIVE, help="As of partition.  [default: 64]")
@click.option("--seed", type=NOT_NEGATIVE, default=0, show_default=True)
@click.option(
    "--feature-dtype",
    type=click.Choice(FEATURE_DTYPES),
    default="float32",
    show_default=True,
    help="What features are rounded to and stored as.",
)
@click.option(
    "--memory-limit", help="What drawing out of core may hold.  [default: 4 GiB]"
)
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@preparing_options
@debug_option
def generate(
    kind: str,
    out: str,
    nodes: int,
    edges: int,
    classes: int | None,
    features: int | None,
    force: bool,
    memory_limit: str | None,
    out_of_core: bool,
    resume: bool,
    **options: Any,
) -> None:
    """Draw a graph of KIND and store it as OUT, partitioned.

    planted has communities with power-law degrees; rmat is skewed and has none. From
    25 million edges on, or with --out-of-core, a graph is drawn a chunk at a time and
    prepared in files beside OUT; edges drawn twice then count once.
    """
    refuse_existing(out, force or resume)
    if kind == "rmat" and (nodes & (nodes - 1) or nodes < 2):
        raise click.UsageError(
            f"--nodes {nodes} is no power of 2, as rmat needs: give "
            f"{1 << max(nodes.bit_length(), 1)}",
            click.get_current_context(),
        )
    asked = {"num_classes": classes, "num_features": features}
    given: dict[str, Any] = {k: v for k, v in asked.items() if v is not None}
    cluster = {name: options.pop(name) for name in CLUSTER}
    if out_of_core or resume or edges >= STREAMED_EDGES:
        from daskgnn.graph.synthetic import Synthetic

        source = Synthetic(kind, nodes, edges, seed=options["seed"], **given)
        prepare_store(
            source,
            out,
            cluster,
            overwrite=force,
            resume=resume,
            memory_limit=memory_limit,
            **options,
        )
        return
    refuse_cluster(cluster)
    from daskgnn.graph.datasets import load_dataset

    given["num_edges"], given["seed"] = edges, options["seed"]
    if kind == "rmat":
        given["scale"] = nodes.bit_length() - 1
    else:
        given["num_nodes"] = nodes
    data = load_dataset(kind, **given)
    store_graph(data, out, force, False, num_parts=1, **options)
