"""Check a cluster, or this machine, and say in plain words what to fix."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

from daskgnn.cluster.settings import unsuitable
from daskgnn.errors import first_line
from daskgnn.train.machine import Machine, examine_machine, on_worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HERE = "here"
"""What this process is called."""
_LARGE, _TIMES = 4 << 20, 5
"""Bytes, and repetitions, of what is sent to measure a link."""
_MOST_PAIRS = 66
_CLOCK_SECONDS = 1.0
_SLOW = 60e6
"""Bytes a second of a link below which what is sent decides how long a step takes."""


@dataclass(frozen=True)
class Link:
    """What was measured between two workers."""

    first: str
    second: str
    seconds: float
    """Of an empty message there and back; the shortest of a few."""
    bandwidth: float
    """Bytes a second; the larger of a few."""


@dataclass
class Diagnosis:
    """What was found, and what to fix."""

    machines: dict[str, Machine] = field(default_factory=dict)
    """By address; this process is `HERE`."""
    workers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What Dask's workers say of themselves, by address."""
    links: list[Link] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """One sentence for each thing to fix."""


def diagnose(client: Any = None, stores: Sequence[str] = ()) -> Diagnosis:
    """Examine a cluster, or this machine alone.

    Parameters
    ----------
    client : distributed.Client, optional
    stores : sequence of str
        Paths that every worker has to see.

    Returns
    -------
    Diagnosis

    Examples
    --------
    >>> from daskgnn.train.doctor import diagnose
    >>> list(diagnose().machines)
    ['here']
    """
    found = Diagnosis({HERE: examine_machine()})
    if client is None:
        found.wrong += [
            f"{path} does not exist here" for path in stores if not os.path.exists(path)
        ]
        return found
    found.wrong += _ask(client, examine_on_worker, found.machines)
    found.wrong += _ask(client, on_worker, found.workers)
    found.links = measure_links(client, sorted(found.workers))
    for problems in (
        _wrong_settings(client),
        _unlike(found.machines),
        _wrong_workers(found),
        _wrong_clocks(client),
        _unseen(client, stores),
        _slow_links(found.links),
    ):
        found.wrong += problems
    return found


async def examine_on_worker() -> Machine:
    """Return what a worker tells, computed beside its tasks and its messages."""
    return await asyncio.to_thread(examine_machine)


def _ask(client: Any, question: Any, answers: dict[str, Any]) -> Iterator[str]:
    """Put the workers' answers among others; tell of those that have none."""
    for address, answer in sorted(client.run(question, on_error="return").items()):
        if isinstance(answer, Exception):
            yield (
                f"{address} cannot answer ({first_line(answer)}): install there what "
                "is installed here"
            )
        else:
            answers[address] = answer


def _wrong_settings(client: Any) -> Iterator[str]:
    try:
        names = unsuitable(client)
    except Exception as error:
        yield (
            f"the scheduler cannot answer ({first_line(error)}): install there what is "
            "installed here"
        )
        return
    if names:
        yield (
            f"the scheduler's settings make the loss of a worker costly "
            f"({', '.join(names)}): start it with 'daskgnn scheduler'"
        )


