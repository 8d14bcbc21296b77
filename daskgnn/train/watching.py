"""Those who are told what a run does: what its options name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskgnn.dataflow.cluster import ClusterExecutor
from daskgnn.monitor.callback import Optional, Watchers
from daskgnn.monitor.plugin import page_link
from daskgnn.monitor.publisher import Publisher, run_name
from daskgnn.train.persist.storage import open_storage
from daskgnn.train.progress import chosen_progress

if TYPE_CHECKING:
    from daskgnn.train.results import TrainResults


def watchers_of(trainer: TrainResults) -> Watchers:
    """Return all that are told of a trainer's run, its progress first."""
    options, out = trainer.options, trainer.options["out"]
    place = None if out is None else open_storage(out).place
    name = run_name(trainer.graph.name, place)

    def client() -> Any:
        executor = trainer.executor
        return executor.client if isinstance(executor, ClusterExecutor) else None

    found = [chosen_progress(options["progress"])]
    found.append(Optional("the live page", Publisher(client, name)))
    port = options["metrics_port"]
    if port is not None:
        from daskgnn.monitor.server import MetricsServer

        found.append(Optional("metrics", MetricsServer(port, name)))
    return Watchers(*found, *options["callbacks"])
