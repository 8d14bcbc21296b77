"""Commands on graphs: ``datasets`` and ``partition``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from daskgnn.cli.comparison import (
    compare_methods,
    print_estimates,
    refuse_too_large,
    table,
)
from daskgnn.cli.declared import PartitionOptions, ReaderOptions
from daskgnn.cli.errors import debug_option
from daskgnn.cli.options import (
    PATH,
    RenamingCommand,
    data_dir_option,
    options_of,
    preparing_options,
    silence_logs,
    taken_reader_options,
    yes_option,
)
from daskgnn.cli.preparing import CLUSTER, prepare_store, refuse_cluster, tell_stored
from daskgnn.display import words
from daskgnn.errors import GraphFormatError
from daskgnn.paths import is_url, store_target

if TYPE_CHECKING:
    from daskgnn.graph.memory.data import GraphData


@click.command()
@debug_option
def datasets() -> None:
    """List the data sets that are known by name."""
    from daskgnn.graph.datasets.known import list_datasets

    entries = [asdict(entry) for entry in list_datasets()]
    click.echo(
        table([{name: words(v) for name, v in entry.items()} for entry in entries])
    )


@click.command(cls=RenamingCommand)
@click.argument("graph")
@click.argument("out", type=PATH, required=False)
@options_of(PartitionOptions)
@options_of(ReaderOptions)
@preparing_options
@data_dir_option
@yes_option
@debug_option
def partition(
    graph: str,
    out: str | None,
    force: bool,
    out_of_core: bool,
    resume: bool,
    estimate: bool,
    compare: list[str] | None,
    **options: Any,
) -> None:
    """Order GRAPH by clusters and store it as OUT, a Zarr group.

    The store is opened later with any number of parts up to the clusters.
    """
    silence_logs(click.get_current_context())
    files = [options.pop(name) for name in ("json", "plot")]
    place = {name: options.pop(name) for name in ("data_dir", "yes")}
    drawn = {name: options.pop(name) for name in ("split", "per_class")}
    _refuse_missing(out, estimate, compare, files[0] or files[1])
    if out is not None:
        if out_of_core or resume:
            _refuse_address(out)
        refuse_existing(out, force or resume)
    cluster = {name: options.pop(name) for name in CLUSTER}
    if out_of_core or resume:
        if out is None or estimate or compare:
            raise click.UsageError(
                "--out-of-core makes a store: give OUT, and neither --estimate nor "
                "--compare"
            )
        _refuse_drawn(drawn)
        _prepare(graph, out, force, resume, cluster, options)
        return
    refuse_cluster(cluster)
    data = load_graph(graph, **place, **taken_reader_options(options))
    data = split_as_asked(data, seed=options["seed"], **drawn)
    if estimate:
        from daskgnn.partition.estimate import COSTS
        from daskgnn.partition.partitioners import choose_method

        method = choose_method(options["method"], data.num_edges, data.num_nodes)
        print_estimates(data, compare or (COSTS if out is None else [method]))
    if compare:
        names = "num_parts num_clusters seed num_neighbors batch_size window"
        asked = {name: options[name] for name in names.split()}
        compare_methods(data, compare, *files, **asked)
    elif out is not None:
        store_graph(data, out, force, estimate=estimate, **options)


def split_as_asked(data: GraphData, **asked: Any) -> GraphData:
    """Return a graph with the splits that are asked for."""
    from daskgnn.graph.memory.splitting import split_by_words

    return split_by_words(data, **asked)


def _refuse_drawn(drawn: dict[str, Any]) -> None:
    """Refuse splits that are drawn of a graph that is not in memory."""
    for name, value in drawn.items():
        if value is not None:
            raise click.UsageError(
                f"--{name.replace('_', '-')} {value} needs the graph in memory: leave "
                "--out-of-core out, or give splits in the table of --nodes"
            )


def _refuse_address(out: str) -> None:
    """Refuse an address for a store that workers write as files."""
    if is_url(store_target(out)):
        raise click.UsageError(
            f"--out-of-core writes files, and {out} is an address: give a path, then "
            "copy what is written (aws s3 cp --recursive graph.zarr "
            "s3://bucket/graph.zarr)"
        )


def _prepare(
    graph: str,
    out: str,
    force: bool,
    resume: bool,
    cluster: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Make a store of a file of edges that need not fit in memory."""
    taken = ("method", "num_clusters", "seed", "feature_dtype")
    chosen = {name: options.pop(name) for name in taken}
    readers = taken_reader_options(options)
    prepare_store(
        graph, out, cluster, overwrite=force, resume=resume, **chosen, **readers
    )


