"""Commands that copy graphs: ``load`` into a database, ``export`` out of it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from daskgnn.cli.data import load_graph, split_as_asked
from daskgnn.cli.declared import ExportOptions, LoadOptions, ReaderOptions
from daskgnn.cli.errors import debug_option
from daskgnn.cli.options import (
    PATH,
    data_dir_option,
    options_of,
    taken_reader_options,
    yes_option,
)
from daskgnn.errors import InputError
from daskgnn.train.options.option import declared

if TYPE_CHECKING:
    from daskgnn.graph.memory.partitioned import PartitionedGraph

_QUIET_SECONDS = 10.0


@click.command()
@click.argument("graph")
@click.argument("target")
@options_of(LoadOptions)
@options_of(ReaderOptions)
@data_dir_option
@yes_option
@debug_option
def load(graph: str, target: str, no_links: bool, force: bool, **options: Any) -> None:
    """Load GRAPH into the database TARGET, from which it can be trained.

    TARGET is ladybug:FILE, kuzu:FILE, duckdb:FILE or bolt://HOST/DB. A store keeps its
    order; any other graph is partitioned first. If loading is interrupted, the same
    command continues it.
    """
    from daskgnn.graph.copying import copy_graph
    from daskgnn.graph.databases.schemes import check_database
    from daskgnn.graph.opening import is_stored

    check_database(target)
    source: Any = graph
    if is_stored(graph):
        _refuse_partition(graph, options)
    else:
        source = _partitioned(graph, options)
    told = _Told()
    place = copy_graph(source, target, overwrite=force, links=not no_links, told=told)
    told.end()
    _tell(place)


@click.command()
@click.argument("source")
@click.argument("out", type=PATH)
@options_of(ExportOptions)
@debug_option
def export(source: str, out: str, force: bool) -> None:
    """Write the graph of the database SOURCE to the store OUT."""
    from daskgnn.graph.copying import copy_graph

    told = _Told()
    place = copy_graph(source, out, overwrite=force, told=told)
    told.end()
    _tell(place)


def _partitioned(graph: str, options: dict[str, Any]) -> PartitionedGraph:
    """Return a graph that is no store, in memory, in the order it would be stored."""
    place = {name: options.pop(name) for name in ("data_dir", "yes")}
    drawn = {name: options.pop(name) for name in ("split", "per_class")}
    cut = {name: options.pop(name) for name in ("method", "num_clusters", "seed")}
    data = load_graph(graph, **place, **taken_reader_options(options))
    return split_as_asked(data, seed=cut["seed"], **drawn).partition(**cut)


def _refuse_partition(graph: str, options: dict[str, Any]) -> None:
    """Refuse options that a graph with an order does not take."""
    names = {**declared(LoadOptions), **declared(ReaderOptions)}
    for name, option in names.items():
        if name in options and options[name] not in (option.default, None, False):
            raise InputError(
                f"{graph} is partitioned already, so --{name.replace('_', '-')} cannot "
                f"be given: daskgnn partition {graph} OUT makes another store"
            )


def _tell(place: str) -> None:
    """Print what is there now."""
    from daskgnn.graph.opening import open_graph

    graph = open_graph(place)
    click.echo(
        f"{place}: {graph.num_nodes:,} nodes, {graph.num_edges:,} directed edges, "
        f"{graph.num_clusters} clusters, verified (content {graph.checksum[:16]})"
    )


class _Told:
    """Says how far each stage is and how long it will take: in place, or in lines."""

    def __init__(self) -> None:
        self.stage, self.begun, self.last = "", 0.0, 0.0
        self.terminal = sys.stderr.isatty()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Tell what is done of a stage."""
        now = time.monotonic()
        if stage != self.stage:
            self.end()
            self.stage, self.begun = stage, now
            self.last = now if self.terminal else now - _QUIET_SECONDS
        elif not self.terminal and now - self.last < _QUIET_SECONDS:
            return
        self.last = now
        left = (now - self.begun) / max(done, 1) * (total - done)
        line = f"{stage}: {done:,} of {total:,}, {left:.0f} s left"
        click.echo(
            f"\r{line:60}" if self.terminal else line, err=True, nl=not self.terminal
        )

    def end(self) -> None:
        """End the line of a stage."""
        if self.stage and self.terminal:
            click.echo(err=True)
