"""Where a step's time goes: one account a window, added up to a table and a picture.

Each worker's lines add up to the wall time: what was measured in its tasks, what it
waited for, what the driver did between windows, and a remainder that is Dask's: graphs
on their way to workers, and results on their way back.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.dataflow.clock import added
from daskgnn.train.recorder import write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from daskgnn.dataflow.clock import Spent, Work, Works
    from daskgnn.dataflow.gang import MemberReport
    from daskgnn.dataflow.timing import Transfers, WindowReport

LINES = {
    "sample": "sample",
    "gather": "gather, aggregate",
    "forward": "forward",
    "backward": "backward",
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
    "outside": "evaluation, checkpoints",
}
"""The lines of the table, and what they are called."""

_GATHERING = ("rows", "gather")
_COMPUTED = ("forward", "backward")
_WAITED = ("exchange", "peers", "form", "batches")
_MOST_COLUMNS = 4
_MOST_EXCHANGES = 100_000
HERE = "this process"

Seconds = dict[str, float]
"""By line."""


@dataclass(frozen=True)
class Account:
    """What is known of a trained window's time."""

    steps: int
    form: str
    submitted: float
    """When its preparation was, seconds since the epoch."""
    began: float
    """When its steps were submitted."""
    tasks: int
    prepared: tuple[WindowReport, ...]
    """By part."""
    members: tuple[MemberReport, ...]
    """Of a gang; empty where the steps ran as tasks."""
    work: tuple[Works, ...]
    """By step, where they did."""
    halo_rows: int
    remote_rows: int
    remote_bytes: int
    messages: int

    @property
    def ready_after(self) -> float:
        """Seconds from the steps' submission to the last batch; below 0: no wait."""
        return max(report.finished for report in self.prepared) - self.began


@dataclass
class _Sums:
    """What is added up over windows."""

    windows: int = 0
    steps: int = 0
    seconds: float = 0.0
    """On the driver's clock, from the first window's begin to the last one's end."""
    chain: dict[str, Seconds] = field(default_factory=dict)
    """By worker, whose lines add up to the time it was there."""
    present: dict[str, float] = field(default_factory=dict)
    """By worker: the wall time of the windows it had a part in."""
    mean: Seconds = field(default_factory=dict)
    """Over workers."""
    cpu: Seconds = field(default_factory=dict)
    """Summed over workers."""
    ahead: dict[int, Spent] = field(default_factory=dict)
    """By part."""
    latency: float = 0.0
    forms: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    exchanges: deque[float] = field(
        default_factory=lambda: deque(maxlen=_MOST_EXCHANGES)
    )
    """Seconds of each step's exchange."""

    def add(self, account: Account, gaps: Seconds, wall: float) -> None:
        """Add a window; `gaps` are the driver's lines before it."""
        self.windows += 1
        self.steps += account.steps
        self.forms[account.form] = self.forms.get(account.form, 0) + account.steps
        columns, cpu = (_gang if account.members else _tasks)(account, wall)
        _include(self.cpu, cpu)
        for worker, lines in columns.items():
            mine = self.chain.setdefault(worker, {})
            _include(mine, {**lines, **gaps})
            time_here = wall + sum(gaps.values())
            self.present[worker] = self.present.get(worker, 0.0) + time_here
            _include(self.mean, lines, 1 / len(columns))
        _include(self.mean, gaps)
        self._add_prepared(account)
        self.exchanges.extend(_exchanges(account.members))

    def _add_prepared(self, account: Account) -> None:
        for part, report in enumerate(account.prepared):
            self.ahead[part] = added(self.ahead.get(part, {}), report.spent)
        finished = max(report.finished for report in account.prepared)
        self.latency += finished - account.submitted
        counts = {
            "tasks": account.tasks,
            "halo_rows": account.halo_rows,
            "remote_rows": account.remote_rows,
            "remote_bytes": account.remote_bytes,
            "messages": account.messages,
            "gradient_bytes": sum(m.sent_bytes for m in account.members),
            "gradient_messages": sum(m.messages for m in account.members),
        }
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count


