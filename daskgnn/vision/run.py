"""A run over images in a directory: what ``daskgnn vision`` does, for programs, too."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskgnn.cluster.client import open_client
from daskgnn.cluster.spec import ClusterSpec
from daskgnn.cluster.tls import Encryption
from daskgnn.errors import InputError
from daskgnn.paths import absolute_path
from daskgnn.train.persist.checkpoint import newest_checkpoint
from daskgnn.train.persist.recorder import Silent
from daskgnn.train.persist.storage import CHECKPOINTS, open_storage
from daskgnn.train.rundirectory import nothing_left, write_settings
from daskgnn.vision.assembly import best_weights, prepared, run_to_end
from daskgnn.vision.evaluation import Trained, score_split, total
from daskgnn.vision.recipes import with_recipe
from daskgnn.vision.rundir import (
    KIND,
    check_changes,
    free_run_directory,
    load_run_images,
    read_settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from daskgnn.train.options.visionoptions import VisionOptions
    from daskgnn.train.persist.recorder import Progress

_MOST_WORKERS = 8
"""Of a cluster whose size is not said."""


def train(
    given: VisionOptions | Mapping[str, Any],
    *,
    progress: Progress | None = None,
    profile: bool = False,
) -> dict[str, Any]:
    """Train a model on images and write the run to the directory ``given["out"]``.

    Parameters
    ----------
    given : dict
        Settings by name, as in the table of options; "data" and "out" are required. A
        setting that is None or missing has the value of the set's recipe, or its
        default.
    progress : Progress, optional
        Receives the events of the run.
    profile : bool, default False
        Whether to draw ``schedule.png``: what each worker did when, in a step.

    Returns
    -------
    dict
        What ``summary.json`` holds.

    Raises
    ------
    InputError
        Before anything is written: what was given, and what is expected.
    TrainingError
        If the run fails.

    Examples
    --------
    >>> import os, tempfile
    >>> from daskgnn.vision import train
    >>> out = os.path.join(tempfile.mkdtemp(), "run")
    >>> how = {"workers": 0, "epochs": 1, "channels": 8, "depth": 1, "batch_size": 256}
    >>> summary = train({"data": "digits", "out": out, **how})
    >>> summary["num_images"], summary["steps"]
    (1078, 5)
    """
    said = {name: value for name, value in given.items() if value is not None}
    for name in ("data", "out"):
        if name not in said:
            raise InputError(f"{name} is missing: a run needs data=... and out=...")
    out = free_run_directory(str(said["out"]))
    images = load_run_images(said)
    settings = with_recipe(images.name, images.pixels.shape[1], said)
    if Path(settings["data"]).is_dir():
        settings["data"] = absolute_path(settings["data"])
    prepared(images, settings)  # refuses what cannot be used before a cluster starts
    if settings["scheduler"] is None and settings["workers"] is None:
        stages = settings["stages"] * settings["copies"]
        settings["workers"] = min(stages, _MOST_WORKERS) if stages > 1 else 0
    encryption = Encryption.of(settings).absolute()
    encryption.check(settings["scheduler"])
    settings |= asdict(encryption) | {"out": out.place}
    with _opened(settings) as client, nothing_left(out):
        plain = json.loads(json.dumps(settings, default=str))
        write_settings(out, {"kind": KIND, **plain})
        whole = settings, images, client, progress or Silent(), None
        return run_to_end(*whole, profile=profile)


def resume(
    directory: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    encryption: Encryption | None = None,
    memory_limit: str | None = None,
    progress: Progress | None = None,
    profile: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """Continue the run in a directory, at the very step of its newest checkpoint.

    Parameters
    ----------
    directory : str or path
        Where `train` has written the run.
    workers, scheduler, encryption, memory_limit : optional
        The cluster, as of `daskgnn.train.run.resume`.
    progress, profile : optional
        As of `train`.
    **changes : dict
        Settings that may be others than before: "stages", "schedule", "filename", ...
        and "epochs" of a run whose learning rate does not fall.

    Returns
    -------
    dict
        What ``summary.json`` holds.

    Raises
    ------
    CheckpointError
        If there is no run, or its images have changed.
    InputError
        If the result depends on a setting, so that it cannot be changed.
    TrainingError
        If the run fails.

    Examples
    --------
    >>> import os, tempfile
    >>> from daskgnn.vision import resume, train
    >>> out = os.path.join(tempfile.mkdtemp(), "run")
    >>> how = {"workers": 0, "epochs": 1, "channels": 8, "depth": 1, "batch_size": 256}
    >>> first = train({"data": "digits", "out": out, **how})
    >>> resume(out)["params_sha256"] == first["params_sha256"]  # nothing was left to do
    True
    """
    settings = read_settings(str(directory))
    said = {name: value for name, value in changes.items() if value is not None}
    check_changes(settings, said)
    spec = ClusterSpec(workers, scheduler, encryption, memory_limit)
    spec = spec.or_as_before(settings)
    place = {"workers": spec.workers, "scheduler": spec.scheduler}
    place |= asdict(spec.encryption) | {"memory_limit": spec.memory_limit}
    settings |= said | place | {"out": str(directory)}
    images = load_run_images(settings)
    folder = open_storage(directory).inside(CHECKPOINTS)
    checkpoint = newest_checkpoint(folder) if folder.names() else None
    with _opened(settings) as client:
        whole = settings, images, client, progress or Silent(), checkpoint
        return run_to_end(*whole, profile=profile)


def evaluate(
    directory: str | Path,
    split: str = "test",
    *,
    workers: int | None = 0,
    scheduler: str | None = None,
    encryption: Encryption | None = None,
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Score the best parameters of a run.

    The best are those of the epoch with the best accuracy over the validation images;
    of a run without such, the last.

    Parameters
    ----------
    directory : str or path
        Where `train` has written the run.
    split : {"train", "val", "test"}, default "test"
        Which images.
    workers, scheduler, encryption : optional
        The cluster, as of `daskgnn.train.run.resume`; by default none.
    data_dir : str, optional
        The data folder; by default as before.

    Returns
    -------
    dict
        "split", "accuracy", "loss", "num_images" and "best_epoch".

    Raises
    ------
    CheckpointError
        If there is no run, or no usable checkpoint.
    InputError
        If the set has no such images.

    Examples
    --------
    >>> import os, tempfile
    >>> from daskgnn.vision import evaluate, train
    >>> out = os.path.join(tempfile.mkdtemp(), "run")
    >>> how = {"workers": 0, "epochs": 1, "channels": 8, "depth": 1, "batch_size": 256}
    >>> summary = train({"data": "digits", "out": out, **how})
    >>> evaluate(out)["accuracy"] == summary["test_accuracy"]
    True
    """
    settings = read_settings(str(directory))
    settings |= {} if data_dir is None else {"data_dir": data_dir}
    given = encryption or Encryption()
    where = {"workers": workers, "scheduler": scheduler, **asdict(given)}
    images = load_run_images(settings)
    if split not in images.splits:
        raise InputError(
            f"{images.name} has no {split!r} images: expected one of "
            f"{', '.join(images.splits)}"
        )
    folder = open_storage(directory).inside(CHECKPOINTS)
    newest = newest_checkpoint(folder)
    trained = Trained(
        prepared(images, settings)[0], best_weights(folder, newest), settings["threads"]
    )
    with _opened(where) as client:
        found = total(score_split(trained, images, split, client))
    scores = found.of(split)
    return {
        "split": split,
        "accuracy": scores[f"{split}_accuracy"],
        "loss": scores[f"{split}_loss"],
        "num_images": found.count,
        "best_epoch": newest.facts["reached"]["best_epoch"],
    }


@contextmanager
def _opened(settings: Mapping[str, Any]) -> Iterator[Any]:
    """Yield a client of the cluster that settings name; None for this process."""
    scheduler = settings["scheduler"]
    encryption = Encryption.of(dict(settings))
    limit = settings.get("memory_limit")
    with (
        encryption.configured(scheduler),
        open_client(settings["workers"], scheduler, limit) as client,
    ):
        yield client
