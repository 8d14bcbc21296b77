"""The command ``train``: one run, fresh or resumed."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from daskgnn.cli.declared import CommandOptions
from daskgnn.cli.errors import INTERRUPTED, TERMINATED, FailedRun, debug_option
from daskgnn.cli.options import (
    HeadedCommand,
    check_cluster,
    options_of,
    settings_options,
    silence_logs,
    yes_option,
)
from daskgnn.cli.report import free_directory, near, report
from daskgnn.errors import InputError
from daskgnn.importing import without_collections
from daskgnn.train.options.options import RUN
from daskgnn.train.options.plainoptions import CLUSTER
from daskgnn.train.persist.signals import Signals, Terminated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.cli.progress import LineProgress
    from daskgnn.train.progress import TerminalProgress

    Shown = LineProgress | TerminalProgress

# What may stand beside --resume: everything else is read from the run.
_WITH_RESUME = {name for name, option in RUN.items() if option.group == CLUSTER}
_WITH_RESUME -= {"standby", "adapt"}
_WITH_RESUME |= {"resume", "data_dir", "profile", "reconnect_timeout"}
_WITH_RESUME |= {"epochs", "patience", "log_format", "log_level"}


@click.command(cls=HeadedCommand)
@click.argument("graph", required=False)
@settings_options
@options_of(CommandOptions)
@yes_option
@debug_option
@click.pass_context
def train(
    ctx: click.Context,
    /,
    config: str | None,
    resume: str | None,
    yes: bool,
    profile: bool,
    reconnect_timeout: float | None,
    log_format: str | None,
    log_level: str | None,
    **words: Any,
) -> None:
    """Train a model on GRAPH and write it all to a directory.

    GRAPH is the name of a data set, the path of a graph file, or the path of a
    store. What is not given comes from --config, then from the data set's recipe,
    then from defaults.
    """
    given = {name: value for name, value in words.items() if value is not None}
    check_cluster(given.get("workers"), given.get("scheduler"))
    from daskgnn.cli.progress import make_progress

    progress = make_progress()
    silence_logs(ctx)
    if reconnect_timeout is not None:
        import dask

        dask.config.set({"gnn.reconnect-timeout": reconnect_timeout})
    try:
        with Signals(), _logging(log_format, log_level):
            if resume is not None:
                _refuse_beside_resume(ctx)
                summary = _resume(resume, given, progress, profile)
            else:
                summary = _train(_settings(ctx, given, config), progress, yes, profile)
    except KeyboardInterrupt:
        raise FailedRun(_advice("interrupted", progress.info), INTERRUPTED) from None
    except Terminated:
        raise FailedRun(_advice("terminated", progress.info), TERMINATED) from None
    finally:
        progress.close()
    report(summary, progress.info)


@contextmanager
def _logging(form: str | None, level: str | None) -> Iterator[None]:
    """Write the run's records to standard error, if that is asked for."""
    if form is None and level is None:
        yield
        return
    from daskgnn.monitor.logs import configure

    stop = configure(form or "text", level or "info")
    try:
        yield
    finally:
        stop()


def _refuse_beside_resume(ctx: click.Context) -> None:
    """Refuse options that a resumed run takes from its own directory."""
    told = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name in _WITH_RESUME or ctx.get_parameter_source(name) not in told:
            continue
        if ctx.params.get(name) is None:
            continue
        raise click.UsageError(
            f"--resume takes every setting from the run, so {parameter.opts[0]} cannot "
            "be given: daskgnn train --resume DIR [--epochs N] [--workers N | "
            "--scheduler ADDRESS], or --from DIR for a new run with other settings "
            "that starts from its parameters",
            ctx,
        )


def _resume(
    directory: str, given: dict[str, Any], progress: Shown, profile: bool
) -> dict[str, Any]:
    """Continue the run in a directory."""
    names = ("workers", "memory_limit", "scheduler", "epochs", "patience")
    where = {name: given.get(name) for name in names}
    _begin_workers(given)
    with without_collections(frozen=True):
        from daskgnn.cluster.tls import Encryption
        from daskgnn.train import run

    _begin_drawing(given)
    return run.resume(
        directory,
        **where,
        encryption=Encryption.of(given),
        progress=progress,
        profile=profile,
    )


def _settings(
    ctx: click.Context, given: dict[str, Any], config: str | None
) -> dict[str, Any]:
    """Return what is given, and what the file says besides."""
    if config is not None:
        from daskgnn.train.options.configfile import read_config

        found = read_config(config)
        if given.keys() & {"workers", "scheduler"}:
            # The configuration file's cluster settings are for another cluster.
            found = {n: v for n, v in found.items() if RUN[n].group != CLUSTER}
        given = found | given
        check_cluster(given.get("workers"), given.get("scheduler"))
    if "graph" not in given and "start_from" in given:
        from daskgnn.train.finetune import starting_from

        given = starting_from(given)
    if "graph" not in given:
        raise click.MissingParameter(
            ctx=ctx, param_type="argument", param_hint="'GRAPH'"
        )
    name = given.get("start_from") or given["graph"]
    given.setdefault("out", str(free_directory(name)))
    return given


def _train(settings: Any, progress: Shown, yes: bool, profile: bool) -> dict[str, Any]:
    """Start a fresh run."""
    _begin_workers(settings)
    with without_collections(frozen=True):
        from daskgnn.train import run
        from daskgnn.train.warmup import compile_first

    _begin_drawing(settings)
    if settings.get("scheduler") is None:
        compile_first(progress)
    return run.train(settings, progress=progress, yes=yes, profile=profile)


def _begin_workers(given: dict[str, Any]) -> None:
    """Have what workers inherit imported while this process imports its own."""
    if _starts_workers(given):
        from daskgnn.cluster.prefork import start_importing

        start_importing()


def _begin_drawing(given: dict[str, Any]) -> None:
    """Have what draws the curves imported while this process waits for its workers."""
    if _starts_workers(given):
        Thread(target=_import_drawing).start()


def _import_drawing() -> None:
    with suppress(InputError):  # said at the end
        import_module("daskgnn.plot")


def _starts_workers(given: dict[str, Any]) -> bool:
    """Return whether it is said that there are workers, before the graph is read."""
    workers = given.get("workers")
    told = workers if workers != "auto" else None
    others = given.get("standby") or given.get("adapt")
    return given.get("scheduler") is None and bool(told or others)


def _advice(what: str, info: dict[str, Any]) -> str:
    """Return what to say to who stopped a run."""
    out = info.get("out")
    if out is None:
        return f"{what} before the first checkpoint"
    return f"{what}: continue with daskgnn train --resume {near(out)}"
