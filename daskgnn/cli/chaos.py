"""The command ``chaos``: kill workers or schedulers, and compare the results."""

from __future__ import annotations

import json
from contextlib import closing, nullcontext
from dataclasses import asdict
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from daskgnn.cli.declared import ChaosOptions, OutputOptions
from daskgnn.cli.errors import FailedRun, debug_option
from daskgnn.cli.options import (
    check_cluster,
    cluster_options,
    data_dir_option,
    options_of,
    silence_logs,
)

if TYPE_CHECKING:
    from daskgnn.train.chaos import ChaosReport


@click.command()
@click.argument("graph")
@options_of(ChaosOptions)
@cluster_options
@options_of(OutputOptions)
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


def _run(given: Any, kill_every: float, kill: str, as_json: bool) -> ChaosReport:
    """Train twice."""
    from daskgnn.cli.progress import make_progress
    from daskgnn.train import chaos as both

    with nullcontext() if as_json else closing(make_progress()) as progress:
        return both.chaos(given, kill_every, given["seed"], progress, kill)
