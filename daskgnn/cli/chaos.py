"""The command ``chaos``: kill workers or schedulers, and compare the bits."""

from __future__ import annotations

import json
from dataclasses import asdict
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from daskgnn.cli.errors import FailedRun, debug_option
from daskgnn.cli.options import (
    NOT_NEGATIVE,
    PATH,
    POSITIVE,
    check_cluster,
    cluster_options,
    data_dir_option,
    silence_logs,
)

if TYPE_CHECKING:
    from daskgnn.train.chaos import ChaosReport


@click.command()
@click.argument("graph")
@click.option(
    "--kill-every",
    type=click.FloatRange(min=0.0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Mean time between kills; the times are random.",
)
@click.option(
    "--kill",
    type=click.Choice(["workers", "scheduler", "both"]),
    default="workers",
    show_default=True,
    help="Whom. Schedulers of the command's own cluster alone.",
)
@click.option("--epochs", type=POSITIVE, default=3, show_default=True)
@click.option("--num-parts", type=POSITIVE, help="Parts to open the graph with.")
@click.option("--batch-size", type=POSITIVE, help="Seeds a step, in all parts.")
@click.option("--seed", type=NOT_NEGATIVE, default=0, show_default=True)
@cluster_options
@click.option("--out", type=PATH, help="Keep both runs here.  [default: nowhere]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@data_dir_option
@debug_option
@click.pass_context
def chaos(
    ctx: click.Context,
    /,
    graph: str,
    kill_every: float,
    kill: str,
    workers: int | None,
    scheduler: str | None,
    out: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Train on GRAPH twice, once with processes killed all along, and compare.

    Workers die by SIGKILL, at random, on the cluster that is given or on one of its
    own; with --kill scheduler or both, schedulers do. The command ends with status 1
    if a bit of the parameters differs.
    """
    check_cluster(workers, scheduler)
    if workers == 0:
        raise click.UsageError("--workers 0 has no worker to kill: give 1 or more", ctx)
    silence_logs(ctx)
    if scheduler is None:
        from daskgnn.cluster.prefork import start_importing

        start_importing()
    with TemporaryDirectory() as folder:
        given |= {"graph": graph, "workers": workers, "scheduler": scheduler}
        report = _run({**given, "out": out or folder}, kill_every, kill, as_json)
    figures = {**asdict(report), "equal": report.equal}
    click.echo(json.dumps(figures) if as_json else str(report))
    if not report.kills + report.scheduler_kills:
        raise FailedRun("nothing was killed: give more --epochs or less --kill-every")
    if not report.equal:
        raise FailedRun("the kills changed the parameters: this is a bug")


def _run(
    given: dict[str, Any], kill_every: float, kill: str, as_json: bool
) -> ChaosReport:
    """Train twice."""
    from daskgnn.cli.progress import make_progress
    from daskgnn.train import chaos as both

    progress = None if as_json else make_progress()
    try:
        settings: Any = given
        return both.chaos(settings, kill_every, given["seed"], progress, kill)
    finally:
        if progress is not None:
            progress.close()
