"""Option types, and options that several commands share."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from daskgnn.cli.errors import is_debugging
from daskgnn.train.options.options import RUN
from daskgnn.train.options.plainoptions import GROUPS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.train.options.option import Option


class IntList(click.ParamType):
    """Whole numbers with commas between them: ``15,10``."""

    name = "K,K,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        """Return the numbers."""
        if not isinstance(value, str):
            return list(value)
        try:
            return [int(word) for word in value.split(",")]
        except ValueError:
            self.fail(
                f"{value!r} is not a list of whole numbers like 15,10", param, ctx
            )


POSITIVE = click.IntRange(min=1)
NOT_NEGATIVE = click.IntRange(min=0)
PATH = click.Path()
FEATURES = RUN["features"].words
FEATURE_DTYPES = RUN["feature_dtype"].words


class Setting(click.Option):
    """An option that stands under a heading."""

    def __init__(self, words: Sequence[str], heading: str, **attrs: Any) -> None:
        super().__init__(words, **attrs)
        self.heading = heading


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add every setting of a run to a command: None where it is not given."""
    for name, option in reversed(RUN.items()):
        if option.flag:
            command = _setting(name, option)(command)
    return command


def _setting(name: str, option: Option) -> Callable[[Any], Any]:
    flag = "--" + name.replace("_", "-")
    attrs: dict[str, Any] = {"type": _click_type(option), "default": None}
    if option.kind == "switch":
        attrs = {"is_flag": True, "default": None}
        flag = flag if option.optional else f"{flag}/--no-{flag[2:]}"
    if name == "data_dir":
        attrs |= {"envvar": "DASKGNN_DATA_DIR", "show_envvar": True}
    default = option.shown
    if not default and option.default not in (None, False):
        default = name if option.default is True else str(option.default)
    told = f"  [default: {default}]" if default else ""
    return click.option(
        flag,
        cls=Setting,
        heading=option.group,
        metavar=option.metavar,
        help=option.help + told,
        **attrs,
    )


def _click_type(option: Option) -> click.ParamType:
    """Return what reads a setting's words."""
    if option.kind == "choice":
        return click.Choice(option.words)
    low, high = option.least, option.below
    if option.kind == "whole":
        return click.INT if low is None else click.IntRange(min=int(low))
    if option.kind == "number":
        if option.above is not None:
            return click.FloatRange(min=option.above, min_open=True)
        return click.FloatRange(low, high, max_open=high is not None)
    kinds = {"numbers": IntList(), "path": PATH}
    return kinds.get(option.kind, click.STRING)


class HeadedCommand(click.Command):
    """A command whose help lists options under headings."""

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the options, those without a heading last."""
        rows: dict[str, list[tuple[str, str]]] = {name: [] for name in GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                heading = getattr(parameter, "heading", "This command")
                rows.setdefault(heading, []).append(record)
        for heading, records in rows.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def data_dir_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --data-dir to a command."""
    return _setting("data_dir", RUN["data_dir"])(command)


def yes_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --yes to a command."""
    return click.option("--yes", is_flag=True, help="Allow large downloads.")(command)


def _column(text: str) -> str | int:
    """Return a column as its number or its name."""
    return int(text) if text.isdecimal() else text


def _columns(text: str) -> list[str]:
    """Return the names of columns."""
    return [name.strip() for name in text.split(",")]


_READER_OPTIONS: dict[str, Callable[[str], Any]] = {
    "directed": bool,
    "self_loops": str,
    "ids": str,
    "source": _column,
    "destination": _column,
    "weight": _column,
    "nodes": str,
    "features": _columns,
    "labels": str,
    "memory_limit": str,
}


def reader_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what readers of files take."""
    loops, ids = click.Choice(["drop", "keep"]), click.Choice(["auto", "keep", "map"])
    options = [
        click.option("--directed", is_flag=True, help="Files only: keep directions."),
        click.option("--self-loops", type=loops, help="Files only.  [default: drop]"),
        click.option(
            "--ids",
            type=ids,
            help="Files: are ids 0..N-1 (keep), or anything (map)?  [default: auto]",
        ),
        click.option("--source", help="Column with an edge's source, in edge files."),
        click.option("--destination", help="Column with its destination."),
        click.option("--weight", help="Column with its weight."),
        click.option("--nodes", help="Parquet or CSV table of nodes, for edge files."),
        click.option("--features", help="Feature columns of --nodes, as in a,b,c."),
        click.option("--labels", help="Label column of --nodes."),
        click.option(
            "--memory-limit",
            help="Memory for reading a file, beyond the graph's own; with "
            "--out-of-core for everything.  [default: 1 GiB, or 4 GiB]",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def preparing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --out-of-core and --resume to a command that makes a store."""
    options = [
        click.option(
            "--out-of-core",
            is_flag=True,
            help="For graphs larger than memory: keep edges in files next to OUT.",
        ),
        click.option(
            "--resume",
            is_flag=True,
            help="Continue an interrupted --out-of-core.",
        ),
    ]
    shared = "With --out-of-core: work on a local cluster of N workers."
    workers = replace(RUN["workers"], help=shared, shown="none")
    command = cluster_options(command, workers)
    for option in reversed(options):
        command = option(command)
    return command


def taken_reader_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take readers' options out of a command's; return those that were given."""
    found = {}
    for name, read in _READER_OPTIONS.items():
        value = options.pop(name)
        if value is not None and value is not False:
            found[name] = read(value)
    return found


def cluster_options(
    command: Callable[..., Any], workers: Option = RUN["workers"]
) -> Callable[..., Any]:
    """Add --workers, --scheduler and the options of TLS to a command.

    `workers` is what the help says of the first.
    """
    for name in ("tls_key", "tls_cert", "tls_ca_file", "tls", "scheduler"):
        command = _setting(name, RUN[name])(command)
    return _setting("workers", workers)(command)


def check_cluster(workers: int | None, scheduler: str | None) -> None:
    """Refuse --workers together with --scheduler."""
    if workers is not None and scheduler is not None:
        raise click.UsageError(
            f"--workers {workers} starts a cluster and --scheduler {scheduler} uses a "
            "running one: give one of them"
        )


def silence_logs(ctx: click.Context) -> None:
    """Keep Dask's own log lines off the terminal, except with --debug.

    Warnings of this package are one line each.
    Workers take the setting from Dask's configuration, which they inherit.
    """
    if is_debugging(ctx):
        return
    import dask

    warnings.showwarning = _show_warning  # type: ignore[assignment]
    dask.config.set({"logging.distributed": "critical"})
    # asyncio would report the unfinished tasks of an interrupted run.
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"distributed\b")


def _show_warning(message: Any, *_: Any) -> None:
    """Write a warning as a line on standard error."""
    click.echo(f"daskgnn: {' '.join(str(message).split())}", err=True)
