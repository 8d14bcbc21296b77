"""One window's time, divided among the lines of a table that add up to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from daskgnn.dataflow.steps.clock import Work, Works
    from daskgnn.dataflow.steps.peers import MemberReport
    from daskgnn.dataflow.timing import TimedWindow

LINES = {
    "sample": "sample",
    "gather": "gather, aggregate",
    "forward": "forward",
    "backward": "backward",
    "compress": "compress gradients",
    "reduce": "reduce",
    "exchange": "exchange of sums",
    "update": "update",
    "state": "state in and out",
    "other": "rest of the task",
    "peers": "wait for slower workers",
    "form": "wait to start together",
    "batches": "wait for batches",
    "dask": "Dask (remainder)",
    "driver": "driver",
    "evaluation": "evaluation",
    "outside": "records, checkpoints",
}
"""The lines of the table, and what they are called."""

COMPUTED = ("forward", "backward")
"""Lines that differ with the size of a worker's parts."""

CROSSED = (
    "halo_rows",
    "remote_rows",
    "remote_bytes",
    "messages",
    "cache_hits",
    "cache_misses",
    "cache_saved_bytes",
)
"""Counts of a window's preparation."""

Seconds = dict[str, float]
"""By line."""


@dataclass(frozen=True)
class WindowProfile:
    """The times of one trained window."""

    steps: int
    form: str
    """"tasks" or "window": how its steps ran."""
    submitted: float
    """When its preparation was, seconds since the epoch."""
    began: float
    """When its steps were submitted, seconds since the epoch."""
    tasks: int
    prepared: tuple[TimedWindow, ...]
    """By part."""
    members: tuple[MemberReport, ...]
    """Of a gang; empty where the steps ran as tasks."""
    work: tuple[Works, ...]
    """By step, where they did."""
    crossed: dict[str, int]
    """What crossed between parts and workers, and what caches saved: see `CROSSED`."""
    places: tuple[str, ...] = ()
    """Each part's worker."""

    @property
    def ready_after(self) -> float:
        """Seconds from the steps' submission to the last batch; below 0: no wait."""
        return max(report.finished for report in self.prepared) - self.began

    def lines(self, wall: float) -> tuple[dict[str, Seconds], Seconds]:
        """Divide a window's wall time.

        Parameters
        ----------
        wall : float
            Seconds from the steps' submission to their result, on the driver's clock.

        Returns
        -------
        columns : dict
            By worker: seconds by line, which add up to `wall`.
        cpu : dict
            Processor seconds by line, summed over workers.
        """
        return _gang(self, wall) if self.members else _tasks(self, wall)

    def part_seconds(self, places: Sequence[str]) -> list[float]:
        """Return what each part took a step: its preparation and its gradients.

        Parameters
        ----------
        places : sequence of str
            Each part's worker. Where steps ran as tasks, the parts of a worker are
            taken for alike.
        """
        total = [
            sum(wall for wall, _ in report.spent.values()) for report in self.prepared
        ]
        measured = {member.address: member.part_seconds for member in self.members}
        for worker in set(places):
            parts = [part for part, place in enumerate(places) if place == worker]
            seconds = measured.get(worker, ())
            if len(seconds) != len(parts):
                busy = [_busy(w[worker]) for w in self.work if worker in w]
                share = sum(sum(lines.values()) for lines in busy) / len(parts)
                seconds = (share,) * len(parts)
            for part, took in zip(parts, seconds, strict=True):
                total[part] += took
        return [seconds / self.steps for seconds in total]

    def exchanges(self) -> list[float]:
        """Return seconds of each step's exchange between members of a gang."""
        meetings = [member.meetings for member in self.members]
        return _needed(meetings) if len(meetings) > 1 else []


def include(total: Seconds, more: Mapping[str, float], factor: float = 1.0) -> None:
    """Add more seconds to a total, line by line."""
    for name, seconds in more.items():
        total[name] = total.get(name, 0.0) + seconds * factor


