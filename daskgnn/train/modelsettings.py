"""Models of this library as settings of a run, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from daskgnn import nn
from daskgnn.errors import InputError, ModelError

if TYPE_CHECKING:
    from daskgnn.graph.graph import Graph

_KINDS: dict[type, str] = {nn.GraphSAGE: "sage", nn.GCN: "gcn", nn.GAT: "gat"}


def build_model(settings: dict[str, Any], graph: Graph) -> torch.nn.Module:
    """Return the model that `settings` describe, initialised from their seed."""
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


def describe_model(model: torch.nn.Module, graph: Graph) -> dict[str, Any] | None:
    """Return the settings from which `build_model` makes a model like this one.

    Returns
    -------
    dict or None
        None of a model that settings cannot describe, of a user's own class for
        instance.
    """
    kind = _KINDS.get(type(model))
    if kind is None:
        return None
    found: Any = model
    dropouts = [dropout.p for dropout in found.dropouts]
    settings = {
        "model": kind,
        "hidden_channels": found.convs[0].out_channels,
        "num_layers": found.num_layers,
        "dropout": dropouts[0] if dropouts else 0.0,
        "input_dropout": found.input_dropout.p,
        "norm": "layer" if len(found.norms) else "none",
        "aggr": getattr(model, "aggr", "mean"),
        "heads": getattr(found.convs[0], "heads", 8),
        "seed": 0,
    }
    try:
        like = build_model(settings, graph)
    except ModelError:
        return None
    del settings["seed"]
    return settings if structure(like) == structure(model) else None


def structure(model: torch.nn.Module) -> tuple[str, list[str]]:
    """Return what two models have in common that take each other's parameters."""
    shapes = [f"{name} {list(p.shape)}" for name, p in model.named_parameters()]
    return repr(model), shapes
