"""Option types, and options that several commands share."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from daskgnn.cli.declared import PreparingOptions, ReaderOptions
from daskgnn.cli.errors import flags_of, in_shell, is_debugging
from daskgnn.train.options.option import declared
from daskgnn.train.options.options import RUN
from daskgnn.train.options.plainoptions import GROUPS
from daskgnn.values import numbers_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.train.options.option import Option

Command = Callable[..., Any]


class IntList(click.ParamType):
    """Numbers with commas between them: ``15,10``."""

    name = "K,K,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int | float]:
        """Return the numbers."""
        if not isinstance(value, str):
            return list(value)
        try:
            return numbers_in(value)
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers like 15,10", param, ctx)


class NameList(click.ParamType):
    """Names with commas between them: ``hash,metis``."""

    name = "NAME,NAME,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Return the names, each once."""
        names = value.split(",") if isinstance(value, str) else list(value)
        names = [name.strip() for name in names]
        if not all(names):
            self.fail(f"{value!r} is not a list of names like hash,metis", param, ctx)
        return list(dict.fromkeys(names))


class Place(click.Path):
    """A path, which has a name."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Return the path."""
        if not os.fspath(value).strip():
            self.fail(f"{value!r} is not a path", param, ctx)
        return super().convert(value, param, ctx)


PATH = Place()

_IN_PYTHON = {"feature_columns": "features"}
"""Options that readers call otherwise in Python."""


class WholeOrWord(click.ParamType):
    """A whole number, or the word for leaving the choice to the command."""

    name = "integer"

    def __init__(self, word: str, least: float | None) -> None:
        self._word = word
        self._number = click.IntRange(min=None if least is None else int(least))

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Return the number, or the word."""
        if value == self._word:
            return value
        return self._number.convert(value, param, ctx)


class Setting(click.Option):
    """An option that stands under a heading."""

    def __init__(
        self, words: Sequence[str], heading: str, formerly: str = "", **attrs: Any
    ) -> None:
        super().__init__(words, **attrs)
        self.heading = heading
        self.formerly = formerly
        """How it was written before."""
        self.setting = _IN_PYTHON.get(self.name or "", self.name)
        """What Python calls it."""


def settings_options(command: Command) -> Command:
    """Add every setting of a run to a command: None where it is not given."""
    return settings_of(RUN)(command)


def settings_of(options: dict[str, Option]) -> Callable[[Command], Command]:
    """Return what adds the settings of a kind of run: None where they are not given."""

    def add(command: Command) -> Command:
        for name, option in reversed(options.items()):
            if option.flag:
                command = _setting(name, option)(command)
        return command

    return add


def _setting(name: str, option: Option) -> Callable[[Command], Command]:
    flag = option.flag if isinstance(option.flag, str) else _flag(name)
    if option.kind == "switch":
        flag = f"{flag}/--no-{flag[2:]}"
    attrs: dict[str, Any] = {"default": None}
    if name == "data_dir":
        attrs |= {"envvar": "DASKGNN_DATA_DIR", "show_envvar": True}
    return _click_option(flag, name, option, **attrs)


def options_of(names: type) -> Callable[[Command], Command]:
    """Return what adds the options that a class of `daskgnn.cli.declared` declares."""

    def add(command: Command) -> Command:
        for name, option in reversed(declared(names).items()):
            attrs: dict[str, Any] = {"default": option.default}
            if option.default is None and not option.optional:
                attrs = {"required": True}  # a default of None would be one
            command = _click_option(_flag(name), name, option, **attrs)(command)
        return command

    return add


def _flag(name: str) -> str:
    """Return how an option is written: ``--json`` for ``as_json``."""
    return "--" + name.removeprefix("as_").replace("_", "-")


def _click_option(
    flag: str, name: str, option: Option, **attrs: Any
) -> Callable[[Command], Command]:
    if option.kind == "switch":
        attrs["is_flag"] = True
    else:
        attrs["type"] = _click_type(option)
    if option.kind in ("names", "words"):
        attrs |= {"multiple": True, "callback": _all_names}
    told = "" if attrs.get("required") else _default_in_words(flag, option)
    default = f"  [default: {told}]" if told else ""
    return click.option(
        flag,
        name,
        cls=Setting,
        heading=option.group or "This command",
        formerly=_flag(option.formerly) if option.formerly else "",
        metavar=option.metavar,
        help=(option.help + default).strip(),
        **attrs,
    )


def _all_names(
    ctx: click.Context, param: click.Parameter, value: Sequence[Sequence[str]] | None
) -> list[str] | None:
    """Return the names of an option that may be given several times, each once."""
    names = [name for each in value or () for name in each]
    return list(dict.fromkeys(names)) or None


def _default_in_words(flag: str, option: Option) -> str:
    """Return what ``--help`` says of a default: nothing of a switch that is off."""
    if option.shown:
        return option.shown
    if option.kind == "switch":
        *_, off = flag.split("/")
        return flag.split("/")[0 if option.default else 1][2:] if off != flag else ""
    return "none" if option.default is None else str(option.default)


def _click_type(option: Option) -> click.ParamType:
    """Return what reads a setting's words."""
    if option.kind == "choice":
        return click.Choice(option.words)
    low, high = option.least, option.below
    if option.none:
        return WholeOrWord(option.none, low)
    if option.kind == "whole":
        return click.INT if low is None else click.IntRange(min=int(low))
    if option.kind == "number":
        if option.above is not None:
            return click.FloatRange(min=option.above, min_open=True)
        return click.FloatRange(low, high, max_open=high is not None)
    kinds: dict[str, click.ParamType] = {"path": PATH}
    kinds |= dict.fromkeys(("numbers", "devices"), IntList())
    kinds |= dict.fromkeys(("words", "names"), NameList())
    return kinds.get(option.kind, click.STRING)


