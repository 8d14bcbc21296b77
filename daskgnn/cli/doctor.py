"""The command ``doctor``: check a cluster, or this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from daskgnn.cli.declared import DoctorOptions
from daskgnn.cli.errors import FailedRun, debug_option
from daskgnn.cli.options import certificate_options, options_of, silence_logs

if TYPE_CHECKING:
    from daskgnn.train.doctor import Diagnosis

_FEW = 10
"""Links that are shown one by one."""


@click.command()
@options_of(DoctorOptions)
@certificate_options
@debug_option
@click.pass_context
def doctor(
    ctx: click.Context,
    /,
    scheduler: str | None,
    store: str | None,
    as_json: bool,
    **certificates: Any,
) -> None:
    """Check this machine, or a running cluster, and say what to fix.

    Versions, processors, speed of lower precisions, settings, memory and clocks of all
    workers, whether they see a store, and the links between them. It takes a second or
    two, and some tenths for each pair of workers. Status 1 means that there is
    something to fix.
    """
    silence_logs(ctx)
    from daskgnn.cluster.client import open_client
    from daskgnn.cluster.tls import Encryption
    from daskgnn.paths import absolute_path
    from daskgnn.train.doctor import diagnose

    stores = [absolute_path(store)] if store else []
    with (
        Encryption.of(certificates).configured(scheduler),
        open_client(0 if scheduler is None else None, scheduler) as client,
    ):
        found = diagnose(client, stores)
    click.echo(json.dumps(asdict(found)) if as_json else in_words(found))
    if found.wrong:
        count = len(found.wrong)
        raise FailedRun(f"{count} thing{'s' if count > 1 else ''} to fix")


def in_words(found: Diagnosis) -> str:
    """Return a diagnosis as tables and sentences."""
    from daskgnn.cli.comparison import table

    here = next(iter(found.machines.values()))
    parts = [
        ", ".join(f"{name} {version}" for name, version in here.versions.items()),
        table([_row(found, address) for address in found.machines]),
    ]
    if found.links:
        parts.append(_links(found))
    advice = [f"fix: {sentence}" for sentence in found.wrong] or ["nothing to fix"]
    return "\n\n".join([*parts, "\n".join(advice)])


def _row(found: Diagnosis, address: str) -> dict[str, str]:
    """Return what a table shows of a process."""
    machine, worker = found.machines[address], found.workers.get(address, {})
    limit = worker.get("memory_limit")
    return {
        "process": address,
        "host": machine.host,
        "cores": str(machine.cores),
        "threads": str(worker.get("threads", "-")),
        "memory": _gib(machine.memory),
        "free": _gib(machine.available),
        "limit": _gib(limit) if limit else "-",
        "processor": machine.capability,
        **{
            name: f"{ratio:.1f}x{'' if machine.instructions[name] else ' (no)'}"
            for name, ratio in machine.speed.items()
        },
    }


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _links(found: Diagnosis) -> str:
    """Return the links, or the least and the most of many."""
    from daskgnn.cli.comparison import table

    if len(found.links) <= _FEW:
        return table(
            [
                {
                    "link": f"{link.first} - {link.second}",
                    "there and back": f"{1e3 * link.seconds:.2f} ms",
                    "bandwidth": f"{link.bandwidth / 1e6:.0f} MB/s",
                }
                for link in found.links
            ]
        )
    seconds = sorted(1e3 * link.seconds for link in found.links)
    speeds = sorted(link.bandwidth / 1e6 for link in found.links)
    return (
        f"{len(found.links)} links: {seconds[0]:.2f} to {seconds[-1]:.2f} ms there and "
        f"back, {speeds[0]:.0f} to {speeds[-1]:.0f} MB/s"
    )
