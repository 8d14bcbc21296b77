"""Commands on finished or stopped runs: ``evaluate`` and ``predict``."""

from __future__ import annotations

import json
from typing import Any

import click

from daskgnn.cli.errors import debug_option
from daskgnn.cli.options import PATH, check_cluster, cluster_options, silence_logs


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
)
@click.option(
    "--per-class",
    is_flag=True,
    help="Add precision, recall and F1 of each class.  [default: off]",
)
@cluster_options
@debug_option
@click.pass_context
def evaluate(
    ctx: click.Context, /, run: str, split: str, per_class: bool, **cluster: Any
) -> None:
    """Score the best parameters of RUN, as one JSON object.

    Scores are exact: every layer takes all neighbours. RUN is the directory that
    "train --out" wrote.
    """
    where = _where(cluster)
    silence_logs(ctx)
    from daskgnn.train import run as runs

    click.echo(json.dumps(runs.evaluate(run, split, per_class=per_class, **where)))


@click.command()
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, required=True, help="x.zarr or x.parquet.")
@cluster_options
@debug_option
@click.pass_context
def predict(ctx: click.Context, /, run: str, out: str, **cluster: Any) -> None:
    """Predict every node with the best parameters of RUN.

    A row per node: its id, the predicted class, and a score for each class, under the
    names that the graph's files have. RUN is the directory that "train --out" wrote.
    """
    where = _where(cluster)
    if not out.endswith((".zarr", ".parquet")):
        raise click.BadParameter(
            f"{out!r} should end in .zarr or .parquet", ctx=ctx, param_hint="'--out'"
        )
    silence_logs(ctx)
    from daskgnn.train import run as runs

    click.echo(str(runs.predict(run, out, **where)))


def _where(cluster: dict[str, Any]) -> dict[str, Any]:
    """Return the cluster that is asked for, as `daskgnn.train.run` takes it."""
    where = {name: cluster[name] for name in ("workers", "scheduler")}
    check_cluster(**where)
    from daskgnn.cluster.tls import Encryption

    return {**where, "encryption": Encryption.of(cluster)}
