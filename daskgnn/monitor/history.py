"""What a scheduler, or a driver without one, remembers of runs: numbers, and not many.

Counts rise by steps that are new: a step that is trained again after a loss, or after
a resume, counts once.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]

TOPIC = "daskgnn"
"""Of the events by which runs tell what they do."""
MOST_RUNS = 20
_MOST_POINTS = 2000
_MOST_WINDOWS = 400
_MOST_EVENTS = 300
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histograms, seconds."""
_COUNTED = ("seeds", "gradient_bytes", "halo_cache_hits", "halo_cache_misses")
KINDS = ("lost", "recovered", "checkpoint", "scaled", "other")
"""Of events, as the page shows them."""
_KIND_OF = {
    "worker_lost": "lost",
    "scheduler_lost": "lost",
    "workers_restarted": "lost",
    "recovered": "recovered",
    "checkpoint": "checkpoint",
    "scaled": "scaled",
    "rebalanced": "scaled",
    "worker_joined": "scaled",
}


class Histogram:
    """Counts of seconds by `BUCKETS`, their sum and their number."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count a time."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds


@dataclass
class Run:
    """One run, as far as it was told of."""

    name: str
    info: Record = field(default_factory=dict)
    began: float = field(default_factory=time.time)
    changed: float = field(default_factory=time.time)
    """When it was last heard of, seconds since the epoch."""
    ended: str = ""
    """"done", or "stopped"; empty while it lasts."""
    steps: int = 0
    epoch: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """"seeds", "recoveries", "halo_cache_hits", "gradient_bytes", ..."""
    loss: deque[tuple[int, float]] = field(
        default_factory=lambda: deque(maxlen=_MOST_POINTS)
    )
    scores: dict[str, deque[tuple[int, float]]] = field(default_factory=dict)
    """By name, as in "val_accuracy": (epoch, score)."""
    windows: deque[Record] = field(default_factory=lambda: deque(maxlen=_MOST_WINDOWS))
    received: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """Bytes and messages by (receiver, sender)."""
    parts: list[Record] = field(default_factory=list)
    events: deque[Record] = field(default_factory=lambda: deque(maxlen=_MOST_EVENTS))
    step_seconds: Histogram = field(default_factory=Histogram)
    wait_seconds: Histogram = field(default_factory=Histogram)
    checkpoint_seconds: Histogram = field(default_factory=Histogram)

    def take(self, kind: str, record: Record, when: float) -> None:
        """Take note of what a run told."""
        self.changed = when
        getattr(self, f"_{kind}")(record, when)

    def _started(self, record: Record, _when: float) -> None:
        self.info = record
        self.ended = ""
        first = int(record.get("first_step") or 0)
        if first > self.steps:
            self.steps = first
            self.counts["seeds"] = int(record.get("first_seeds") or 0)

    def _window(self, record: Record, when: float) -> None:
        size = len(record["losses"])
        first = record["step"] - size
        new = min(max(record["step"] - self.steps, 0), size)
        for i in range(size - new, size):
            self.loss.append((first + i, record["losses"][i]))
            self.step_seconds.add(record["seconds"][i])
        self.epoch = record["epoch"]
        self.steps = max(self.steps, record["step"])
        self._note_parts(record)
        if new:
            self.wait_seconds.add(record["wait"])
            self._count(record, new / size)
        self.windows.append({**record, "time": when, "size": size})

    def _count(self, record: Record, share: float) -> None:
        """Add a window's counts, as far as its steps are new."""
        for name in _COUNTED:
            self.counts[name] += round(record[name] * share)
        for receiver, sender, nbytes, messages in record["pairs"]:
            total = self.received.setdefault((receiver, sender), [0, 0])
            total[0] += round(nbytes * share)
            total[1] += round(messages * share)

    def _note_parts(self, record: Record) -> None:
        """Note where parts are, and whether they have moved."""
        before = self.parts
        self.parts = []
        for i, (worker, seconds) in enumerate(record["parts"]):
            known = before[i] if i < len(before) else {"worker": worker, "moves": 0}
            moves = known["moves"] + (known["worker"] != worker)
            self.parts.append({"worker": worker, "seconds": seconds, "moves": moves})

    def _epoch(self, record: Record, _when: float) -> None:
        for name, value in record.items():
            split, _, metric = name.partition("_")
            if split in ("train", "val", "test") and metric != "loss":
                points = self.scores.setdefault(name, deque(maxlen=_MOST_POINTS))
                points.append((record["epoch"], value))

    def _event(self, record: Record, when: float) -> None:
        name = str(record.get("event"))
        kind = _KIND_OF.get(name, "other")
        for counted, event in (
            ("recoveries", "recovered"),
            ("workers_lost", "worker_lost"),
        ):
            self.counts[counted] += name == event
        if name == "checkpoint":
            self.checkpoint_seconds.add(float(record.get("seconds", 0.0)))
        told = {n: v for n, v in record.items() if n not in ("event", "time")}
        words = " ".join(f"{n}={v}" for n, v in told.items())
        note = {"time": when, "kind": kind, "name": name.replace("_", " ")}
        self.events.append({**note, "told": words})

    def _finished(self, record: Record, _when: float) -> None:
        self.ended = "done"
        self._epoch({**record, "epoch": max(self.epoch, 0)}, _when)

    def _stopped(self, _record: Record, _when: float) -> None:
        self.ended = self.ended or "stopped"

    def latest(self, name: str) -> Any:
        """Return a value of the latest window; None before there was one."""
        return self.windows[-1][name] if self.windows else None

    def pace(self) -> tuple[float, float]:
        """Return seeds and steps a second of the latest windows."""
        recent = list(self.windows)[-30:]
        if len(recent) < 2:
            return 0.0, 0.0
        span = max(recent[-1]["time"] - recent[0]["time"], 1e-6)
        later = recent[1:]
        seeds, steps = (sum(w[name] for w in later) for name in ("seeds", "size"))
        return seeds / span, steps / span

    def seconds_left(self) -> float | None:
        """Return how long the run will take from here; None if that is not known."""
        total, (_, pace) = self.info.get("total_steps"), self.pace()
        if self.ended or not total or not pace:
            return None
        return max(total - self.steps, 0) / pace


class RunHistory:
    """The newest runs by name, in the order in which they were last heard of."""

    def __init__(self) -> None:
        self.runs: OrderedDict[str, Run] = OrderedDict()
        self.version = 0
        """Rises with all that changes."""

    def take(self, message: Record) -> None:
        """Take a run's message: its name, and (kind, record, time) of what it tells."""
        name = str(message["run"])
        run = self.runs.setdefault(name, Run(name))
        self.runs.move_to_end(name)
        while len(self.runs) > MOST_RUNS:
            self.runs.popitem(last=False)
        for kind, record, when in message["items"]:
            run.take(kind, record, when)
        self.version += 1

    def lost(self, worker: str) -> None:
        """Take note that a worker is gone, before the run itself tells of it."""
        for run in self.runs.values():
            if not run.ended and worker in {part["worker"] for part in run.parts}:
                gone = {"time": time.time(), "kind": "lost", "name": "worker gone"}
                run.events.append({**gone, "told": f"worker={worker}"})
        self.version += 1

    @property
    def newest(self) -> Run | None:
        """The run that was heard of last."""
        return next(reversed(self.runs.values()), None)
