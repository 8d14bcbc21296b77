"""The command line: ``daskgnn``, and the same group as ``dask gnn``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from daskgnn.cli.chaos import chaos
from daskgnn.cli.data import datasets, partition
from daskgnn.cli.errors import OneLineGroup, debug_option
from daskgnn.cli.generate import generate
from daskgnn.cli.info import info
from daskgnn.cli.runs import evaluate, predict
from daskgnn.cli.train import train
from daskgnn.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.group(
    name="gnn",
    cls=OneLineGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="daskgnn %(version)s")
@debug_option
def gnn() -> None:
    """Train graph neural networks on large graphs, as a plain Dask dataflow.

    GRAPH is the name of a data set (see "datasets"), the path of a graph file,
    or the path of a store that "partition" wrote.
    """


_COMMANDS = (datasets, generate, partition, info, train, evaluate, predict, chaos)
for _command in _COMMANDS:
    gnn.add_command(_command)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status.

    Parameters
    ----------
    args : sequence of str, optional
        The words after ``daskgnn``; by default those of the process.

    Raises
    ------
    SystemExit
        Always: 0 for success, 2 for bad input, 1 for a failed run, 130 for a run
        that was interrupted.
    """
    gnn.main(args=args, prog_name="daskgnn")


__all__ = ["gnn", "main"]
