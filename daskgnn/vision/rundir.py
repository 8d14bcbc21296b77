"""The directory of a run over images: its settings, and the images they name."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import CheckpointError, DatasetError, InputError
from daskgnn.train.options.visionoptions import RESULT, VISION
from daskgnn.train.persist.storage import METRICS, open_storage
from daskgnn.train.rundirectory import SETTINGS
from daskgnn.vision.data.batches import find_damaged, in_batches
from daskgnn.vision.data.datasets import load_images

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskgnn.train.persist.checkpoint import Checkpoint
    from daskgnn.train.persist.storage import Storage
    from daskgnn.vision.data.images import ImageSet

KIND = "images"
"""What ``run.json`` says that a run is over."""
_CHECKED_TOGETHER = 64
"""Files that one task reads to see whether they are damaged."""


def read_settings(directory: str) -> dict[str, Any]:
    """Return the settings of a run over images.

    Raises
    ------
    CheckpointError
        If the directory holds none.
    """
    try:
        found = json.loads(open_storage(directory).read(SETTINGS))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{directory} holds no run ({SETTINGS} cannot be read): give the directory "
            "that daskgnn vision train --out named"
        ) from error
    if not isinstance(found, dict) or found.pop("kind", None) != KIND:
        raise CheckpointError(
            f"{directory} holds a run over a graph: see daskgnn train --resume"
        )
    return found


def free_run_directory(place: str) -> Storage:
    """Return a run's directory, which must not hold one yet."""
    out = open_storage(place)
    if out.exists(SETTINGS) or out.exists(METRICS):
        raise InputError(
            f"{place} already holds a run",
            python=f"give another out=..., or continue it with "
            f"daskgnn.vision.run.resume({place!r})",
            shell="give another --out, or continue it with daskgnn vision train "
            f"--resume {place}",
        )
    return out


def load_run_images(settings: Mapping[str, Any]) -> ImageSet:
    """Return the images of a run, without damaged ones if they are to be skipped."""
    how = {"image_size": settings.get("image_size")}
    images = load_images(settings["data"], settings.get("data_dir"), **how)
    if "train" not in images.splits:
        raise DatasetError(f"{images.name} has no images to train on")
    held_out, seed = (
        settings.get(name, VISION[name].default) for name in ("validation", "seed")
    )
    images = images.with_validation(held_out, seed)
    if settings.get("damaged") != "skip":
        return images
    pieces = in_batches(np.arange(len(images.pixels)), _CHECKED_TOGETHER)
    damaged = [bad for ids in pieces for bad in find_damaged(images.pixels, ids)]
    for _, why in damaged:
        warnings.warn(f"left out: {why.partition(':')[0]}", stacklevel=3)
    return images.without(damaged) if damaged else images


def check_same_run(checkpoint: Checkpoint, facts: dict[str, Any]) -> None:
    """Refuse a checkpoint of other images or settings."""
    theirs = checkpoint.facts.get("run", {})
    for name, mine in facts.items():
        if theirs.get(name) != mine:
            raise CheckpointError(
                f"the checkpoint of step {checkpoint.step} was written with "
                f"{name}={theirs.get(name)}, this run has {name}={mine}"
            )


def check_changes(settings: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    """Refuse changes that would give other results."""
    for name, value in said.items():
        if name in RESULT and settings.get(name) != value:
            raise InputError(
                f"{name}={value} cannot be given to a resumed run, which has "
                f"{name}={settings.get(name)}: its result depends on it"
            )
    cut = said.get("stages", settings["stages"])
    if settings["boundary"] == "bf16" and cut != settings["stages"]:
        raise InputError(
            f"stages={cut}: with boundary='bf16' the result depends on where a model "
            f"is cut, and this run has stages={settings['stages']}"
        )
    epochs = said.get("epochs", settings["epochs"])
    if settings["lr_decay"] == "cosine" and epochs != settings["epochs"]:
        raise InputError(
            f"epochs={epochs}: the learning rate of this run falls until epoch "
            f"{settings['epochs']}; only runs with lr_decay='none' can be made longer"
        )
