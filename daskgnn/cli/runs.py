"""Commands on finished or stopped runs: ``evaluate`` and ``predict``."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click

from daskgnn.cli.declared import EvaluateOptions, PredictOptions, Split
from daskgnn.cli.errors import debug_option
from daskgnn.cli.options import (
    PATH,
    WORKERS,
    check_cluster,
    cluster_options,
    options_of,
    silence_logs,
)
from daskgnn.errors import InputError
from daskgnn.importing import without_collections
from daskgnn.paths import given_path

FILE = "@"
"""How the name of a file with ids begins."""

_WORKERS = replace(WORKERS, shown="0 for a small graph, else 2")


@click.command()
@click.argument("run", type=PATH)
@options_of(EvaluateOptions)
@partial(cluster_options, workers=_WORKERS)
@debug_option
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    run: str,
    split: str,
    metric: list[str] | None,
    per_class: bool,
    **cluster: Any,
) -> None:
    """Score the best parameters of RUN, as one JSON object.

    Scores are exact: every layer takes all neighbours. RUN is the directory that
    "train --out" wrote.
    """
    where = _where(cluster)
    silence_logs(ctx)
    with without_collections(frozen=True):
        from daskgnn.train import run as runs

    scores = runs.evaluate(run, split, metric, per_class=per_class, **where)
    click.echo(json.dumps(scores))


@click.command()
@click.argument("run", type=PATH)
@options_of(PredictOptions)
@partial(cluster_options, workers=_WORKERS)
@debug_option
@click.pass_context
def predict(
    ctx: click.Context, /, run: str, out: str, nodes: str | None, **cluster: Any
) -> None:
    """Predict all nodes, or some, with the best parameters of RUN.

    A row per node: its id, the predicted class, and a score for each class, under the
    names that the graph's files have. RUN is the directory that "train --out" wrote.
    """
    where = _where(cluster)
    if not out.endswith((".zarr", ".parquet")):
        raise click.BadParameter(
            f"{out!r} should end in .zarr or .parquet", ctx=ctx, param_hint="'--out'"
        )
    silence_logs(ctx)
    with without_collections(frozen=True):
        from daskgnn.train import run as runs

    click.echo(str(runs.predict(run, out, _nodes(nodes), **where)))


def _nodes(text: str | None) -> str | list[str] | None:
    """Return the split, or the ids, that --nodes names."""
    if text is None or text in get_args(Split):
        return text
    if not text.startswith(FILE):
        return [word.strip() for word in text.split(",")]
    path = Path(given_path(text.removeprefix(FILE)))
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: expected an id a line") from error
    return [line.strip() for line in lines if line.strip()]


def _where(cluster: dict[str, Any]) -> dict[str, Any]:
    """Return the cluster that is asked for, as `daskgnn.train.run` takes it."""
    where = {name: cluster[name] for name in ("workers", "scheduler")}
    check_cluster(**where)
    from daskgnn.cluster.tls import Encryption

    return {**where, "encryption": Encryption.of(cluster)}
