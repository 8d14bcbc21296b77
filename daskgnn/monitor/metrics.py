"""Prometheus metrics of runs and workers, made when they are asked for.

Imported only where ``prometheus_client`` is installed.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from daskgnn.monitor.counters import counted
from daskgnn.monitor.history import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daskgnn.monitor.history import Histogram, Run, RunHistory

_COUNTS = {
    "seeds": "Seeds of the steps done.",
    "gradient_bytes": "Bytes of sums of gradients that workers sent.",
    "halo_cache_hits": "Rows of other parts that a halo cache held.",
    "halo_cache_misses": "Rows of other parts that a halo cache did not hold.",
    "recoveries": "Times the run went on after it had lost workers or a scheduler.",
    "workers_lost": "Workers that the run has lost.",
}
"""Counters of a run's `Run.counts`, by name."""
_HISTOGRAMS = {
    "step_duration_seconds": ("step_seconds", "What a step took."),
    "window_wait_seconds": (
        "wait_seconds",
        "How long a window's steps waited for minibatches.",
    ),
    "checkpoint_duration_seconds": (
        "checkpoint_seconds",
        "How long it took to write a checkpoint.",
    ),
}
_WORKER = {
    "gradients": "Gradients of a part that this worker has computed, also in vain.",
    "busy_seconds": "Time of this worker by what it went to.",
    "received_bytes": "Bytes that other parts answered this worker's parts.",
    "sent_gradient_bytes": "Bytes of sums of gradients that this worker sent.",
}
_EXPOSED: dict[type, Any] = {}


def expose(collector: Any, registry: Any = REGISTRY) -> None:
    """Add a collector to a registry, in the place of one of its kind."""
    before = _EXPOSED.pop(type(collector), None)
    if before is not None:
        registry.unregister(before)
    registry.register(collector)
    _EXPOSED[type(collector)] = collector


class RunCollector:
    """The metrics of a history's runs, labelled by run."""

    def __init__(self, history: RunHistory) -> None:
        self.history = history

    def describe(self) -> Iterable[Any]:
        """Say nothing before there is a run."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Yield all metrics as they stand."""
        runs = list(self.history.runs.values())
        steps = CounterMetricFamily("daskgnn_steps", "Steps done.", labels=["run"])
        for run in runs:
            steps.add_metric([run.name], run.steps)
        yield steps
        for name, told in _COUNTS.items():
            family = CounterMetricFamily(f"daskgnn_{name}", told, labels=["run"])
            for run in runs:
                family.add_metric([run.name], run.counts[name])
            yield family
        yield from _traffic(runs)
        for name, (attribute, told) in _HISTOGRAMS.items():
            histogram = HistogramMetricFamily(f"daskgnn_{name}", told, labels=["run"])
            for run in runs:
                found = getattr(run, attribute)
                histogram.add_metric([run.name], _buckets(found), found.sum)
            yield histogram
        yield from _gauges(runs)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the counts up to each bound."""
    bounds = [*(repr(bound) for bound in BUCKETS), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))


def _traffic(runs: list[Run]) -> Iterator[Any]:
    """Yield what crossed between workers, by worker and direction."""
    told = " of requests and answers between workers, to prepare minibatches."
    labels = ["run", "worker", "direction"]
    for place, name in enumerate(("bytes", "messages")):
        family = CounterMetricFamily(
            f"daskgnn_remote_{name}", name.title() + told, labels=labels
        )
        for run in runs:
            sums: dict[tuple[str, str], float] = {}
            for (receiver, sender), counts in run.received.items():
                for key in ((receiver, "received"), (sender, "sent")):
                    sums[key] = sums.get(key, 0) + counts[place]
            for (worker, direction), value in sorted(sums.items()):
                family.add_metric([run.name, worker, direction], value)
        yield family


def _gauges(runs: list[Run]) -> Iterator[Any]:
    """Yield what rises and falls."""
    found: dict[str, tuple[str, list[tuple[str, float | None]]]] = {
        "running": (
            "Whether the run goes on.",
            [(run.name, float(not run.ended)) for run in runs],
        ),
        "epoch": ("The epoch, from 0.", [(run.name, run.epoch) for run in runs]),
        "loss": (
            "The loss of the latest step.",
            [(run.name, run.loss[-1][1] if run.loss else None) for run in runs],
        ),
        "windows_in_flight": (
            "Windows that are prepared or trained.",
            [(run.name, run.latest("in_flight")) for run in runs],
        ),
        "gradient_staleness_updates": (
            "Updates by which gradients are late.",
            [(run.name, run.latest("staleness")) for run in runs],
        ),
        "time_left_seconds": (
            "How long the run will take from here.",
            [(run.name, run.seconds_left()) for run in runs],
        ),
    }
    for name, (told, values) in found.items():
        family = GaugeMetricFamily(f"daskgnn_{name}", told, labels=["run"])
        for run_name, value in values:
            if value is not None:
                family.add_metric([run_name], value)
        yield family
    labels = ["run", "split", "metric"]
    scores = GaugeMetricFamily("daskgnn_score", "The latest score.", labels=labels)
    for run in runs:
        for name, points in run.scores.items():
            split, _, metric = name.partition("_")
            scores.add_metric([run.name, split, metric], points[-1][1])
    yield scores


class WorkerCollector:
    """The metrics of this process as a worker; they begin at 0 with it."""

    def describe(self) -> Iterable[Any]:
        """Say nothing before there is work."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Yield all metrics as they stand."""
        counts = counted()
        for name, told in _WORKER.items():
            labels = ["phase"] if name == "busy_seconds" else []
            metric = f"daskgnn_worker_{name}"
            family = CounterMetricFamily(metric, told, labels=labels)
            for (kind, label), value in sorted(counts.items()):
                if kind == name:
                    family.add_metric([label] if labels else [], value)
            yield family
