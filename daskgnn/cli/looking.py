"""Commands that look at what runs have written: ``runs``, ``report`` and ``plot``."""

from __future__ import annotations

from typing import Any

import click

from daskgnn.cli.comparison import table
from daskgnn.cli.declared import PlotOptions
from daskgnn.cli.errors import debug_option
from daskgnn.cli.options import PATH, options_of
from daskgnn.cli.report import near


@click.command()
@click.argument("folder", type=PATH, default="runs")
@debug_option
def runs(folder: str) -> None:
    """List the runs in FOLDER, and how far each has come.

    By default in the folder runs, where "train" puts them.
    """
    from daskgnn.train.runlist import list_runs

    rows = list_runs(folder)
    if not rows:
        click.echo(f"no run in {folder}: daskgnn train GRAPH makes one")
        return
    click.echo(table([{name: _word(row[name]) for name in row} for row in rows]))


def _word(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


@click.command()
@click.argument("run", type=PATH)
@debug_option
def report(run: str) -> None:
    """Write one page of HTML about RUN into its directory.

    RUN/report.html has settings, curves, profile, partition and events, and needs no
    other file. RUN is the directory that "train --out" wrote.
    """
    from daskgnn.train.htmlreport import write_report

    click.echo(near(write_report(run)))


@click.command()
@click.argument("run", nargs=-1, required=True, type=PATH)
@options_of(PlotOptions)
@debug_option
def plot(run: tuple[str, ...], out: str) -> None:
    """Draw scores, throughput, memory and latency of each RUN into one picture.

    RUN is a directory that "train --out" wrote.
    """
    from pathlib import Path

    from daskgnn.plot import draw_runs
    from daskgnn.train.persist.history import History

    if Path(out).suffix not in (".png", ".svg", ".pdf"):
        raise click.UsageError(f"--out {out}: give a name that ends in .png")
    if not Path(out).absolute().parent.is_dir():
        raise click.UsageError(f"--out {out}: its directory does not exist")
    read = {Path(place).name: History.read(place) for place in run}
    found = {name: (history.steps, history.epochs) for name, history in read.items()}
    draw_runs(found).savefig(out)
    click.echo(near(str(Path(out).absolute())))
