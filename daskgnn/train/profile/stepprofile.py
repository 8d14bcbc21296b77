"""`StepProfile`: where a step's time goes, as a table and a picture.

Each worker's lines add up to the wall time: what was measured in its tasks, what it
waited for, what the driver did between windows, and a remainder that is Dask's: graphs
on their way to workers, and results on their way back.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.dataflow.steps.clock import added
from daskgnn.train.persist.storage import Storage
from daskgnn.train.profile.text import table
from daskgnn.train.profile.windowprofile import COMPUTED, CROSSED, LINES, include

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daskgnn.dataflow.steps.clock import Spent
    from daskgnn.dataflow.timing import Transfers
    from daskgnn.train.profile.windowprofile import Seconds, WindowProfile

from daskgnn.paths import absolute_path

_GATHERING = ("rows", "halo-cache", "gather")
_WAITED = ("exchange", "peers", "form", "batches")
_MOST_EXCHANGES = 100_000
HERE = "this process"


@dataclass
class _Sums:
    """Sums over windows."""

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
    forms: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    exchanges: deque[float] = field(
        default_factory=lambda: deque(maxlen=_MOST_EXCHANGES)
    )
    """Seconds of each step's exchange."""

    workers: list[str] = field(default_factory=list)
    """Of the last window."""

    def add(self, window_profile: WindowProfile, gaps: Seconds, wall: float) -> None:
        """Add a window; `gaps` are the driver's lines before it."""
        self.windows += 1
        self.steps += window_profile.steps
        self.forms[window_profile.form] += window_profile.steps
        columns, cpu = window_profile.lines(wall)
        include(self.cpu, cpu)
        for worker, lines in columns.items():
            include(self.chain.setdefault(worker, {}), {**lines, **gaps})
            time_here = wall + sum(gaps.values())
            self.present[worker] = self.present.get(worker, 0.0) + time_here
            include(self.mean, lines, 1 / len(columns))
        include(self.mean, gaps)
        self.workers = list(columns)
        self._add_prepared(window_profile)
        self.exchanges.extend(window_profile.exchanges())

    def add_after(self, gaps: Seconds) -> None:
        """Add the driver's lines after a window."""
        for worker in self.workers:
            include(self.chain[worker], gaps)
            self.present[worker] += sum(gaps.values())
        include(self.mean, gaps)

    def _add_prepared(self, window_profile: WindowProfile) -> None:
        for part, report in enumerate(window_profile.prepared):
            self.ahead[part] = added(self.ahead.get(part, {}), report.spent)
        finished = max(report.finished for report in window_profile.prepared)
        self.latency += finished - window_profile.submitted
        counts = {
            "tasks": window_profile.tasks,
            **window_profile.crossed,
            "gradient_bytes": sum(m.sent_bytes for m in window_profile.members),
            "gradient_messages": sum(m.messages for m in window_profile.members),
        }
        self.counts.update(counts)


