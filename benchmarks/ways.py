"""The ways to combine gradients, and what each is trained on: see gradients.py."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from workloads import WORKLOADS, store_of

import daskgnn
from daskgnn import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

MODES: dict[str, dict[str, Any]] = {
    "tree": {},
    "ring": {"gradients": "ring"},
    "async 1": {"gradients": "async", "staleness": 1},
    "async 2 dc-asgd": {
        "gradients": "async",
        "staleness": 2,
        "compensation": "dc-asgd",
    },
    "async 2": {"gradients": "async", "staleness": 2},
    # A step makes two updates: as many in the ramp as of the others.
    "server 8": {"gradients": "server", "staleness": 8, "ramp_steps": 50},
    "topk:0.01": {"compress": "topk:0.01"},
    "powersgd:2": {"compress": "powersgd:2"},
    "fp16": {"compress": "fp16"},
    "bf16": {"compress": "bf16"},
    "int8": {"compress": "int8"},
    "accumulate 4": {"accumulate": 4},
    "local steps 4": {"local_steps": 4},
    "clip 1": {"clip_norm": 1.0},
    "precision bf16": {"precision": "bf16"},
}
PARTS = 2
_IN_FILES = ("amazon_photo", "coauthor_cs", "facebook_large")


@dataclass(frozen=True)
class Setup:
    """How a graph is trained."""

    fan_out: tuple[int, int]
    batch: int
    hidden: int
    epochs: int = 1
    """Where accuracy is compared."""
    evaluations: int = 1
    """At equal distances, the last one at the end; the best one's parameters count."""
    model: str = "sage"
    dropout: float = 0.0
    weight_decay: float = 0.0
    normalize: bool = True


SPEED = {
    "coauthor_cs": Setup((5, 5), 256, 64),
    "arxiv": Setup((10, 5), 2048, 64, normalize=False),
}
_CITATION = Setup((25, 10), 512, 16, 200, 20, dropout=0.5, weight_decay=5e-4)
ACCURACY = {
    # As the recipes of `daskgnn train`, but for fewer channels: one update an epoch.
    **dict.fromkeys(("cora", "citeseer", "pubmed"), _CITATION),
    # Features as they are, which Adam's first steps are large for; small batches and
    # models where rows are of thousands of numbers. 200 updates or a few more, of which
    # the ramps take the first 100.
    "amazon_photo": Setup((10, 5), 256, 64, 12, 12, normalize=False),
    "coauthor_cs": Setup((5, 3), 96, 16, 2, 2, normalize=False),
    "facebook_large": Setup((5, 3), 128, 16, 2, 2, normalize=False),
}
"""As `Trainer` has it by default, but for what is named."""
SHORT = {"amazon_photo": Setup((15, 10), 512, 128, 12, 12, normalize=False)}
"""As short as a first try: the ramps take most of it."""


def path_of(name: str, folder: str, cache: str) -> str | None:
    """Return the path of a graph's store, made on first need; None without the data."""
    if name == "arxiv":
        return store_of(WORKLOADS["arxiv"], cache)
    path = Path(folder) / f"{name}.zarr"
    data_dir = os.environ.get("DASKGNN_DATA_DIR")
    if not path.exists():
        given = name
        if name in _IN_FILES:
            if not data_dir:
                print(f"{name} is not measured: DASKGNN_DATA_DIR is not set")
                return None
            given = str(Path(data_dir) / f"{name}.npz")
        graph = daskgnn.load_dataset(given, data_dir=data_dir)
        if not graph.splits:
            graph = graph.split(train=0.6, val=0.2, seed=0)
        graph.partition(num_clusters=32, method="metis").save(path)
    return str(path)


def stores(names: list[str], folder: str, cache: str) -> Iterator[tuple[str, str]]:
    """Yield the names and paths of the graphs that there are."""
    for name in names:
        path = path_of(name, folder, cache)
        if path is not None:
            yield name, path


def model_of(setup: Setup, graph: Any, seed: int) -> torch.nn.Module:
    """Return the model that a graph is trained with."""
    torch.manual_seed(seed)
    make = {"gcn": nn.GCN, "sage": nn.GraphSAGE}[setup.model]
    dropout = {"dropout": setup.dropout, "input_dropout": setup.dropout}
    return make(graph.num_features, setup.hidden, graph.num_classes, 2, **dropout)


def trainer_of(
    setup: Setup, path: str, client: Any, mode: str, seed: int = 0, **options: Any
) -> daskgnn.Trainer:
    """Return a trainer in one of the modes."""
    graph = daskgnn.open_graph(path, PARTS)
    model = options.pop("model", None) or model_of(setup, graph, seed)
    given: dict[str, Any] = {
        "num_neighbors": list(setup.fan_out),
        "batch_size": setup.batch,
        "normalize_features": setup.normalize,
        "weight_decay": setup.weight_decay,
        "lr": 0.01,
        "seed": seed,
        **MODES[mode],
        **options,
    }
    return daskgnn.Trainer(model, graph, client=client, **given)


def updates_of(trainer: daskgnn.Trainer, mode: str) -> int:
    """Return how many updates an epoch makes."""
    steps = trainer.plan.steps_per_epoch
    if mode.startswith("server"):
        return steps * PARTS
    return -(-steps // MODES[mode].get("accumulate", 1))
