"""The command ``plot``: several runs in one picture."""

from __future__ import annotations

from pathlib import Path

import click

from daskgnn.cli.errors import debug_option
from daskgnn.cli.options import PATH


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@click.option(
    "--out",
    type=PATH,
    default="runs.png",
    show_default=True,
    help="Picture to write (PNG, SVG or PDF, by its suffix).",
)
@debug_option
def plot(runs: tuple[str, ...], out: str) -> None:
    """Draw throughput, memory and latency of RUNs over time as one picture.

    Each RUN is a directory (or address) that training has written, or still writes.
    """
    from daskgnn.paths import given_path
    from daskgnn.plot import draw_runs
    from daskgnn.train.persist.history import History

    target = Path(given_path(out))
    if target.suffix not in (".png", ".svg", ".pdf"):
        raise click.UsageError(f"--out {out}: give a name that ends in .png")
    if not target.absolute().parent.is_dir():
        raise click.UsageError(f"--out {out}: its directory does not exist")
    histories = {run: History.read(run) for run in dict.fromkeys(runs)}
    draw_runs({name: (h.steps, h.epochs) for name, h in histories.items()}).savefig(
        target
    )
    click.echo(out)