class StepProfile:
    """Where the time of a run's steps went.

    `Trainer.profile` returns one. On a cluster the first window is left out if there
    are others, because nothing was prepared before it. Without a cluster, sampling and
    gathering happen between windows and count from the first step on.

    Parameters
    ----------
    inline : bool
        Whether everything runs in this process.

    Examples
    --------
    >>> import os, tempfile
    >>> import daskgnn
    >>> from daskgnn.nn import GraphSAGE
    >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition())
    >>> model = GraphSAGE(graph.num_features, 16, graph.num_classes)
    >>> trainer = daskgnn.Trainer(model, graph, num_neighbors=[10, 5], client=None)
    >>> profile = trainer.profile(steps=3)
    >>> profile.steps
    3
    >>> print(profile.table().splitlines()[0])
    3 steps, in this process: ...
    >>> profile.to_dict()["wall_ms"] > 0  # milliseconds a step
    True
    >>> profile.plot(os.path.join(tempfile.mkdtemp(), "profile.png")).name
    'profile.png'
    >>> [path.name for path in profile.write(tempfile.mkdtemp())]
    ['profile.json', 'profile.png']
    """

    def __init__(self, inline: bool) -> None:
        self.inline = inline
        self.transfers: dict[str, Transfers] = {}
        """What workers fetched from each other, where it was asked for."""
        self._first: _Sums | None = None
        self._sums = _Sums()
        self._evaluation = self._driver = 0.0
        self.begin()

    # -- called by the loop, in this order

    def begin(self) -> None:
        """Take note that the loop begins."""
        self.began = time.time()
        """Of what counts, seconds since the epoch."""
        self._start = self._end = self._mark = time.perf_counter()

    def enter(self) -> None:
        """Take note that a window's steps are about to be submitted."""
        now = time.perf_counter()
        self._driver = now - self._mark
        self._mark = now

    def leave(self, window_profile: WindowProfile) -> None:
        """Take note of a window's end and of its account."""
        now = time.perf_counter()
        wall, self._end = now - self._mark, now
        self._evaluation = 0.0
        self._sums.add(window_profile, {"driver": self._driver}, wall)
        self._sums.seconds = now - self._start

    def evaluated(self, seconds: float) -> None:
        """Take note of what the caller took to evaluate after a window."""
        self._evaluation += seconds

    def resume(self) -> None:
        """Take note that the caller has done with a window."""
        self._mark = now = time.perf_counter()
        gap = now - self._end
        evaluation = min(self._evaluation, gap)
        gaps = {"evaluation": evaluation, "outside": gap - evaluation}
        self._sums.add_after(gaps)
        self._sums.seconds = now - self._start
        if not self.inline and self._first is None:
            self._first, self._sums = self._sums, _Sums()
            self._start, self.began = now, time.time()

    # -- read at the end

    @property
    def _counted(self) -> _Sums:
        """What counts: without the first window, if there are others."""
        return self._first if self._first and not self._sums.steps else self._sums

    @property
    def steps(self) -> int:
        """Number of steps that were measured."""
        return self._counted.steps

    def to_dict(self) -> dict[str, Any]:
        """Return all figures: milliseconds, bytes and counts a step.

        Returns
        -------
        dict
            As JSON can hold it; "lines" has the time by kind of work and by worker.
        """
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
            "communication_share": _communication(sums, mean),
            "waiting_share": sum(mean.get(n, 0.0) for n in _WAITED) / sums.seconds,
            "balance": _balance(columns),
        }

    def _lines(self) -> tuple[Seconds, dict[str, Seconds]]:
        """Return seconds by line, mean over workers; ms a step by worker and line."""
        sums = self._counted
        mean = dict(sums.mean)
        columns = {}
        for worker, lines in sorted(sums.chain.items()):
            # A worker that joined late or was lost counts for the time it was present.
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
        fetched = {}
        for word, found in self.transfers.items():
            share = 1 / max(found.span, 1e-9) * sums.seconds / sums.steps
            fetched[word] = {
                "transfers": found.count * share,
                "bytes": found.nbytes * share,
                "ms": found.seconds * 1000 * share,
            }
        return {
            **{name: sums.counts[name] / sums.steps for name in CROSSED},
            "fetched": fetched,
        }

    def table(self) -> str:
        """Return the figures as a table.

        Returns
        -------
        str
            Several lines, to print.
        """
        return table(self.to_dict())

    def __repr__(self) -> str:
        """Return how many steps were measured, and what one took."""
        sums = self._counted
        seconds = sums.seconds / max(sums.steps, 1)
        return f"StepProfile({sums.steps} steps, {seconds * 1000:.2f} ms a step)"

    def _repr_html_(self) -> str:
        """Return the table as it is printed."""
        return f"<pre>{escape(self.table())}</pre>"

    def plot(self, out: str | Path) -> Path:
        """Draw the figures into a PNG file.

        Parameters
        ----------
        out : str or path
            The file.

        Returns
        -------
        Path
            The file.
        """
        from daskgnn.plot import plot_profile

        return plot_profile(self.to_dict(), out)

    def write(self, directory: str | Path) -> tuple[Path, Path]:
        """Write the figures as ``profile.json`` and ``profile.png``.

        Parameters
        ----------
        directory : str or path
            Where to write; it is created if need be.

        Returns
        -------
        tuple of Path
            Both files.
        """
        directory = Path(absolute_path(directory))
        storage = Storage(directory)
        directory.mkdir(parents=True, exist_ok=True)
        figures = directory / "profile.json"
        storage.write_json(figures.name, self.to_dict())
        return figures, self.plot(directory / "profile.png")


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
                "tasks": [w for w in words if (w in _GATHERING) == (name == "gather")],
            }
            for name in ("sample", "gather")
        },
        "tasks": {
            word: {"ms": wall * ms / len(parts), "cpu_ms": cpu * ms / len(parts)}
            for word, (wall, cpu) in words.items()
        },
        "latency_ms": sums.latency * 1000 / sums.windows,
    }


def _communication(sums: _Sums, mean: Seconds) -> float | None:
    """Return the share of the time in which steps wait for bytes.

    None where some ran as tasks: their sums travel within what Dask takes.
    """
    if "tasks" in sums.forms and len(sums.chain) > 1:
        return None
    return mean.get("exchange", 0.0) / sums.seconds


def _percentiles(seconds: Iterable[float]) -> dict[str, float]:
    values = np.array(list(seconds)) * 1000
    if not len(values):
        return {}
    return {f"p{p}": float(np.percentile(values, p)) for p in (50, 90, 99)}


def _balance(columns: dict[str, Seconds]) -> dict[str, float]:
    """Return how evenly workers compute."""
    busy = np.array([sum(c.get(n, 0.0) for n in COMPUTED) for c in columns.values()])
    mean = float(busy.mean())
    if not mean:
        return {}
    return {"max_over_mean": float(busy.max()) / mean, "cov": float(busy.std()) / mean}