class Ledger:
    """Where the time of a run's steps went.

    On a cluster the first window is left out, if there are others: nothing was
    prepared before it. Without one, sampling and gathering happen between windows and
    are lines of the same sum, from the first step on.

    Parameters
    ----------
    inline : bool
        Whether all happens in this process.

    Examples
    --------
    >>> ledger = trainer.profile(steps=64)  # doctest: +SKIP
    >>> print(ledger.table())               # doctest: +SKIP
    >>> ledger.plot("profile.png")          # doctest: +SKIP
    """

    def __init__(self, inline: bool) -> None:
        self.inline = inline
        self.transfers: dict[str, Transfers] = {}
        """What workers fetched from each other, where it was asked for."""
        self._first: _Sums | None = None
        self._sums = _Sums()
        self._start = self._end = self._mark = time.perf_counter()
        self._outside = self._driver = 0.0
        self.began = time.time()
        """Of what counts, seconds since the epoch."""

    # -- told by the loop, in this order

    def begin(self) -> None:
        """Take note that the loop begins."""
        self.began = time.time()
        self._start = self._end = self._mark = time.perf_counter()

    def enter(self) -> None:
        """Take note that a window's steps are about to be submitted."""
        now = time.perf_counter()
        self._driver = now - self._mark
        self._mark = now

    def leave(self, account: Account) -> None:
        """Take note of a window's end and of its account."""
        now = time.perf_counter()
        wall, self._end = now - self._mark, now
        gaps = {"driver": self._driver, "outside": self._outside}
        sums = self._sums
        sums.add(account, gaps, wall)
        sums.seconds = now - self._start
        if not self.inline and self._first is None:
            self._first, self._sums = sums, _Sums()
            self._start, self.began = now, time.time()

    def resume(self) -> None:
        """Take note that the caller has done with a window."""
        self._mark = time.perf_counter()
        self._outside = self._mark - self._end

    # -- read at the end

    @property
    def _counted(self) -> _Sums:
        """What counts: without the first window, if there are others."""
        return self._first if self._first and not self._sums.steps else self._sums

    @property
    def steps(self) -> int:
        """How many steps are accounted for."""
        return self._counted.steps

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, JSON-able: milliseconds and counts a step."""
        sums = self._counted
        if not sums.steps:
            return {"steps": 0}
        ms = 1000 / sums.steps
        mean, columns = self._lines()
        total = sum(mean.values())
        lines = {
            name: {
                "label": label,
                "ms": mean[name] * ms,
                "share": mean[name] / sums.seconds,
                "cpu_ms": sums.cpu[name] * ms if name in sums.cpu else None,
                "by_worker": {
                    w: column.get(name, 0.0) for w, column in columns.items()
                },
            }
            for name, label in LINES.items()
            if name in mean
        }
        return {
            "steps": sums.steps,
            "windows": sums.windows,
            "without_first_window": sums is not self._first and not self.inline,
            "forms": sums.forms,
            "workers": list(columns),
            "parts": len(sums.ahead),
            "inline": self.inline,
            "wall_ms": sums.seconds * ms,
            "sum_ms": total * ms,
            "lines": lines,
            "ahead": _ahead(sums, ms),
            "dask": {"tasks": sums.counts["tasks"] / sums.steps},
            "halo": self._halo(sums),
            "gradients": {
                "bytes": sums.counts["gradient_bytes"] / sums.steps,
                "messages": sums.counts["gradient_messages"] / sums.steps,
                "exchange_ms": _percentiles(sums.exchanges),
            },
            "communication_share": mean.get("exchange", 0.0) / sums.seconds,
            "waiting_share": sum(mean.get(n, 0.0) for n in _WAITED) / sums.seconds,
            "balance": _balance(columns),
        }

    def _lines(self) -> tuple[Seconds, dict[str, Seconds]]:
        """Return seconds by line, mean over workers; ms a step by worker and line."""
        sums = self._counted
        mean = dict(sums.mean)
        columns = {}
        for worker, lines in sorted(sums.chain.items()):
            # A worker that came late or was lost counts for the time it was there.
            steps = sums.steps * sums.present[worker] / max(sums.seconds, 1e-9)
            columns[worker] = {k: v * 1000 / max(steps, 1e-9) for k, v in lines.items()}
        if not self.inline:
            return mean, columns
        for name, seconds in _inline(sums).items():
            mean[name] = mean.get(name, 0.0) + seconds
        column = {name: value * 1000 / sums.steps for name, value in mean.items()}
        return mean, {HERE: column}

    def _halo(self, sums: _Sums) -> dict[str, Any]:
        """Return what crossed between workers to prepare steps."""
        names = ("halo_rows", "remote_rows", "remote_bytes", "messages")
        fetched = {}
        for word, found in self.transfers.items():
            share = 1 / max(found.span, 1e-9) * sums.seconds / sums.steps
            fetched[word] = {
                "transfers": found.count * share,
                "bytes": found.nbytes * share,
                "ms": found.seconds * 1000 * share,
            }
        return {
            **{name: sums.counts[name] / sums.steps for name in names},
            "fetched": fetched,
        }

    def table(self) -> str:
        """Return the figures as a table."""
        figures = self.to_dict()
        if not figures["steps"]:
            return "no step was taken"
        parts = [_head(figures), _chain_table(figures)]
        if not self.inline:
            parts.append(_ahead_table(figures))
        parts.append(_notes(figures))
        return "\n\n".join(parts)

    def plot(self, out: str | Path) -> Path:
        """Draw the figures into a PNG and return its path."""
        from daskgnn.plot import plot_profile

        return plot_profile(self.to_dict(), out)

    def write(self, directory: str | Path) -> tuple[Path, Path]:
        """Write ``profile.json`` and ``profile.png`` and return their paths."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        figures = directory / "profile.json"
        write_json(figures, self.to_dict())
        return figures, self.plot(directory / "profile.png")


