"""Fill the live page's sources with what is known of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes

from daskgnn.monitor.plots import PHASES, SCORE_COLOURS, event_colour

if TYPE_CHECKING:
    from daskgnn.monitor.history import Record, Run

_REDUCE = ("compress", "reduce", "update", "state")
_DIRECT = ("sample", "exchange", "gather", "forward", "backward")
_MIB = 2**20


def phases_of(window: Record) -> dict[str, float]:
    """Return a step's milliseconds by what they went to.

    What is no work on a minibatch or a sum is waiting: for others, for Dask, for the
    driver.
    """
    lines, size = window["lines"], window["size"]
    found = {n: lines.get(n, 0.0) + window["ahead"].get(n, 0.0) for n in _DIRECT}
    found["reduce"] = sum(lines.get(name, 0.0) for name in _REDUCE)
    known = (*_DIRECT, *_REDUCE)
    found["waiting"] = sum(v for n, v in lines.items() if n not in known)
    return {name: found[name] * 1000 / size for name in PHASES}


def fill(
    sources: dict[str, Any], run: Run, scheduler: Any, *, everything: bool
) -> None:
    """Fill the sources; memory alone unless the run told something new."""
    labels = worker_labels(run, scheduler)
    _memory(sources, run, scheduler, labels)
    if not everything:
        return
    steps, losses = zip(*run.loss, strict=True) if run.loss else ((), ())
    sources["loss"].data = {"step": list(steps), "loss": list(losses)}
    _scores(sources, run)
    _windows(sources, run)
    _parts(sources, run, labels)
    _pairs(sources, run, labels)
    _events(sources, run)


def worker_labels(run: Run, scheduler: Any) -> dict[str, str]:
    """Return short names of workers: Dask's, or w0, w1, ... of those that are gone."""
    known = {part["worker"] for part in run.parts}
    known |= {worker for pair in run.received for worker in pair}
    known |= set(scheduler.workers)
    labels = {}
    for number, address in enumerate(sorted(known)):
        state = scheduler.workers.get(address)
        name = f"gone {number}" if state is None else str(state.name)[-24:]
        labels[address] = f"worker {name}" if name.isdecimal() else name
    return labels


def _scores(sources: dict[str, Any], run: Run) -> None:
    names = list(run.scores)[: len(SCORE_COLOURS)]
    points = [[(e + 1, score) for e, score in run.scores[name]] for name in names]
    colours = SCORE_COLOURS[: len(names)]
    sources["scores"].data = {
        "xs": [[epoch for epoch, _ in found] for found in points],
        "ys": [[score for _, score in found] for found in points],
        "name": names,
        "colour": list(colours),
    }
    sources["score points"].data = {
        "epoch": [epoch for found in points for epoch, _ in found],
        "score": [score for found in points for _, score in found],
        "colour": [c for c, found in zip(colours, points, strict=True) for _ in found],
    }


def _windows(sources: dict[str, Any], run: Run) -> None:
    """Fill what has a value a window."""
    windows = list(run.windows)
    steps = [w["step"] for w in windows]
    phases = [phases_of(w) for w in windows]
    by_phase = {name: [found[name] for found in phases] for name in PHASES}
    sources["phases"].data = {"step": steps, **by_phase}
    rates = [w["seeds"] / max(sum(w["seconds"]), 1e-9) for w in windows]
    sources["rate"].data = {"step": steps, "seeds": rates}
    asked = [w for w in windows if w["halo_cache_hits"] + w["halo_cache_misses"]]
    sources["cache"].data = {
        "step": [w["step"] for w in asked],
        "share": [
            w["halo_cache_hits"] / (w["halo_cache_hits"] + w["halo_cache_misses"])
            for w in asked
        ],
    }
    if sources["cache plot"].visible != bool(asked):
        sources["cache plot"].visible = bool(asked)
    sources["flight"].data = {
        "step": steps,
        "windows": [w["in_flight"] for w in windows],
        "staleness": [w["staleness"] for w in windows],
    }


def _parts(sources: dict[str, Any], run: Run, labels: dict[str, str]) -> None:
    workers = sorted(labels)
    names = [
        f"part {number}, {labels[part['worker']]}"
        + (f", moved {part['moves']}×" if part["moves"] else "")
        for number, part in enumerate(run.parts)
    ]
    _set_factors(sources["part range"], names[::-1])
    sources["parts"].data = {
        "part": names,
        "ms": [part["seconds"] * 1000 for part in run.parts],
        "worker": [part["worker"] for part in run.parts],
        "moves": [part["moves"] for part in run.parts],
        "colour": [
            SCORE_COLOURS[workers.index(part["worker"]) % len(SCORE_COLOURS)]
            for part in run.parts
        ],
    }


def _pairs(sources: dict[str, Any], run: Run, labels: dict[str, str]) -> None:
    pairs = list(run.received.items())
    names = [labels[address] for address in sorted(labels)]
    columns, rows = sources["pair ranges"]
    _set_factors(columns, names)
    _set_factors(rows, names[::-1])
    sources["pairs"].data = {
        "to": [labels[receiver] for (receiver, _), _ in pairs],
        "from": [labels[sender] for (_, sender), _ in pairs],
        "bytes": [nbytes for _, (nbytes, _) in pairs],
        "messages": [messages for _, (_, messages) in pairs],
        "shown": [format_bytes(int(nbytes)) for _, (nbytes, _) in pairs],
    }


def _memory(
    sources: dict[str, Any], run: Run, scheduler: Any, labels: dict[str, str]
) -> None:
    workers = sorted(scheduler.workers.values(), key=lambda w: labels[w.address])
    names = [labels[worker.address] for worker in workers]
    plan = run.info.get("planned_bytes", 0) / _MIB
    _set_factors(sources["memory range"], names[::-1])
    sources["memory"].data = {
        "worker": names,
        "used": [worker.metrics.get("memory", 0) / _MIB for worker in workers],
        "plan": [plan] * len(workers),
    }


def _events(sources: dict[str, Any], run: Run) -> None:
    events = list(run.events)
    first = min([run.began, *(event["time"] for event in events)])
    sources["time range"].update(start=first * 1000, end=run.changed * 1000 + 1000)
    sources["events"].data = {
        "time": [event["time"] * 1000 for event in events],
        "kind": [event["kind"] for event in events],
        "name": [event["name"] for event in events],
        "told": [event["told"] for event in events],
        "colour": [event_colour(event["kind"]) for event in events],
    }


def _set_factors(where: Any, factors: list[str]) -> None:
    """Set an axis' names where they are others: a browser lays out anew for them."""
    if list(where.factors) != factors:
        where.factors = factors
