"""What a run over images tells to those who watch it: see `daskgnn.Callback`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskgnn.dataflow.steps.clock import here
from daskgnn.monitor.callback import Optional, Watchers
from daskgnn.monitor.logs import RunLog
from daskgnn.monitor.publisher import Publisher, run_name
from daskgnn.train.persist.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskgnn.train.persist.recorder import Progress
    from daskgnn.vision.staged import StagedModel


def watchers_of(
    settings: Mapping[str, Any], staged: StagedModel, progress: Progress
) -> Watchers:
    """Return all that are told of a run, its progress first."""
    name = run_name(settings["data"], open_storage(settings["out"]).place)
    page = Publisher(lambda: staged.pipeline.client, name)
    return Watchers(progress, Optional("the live page", page), RunLog(name))


def step_record(
    record: dict[str, Any], images: int, staged: StagedModel
) -> dict[str, Any]:
    """Return the record of a step, as one of a window: images are seeds, stages parts.

    Parameters
    ----------
    record : dict
        As in ``metrics.jsonl``.
    images : int
        Of the step.
    staged : StagedModel
        Which has just taken the step.
    """
    addresses, spans = staged.pipeline.addresses or [here()], staged.spans
    count = len({span.worker for span in spans}) or 1
    lines = {"forward": 0.0, "backward": 0.0}
    parts: dict[tuple[int, int], tuple[str, float]] = {}
    for span in spans:
        did, took = span.operation, span.ended - span.began
        lines["forward" if did.kind == "F" else "backward"] += took / count
        _, before = parts.get((did.copy, did.stage), ("", 0.0))
        worker = addresses[min(span.worker, len(addresses) - 1)]
        parts[did.copy, did.stage] = worker, before + took
    seconds = record["seconds"]
    nothing = ("wait", "gradient_bytes", "halo_cache_hits", "halo_cache_misses")
    return {
        "step": record["step"] + 1,
        "epoch": record["epoch"],
        "losses": [record["loss"]],
        "seconds": [seconds],
        "seeds": images,
        "form": "pipeline",
        "lines": lines | {"other": max(seconds - sum(lines.values()), 0.0)},
        "ahead": {},
        "parts": [parts[key] for key in sorted(parts)],
        "pairs": [],
        "sums": [],
        "in_flight": 1,
        "staleness": 0,
        **dict.fromkeys(nothing, 0),
    }
