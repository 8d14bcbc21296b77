"""A run in a directory: what ``daskgnn train`` does, for programs, too."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from daskgnn.cluster.client import open_client
from daskgnn.cluster.spec import ClusterSpec
from daskgnn.cluster.tls import Encryption
from daskgnn.graph.opening import open_graph
from daskgnn.graph.sources.packed import check_source_everywhere
from daskgnn.tasks.node import check_labelled
from daskgnn.train.automatic import WHY, needs_no_cluster
from daskgnn.train.checks import check_worker_limit, require_features
from daskgnn.train.finetune import starting_from, take_weights
from daskgnn.train.modelsettings import build_model
from daskgnn.train.options.options import RunOptions
from daskgnn.train.options.recipes import with_recipe
from daskgnn.train.persist.output import check_output
from daskgnn.train.persist.recorder import Progress, Silent
from daskgnn.train.reopening import new_trainer, reopened
from daskgnn.train.rundirectory import (
    STORE,
    check_run,
    count_workers,
    find_graph,
    free_directory,
    nothing_left,
    open_parts,
    store_graph,
    write_settings,
)
from daskgnn.train.watching import tell_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from daskgnn.train.trainer import Trainer


class Place(TypedDict, total=False):
    """Where a run that is there is used; by default where it was made."""

    workers: int | None
    """Number of workers of the local cluster, 0 for none."""
    scheduler: str | None
    """Address of a running cluster to use."""
    encryption: Encryption | None
    """TLS of the cluster."""


class Changes(TypedDict, total=False):
    """Settings that a resumed run may have other than before."""

    epochs: int | None
    patience: int | None


def train(
    given: RunOptions,
    *,
    progress: Progress | None = None,
    yes: bool = False,
    profile: bool = False,
) -> dict[str, Any]:
    """Train a model and write the run to the directory ``given["out"]``.

    This is what ``daskgnn train`` does: it loads and partitions the graph, starts a
    cluster if there is none, trains, and writes metrics, checkpoints and a summary.

    Parameters
    ----------
    given : RunOptions
        Settings by name, as in the table of options; "graph" and "out" are required. A
        setting that is None or missing has the value of the data set's recipe, or its
        default.
    progress : Progress, optional
        Receives the events of the run.
    yes : bool, default False
        Whether to agree to a large download.
    profile : bool, default False
        Whether to write ``profile.json`` and ``profile.png`` as well; the result then
        names them.

    Returns
    -------
    dict
        What ``summary.json`` holds.

    Raises
    ------
    InputError
        Before anything is written: what was given, and what is expected.
    PartitionError
        If there are more parts than clusters.
    TrainingError
        If the run fails.

    Examples
    --------
    >>> import os, tempfile
    >>> from daskgnn.train.run import train
    >>> out = os.path.join(tempfile.mkdtemp(), "run")
    >>> summary = train({"graph": "karate", "out": out, "workers": 0, "epochs": 3})
    >>> summary["epochs"], summary["num_nodes"]
    (3, 34)
    >>> sorted(os.listdir(out))
    ['checkpoints', 'graph.zarr', 'metrics.jsonl', 'run.json', 'summary.json']
    """
    progress = progress or Silent()
    wanted = starting_from({**given})
    asked = check_run(wanted)
    wanted["workers"] = asked["workers"]
    out = free_directory(asked["out"])
    encryption = Encryption.of(asked).absolute()
    encryption.check(asked["scheduler"])
    check_worker_limit(asked["memory_limit"], asked["workers"], asked["scheduler"])
    store, name, data = find_graph(asked, yes)
    settings = with_recipe(name, wanted, use_recipe=asked["recipe"])
    asked_parts = settings["num_parts"] is not None
    known = open_graph(store, 1) if data is None else data
    short = needs_no_cluster(known, settings)
    workers = count_workers(settings) + settings["standby"]
    if short:
        workers = settings["workers"] = 0
    scheduler, limit = settings["scheduler"], settings["memory_limit"]
    with (
        encryption.configured(scheduler),
        open_client(workers, scheduler, limit) as client,
        nothing_left(out),
    ):
        tell_page(client, progress)
        if data is not None:
            store = out.path_of(STORE)
            store_graph(data, settings, store, asked=asked_parts)
        graph = open_parts(store, settings, asked=asked_parts)
        check_source_everywhere(client, graph.source)
        require_features(graph)
        check_labelled(graph)
        model, start = build_model(settings, graph), settings["start_from"]
        step = None if start is None else take_weights(model, start)
        trainer = new_trainer(settings, model, graph, client, out, progress)
        if step is not None:
            trainer.recorder.event("start_from", run=str(start), step=step)
        if short:
            trainer.recorder.event("no_cluster", reason=WHY)
        settings |= {"store": graph.path, "out": out.place, **asdict(encryption)}
        settings["sparse_features"] = trainer.options["sparse_features"]
        settings["precision"] = trainer.options["precision"]
        write_settings(out, settings)
        trainer.fit(settings["epochs"])
        return _summary(trainer, profile)


def resume(
    directory: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    encryption: Encryption | None = None,
    progress: Progress | None = None,
    profile: bool = False,
    memory_limit: str | None = None,
    **changes: Unpack[Changes],
) -> dict[str, Any]:
    """Continue the run in a directory, at the very step of its newest checkpoint.

    Parameters
    ----------
    directory : str or path
        Where `train` has written the run.
    workers : int, optional
        Number of workers of the local cluster, 0 for none; by default as before.
    scheduler : str, optional
        Address of a running cluster to use.
    encryption : Encryption, optional
        TLS of the cluster; by default as before.
    progress : Progress, optional
        Receives the events of the run.
    profile : bool, default False
        Whether to write ``profile.json`` and ``profile.png`` as well.
    memory_limit : str, optional
        Memory of each worker of the local cluster, for instance "2 GiB".
    **changes : dict
        Settings that may be others than before: `epochs`, counted from the start of the
        run, and `patience`.

    Returns
    -------
    dict
        What ``summary.json`` holds.

    Raises
    ------
    CheckpointError
        If there is no run, or no usable checkpoint.
    TrainingError
        If the run fails.

    Examples
    --------
    >>> import os, tempfile
    >>> from daskgnn.train.run import resume, train
    >>> out = os.path.join(tempfile.mkdtemp(), "run")
    >>> first = train({"graph": "karate", "out": out, "workers": 0, "epochs": 2})
    >>> resume(out)["params_sha256"] == first["params_sha256"]  # nothing was left to do
    True
    """
    progress = progress or Silent()
    where = ClusterSpec(workers, scheduler, encryption, memory_limit)
    given: dict[str, Any] = {n: v for n, v in changes.items() if v is not None}
    found = reopened(directory, where, progress, trains=True, **given)
    with found as (trainer, settings):
        trainer.fit(settings["epochs"], resume=True)
        return _summary(trainer, profile)


def evaluate(
    directory: str | Path,
    split: str = "test",
    metric: str | Sequence[str] | None = None,
    *,
    per_class: bool = False,
    **where: Unpack[Place],
) -> dict[str, Any]:
    """Return exact scores of a split, with a run's best parameters.

    Parameters
    ----------
    directory : str or path
        Where `train` has written the run.
    split : str, default "test"
        "train", "val" or "test".
    metric : str or sequence of str, optional
        Scores to compute, as of the option; by default those of the run.
    per_class : bool, default False
        Whether to score each class, too.
    **where : dict
        `workers`, `scheduler` and `encryption`, as of `resume`; by default there are no
        workers for a small graph.

    Returns
    -------
    dict
        As `Trainer.evaluate`.

    Raises
    ------
    CheckpointError
        If there is no run, or no usable checkpoint.
    InputError
        If the graph has no such split, or a metric is unknown.

    Examples
    --------
    >>> import os, tempfile
    >>> from daskgnn.train.run import evaluate, train
    >>> out = os.path.join(tempfile.mkdtemp(), "run")
    >>> _ = train({"graph": "karate", "out": out, "workers": 0, "epochs": 2})
    >>> scores = evaluate(out, "val", ["f1_macro", "roc_auc"])
    >>> scores["split"], "roc_auc" in scores
    ('val', True)
    """
    with _finished(directory, where) as trainer:
        return trainer.evaluate(split, metric, per_class=per_class)


def predict(
    directory: str | Path,
    out: str | Path,
    nodes: Any = None,
    **where: Unpack[Place],
) -> Path:
    """Write a run's outputs for every node, or for some, to a file.

    Parameters
    ----------
    directory : str or path
        Where `train` has written the run.
    out : str or path
        A new file that ends in ``.zarr`` (an array float32 [N, C]) or ``.parquet`` (a
        row a node: "id", as you call it, "prediction", the class's name, and a column
        of the model's outputs for each class, named by it).
    nodes : str, array of bool or sequence, optional
        A split, a mask [N], or ids as the input had them; by default all nodes.
    **where : dict
        `workers`, `scheduler` and `encryption`, as of `resume`; by default there are no
        workers for a small graph.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CheckpointError
        If there is no run, or no usable checkpoint.
    InputError
        If `out` has another suffix or exists, or a node is unknown.

    Examples
    --------
    >>> import os, tempfile
    >>> import zarr
    >>> from daskgnn.train.run import predict, train
    >>> folder = tempfile.mkdtemp()
    >>> out = os.path.join(folder, "run")
    >>> _ = train({"graph": "karate", "out": out, "workers": 0, "epochs": 2})
    >>> path = predict(out, os.path.join(folder, "outputs.zarr"))
    >>> zarr.open(path).shape
    (34, 2)
    """
    check_output(out)
    with _finished(directory, where) as trainer:
        return trainer.predict(nodes, out=out)


@contextmanager
def _finished(directory: str | Path, where: Place) -> Iterator[Trainer]:
    """Yield the trainer of a run's newest checkpoint, to use what was trained."""
    place = ClusterSpec(
        where.get("workers"), where.get("scheduler"), where.get("encryption")
    )
    with reopened(directory, place, Silent()) as (trainer, _):
        trainer.restore(training=False)
        yield trainer


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