def _include(total: Seconds, more: Mapping[str, float], factor: float = 1.0) -> None:
    for name, seconds in more.items():
        total[name] = total.get(name, 0.0) + seconds * factor


# -- one window


def _gang(account: Account, wall: float) -> tuple[dict[str, Seconds], Seconds]:
    """Return each member's lines, which add up to `wall`, and processor seconds."""
    columns: dict[str, Seconds] = {}
    cpu: Seconds = {}
    meetings = [member.meetings for member in account.members]
    whole = _needed(meetings)
    for member in account.members:
        columns[member.address] = _member(account, member, wall, whole)
        _include(cpu, {name: spent[1] for name, spent in member.work.spent.items()})
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


def _exchanges(members: tuple[MemberReport, ...]) -> list[float]:
    return _needed([m.meetings for m in members]) if len(members) > 1 else []


def _member(
    account: Account, member: MemberReport, wall: float, needed: list[float]
) -> Seconds:
    """Return a member's lines."""
    work = member.work
    lines = {name: spent[0] for name, spent in work.spent.items()}
    inside = max(work.ended - work.began, 0.0)
    waited = [left - came for came, left in member.meetings]
    exchange = sum(min(a, b) for a, b in zip(waited, needed, strict=False))
    before = min(max(work.began - account.began, 0.0), max(wall - inside, 0.0))
    form = lines.get("form", 0.0)
    # Waiting for batches: the own ones before the task began, others' while it waited.
    ready = max(account.ready_after, 0.0)
    mine, theirs = min(ready, before), min(max(ready - before, 0.0), form)
    return {
        **lines,
        "exchange": exchange,
        "peers": lines.get("exchange", 0.0) - exchange,
        "form": form - theirs,
        "batches": mine + theirs,
        "dask": max(wall - inside - mine, 0.0),
    }