class RenamingCommand(click.Command):
    """A command that understands the names that its options had before."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the present names in the place of old ones, and say so."""
        old = {
            parameter.formerly: parameter.opts[0]
            for parameter in self.params
            if isinstance(parameter, Setting) and parameter.formerly
        }
        for place, word in enumerate(args):
            if word == "--":
                break
            flag, equals, value = word.partition("=")
            if flag in old:
                click.echo(f"daskgnn: {flag} is now called {old[flag]}", err=True)
                args[place] = f"{old[flag]}{equals}{value}"
        return super().parse_args(ctx, args)


class HeadedCommand(RenamingCommand):
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


data_dir_option = _setting("data_dir", RUN["data_dir"])
"""Adds --data-dir to a command."""

yes_option = click.option("--yes", is_flag=True, help="Allow large downloads.")
"""Adds --yes to a command."""


def _column(text: str) -> str | int:
    """Return a column as its number or its name."""
    return int(text) if text.isdecimal() else text


def _columns(text: str) -> list[str]:
    """Return the names of columns."""
    return [name.strip() for name in text.split(",")]


_READ: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("source", "destination", "weight"), _column),
    "feature_columns": _columns,
}


def preparing_options(command: Command) -> Command:
    """Add --out-of-core, --resume and a cluster to a command that makes a store."""
    shared = "With --out-of-core: work on a local cluster of N workers."
    workers = replace(WORKERS, help=shared, shown="none")
    return options_of(PreparingOptions)(cluster_options(command, workers))


def taken_reader_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take readers' options out of a command's; return those that were given."""
    values = {name: options.pop(name) for name in ReaderOptions.__annotations__}
    given = {n: v for n, v in values.items() if v is not None and v is not False}
    return {
        _IN_PYTHON.get(n, n): _READ[n](v) if n in _READ else v for n, v in given.items()
    }


WORKERS = replace(
    RUN["workers"],
    none="",
    shown="2",
    help="Start a local cluster of N workers; 0 = no cluster.",
)


def cluster_options(command: Command, workers: Option = WORKERS) -> Command:
    """Add --workers, --scheduler and the options of TLS to a command.

    `workers` is what the help says of the first.
    """
    command = _setting("tls", RUN["tls"])(certificate_options(command))
    command = _setting("scheduler", RUN["scheduler"])(command)
    return _setting("workers", workers)(command)


def certificate_options(command: Command) -> Command:
    """Add the three files of TLS to a command."""
    for name in ("tls_key", "tls_cert", "tls_ca_file"):
        command = _setting(name, RUN[name])(command)
    return command


def check_cluster(workers: int | str | None, scheduler: str | None) -> None:
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

    flags = flags_of(ctx.command)

    def show_warning(message: Any, *_: Any) -> None:
        """Write a warning as a line on standard error."""
        line = " ".join(in_shell(str(message), flags).split())
        click.echo(f"daskgnn: {line}", err=True)

    warnings.showwarning = show_warning  # type: ignore[assignment]
    dask.config.set({"logging.distributed": "critical"})
    # asyncio would report the unfinished tasks of an interrupted run.
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"distributed\b")