def _gang(profile: WindowProfile, wall: float) -> tuple[dict[str, Seconds], Seconds]:
    """Return each member's lines, which add up to `wall`, and processor seconds."""
    columns: dict[str, Seconds] = {}
    cpu: Seconds = {}
    whole = _needed([member.meetings for member in profile.members])
    for member in profile.members:
        columns[member.address] = _member(profile, member, wall, whole)
        include(cpu, {name: spent[1] for name, spent in member.work.spent.items()})
    return columns, cpu


def _needed(meetings: list[tuple[tuple[float, float], ...]]) -> list[float]:
    """Return seconds of each step's exchange: from the last to come, to its end.

    Clocks of machines that differ make this wrong, but not the sum of all lines.
    """
    if len(meetings) < 2:
        return [left - came for came, left in (meetings[0] if meetings else ())]
    out = []
    for step in zip(*meetings, strict=True):
        last_came = max(came for came, _ in step)
        out.append(max(max(left for _, left in step) - last_came, 0.0))
    return out


def _member(
    profile: WindowProfile, member: MemberReport, wall: float, needed: list[float]
) -> Seconds:
    """Return a member's lines."""
    work = member.work
    lines = {name: spent[0] for name, spent in work.spent.items()}
    inside = max(work.ended - work.began, 0.0)
    waited = [left - came for came, left in member.meetings]
    exchange = sum(min(a, b) for a, b in zip(waited, needed, strict=False))
    before = min(max(work.began - profile.began, 0.0), max(wall - inside, 0.0))
    form = lines.get("form", 0.0)
    # Waiting for minibatches: its own before the task began, others' during it.
    ready = max(profile.ready_after, 0.0)
    mine, theirs = min(ready, before), min(max(ready - before, 0.0), form)
    return {
        **lines,
        "exchange": exchange,
        "peers": lines.get("exchange", 0.0) - exchange,
        "form": form - theirs,
        "batches": mine + theirs,
        "dask": max(wall - inside - mine, 0.0),
    }


def _tasks(profile: WindowProfile, wall: float) -> tuple[dict[str, Seconds], Seconds]:
    """Return each worker's lines where steps ran as tasks, and processor seconds.

    A step waits for the slowest worker's gradients, then for sums and the update,
    wherever these run.
    """
    workers = sorted(
        {w for works in profile.work for w in works if math.isfinite(works[w].began)}
    )
    columns: dict[str, Seconds] = {worker: {} for worker in workers}
    common: Seconds = {}
    cpu: Seconds = {}
    for works in profile.work:
        busy = {w: _busy(works[w]) if w in works else {} for w in workers}
        longest = max((sum(lines.values()) for lines in busy.values()), default=0.0)
        for worker, lines in busy.items():
            include(columns[worker], lines)
            include(columns[worker], {"peers": longest - sum(lines.values())})
        for name in ("reduce", "update"):
            took = [w.spent.get(name, (0.0, 0.0))[0] for w in works.values()]
            include(common, {name: max(took, default=0.0)})
        for work in works.values():
            include(cpu, {name: spent[1] for name, spent in work.spent.items()})
    for lines in columns.values():
        include(lines, common)
        left = max(wall - sum(lines.values()), 0.0)
        # Time computing one part while another's minibatch is missing is not waiting.
        lines["batches"] = min(max(profile.ready_after, 0.0), left)
        lines["dask"] = left - lines["batches"]
    return columns, cpu


def _busy(work: Work) -> Seconds:
    """Return a worker's seconds on gradients of a step, by line.

    Parts that were computed side by side share the time.
    """
    names = ("state", *COMPUTED, "compress")
    lines = {name: work.spent[name][0] for name in names if name in work.spent}
    span = work.ended - work.began
    total = sum(lines.values())
    if math.isfinite(span) and 0 < span < total:
        return {name: seconds * span / total for name, seconds in lines.items()}
    return lines
