"""A run in a directory: what the command line does, for programs too."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from daskgnn.cluster.clusters import open_client
from daskgnn.cluster.spec import ClusterSpec
from daskgnn.cluster.tls import Encryption
from daskgnn.errors import (
    CheckpointError,
    InputError,
    PartitionError,
    TrainingError,
)
from daskgnn.graph.datasets.datasets import is_store, resolve
from daskgnn.graph.graph import open_graph
from daskgnn.graph.sources.packed import check_source_everywhere
from daskgnn.tasks.node import check_labelled
from daskgnn.train.checks import check_worker_limit, require_features
from daskgnn.train.options.option import taken
from daskgnn.train.options.options import RUN, RunOptions
from daskgnn.train.options.plainoptions import PlainOptions
from daskgnn.train.options.recipes import with_recipe
from daskgnn.train.persist.recorder import Progress, Silent
from daskgnn.train.persist.storage import (
    CHECKPOINTS,
    METRICS,
    Storage,
    is_url,
    open_storage,
)
from daskgnn.train.signals import Terminated
from daskgnn.train.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from daskgnn.graph.graph import Graph
    from daskgnn.graph.memory.data import GraphData

SETTINGS = "run.json"
"""The file of a run's directory that holds its settings."""

STORE = "graph.zarr"
"""The store in a run's directory, of a graph that was not stored before."""


def train(
    given: RunOptions,
    *,
    progress: Progress | None = None,
    yes: bool = False,
    profile: bool = False,
) -> dict[str, Any]:
    """Train as it is said and write the directory ``given["out"]``.

    Parameters
    ----------
    given : RunOptions
        A dict of settings. None stands for "not given": then the recipe's value
        holds, or the default.
    progress : Progress, optional
    yes : bool
        Whether a large download may begin without asking.
    profile : bool
        Whether to write ``profile.json`` and ``profile.png`` at the end, and to name
        them in what is returned.

    Returns
    -------
    dict
        The run's summary, as in ``summary.json``.

    Raises
    ------
    InputError
        Before anything is written: what was given, and what is expected.
    TrainingError
        If the run fails.
    """
    progress = progress or Silent()
    asked = check_run(given)
    out = _free(asked["out"])
    encryption = Encryption.of(asked).absolute()
    encryption.check(asked["scheduler"])
    check_worker_limit(asked["memory_limit"], asked["workers"], asked["scheduler"])
    store, name, data = _find_graph(asked, yes)
    settings = with_recipe(name, given, use_recipe=asked["recipe"])
    workers = _count_workers(settings)
    with ExitStack() as stack:
        stack.enter_context(encryption.configured(settings["scheduler"]))
        client = stack.enter_context(
            open_client(
                workers + settings["standby"],
                settings["scheduler"],
                settings["memory_limit"],
            )
        )
        stack.enter_context(_nothing_left(out))
        if data is not None:
            store = out.path_of(STORE)
            _store_graph(data, settings, store)
        graph = open_graph(store, settings["num_parts"], settings["features"])
        check_source_everywhere(client, graph.source)
        trainer = _trainer(settings, graph, client, out, progress)
        settings |= {"store": graph.path, "out": out.place, **asdict(encryption)}
        _write_settings(out, settings)
        trainer.fit(settings["epochs"])
        return _summary(trainer, profile)


