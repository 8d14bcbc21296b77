"""The command ``train``: one run, fresh or resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click
import dask
from click.core import ParameterSource

from daskgnn.cli.errors import Interrupted, WasTerminated, debug_option
from daskgnn.cli.options import (
    FEATURE_DTYPES,
    FEATURES,
    NOT_NEGATIVE,
    PATH,
    POSITIVE,
    PROBABILITY,
    IntList,
    check_cluster,
    cluster_options,
    data_dir_option,
    hush,
    yes_option,
)
from daskgnn.cli.progress import LineProgress, TerminalProgress, make_progress
from daskgnn.cli.report import free_directory, near, report
from daskgnn.train.gradients import COMPENSATIONS, WAYS
from daskgnn.train.prefork import start_importing
from daskgnn.train.recipes import CACHE_POLICIES, PRECISIONS, SAMPLE_BY, STEPS
from daskgnn.train.signals import Signals, Terminated
from daskgnn.train.tls import Encryption

Shown = LineProgress | TerminalProgress
Command = Callable[..., Any]
# What may stand beside --resume: everything else is read from the run.
_TLS = ("tls", "tls_ca_file", "tls_cert", "tls_key")
_WITH_RESUME = {
    "resume",
    "workers",
    "memory_limit",
    "scheduler",
    "data_dir",
    "profile",
    "reconnect_timeout",
    *_TLS,
}


def _graph_options(command: Command) -> Command:
    """Add the options that say how the graph is partitioned and opened."""
    options = [
        click.option(
            "--num-parts", type=POSITIVE, help="Parts to open the graph with."
        ),
        click.option(
            "--num-clusters", type=POSITIVE, help="Clusters to partition into."
        ),
        click.option("--method", help="The partitioner, for instance metis or hash."),
        click.option(
            "--normalize-features/--no-normalize-features",
            default=None,
            help="Divide each node's features by their sum.",
        ),
        click.option(
            "--features",
            type=click.Choice(FEATURES),
            help="Where feature rows stay: in memory, or in the store's files.",
        ),
        click.option(
            "--feature-dtype",
            type=click.Choice(FEATURE_DTYPES),
            help="What workers hold dense features as.  [default: as stored]",
        ),
    ]
    return _apply(options, command)


def _model_options(command: Command) -> Command:
    """Add the options that say which model is trained."""
    options = [
        click.option("--model", type=click.Choice(["sage", "gcn", "gat"])),
        click.option("--aggr", type=click.Choice(["mean", "max", "sum"])),
        click.option("--heads", type=POSITIVE, help="Attention heads of gat."),
        click.option("--hidden-channels", type=POSITIVE),
        click.option("--num-layers", type=POSITIVE),
        click.option("--dropout", type=PROBABILITY),
        click.option("--input-dropout", type=PROBABILITY),
        click.option("--norm", type=click.Choice(["none", "layer"])),
    ]
    return _apply(options, command)


def _training_options(command: Command) -> Command:
    """Add the options that say how it is trained."""
    options = [
        click.option(
            "--num-neighbors",
            type=IntList(),
            help="Neighbours sampled at each hop, hop 1 first; -1 = all.",
        ),
        click.option(
            "--sample-by",
            type=click.Choice(SAMPLE_BY),
            help="What a neighbour's chance to be sampled follows.",
        ),
        click.option("--batch-size", type=POSITIVE, help="Seeds a step, in all parts."),
        click.option("--epochs", type=POSITIVE),
        click.option("--optimizer", help="A name in torch.optim, for instance adam."),
        click.option("--lr", type=click.FloatRange(min=0.0), help="Learning rate."),
        click.option("--weight-decay", type=click.FloatRange(min=0.0)),
        click.option(
            "--patience",
            type=POSITIVE,
            help="Stop after so many epochs without a better validation score.",
        ),
        click.option("--seed", type=NOT_NEGATIVE),
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            help="Of dense products in training; parameters and sums stay float32.",
        ),
        click.option(
            "--gradients",
            type=click.Choice(WAYS),
            help="How gradients of parts are combined: docs/gradients.md.",
        ),
        click.option(
            "--staleness",
            type=NOT_NEGATIVE,
            help="Updates that async is late, or server at most.",
        ),
        click.option(
            "--compensation",
            type=click.Choice(COMPENSATIONS),
            help="What is done about staleness.",
        ),
        click.option("--accumulate", type=POSITIVE, help="Steps that make one update."),
        click.option(
            "--clip-norm",
            type=click.FloatRange(min=0.0, min_open=True),
            help="Largest norm of an update's gradient.",
        ),
        click.option(
            "--compress",
            metavar="HOW",
            help="Send less of gradients: topk:0.01, powersgd:2, fp16, bf16 or int8.",
        ),
        click.option(
            "--local-steps",
            type=POSITIVE,
            metavar="K",
            help="Steps that each part takes by itself between averages.",
        ),
        click.option(
            "--checksum-every",
            type=POSITIVE,
            metavar="STEPS",
            help="Compare all workers' copies of the parameters.",
        ),
        click.option(
            "--halo-cache",
            metavar="SIZE",
            help="Keep so much of other parts' features in each part, as in '64 MB'.",
        ),
        click.option(
            "--halo-cache-policy",
            type=click.Choice(CACHE_POLICIES),
            help="Keep what is expected to be visited most, or what was used last.",
        ),
        click.option(
            "--recipe/--no-recipe",
            default=True,
            show_default=True,
            help="Take what is not given from the data set's tested settings.",
        ),
    ]
    return _apply(options, command)


def _apply(
    options: Sequence[Callable[[Command], Command]], command: Command
) -> Command:
    """Add options so that --help lists them in this order."""
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("graph", required=False)
@_graph_options
@_model_options
@_training_options
@cluster_options
@click.option(
    "--memory-limit",
    metavar="SIZE",
    help="Of each worker of the own cluster, as in '2 GiB'.  [default: a share of all]",
)
@click.option(
    "--standby",
    type=NOT_NEGATIVE,
    metavar="N",
    help="Workers besides, ready to go on at once for one that is lost.",
)
@click.option(
    "--adapt",
    type=IntList(),
    metavar="MIN,MAX",
    help="Start and retire workers of the own cluster as throughput says.",
)
@click.option(
    "--reconnect-timeout",
    type=click.FloatRange(min=0.0),
    metavar="SECONDS",
    help="How long to wait for the next scheduler at --scheduler.  [default: 60]",
)
@click.option(
    "--steps",
    type=click.Choice(STEPS),
    help="Run steps as tasks, or a window of them as one task a worker: same bits.",
)
@click.option(
    "--checkpoint-every", type=POSITIVE, metavar="STEPS", help="Besides every epoch."
)
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="SECONDS",
    help="Besides every epoch, and beside or in place of steps.",
)
@click.option(
    "--keep-checkpoints",
    type=POSITIVE,
    metavar="N",
    help="Keep the newest N, and the best epoch's.  [default: 2]",
)
@click.option(
    "--out",
    type=PATH,
    help="The run's directory, or a URL for fsspec.  [default: runs/GRAPH]",
)
@click.option(
    "--profile", is_flag=True, help="Print and draw where the steps' time went."
)
@click.option("--resume", type=PATH, metavar="DIR", help="Continue the run in DIR.")
@data_dir_option
@yes_option
@debug_option
@click.pass_context
def train(
    ctx: click.Context,
    /,
    graph: str | None,
    resume: str | None,
    workers: int | None,
    scheduler: str | None,
    yes: bool,
    profile: bool,
    reconnect_timeout: float | None,
    **given: Any,
) -> None:
    """Train a model on GRAPH and write it all to a directory.

    GRAPH is the name of a data set, the path of an .npz file, or the path of a
    store. What is not given comes from the data set's recipe, then from defaults.
    """
    check_cluster(workers, scheduler)
    progress = make_progress()
    hush(ctx)
    if reconnect_timeout is not None:
        dask.config.set({"gnn.reconnect-timeout": reconnect_timeout})
    try:
        with Signals():
            if resume is not None:
                _refuse_beside_resume(ctx)
                tls = Encryption(**{name: given[name] for name in _TLS})
                limit = given["memory_limit"]
                where = (workers, limit, scheduler, tls)
                summary = _resume(resume, *where, progress, profile)
            else:
                given |= {"graph": graph, "workers": workers, "scheduler": scheduler}
                summary = _train(ctx, given, progress, yes, profile)
    except KeyboardInterrupt:
        raise Interrupted(_advice("interrupted", progress.info)) from None
    except Terminated:
        raise WasTerminated(_advice("terminated", progress.info)) from None
    finally:
        progress.close()
    report(summary, progress.info)


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
            "be given: daskgnn train --resume DIR [--workers N | --scheduler ADDRESS]",
            ctx,
        )


def _resume(
    directory: str,
    workers: int | None,
    memory_limit: str | None,
    scheduler: str | None,
    encryption: Encryption,
    progress: Shown,
    profile: bool,
) -> dict[str, Any]:
    """Continue the run in a directory."""
    _begin_workers(workers, scheduler)
    from daskgnn.train import run

    return run.resume(
        directory,
        workers=workers,
        memory_limit=memory_limit,
        scheduler=scheduler,
        encryption=encryption,
        progress=progress,
        profile=profile,
    )


def _train(
    ctx: click.Context,
    given: dict[str, Any],
    progress: Shown,
    yes: bool,
    profile: bool,
) -> dict[str, Any]:
    """Start a fresh run."""
    if given["graph"] is None:
        raise click.MissingParameter(
            ctx=ctx, param_type="argument", param_hint="'GRAPH'"
        )
    if given["out"] is None:
        given["out"] = str(free_directory(given["graph"]))
    _begin_workers(given["workers"], given["scheduler"])
    from daskgnn.train import run

    return run.train(
        run.RunConfig(**given), progress=progress, yes=yes, profile=profile
    )


def _begin_workers(workers: int | None, scheduler: str | None) -> None:
    """Have what workers inherit imported while this process imports its own."""
    if scheduler is None and workers != 0:
        start_importing()


def _advice(what: str, info: dict[str, Any]) -> str:
    """Return what to say to who stopped a run."""
    out = info.get("out")
    if out is None:
        return f"{what} before the first checkpoint"
    return f"{what}: continue with daskgnn train --resume {near(out)}"
