"""Tested settings by set of images: what holds where nothing is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError
from daskgnn.train.options.option import taken
from daskgnn.train.options.visionoptions import VISION

if TYPE_CHECKING:
    from collections.abc import Mapping

RECIPES: dict[str, dict[str, Any]] = {
    "digits": {
        "model": "vig-mini",
        "channels": 48,
        "depth": 4,
        "k": 4,
        "stride": 2,
        "batch_size": 64,
        "epochs": 10,
        "augment": "shift:1",
    },
    "fashion-mnist": {
        "model": "vig-mini",
        "depth": 3,
        "batch_size": 128,
        "epochs": 6,
        "lr": 0.003,
        "augment": "flip",
    },
    "cifar10": {
        "model": "vig-mini",
        "channels": 96,
        "depth": 8,
        "batch_size": 128,
        "epochs": 30,
        "augment": "shift:4,flip",
        "drop_path": 0.1,
    },
}
SHAPE = ("channels", "depth", "k", "stride")
"""Settings of a model that are its own where they are not given."""
_SMALL = 64
"""Rows of images for which a small model is taken, where there is no recipe."""


def with_recipe(name: str, rows: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings: what is given, then the set's recipe, then defaults.

    Parameters
    ----------
    name
        Of the set.
    rows
        Of its images.
    given
        Settings by name; None counts as not given.

    Raises
    ------
    InputError
        If a setting is unknown, or cannot be used.
    """
    said = {n: value for n, value in given.items() if value is not None}
    usual = RECIPES.get(name, {"model": "vig-mini"} if rows <= _SMALL else {})
    if "model" in said and said["model"] != usual.get("model"):
        usual = {n: v for n, v in usual.items() if n not in SHAPE}
    found = taken(VISION, usual | said, "a run over images")
    found["augment"] = found["augment"] or "none"
    return found


def model_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's arguments among settings.

    Raises
    ------
    InputError
        If a setting is not of this kind of model.
    """
    found = {n: settings[n] for n in SHAPE if settings.get(n) is not None}
    if settings["model"].startswith("pvig") and found.keys() - {"k"}:
        name = next(n for n in found if n != "k")
        raise InputError(
            f"{name}={found[name]} is for isotropic models, and model="
            f"{settings['model']!r} is a pyramid: leave {name}= out"
        )
    for name in ("drop_path", "dropout"):
        if settings[name]:
            found[name] = settings[name]
    return found | {"norm": settings["norm"]}
