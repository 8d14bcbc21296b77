"""Open a run that is in a directory again, where it is to be used now."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from daskgnn.cluster.client import open_client
from daskgnn.errors import CheckpointError
from daskgnn.graph.opening import open_graph
from daskgnn.graph.sources.packed import check_source_everywhere
from daskgnn.train.automatic import is_small
from daskgnn.train.checks import check_worker_limit
from daskgnn.train.modelsettings import build_model
from daskgnn.train.persist.checkpoint import newest_checkpoint
from daskgnn.train.persist.storage import CHECKPOINTS, Storage, open_storage
from daskgnn.train.runsettings import (
    check_rebuildable,
    read_settings,
    trainer_options,
)
from daskgnn.train.runstate import is_done
from daskgnn.train.trainer import Trainer
from daskgnn.train.watching import tell_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

    from daskgnn.cluster.spec import ClusterSpec
    from daskgnn.graph.graph import Graph
    from daskgnn.train.persist.recorder import Progress


@contextmanager
def reopened(
    directory: str | Path,
    where: ClusterSpec,
    progress: Progress,
    *,
    trains: bool = False,
    **changed: Any,
) -> Iterator[tuple[Trainer, dict[str, Any]]]:
    """Yield a run's trainer and settings.

    Unless a place is given, no cluster is started for a small graph where nothing is
    left to train.
    """
    out = open_storage(directory)
    settings = read_settings(out) | changed
    check_rebuildable(settings, str(directory), trains=trains)
    if not out.exists(CHECKPOINTS):
        raise CheckpointError(
            f"{directory} has no checkpoint yet: remove it and train again"
        )
    features = settings.get("features", "memory")
    graph = open_graph(settings["store"], settings["num_parts"], features)
    here = not where.is_given and settings["scheduler"] is None and is_small(graph)
    if here and not (trains and _is_left(out, settings)):
        where = replace(where, workers=0)
    where = where.or_as_before(settings)
    workers, scheduler = where.workers, where.scheduler
    check_worker_limit(where.memory_limit, workers, scheduler)
    if scheduler is None and workers != 0:
        workers = (workers or 2) + (settings.get("standby") or 0)
    else:
        settings["adapt"] = None
    if workers == 0:
        settings["standby"] = 0
    with (
        where.encryption.configured(scheduler),
        open_client(workers, scheduler, where.memory_limit) as client,
    ):
        if trains:
            tell_page(client, progress)
        check_source_everywhere(client, graph.source)
        model = build_model(settings, graph)
        yield new_trainer(settings, model, graph, client, out, progress), settings


def _is_left(out: Storage, settings: dict[str, Any]) -> bool:
    """Return whether something is left to train of a run."""
    checkpoint = newest_checkpoint(out.inside(CHECKPOINTS))
    return not is_done(checkpoint, settings["epochs"], settings.get("patience"))


def new_trainer(
    settings: dict[str, Any],
    model: torch.nn.Module,
    graph: Graph,
    client: Any,
    out: Storage,
    progress: Progress,
) -> Trainer:
    """Return the trainer that a run's settings describe."""
    options: Any = trainer_options(settings)
    options |= {"client": client, "out": out.place, "progress": progress}
    return Trainer(model, graph, **options)