def _tasks(account: Account, wall: float) -> tuple[dict[str, Seconds], Seconds]:
    """Return each worker's lines where steps ran as tasks, and processor seconds.

    A step waits for the slowest worker's gradients, then for sums and the update,
    wherever these run.
    """
    workers = sorted({address for works in account.work for address in works})
    columns: dict[str, Seconds] = {worker: {} for worker in workers}
    common: Seconds = {"batches": min(max(account.ready_after, 0.0), wall)}
    cpu: Seconds = {}
    for works in account.work:
        busy = {w: _busy(works[w]) if w in works else {} for w in workers}
        longest = max(sum(lines.values()) for lines in busy.values())
        for worker, lines in busy.items():
            _include(columns[worker], lines)
            _include(columns[worker], {"peers": longest - sum(lines.values())})
        for name in ("reduce", "update"):
            took = [w.spent.get(name, (0.0, 0.0))[0] for w in works.values()]
            _include(common, {name: max(took)})
        for work in works.values():
            _include(cpu, {name: spent[1] for name, spent in work.spent.items()})
    for lines in columns.values():
        _include(lines, common)
        lines["dask"] = max(wall - sum(lines.values()), 0.0)
    return columns, cpu


def _busy(work: Work) -> Seconds:
    """Return a worker's seconds on gradients of a step, by line.

    Parts that were computed side by side share the time.
    """
    lines = {
        name: work.spent[name][0]
        for name in ("state", *_COMPUTED)
        if name in work.spent
    }
    span = work.ended - work.began
    total = sum(lines.values())
    if math.isfinite(span) and 0 < span < total:
        return {name: seconds * span / total for name, seconds in lines.items()}
    return lines


# -- all windows


def _by_line(spent: Spent) -> dict[str, tuple[float, float]]:
    """Return what preparations took as the lines "sample" and "gather"."""
    out = {"sample": (0.0, 0.0), "gather": (0.0, 0.0)}
    for word, (wall, cpu) in spent.items():
        line = "gather" if word in _GATHERING else "sample"
        out[line] = (out[line][0] + wall, out[line][1] + cpu)
    return out


def _inline(sums: _Sums) -> Seconds:
    """Return what of the driver's time was sampling and gathering."""
    lines = _by_line(added(*sums.ahead.values()))
    seconds = {name: wall for name, (wall, _) in lines.items()}
    return {**seconds, "driver": -sum(seconds.values())}


def _ahead(sums: _Sums, ms: float) -> dict[str, Any]:
    """Return the figures of preparations, ms a step and part."""
    parts = [_by_line(spent) for spent in sums.ahead.values()]
    words = added(*sums.ahead.values())
    return {
        "lines": {
            name: {
                "ms": float(np.mean([p[name][0] for p in parts])) * ms,
                "cpu_ms": float(np.mean([p[name][1] for p in parts])) * ms,
                "by_part": [p[name][0] * ms for p in parts],
                "cpu_by_part": [p[name][1] * ms for p in parts],
            }
            for name in ("sample", "gather")
        },
        "tasks": {
            word: {"ms": wall * ms / len(parts), "cpu_ms": cpu * ms / len(parts)}
            for word, (wall, cpu) in sorted(words.items())
        },
        "latency_ms": sums.latency * 1000 / sums.windows,
    }


def _percentiles(seconds: Iterable[float]) -> dict[str, float]:
    values = np.array(list(seconds)) * 1000
    if not len(values):
        return {}
    return {f"p{p}": float(np.percentile(values, p)) for p in (50, 90, 99)}


def _balance(columns: dict[str, Seconds]) -> dict[str, float]:
    """Return how evenly workers compute."""
    busy = np.array([sum(c.get(n, 0.0) for n in _COMPUTED) for c in columns.values()])
    mean = float(busy.mean())
    if not mean:
        return {}
    return {"max_over_mean": float(busy.max()) / mean, "cov": float(busy.std()) / mean}


# -- text


