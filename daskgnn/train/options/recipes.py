"""Tested settings by data set and model, the defaults of `daskgnn train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskgnn.train.options.options import RUN
from daskgnn.train.options.samplers import (
    chooses_seeds,
    fan_outs_refused,
    refuses_fan_outs,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

FAN_OUTS = [15, 10, 5]
"""Default fan-outs of up to three layers; further ones take the last."""

_CITATION = {
    "normalize_features": True,
    "num_neighbors": [-1, -1],
    "batch_size": 1024,
    "hidden_channels": 16,
    "epochs": 200,
    "lr": 0.01,
    "weight_decay": 5e-4,
    "dropout": 0.5,
    "input_dropout": 0.5,
}

RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "cora": {
        "gcn": _CITATION,
        "gat": {
            **_CITATION,
            "hidden_channels": 8,
            "heads": 8,
            "lr": 0.005,
            "dropout": 0.6,
            "input_dropout": 0.6,
        },
        "sage": {
            **_CITATION,
            "hidden_channels": 64,
            "num_neighbors": [25, 10],
            "epochs": 100,
        },
    },
    "digits": {
        "sage": {
            "hidden_channels": 128,
            "num_neighbors": [15, 10],
            "batch_size": 256,
            "epochs": 30,
            "lr": 0.01,
            "dropout": 0.3,
        },
    },
}
RECIPES["citeseer"] = RECIPES["cora"]
RECIPES["pubmed"] = RECIPES["cora"]


def with_recipe(
    name: str, given: Mapping[str, Any], *, use_recipe: bool
) -> dict[str, Any]:
    """Return all settings: what is given, else the recipe's, else the default.

    Parameters
    ----------
    name : str
        The graph's name.
    given : dict
        None stands for "not given".
    use_recipe : bool
    """
    chosen = {k: v for k, v in given.items() if v is not None}
    defaults = {name: option.default for name, option in RUN.items()}
    model = chosen.get("model", defaults["model"])
    recipe = RECIPES.get(name.lower(), {}).get(model, {}) if use_recipe else {}
    recipe = dict(recipe)
    if "num_layers" in chosen and "num_neighbors" not in chosen:
        recipe.pop("num_neighbors", None)
    if chooses_seeds(chosen.get("sampler")):
        recipe.pop("batch_size", None)  # ignored, and not what anybody gave
    out = {**defaults, **recipe, **chosen}
    if refuses_fan_outs(out["sampler"]):
        return _without_fan_outs(out, chosen)
    if out["num_neighbors"] is None:
        layers = out["num_layers"] or 2
        out["num_neighbors"] = [
            FAN_OUTS[min(hop, len(FAN_OUTS) - 1)] for hop in range(layers)
        ]
    if out["num_layers"] is None:
        out["num_layers"] = len(out["num_neighbors"])
    return out


def _without_fan_outs(out: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """Return all settings of a run whose sampler takes no fan-outs."""
    if "num_neighbors" in chosen:
        raise fan_outs_refused(out["sampler"])
    return {**out, "num_neighbors": None, "num_layers": out["num_layers"] or 2}
