"""Time measurement around the tasks that prepare windows.

Kernels know nothing of time: a graph is rewritten so that each task takes its own
time and passes it on beside its result.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dask.task_spec import Task

from daskgnn.dataflow.executor import has_cluster
from daskgnn.dataflow.steps.clock import Clock, Spent
from daskgnn.kernels.batch import PreparedWindow
from daskgnn.monitor.counters import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.dataflow.executor import Executor

_PATIENCE = 5.0
"""Seconds that workers have to tell what they received."""


@dataclass(frozen=True)
class Timed:
    """A result, and its time, which one of the tasks that use it counts."""

    value: Any
    spent: Spent
    counted_by: Any
    """Key of that task; None where a later window's last task counts it."""


@dataclass(frozen=True)
class TimedWindow(PreparedWindow):
    """A prepared window, and the time of its preparation."""

    spent: Spent = field(default_factory=dict)
    """By the first word of the tasks' keys; other parts' work for it included."""
    finished: float = 0.0
    """Seconds since the epoch."""


def timed(tasks: dict[Any, Any], keys: Sequence[Any]) -> dict[Any, Any]:
    """Return the graph with all tasks timed; those of `keys` give a `TimedWindow`.

    Each task's time is counted once, though its result may go to several tasks.
    """
    takers = {}
    for key, task in tasks.items():
        for other in task.dependencies:
            if other in tasks:
                takers[other] = key
    last = set(keys)
    return {
        key: Task(key, _run, key, takers.get(key), key in last, task.func, *task.args)
        for key, task in tasks.items()
    }


def _run(
    key: Any, counted_by: Any, last: bool, function: Callable[..., Any], *args: Any
) -> Timed | TimedWindow:
    """Run a task of a preparation with the values of timed results; count its time."""
    clock = Clock()

    def opened(given: Any) -> Any:
        if isinstance(given, list):
            return [opened(each) for each in given]
        if not isinstance(given, Timed):
            return given
        if given.counted_by == key or (last and given.counted_by is None):
            clock.include(given.spent)
        return given.value

    values = [opened(given) for given in args]
    mine = Clock()
    with mine.phase(key[0]):
        found = function(*values)
    count("busy_seconds", key[0], mine.spent[key[0]][0])
    clock.include(mine.spent)
    if not last:
        return Timed(found, clock.spent, counted_by)
    count("received_bytes", amount=int(found.traffic.nbytes.sum()))
    return TimedWindow(found.steps, found.traffic, clock.spent, time.time())


def report_of(window: TimedWindow) -> TimedWindow:
    """Return what the driver gets of a prepared window: all but its steps."""
    return replace(window, steps=())


@dataclass
class Transfers:
    """What workers have fetched from each other, as Dask has logged it."""

    count: int = 0
    nbytes: int = 0
    seconds: float = 0.0
    """Summed over transfers, which overlap."""
    span: float = 0.0
    """Seconds that the logs reach back: they are of limited length."""


def transfers(executor: Executor, since: float) -> dict[str, Transfers]:
    """Return transfers since a time (seconds since the epoch), by keys' first word.

    Empty without a cluster, or if a worker does not answer.
    """
    if not has_cluster(executor):
        return {}
    if executor.client.asynchronous or executor.client.status != "running":
        return {}
    try:
        found = executor.client.run(_transfers_of, since, on_error="ignore")
    except (OSError, TimeoutError):
        return {}
    total: dict[str, Transfers] = {}
    for worker in found.values():
        for word, one in worker.items():
            all_ = total.setdefault(word, Transfers(span=one.span))
            all_.count += one.count
            all_.nbytes += one.nbytes
            all_.seconds += one.seconds
            all_.span = min(all_.span, one.span)
    return total


def _transfers_of(since: float, dask_worker: Any) -> dict[str, Transfers]:
    """Return a worker's transfers since a time; runs on its event loop."""
    log = dask_worker.transfer_incoming_log
    if len(log) == log.maxlen:
        since = max(since, log[0]["start"])
    span = time.time() - since
    out: dict[str, Transfers] = {}
    for entry in log:
        if entry["start"] < since:
            continue
        # One transfer may bring several results: its time is counted for the first.
        for number, (key, nbytes) in enumerate(entry["keys"].items()):
            word = key[0] if isinstance(key, tuple) else "other"
            one = out.setdefault(str(word), Transfers(span=span))
            one.nbytes += nbytes or 0
            if not number:
                one.count += 1
                one.seconds += entry["stop"] - entry["start"]
    return out
