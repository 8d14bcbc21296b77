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
@cluster_options
@debug_option
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    run: str,
    split: str,
    **cluster: Any,
) -> None:
    """Score the best parameters of RUN, as one JSON object.

    Scores are exact: every layer takes all neighbours. RUN is the directory that
    "train --out" wrote.
    """
    where = _where(cluster)
    silence_logs(ctx)
    from daskgnn.train import run as runs

    click.echo(json.dumps(runs.evaluate(run, split, **where)))


@click.command()
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, required=True, help="x.zarr or x.parquet.")
@cluster_options
@debug_option
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    run: str,
    out: str,
    **cluster: Any,
) -> None:
    """Predict every node with the best parameters of RUN.

    Rows are in original node order. RUN is the directory that "train --out" wrote.
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
