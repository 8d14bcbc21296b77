"""Those who are told what a run does: what its options name."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import dask

from daskgnn.dataflow.executor import has_cluster
from daskgnn.monitor.callback import Optional, Watchers
from daskgnn.monitor.logs import RunLog
from daskgnn.monitor.publisher import Publisher, run_name
from daskgnn.monitor.teller import published
from daskgnn.monitor.trackers import new_tracker
from daskgnn.train.persist.storage import open_storage
from daskgnn.train.progress import chosen_progress

if TYPE_CHECKING:
    from daskgnn.train.persist.recorder import Progress
    from daskgnn.train.results import TrainResults


def watchers_of(trainer: TrainResults) -> Watchers:
    """Return all that are told of a trainer's run, its progress first."""
    options, out = trainer.options, trainer.options["out"]
    place = None if out is None else open_storage(out).place
    name = run_name(trainer.graph.name, place)

    def client() -> Any:
        executor = trainer.executor
        return executor.client if has_cluster(executor) else None

    found = [chosen_progress(options["progress"])]
    found.append(Optional("the live page", Publisher(client, name)))
    port = options["metrics_port"]
    if port is not None:
        from daskgnn.monitor.server import MetricsServer

        found.append(Optional("metrics", MetricsServer(port, name)))
    for word in options["track"] or ():
        settings = published(dict(options))
        tracker = new_tracker(word, name, place, settings)
        found.append(Optional(f"tracker {word.partition(':')[0]}", tracker))
    found.append(RunLog(name))
    return Watchers(*found, *options["callbacks"])


def tell_page(client: Any, progress: Progress) -> None:
    """Put the live page on a cluster that was just reached, and say where it is."""
    if client is None or not dask.config.get("gnn.monitor"):
        return
    from daskgnn.monitor.plugin import install, page_link

    link = page_link(client)
    with suppress(Exception):  # the run says later, once, what is missing
        if link is not None and not install(client):
            progress.event({"event": "live_page", "at": link})
