"""A new run that starts from the parameters of another."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from daskgnn.errors import CheckpointError
from daskgnn.train.compute.state import write_weights
from daskgnn.train.fingerprint import difference
from daskgnn.train.modelsettings import structure
from daskgnn.train.options.options import RUN
from daskgnn.train.options.plainoptions import CLUSTER, FILES
from daskgnn.train.persist.checkpoint import newest_checkpoint
from daskgnn.train.persist.storage import CHECKPOINTS, open_storage
from daskgnn.train.runsettings import check_rebuildable, own_objects, read_settings
from daskgnn.train.runstate import best_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

_OWN = {"graph", "data_dir", "method", "num_clusters", "start_from", "recipe"}
"""Settings that say where a graph comes from: of the other run, its store is used."""


def starting_from(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a run, those of the run that it starts from where not given.

    Raises
    ------
    CheckpointError
        If there is no such run.
    """
    said = {name: value for name, value in given.items() if value is not None}
    place = said.get("start_from")
    if place is None:
        return {**given}
    settings = read_settings(open_storage(str(place)))
    check_rebuildable(settings, str(place), trains=False)
    _say_what_is_left_out(settings, said, str(place))
    there = {
        name: settings[name]
        for name, option in RUN.items()
        if settings.get(name) is not None and option.group not in (CLUSTER, FILES)
    }
    there = {name: value for name, value in there.items() if name not in _OWN}
    if "graph" not in said:
        there["graph"] = settings["store"]
    return there | {"recipe": False} | said


def _say_what_is_left_out(
    settings: dict[str, Any], said: Mapping[str, Any], place: str
) -> None:
    """Warn of what only the program that made the other run can make."""
    left = [name for name in own_objects(settings) if name not in said]
    if left:
        warnings.warn(
            f"start_from={place!r}: that run was trained with an object that only "
            f"its program can make ({', '.join(left)}): this run uses the default",
            stacklevel=3,
        )


def take_weights(model: torch.nn.Module, place: str) -> int:
    """Give a model the best weights of another run; return the step they are of.

    Raises
    ------
    CheckpointError
        If that run has no checkpoint, or its model is another one.
    """
    found = newest_checkpoint(open_storage(place).inside(CHECKPOINTS))
    theirs = found.facts["plan"]["model"], found.facts["plan"]["parameters"]
    for then, now in zip(theirs, structure(model), strict=True):
        if then != now:
            was, is_now = difference(then, now)
            raise CheckpointError(
                f"start_from={place!r} has {was}, this run has {is_now}: give the same "
                "model, and a graph with as many features and classes"
            )
    write_weights(model, best_weights(found))
    return int(found.facts.get("best_step") or found.step)
