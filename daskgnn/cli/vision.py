"""The commands ``vision train`` and ``vision evaluate``: runs over images."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from daskgnn.cli.declared import VisionEvaluateOptions
from daskgnn.cli.errors import (
    INTERRUPTED,
    TERMINATED,
    FailedRun,
    OneLineGroup,
    debug_option,
)
from daskgnn.cli.options import (
    PATH,
    HeadedCommand,
    check_cluster,
    cluster_options,
    data_dir_option,
    options_of,
    settings_of,
    silence_logs,
)
from daskgnn.cli.report import free_directory, near, report
from daskgnn.train.options.visionoptions import RESULT, VISION
from daskgnn.train.persist.signals import Signals, Terminated

if TYPE_CHECKING:
    from daskgnn.cli.progress import LineProgress
    from daskgnn.train.progress import TerminalProgress

    Shown = LineProgress | TerminalProgress


@click.group(name="vision", cls=OneLineGroup)
@debug_option
def vision() -> None:
    """Train a Vision GNN on images, its layers on workers.

    DATA is the name of a set of images (digits, fashion-mnist, cifar10), or the path
    of a folder: with idx files, with CIFAR-10's binary files, or with a folder of
    image files for each class.
    """


@vision.command(name="train", cls=HeadedCommand)
@click.argument("data", required=False)
@settings_of(VISION)
@click.option(
    "--resume", type=PATH, metavar="DIR", help="Continue the run in DIR.", default=None
)
@click.option(
    "--profile",
    is_flag=True,
    help="Draw schedule.png: what each worker did when, in a step.",
)
@debug_option
@click.pass_context
def train_images(
    ctx: click.Context, /, resume: str | None, profile: bool, **words: Any
) -> None:
    """Train a model on DATA and write it all to a directory.

    What is not given comes from the set's recipe, then from defaults. With --stages,
    the model's layers are cut into stages on different workers; results are those of
    the sequential run with the same micro-batches, bit for bit.
    """
    given = {name: value for name, value in words.items() if value is not None}
    check_cluster(given.get("workers"), given.get("scheduler"))
    from daskgnn.cli.progress import make_progress

    progress = make_progress()
    silence_logs(ctx)
    try:
        with Signals():
            if resume is not None:
                _refuse_beside_resume(ctx)
                summary = _resume(resume, given, progress, profile)
            else:
                summary = _train(ctx, given, progress, profile)
    except KeyboardInterrupt:
        raise FailedRun(_advice("interrupted", progress.info), INTERRUPTED) from None
    except Terminated:
        raise FailedRun(_advice("terminated", progress.info), TERMINATED) from None
    finally:
        progress.close()
    report(summary, progress.info)


@vision.command(name="evaluate")
@click.argument("run", type=PATH)
@options_of(VisionEvaluateOptions)
@data_dir_option
@partial(cluster_options, workers=replace(VISION["workers"], shown="0"))
@debug_option
@click.pass_context
def evaluate_images(
    ctx: click.Context, /, run: str, split: str, data_dir: str | None, **cluster: Any
) -> None:
    """Score the best parameters of RUN, as one JSON object.

    RUN is the directory that "vision train --out" wrote.
    """
    where = {name: cluster[name] for name in ("workers", "scheduler")}
    check_cluster(**where)
    silence_logs(ctx)
    from daskgnn.cluster.tls import Encryption
    from daskgnn.vision import run as runs

    if where["workers"] is None and where["scheduler"] is None:
        where["workers"] = 0
    where["encryption"] = Encryption.of(cluster)
    click.echo(json.dumps(runs.evaluate(run, split, data_dir=data_dir, **where)))


def _train(
    ctx: click.Context, given: dict[str, Any], progress: Shown, profile: bool
) -> Any:
    """Start a fresh run."""
    if "data" not in given:
        raise click.MissingParameter(
            ctx=ctx, param_type="argument", param_hint="'DATA'"
        )
    given.setdefault("out", str(free_directory(given["data"])))
    from daskgnn.vision import run as runs

    return runs.train(given, progress=progress, profile=profile)


def _resume(
    directory: str, given: dict[str, Any], progress: Shown, profile: bool
) -> Any:
    """Continue the run in a directory."""
    from daskgnn.cluster.tls import Encryption
    from daskgnn.vision import run as runs

    encryption = Encryption.of(given)
    given = {n: v for n, v in given.items() if not n.startswith("tls")}
    return runs.resume(
        directory, encryption=encryption, progress=progress, profile=profile, **given
    )


def _refuse_beside_resume(ctx: click.Context) -> None:
    """Refuse options that a resumed run takes from its own directory."""
    told = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    for parameter in ctx.command.params:
        name = parameter.name or ""
        fixed = name in RESULT or name == "out"
        if not fixed or ctx.get_parameter_source(name) not in told:
            continue
        if ctx.params.get(name) is not None:
            raise click.UsageError(
                f"--resume takes what decides the result from the run, so "
                f"{parameter.opts[0]} cannot be given: daskgnn vision train --resume "
                "DIR [--stages S] [--workers N | --scheduler ADDRESS]",
                ctx,
            )


def _advice(what: str, info: dict[str, Any]) -> str:
    """Return what to say to who stopped a run."""
    out = info.get("out")
    if out is None:
        return f"{what} before the first step"
    return f"{what}: continue with daskgnn vision train --resume {near(out)}"
