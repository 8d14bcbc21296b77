"""The command line: ``daskgnn``, and the same group as ``dask gnn``.

A command's module is imported when it is run, or its own help is asked for: ``daskgnn
--help`` and ``daskgnn --version`` wait for nothing but click.
"""

from __future__ import annotations

import atexit
import gc
from importlib import import_module
from typing import TYPE_CHECKING

import click

from daskgnn.cli.errors import OneLineGroup, debug_option
from daskgnn.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = {
    "chaos": (
        "chaos",
        "Train on GRAPH twice, once with processes killed all along, and compare.",
    ),
    "datasets": ("data", "List the data sets that are known by name."),
    "doctor": (
        "doctor",
        "Check this machine, or a running cluster, and say what to fix.",
    ),
    "evaluate": ("runs", "Score the best parameters of RUN, as one JSON object."),
    "export": ("databases", "Write the graph of the database SOURCE to the store OUT."),
    "generate": ("generate", "Draw a graph of KIND and store it as OUT, partitioned."),
    "info": ("info", "Describe STORE and the quality of its partition."),
    "load": (
        "databases",
        "Load GRAPH into the database TARGET, from which it can be trained.",
    ),
    "partition": (
        "data",
        "Order GRAPH by clusters and store it as OUT, a Zarr group.",
    ),
    "plot": (
        "looking",
        "Draw scores, throughput, memory and latency of each RUN into one picture.",
    ),
    "predict": ("runs", "Predict all nodes, or some, with the best parameters of RUN."),
    "report": ("looking", "Write one page of HTML about RUN into its directory."),
    "runs": ("looking", "List the runs in FOLDER, and how far each has come."),
    "samplers": (
        "samplers",
        "List the samplers: what each draws, when to use it, and its options.",
    ),
    "scheduler": (
        "serve",
        "Start a Dask scheduler with the settings that suit training.",
    ),
    "train": ("train", "Train a model on GRAPH and write it all to a directory."),
    "vision": ("vision", "Train a Vision GNN on images, its layers on workers."),
    "worker": (
        "serve",
        "Start a Dask worker with the settings that suit training.",
    ),
}
"""By command: the module that has it, and the first sentence of its help."""


class LazyGroup(OneLineGroup):
    """A group that imports a command when it is run or describes itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"{__name__}.{_COMMANDS[cmd_name][0]}")
        return getattr(module, cmd_name)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the commands and what each does."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in _COMMANDS.items()])


@click.group(
    name="gnn",
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="daskgnn %(version)s")
@debug_option
def gnn() -> None:
    """Train graph neural networks on large graphs, as a plain Dask dataflow.

    GRAPH is the name of a data set (see "datasets"), the path of a graph file,
    or the path of a store that "partition" wrote.
    """


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
    # The interpreter's end would look for garbage among all imported modules.
    atexit.register(gc.freeze)
    gnn.main(args=args, prog_name="daskgnn")


__all__ = ["gnn", "main"]