def store_graph(
    data: GraphData,
    out: str,
    force: bool,
    *,
    num_parts: int,
    feature_dtype: str,
    estimate: bool = False,
    **options: Any,
) -> None:
    """Partition a graph, store it, and print what came of it.

    Parameters
    ----------
    options
        Of the partition (method, num_clusters, seed), and of its quality's traffic.
    """
    from daskgnn.graph.memory.content import check_half, stored_features
    from daskgnn.graph.memory.data import origin_of
    from daskgnn.partition.partitioners import choose_method, fallback_note

    cut = {name: options.pop(name) for name in ("method", "num_clusters", "seed")}
    method = cut["method"]
    if feature_dtype != "float32":  # told early, before the graph is cut
        check_half(stored_features(data), feature_dtype, data.name, origin_of(data))
    if estimate:
        refuse_too_large(data, choose_method(method, data.num_edges, data.num_nodes))
    partitioned = data.partition(**cut)
    num_parts = _reported_parts(num_parts, partitioned.num_clusters)
    partitioned.save(out, overwrite=force, feature_dtype=feature_dtype)
    counts = data.num_nodes, data.num_edges, data.directed, data.report
    tell_stored(out, *counts, class_names=data.class_names)
    note = fallback_note(method, data.num_edges, partitioned.partitioner["method"])
    if note:
        click.echo(note)
    quality = partitioned.quality(num_parts, feature_dtype=feature_dtype, **options)
    click.echo(str(quality))


def _reported_parts(num_parts: int, num_clusters: int) -> int:
    """Return how many parts the report is for; refuse more than can be, if asked for.

    A graph of few nodes may have fewer clusters than the default has parts.
    """
    context = click.get_current_context()
    if context.get_parameter_source("num_parts") == ParameterSource.COMMANDLINE:
        from daskgnn.partition.book import check_num_parts

        check_num_parts(num_parts, num_clusters)
    return min(num_parts, num_clusters)


def _refuse_missing(
    out: str | None, estimate: bool, compare: list[str] | None, files: str | None
) -> None:
    """Say which of OUT and --compare there must be."""
    said = None
    if out is not None and compare:
        said = f"--compare stores nothing: omit {out}"
    elif out is None and not compare and not estimate:
        said = "Missing argument 'OUT': give the path of a store, or --compare"
    elif files is not None and not compare:
        said = f"{files} is what --compare writes: add --compare hash,metis"
    if said is not None:
        raise click.UsageError(said)


def refuse_existing(out: str, force: bool) -> None:
    """Say early, before any work, that OUT is there."""
    target = store_target(out)
    if is_url(target):
        from daskgnn.graph.store.writer import check_target

        check_target(target, force)
    elif not force and Path(target).exists():
        raise click.UsageError(
            f"{out} exists: choose another OUT, or replace it with --force"
        )


def load_graph(
    graph: str, data_dir: str | None, yes: bool, **options: Any
) -> GraphData:
    """Return a graph in memory, by its name or path.

    Parameters
    ----------
    graph : str
        A data set's name, or the path of a graph file or of a store.
    data_dir : str or None
        Where to look for data sets first.
    yes : bool
        Whether large downloads are allowed.
    options
        Of the reader of a file, those that were given.

    Returns
    -------
    GraphData
        The graph in its original order.

    Raises
    ------
    DatasetError
        If there is no such data set or file.
    """
    from daskgnn.graph.datasets.datasets import is_graph_file, resolve
    from daskgnn.graph.opening import is_stored, source_of

    if is_stored(graph):
        if options:
            raise GraphFormatError(
                f"{graph} is a store, which has no option {next(iter(options))!r}: its "
                "rows are finished"
            )
        return source_of(graph).to_data()
    if sys.stderr.isatty() and is_graph_file(graph):
        options["progress"] = True
    return resolve(graph, data_dir=data_dir, yes=yes, **options)