def _head(figures: dict[str, Any]) -> str:
    forms = ", ".join(f"{count} as {form}" for form, count in figures["forms"].items())
    where = "in this process"
    if not figures["inline"]:
        where = f"{_many(len(figures['workers']), 'worker')}, {figures['parts']} parts"
    skipped = " after the first window" if figures["without_first_window"] else ""
    return (
        f"{_many(figures['steps'], 'step')}{skipped} ({forms}), {where}: "
        f"{figures['wall_ms']:.2f} ms a step"
    )


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _chain_table(figures: dict[str, Any]) -> str:
    """Return the lines that add up to a step."""
    workers = figures["workers"]
    each = len(workers) <= _MOST_COLUMNS
    names = [f"w{i}" for i in range(len(workers))] if each else ["least", "most"]
    names = names if len(workers) > 1 else []
    rows = [["a step's time", "ms", "share", "CPU ms", *names]]
    for line in figures["lines"].values():
        values = list(line["by_worker"].values())
        shown = values if each else [min(values), max(values)]
        cpu = "" if line["cpu_ms"] is None else f"{line['cpu_ms'] / len(workers):.2f}"
        rows.append(
            [
                line["label"],
                f"{line['ms']:.2f}",
                f"{line['share']:.1%}",
                cpu,
                *(f"{value:.2f}" for value in shown if names),
            ]
        )
    total = figures["sum_ms"]
    rows.append(["sum", f"{total:.2f}", f"{total / figures['wall_ms']:.1%}"])
    return _aligned(rows)


def _ahead_table(figures: dict[str, Any]) -> str:
    """Return what happens in other threads."""
    rows = [["prepared ahead, a step and part", "ms", "CPU ms", "least", "most"]]
    ahead, labels = figures["ahead"], LINES
    for name, line in ahead["lines"].items():
        times = [line["ms"], line["cpu_ms"], min(line["by_part"]), max(line["by_part"])]
        rows.append([labels[name], *(f"{value:.2f}" for value in times)])
    fetched = {
        word: found
        for word, found in figures["halo"]["fetched"].items()
        if word in ("want", "serve", "sample", *_GATHERING)
    }
    if fetched:
        spent = sum(found["ms"] for found in fetched.values())
        rows.append(["halo exchange (all parts)", f"{spent:.2f}"])
    hidden = figures["lines"]["batches"]["ms"]
    return (
        f"{_aligned(rows)}\n"
        f"a window is prepared {ahead['latency_ms']:.0f} ms after it was asked for; "
        f"not hidden: {hidden:.2f} ms a step"
    )


def _notes(figures: dict[str, Any]) -> str:
    """Return counts of tasks, bytes and messages, and what follows from the lines."""
    halo, gradients = figures["halo"], figures["gradients"]
    lines = [f"Dask: {figures['dask']['tasks']:.1f} tasks a step"]
    if not figures["inline"]:
        lines.append(
            f"halo: {halo['remote_rows']:,.0f} rows, {halo['remote_bytes'] / 1e6:.2f} "
            f"MB, {halo['messages']:.1f} messages a step between workers"
        )
    if gradients["messages"]:
        lines.append(
            f"sums of gradients: {gradients['bytes'] / 1e6:.2f} MB, "
            f"{gradients['messages']:.0f} messages a step"
        )
    if gradients["exchange_ms"]:
        named = ", ".join(f"{k} {v:.2f}" for k, v in gradients["exchange_ms"].items())
        lines.append(f"exchange of sums, ms: {named}")
    if not figures["inline"]:
        lines.append(
            f"communication share {figures['communication_share']:.1%} (exchange of "
            f"sums), all waiting {figures['waiting_share']:.1%}"
        )
    if len(figures["workers"]) > 1 and figures["balance"]:
        balance = figures["balance"]
        lines.append(
            "balance of forward and backward: max/mean "
            f"{balance['max_over_mean']:.3f}, CoV {balance['cov']:.3f}"
        )
    return "\n".join(lines)


def _aligned(rows: list[list[str]]) -> str:
    """Return rows as lines, the first column to the left and others to the right."""
    count = max(map(len, rows))
    rows = [[*row, *[""] * (count - len(row))] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(count)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:]])