def _unlike(machines: dict[str, Machine]) -> Iterator[str]:
    """Tell where machines differ in versions, or in what bits depend on."""
    for name in machines[HERE].versions:
        kinds = _grouped((a, m.versions[name]) for a, m in machines.items())
        if len(kinds) > 1:
            yield f"versions of {name} differ ({_told(kinds)}): install one everywhere"
    workers = {a: m for a, m in machines.items() if a != HERE}
    kinds = _grouped((a, m.capability) for a, m in workers.items())
    if len(kinds) > 1:
        yield (
            f"processors differ, so a task that runs again elsewhere may give other "
            f"bits ({_told(kinds)}): use machines of one kind"
        )


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return who has which value."""
    found: dict[str, list[str]] = {}
    for who, value in pairs:
        found.setdefault(value, []).append(who)
    return found


def _told(kinds: dict[str, list[str]]) -> str:
    return "; ".join(f"{kind}: {', '.join(who)}" for kind, who in kinds.items())


def _wrong_workers(found: Diagnosis) -> Iterator[str]:
    """Tell of workers that were not started as training needs them."""
    for address, told in found.workers.items():
        machine = found.machines.get(address)
        if told["threads"] < 2:
            yield (
                f"{address} has one thread, so it prepares nothing while it trains: "
                "start it with --nthreads 2"
            )
        if not told["nanny"]:
            yield (
                f"{address} has no nanny, so nobody starts it again: leave out "
                "--no-nanny, or let a supervisor do so"
            )
        if not told["memory_limit"]:
            yield f"{address} has no memory limit: start it with --memory-limit"
        if machine is not None and machine.unset:
            yield (
                f"{address} gives freed memory back at every step ("
                f"{', '.join(machine.unset)} not set): start it with 'daskgnn worker'"
            )
    hosts = _grouped((a, m.host) for a, m in found.machines.items() if a != HERE)
    for host, addresses in hosts.items():
        there = [found.workers[a] for a in addresses if a in found.workers]
        promised = sum(told["memory_limit"] or 0 for told in there)
        memory = max(found.machines[a].memory for a in addresses)
        if promised > memory:
            yield (
                f"the workers of {host} may use {promised / 2**30:.1f} GiB together, "
                f"and it has {memory / 2**30:.1f}: give each a lower --memory-limit"
            )


def _wrong_clocks(client: Any) -> Iterator[str]:
    before = time.time()
    clocks = client.run(time.time, on_error="ignore")
    after = time.time()
    for address, clock in sorted(clocks.items()):
        late = max(before - clock, clock - after)
        if late > _CLOCK_SECONDS:
            yield (
                f"the clock of {address} is {late:.0f} s from this one: set both by NTP"
            )


def _unseen(client: Any, stores: Sequence[str]) -> Iterator[str]:
    for path in stores:
        seen = client.run(os.path.exists, path, on_error="ignore")
        for address in sorted(a for a, exists in seen.items() if not exists):
            yield (
                f"{address} does not see {path}: put it on a file system that all "
                "workers share, under the same path"
            )


def _slow_links(links: list[Link]) -> Iterator[str]:
    slow = [link for link in links if link.bandwidth < _SLOW]
    if slow:
        worst = min(slow, key=lambda link: link.bandwidth)
        yield (
            f"{len(slow)} of {len(links)} links are slow (the slowest, from "
            f"{worst.first} to {worst.second}, carries {worst.bandwidth / 1e6:.1f} "
            "MB/s): train with --halo-cache 256MB and --compress fp16"
        )


def measure_links(client: Any, addresses: Sequence[str]) -> list[Link]:
    """Measure between each two workers, one pair after the other.

    Of more than twelve workers, each is measured with the next one alone.
    """
    pairs = list(combinations(addresses, 2))
    if len(pairs) > _MOST_PAIRS:
        pairs = list(zip(addresses, [*addresses[1:], addresses[0]], strict=True))
    found = []
    for first, second in pairs:
        answers = client.run(_measure, second, workers=[first], on_error="ignore")
        found += [Link(first, second, *figures) for figures in answers.values()]
    return found


async def _measure(peer: str, dask_worker: Any) -> tuple[float, float]:
    """Return a link's seconds and bytes a second, there and back."""
    remote = dask_worker.rpc(peer)
    taken = {b"": 0.0, os.urandom(_LARGE): 0.0}
    for data in taken:
        await remote.echo(data=data)  # the connection is made
        times = []
        for _ in range(_TIMES):
            began = time.perf_counter()
            await remote.echo(data=data)
            times.append(time.perf_counter() - began)
        taken[data] = min(times)
    empty, full = taken.values()
    return empty, 2 * _LARGE / max(full - empty, 1e-9)
