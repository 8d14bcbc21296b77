"""The command ``generate``: draw a synthetic graph and store it."""

from __future__ import annotations

from typing import Any

import click

from daskgnn.cli.data import refuse_existing, store_graph
from daskgnn.cli.declared import GenerateOptions
from daskgnn.cli.errors import debug_option
from daskgnn.cli.options import PATH, RenamingCommand, options_of, preparing_options
from daskgnn.cli.preparing import CLUSTER, prepare_store, refuse_cluster

STREAMED_EDGES = 25_000_000
"""Edges from which on a graph is drawn out of core: in memory they take 4 GB."""


@click.command(cls=RenamingCommand)
@click.argument("kind", type=click.Choice(["planted", "rmat"]))
@click.argument("out", type=PATH)
@options_of(GenerateOptions)
@preparing_options
@debug_option
def generate(
    kind: str,
    out: str,
    num_nodes: int,
    num_edges: int,
    force: bool,
    out_of_core: bool,
    resume: bool,
    **options: Any,
) -> None:
    """Draw a graph of KIND and store it as OUT, partitioned.

    planted has communities with power-law degrees; rmat is skewed and has none. From
    25 million undirected edges on, or with --out-of-core, a graph is drawn a chunk at a
    time and prepared in files beside OUT; the graph is the same. Edges drawn twice
    count once.
    """
    refuse_existing(out, force or resume)
    if kind == "rmat" and (num_nodes & (num_nodes - 1) or num_nodes < 2):
        raise click.UsageError(
            f"--num-nodes {num_nodes} is not a power of 2, which rmat needs: give "
            f"{1 << max(num_nodes.bit_length(), 1)}"
        )
    asked = {name: options.pop(name) for name in ("num_classes", "num_features")}
    given = {name: value for name, value in asked.items() if value is not None}
    cluster = {name: options.pop(name) for name in CLUSTER}
    from daskgnn.graph.datasets.generate import drawn_graph
    from daskgnn.graph.datasets.synthetic import Synthetic

    source = Synthetic(kind, num_nodes, num_edges, seed=options["seed"], **given)
    if out_of_core or resume or num_edges >= STREAMED_EDGES:
        del options["num_parts"]
        prepare_store(source, out, cluster, overwrite=force, resume=resume, **options)
        return
    del options["memory_limit"]
    refuse_cluster(cluster)
    store_graph(drawn_graph(source), out, force, **options)