def check_run(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a run, checked; defaults where nothing is given.

    Raises
    ------
    InputError
    """
    said = {name: value for name, value in given.items() if value is not None}
    for name in ("graph", "out"):
        if name not in said:
            raise InputError(f"{name} is missing: a run needs graph=... and out=...")
    return taken(RUN, said, "a run")


def _free(place: str) -> Storage:
    """Return a run's directory, which must not hold one yet."""
    out = open_storage(place)
    if out.exists(SETTINGS) or out.exists(METRICS):
        raise InputError(
            f"{place} already holds a run: give another --out, or continue it "
            f"with daskgnn train --resume {place}"
        )
    if out.exists(STORE):
        raise InputError(
            f"{out.path_of(STORE)} is already there, and a run would write its own: "
            "give another --out"
        )
    return out


def _count_workers(settings: dict[str, Any]) -> int:
    """Return how many workers a run begins with; settle its number of parts."""
    workers = 2 if settings["workers"] is None else settings["workers"]
    least, most = settings["adapt"] or (workers, workers)
    if settings["num_parts"] is None:
        settings["num_parts"] = 2 if settings["scheduler"] else max(most, 1)
    return int(min(max(workers, least), most))


def _write_settings(out: Storage, settings: dict[str, Any]) -> None:
    try:
        out.write_json(SETTINGS, settings)
    except OSError as error:
        raise TrainingError(
            f"{out.path_of(SETTINGS)} cannot be written "
            f"({error.strerror or error}): make room, or give another --out"
        ) from error


def _store_graph(data: GraphData, settings: dict[str, Any], store: str) -> None:
    """Partition a graph in memory and store it for the run."""
    require_features(data)
    check_labelled(data)
    partitioned = data.partition(
        num_clusters=settings["num_clusters"],
        method=settings["method"],
        seed=settings["seed"],
    )
    if settings["num_parts"] > partitioned.num_clusters:
        raise PartitionError(
            f"num_parts={settings['num_parts']} is above the "
            f"{partitioned.num_clusters} clusters: lower --num-parts or raise "
            "--num-clusters"
        )
    Path(store).parent.mkdir(parents=True, exist_ok=True)
    partitioned.save(store)


@contextmanager
def _nothing_left(out: Storage) -> Iterator[None]:
    """Remove what was written for a run that never started.

    The directory held no run and no store before: both names are this run's.
    """
    fresh = not out.exists("")
    try:
        yield
    except (InputError, KeyboardInterrupt, Terminated):
        if not out.exists(CHECKPOINTS):
            out.remove(STORE)
            out.remove(SETTINGS)
            if fresh and not out.names():
                out.remove("")
        raise


def resume(
    directory: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    encryption: Encryption | None = None,
    progress: Progress | None = None,
    profile: bool = False,
    memory_limit: str | None = None,
) -> dict[str, Any]:
    """Continue the run in `directory`, exact to the step.

    Raises
    ------
    CheckpointError
        If there is no run or no usable checkpoint.
    """
    progress = progress or Silent()
    where = ClusterSpec(workers, scheduler, encryption, memory_limit)
    with _reopened(directory, where, progress) as (trainer, settings):
        trainer.fit(settings["epochs"], resume=True)
        return _summary(trainer, profile)


def evaluate(
    directory: str | Path,
    split: str = "test",
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    encryption: Encryption | None = None,
) -> dict[str, Any]:
    """Return the exact scores of a run's best parameters on a split."""
    where = ClusterSpec(workers, scheduler, encryption)
    with _reopened(directory, where, Silent()) as (trainer, _):
        trainer.restore()
        return trainer.evaluate(split)


def predict(
    directory: str | Path,
    out: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    encryption: Encryption | None = None,
) -> Path:
    """Write a run's predictions for every node to ``out`` (.zarr or .parquet)."""
    from daskgnn.train.persist.output import check_output, write_predictions

    check_output(out)
    where = ClusterSpec(workers, scheduler, encryption)
    with _reopened(directory, where, Silent()) as (trainer, _):
        trainer.restore()
        return write_predictions(trainer.predict(), out)


def _find_graph(asked: dict[str, Any], yes: bool) -> tuple[str, str, Any]:
    """Return (store or "", name, graph in memory or None)."""
    place = asked["graph"]
    if is_store(place):
        for option in ("method", "num_clusters"):
            if asked[option] != RUN[option].default:
                raise InputError(
                    f"{place} is partitioned already, so {option} cannot be given: "
                    f"daskgnn partition {place} OUT makes another store"
                )
        graph = open_graph(place, 1)
        return place, graph.name, None
    data = resolve(place, data_dir=asked["data_dir"], yes=yes)
    if is_url(asked["out"]):
        raise InputError(
            f"--out {asked['out']} takes no graph, only what is trained: store the "
            f"graph where all workers see it (daskgnn partition {place} graph.zarr) "
            "and train graph.zarr"
        )
    return "", data.name, data


@contextmanager
def _reopened(
    directory: str | Path, where: ClusterSpec, progress: Progress
) -> Iterator[tuple[Trainer, dict[str, Any]]]:
    out = open_storage(directory)
    try:
        settings = json.loads(out.read(SETTINGS))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{directory} holds no run ({SETTINGS} cannot be read): give the directory "
            "that daskgnn train --out wrote"
        ) from error
    if not out.exists(CHECKPOINTS):
        raise CheckpointError(
            f"{directory} has no checkpoint yet: remove it and train again"
        )
    features = settings.get("features", "memory")
    graph = open_graph(settings["store"], settings["num_parts"], features)
    where = where.or_as_before(settings)
    workers, scheduler = where.workers, where.scheduler
    check_worker_limit(where.memory_limit, workers, scheduler)
    if scheduler is None and workers != 0:
        workers = (workers or 2) + (settings.get("standby") or 0)
    else:
        settings["adapt"] = None
    with (
        where.encryption.configured(scheduler),
        open_client(workers, scheduler, where.memory_limit) as client,
    ):
        check_source_everywhere(client, graph.source)
        yield _trainer(settings, graph, client, out, progress), settings


def _trainer(
    settings: dict[str, Any],
    graph: Graph,
    client: Any,
    out: Storage,
    progress: Progress,
) -> Trainer:
    # A run of an older version lacks what came later, or has null for it.
    names = [n for n in PlainOptions.__annotations__ if settings.get(n) is not None]
    options: Any = {name: settings[name] for name in names}
    options |= {"client": client, "out": out.place, "progress": progress}
    return Trainer(build_model(settings, graph), graph, **options)


def build_model(settings: dict[str, Any], graph: Graph) -> torch.nn.Module:
    """Return the model that `settings` describe, initialised from their seed."""
    from daskgnn import nn

    common: dict[str, Any] = {
        "in_channels": graph.num_features,
        "hidden_channels": settings["hidden_channels"],
        "out_channels": graph.num_classes,
        "num_layers": settings["num_layers"],
        "dropout": settings["dropout"],
        "input_dropout": settings["input_dropout"],
        "norm": None if settings["norm"] == "none" else settings["norm"],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        if settings["model"] == "gcn":
            return nn.GCN(**common)
        if settings["model"] == "gat":
            return nn.GAT(heads=settings["heads"], **common)
        if settings["model"] == "sage":
            return nn.GraphSAGE(aggr=settings["aggr"], **common)
    raise InputError(f"model={settings['model']!r}, expected sage, gcn or gat")


def _summary(trainer: Trainer, profile: bool) -> dict[str, Any]:
    """Return the summary that the fit has written; write its profile if asked for."""
    recorder = trainer.recorder
    assert recorder.last_summary is not None
    assert recorder.storage is not None
    summary = dict(recorder.last_summary)
    if profile and trainer.step_profile is not None and trainer.step_profile.steps:
        with TemporaryDirectory() as scratch:
            for name, path in zip(
                ("figures", "picture"), trainer.write_profile(scratch), strict=True
            ):
                recorder.storage.write(path.name, path.read_bytes())
                summary.setdefault("profile", {})[name] = path.name
    return summary


__all__ = ["RunOptions", "evaluate", "predict", "resume", "train"]
