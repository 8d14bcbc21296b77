"""Out-of-core preparation of a store, shared by ``partition`` and ``generate``."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from daskgnn.cli.options import check_cluster, silence_logs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CLUSTER = ("workers", "scheduler", "tls", "tls_ca_file", "tls_cert", "tls_key")
"""Options that say which cluster helps."""

SHOWN_CLASSES = 20
"""Classes whose names a report shows."""


def prepare_store(source: Any, out: str, cluster: dict[str, Any], **given: Any) -> None:
    """Make a store of a graph that need not fit in memory, and tell what came of it.

    Parameters
    ----------
    cluster
        The options of `CLUSTER`.
    given
        As of `daskgnn.prepare.prepare`.
    """
    from daskgnn.prepare import prepare

    with _client(**cluster) as client:
        shown = sys.stderr.isatty()
        prepare(source, out, progress=shown, tell=tell_stage, client=client, **given)
    _tell_prepared(out)


@contextmanager
def _client(workers: int | None, scheduler: str | None, **tls: Any) -> Iterator[Any]:
    """Yield a client of the cluster that was asked for; None without one."""
    check_cluster(workers, scheduler)
    if scheduler is None and not workers:
        yield None
        return
    from daskgnn.cluster.client import open_client
    from daskgnn.cluster.clusters import own_cluster
    from daskgnn.cluster.tls import Encryption

    silence_logs(click.get_current_context())
    with Encryption(**tls).configured(scheduler):
        # The sizes of tasks keep the limit: a nanny would count mapped pages.
        opened = (
            open_client(None, scheduler)
            if scheduler is not None
            else own_cluster(workers or 1, memory_limit=0)
        )
        with opened as client:
            yield client


def refuse_cluster(cluster: dict[str, Any]) -> None:
    """Refuse a cluster where nothing is prepared out of core."""
    for name in CLUSTER:
        if cluster[name] is not None:
            raise click.UsageError(
                f"--{name.replace('_', '-')} is for --out-of-core, which shares its "
                "work with a cluster: add --out-of-core, or leave it out"
            )


def tell_stage(stage: str) -> None:
    """Say what is done now, where no bar does."""
    if not sys.stderr.isatty():
        click.echo(f"{stage} ...", err=True)


def named_classes(names: Sequence[str] | None) -> str:
    """Return the names of classes in a line, the first of many."""
    told = list(names or ())
    more = [f"... ({len(told)})"] if len(told) > SHOWN_CLASSES else []
    return ", ".join([*told[:SHOWN_CLASSES], *more])


def tell_stored(
    out: str,
    num_nodes: int,
    num_edges: int,
    directed: bool,
    report: dict[str, int],
    class_names: Sequence[str] | None = None,
) -> None:
    """Print what a store holds, and what was dropped or added on the way."""
    both = "" if directed else " (each counted both ways)"
    click.echo(f"{out}: {num_nodes:,} nodes, {num_edges:,} edges{both}")
    for name, count in report.items():
        if count:
            click.echo(f"  {name.replace('_', ' ')}: {count:,}")
    if class_names:
        click.echo(f"  classes: {named_classes(class_names)}")


def _tell_prepared(out: str) -> None:
    """Print what came of a preparation out of core."""
    from daskgnn.graph.store.store import open_store

    found = open_store(out).attributes
    counts = found["num_nodes"], found["num_edges"]
    report, names = found["report"], found.get("class_names")
    tell_stored(out, *counts, found["directed"], report, names)
    how = found["partitioner"]
    click.echo(
        f"{how['num_clusters']} clusters by {how['method']}, edge cut "
        f"{how['edge_cut']:.4f}"
    )
