"""The trainings that `golden.py` compares, and the graphs that they train on.

A case is one training; a place says where it runs and what happens to it meanwhile.
All places of a case, and the case it is the same as, must give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Place:
    """Where a training runs: in so many workers (0: in its own process)."""

    workers: int
    steps: str = "auto"
    event: str = ""
    """"stop": stopped in the middle and resumed by another trainer; "kill": a worker
    is killed in the middle; "old": resumed from what the base side left when it was
    stopped."""

    def __str__(self) -> str:
        form = "" if self.steps == "auto" else self.steps
        return " ".join(word for word in (str(self.workers), form, self.event) if word)


HERE = Place(0)
STOPPED = Place(0, event="stop")
TASKS = Place(2, "tasks")
WINDOW = Place(2, "window")


@dataclass(frozen=True)
class Case:
    """One training."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    """Of the `Trainer`, beside what the side gives; names of `golden_models` where
    it takes functions."""
    places: tuple[Place, ...] = (HERE,)
    same_as: str = ""
    """The case whose bits it must have."""
    model: str = "sage"
    graph: str = "planted"
    method: str = "metis"
    stored_as: str = "float32"
    num_parts: int = 2
    features: str = "memory"
    epochs: int = 2
    config: dict[str, Any] = field(default_factory=dict)
    """Of Dask, on the driver."""
    command: str = ""
    """Words of ``daskgnn train``, in place of a `Trainer`."""
    timed: bool = False
    """Whether bits depend on time: it must run, no more."""


def _places(*texts: str) -> tuple[Place, ...]:
    """Return places by their names, as in ``"2 window kill"``."""
    found = []
    for text in texts:
        workers, *words = text.split()
        forms = [word for word in words if word in ("tasks", "window")]
        events = [word for word in words if word not in forms]
        found.append(Place(int(workers), *(forms or ["auto"]), *events))
    return tuple(found)


_PLAIN = ("0", "0 stop", "1", "2 tasks", "2 window", "3", "2 tasks kill")

MODELS = (
    Case("plain", places=_places(*_PLAIN, "2 window kill", "2 window stop")),
    Case("no dropout", model="sage without dropout"),
    Case("max", model="sage of max", places=(HERE, WINDOW)),
    Case("sum", model="sage of sum"),
    Case("gcn", model="gcn", places=(HERE, WINDOW)),
    Case("gcn on weights", model="gcn", graph="hubs"),
    Case("gat", model="gat", places=(HERE, TASKS)),
    Case("own model", model="own", places=(HERE, STOPPED, WINDOW)),
    Case("norm, residual", model="normed"),
    Case("own loss", {"loss": "smoothed"}, places=(HERE, TASKS)),
)

SAMPLING = (
    Case("by edge weight", {"sample_by": "edge_weight"}, (HERE, WINDOW), graph="hubs"),
    Case("by degree", {"sample_by": "degree"}, (HERE, TASKS), graph="hubs"),
    Case("all neighbours", {"num_neighbors": [-1, -1]}, (HERE, WINDOW)),
    Case(
        "three hops", {"num_neighbors": [3, -1, 2]}, (HERE, TASKS), model="three layers"
    ),
    Case("one part", num_parts=1, places=(HERE, Place(2))),
    Case("four parts", num_parts=4, places=_places("0", "3 tasks", "3 window")),
    Case("window of 3", {"window": 3}, (HERE, WINDOW), "plain"),
    Case("hash", method="hash"),
    Case(
        "hdrf",
        graph="hubs",
        method="hdrf",
        num_parts=4,
        epochs=4,  # the loss of a worker is to be noticed before the end
        places=_places("0", "2 tasks", "2 window", "2 window kill"),
    ),
    Case("dbh", graph="hubs", method="dbh"),
)

FEATURES = (
    Case("features of float16", stored_as="float16", places=(HERE, WINDOW)),
    Case("features of bfloat16", stored_as="bfloat16", places=(HERE, TASKS)),
    Case("made bfloat16", {"feature_dtype": "bfloat16"}, (), "features of bfloat16"),
    Case("sparse features", graph="sparse", places=(HERE, WINDOW)),
    Case("normalized", {"normalize_features": True}, (HERE, TASKS)),
    Case("sparse normalized", {"normalize_features": True}, graph="sparse"),
    Case("features on disk", features="disk", places=(HERE, WINDOW), same_as="plain"),
    Case("two labels or more", graph="multilabel", places=(HERE, STOPPED, WINDOW)),
    Case("static halo cache", {"halo_cache": "4 kB"}, (TASKS, WINDOW), "plain"),
    Case(
        "lru halo cache",
        {"halo_cache": "4 kB", "halo_cache_policy": "lru"},
        (TASKS, WINDOW),
        "plain",
    ),
    Case(
        "nothing shared",
        places=(WINDOW,),
        same_as="plain",
        config={"share-memory": "off"},
    ),
    Case(
        "remote aggregation",
        places=(TASKS, WINDOW),
        config={"remote-aggregation": "on", "share-memory": "off"},
    ),
)

NUMBERS = (
    Case("medium", {"precision": "medium"}),
    Case("bf16", {"precision": "bf16"}, (HERE, WINDOW)),
    Case("fp16", {"precision": "fp16"}, (HERE, STOPPED, TASKS)),
    Case("two threads", {"threads_per_part": 2}),
    Case("sgd", {"optimizer": "sgd", "lr": 0.1}),
    Case(
        "adamw, scheduled",
        {
            "optimizer": "adamw",
            "weight_decay": 0.01,
            "scheduler": "falling",
            "scheduler_interval": "step",
        },
        (HERE, STOPPED, WINDOW),
    ),
    Case("patience", {"scheduler": "falling", "patience": 1, "lr": 0.3}, epochs=3),
)

GRADIENTS = (
    Case(
        "ring", {"gradients": "ring"}, _places("0", "2 tasks", "3 window"), num_parts=3
    ),
    Case("async", {"gradients": "async"}, _places("0", "0 stop", "2 window")),
    Case("async of 0", {"gradients": "async", "staleness": 0}, same_as="plain"),
    Case(
        "async, dc-asgd",
        {"gradients": "async", "staleness": 2, "compensation": "dc-asgd"},
        _places("0", "0 stop", "2 tasks", "2 window kill"),
    ),
    Case(
        "async, linear",
        {"gradients": "async", "staleness": 2, "compensation": "linear"},
    ),
    Case(
        "accumulate",
        {"accumulate": 3},
        _places("0", "0 stop", "2 tasks", "2 window kill"),
    ),
    Case("clip", {"clip_norm": 0.1}, (HERE, WINDOW)),
    Case("topk", {"compress": "topk:0.1"}, _places("0", "0 stop", "2 window")),
    Case(
        "powersgd",
        {"compress": "powersgd:2"},
        _places("0", "0 stop", "2 tasks", "2 window kill"),
    ),
    Case(
        "topk, async",
        {"compress": "topk:0.1", "gradients": "async"},
        (HERE, STOPPED, TASKS),
    ),
    Case("fp16 sent", {"compress": "fp16"}, (HERE, TASKS)),
    Case("bf16 sent", {"compress": "bf16"}, (HERE, WINDOW)),
    Case("int8 sent", {"compress": "int8", "accumulate": 2}, (HERE, WINDOW)),
    Case(
        "local steps",
        {"local_steps": 3},
        _places("0", "0 stop", "2 tasks", "2 window kill"),
    ),
    Case("checksums", {"checksum_every": 2}, (HERE, TASKS, WINDOW), "plain"),
    Case("standby", {"standby": 1}, _places("3 window kill"), "plain"),
    Case("server", {"gradients": "server"}, (HERE, Place(2)), timed=True),
)

_COMMAND = (
    "--hidden-channels 16 --num-neighbors 4,3 --batch-size 48 --checkpoint-every 3"
)
COMMANDS = (
    Case(
        "command",
        command=f"{_COMMAND} --num-parts 2 --seed 3 --no-recipe",
        places=_places("0", "0 stop", "2 stop"),
        epochs=12,
    ),
    Case("command, recipe", graph="digits", command="--num-parts 2"),
)

CASES = (*MODELS, *SAMPLING, *FEATURES, *NUMBERS, *GRADIENTS, *COMMANDS)


# -- graphs: arguments of `daskgnn.from_edge_index`, with numpy alone


def _planted() -> dict[str, Any]:
    """Return a graph whose neighbours mostly have the same label."""
    rng = np.random.default_rng(1)
    num_nodes = 600
    labels = np.sort(rng.integers(0, 4, num_nodes))
    source = rng.integers(0, num_nodes, 4 * num_nodes)
    near = np.clip(source + rng.integers(-60, 61, len(source)), 0, num_nodes - 1)
    anyone = rng.integers(0, num_nodes, len(source))
    target = np.where(rng.random(len(source)) < 0.7, near, anyone)
    return _learnable(rng, np.stack([source, target]), labels)


def _hubs() -> dict[str, Any]:
    """Return a graph with weights, some of whose nodes have very many neighbours."""
    rng = np.random.default_rng(2)
    num_nodes = 500
    rank = (num_nodes * rng.random((2, 8 * num_nodes)) ** [[1], [3]]).astype(int)
    edges = rng.permutation(num_nodes)[rank]
    weights = rng.random(edges.shape[1]).astype(np.float32) + np.float32(0.1)
    labels = rng.integers(0, 4, num_nodes)
    return {**_learnable(rng, edges, labels), "edge_weight": weights}


def _sparse() -> dict[str, Any]:
    """Return the planted graph with wide features, which the side makes CSR."""
    given = _planted()
    rng = np.random.default_rng(3)
    words = 150
    likely = np.arange(words) % 4 == given["labels"][:, None]
    seen = rng.random((len(likely), words)) < np.where(likely, 0.1, 0.02)
    amounts = rng.integers(1, 4, seen.shape)
    return {**given, "features": np.where(seen, amounts, 0).astype(np.float32)}


def _multilabel() -> dict[str, Any]:
    """Return a directed graph whose nodes have several labels, scored by ROC AUC."""
    given = _planted()
    rng = np.random.default_rng(4)
    hidden = given["features"] @ rng.normal(size=(given["features"].shape[1], 5))
    noise = rng.normal(size=hidden.shape)
    labels = (hidden + noise > 0.5).astype(np.float32)
    return {**given, "labels": labels, "metric": "rocauc", "directed": True}


def _learnable(
    rng: np.random.Generator, edges: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """Return a graph with features that tell of the labels, and with splits."""
    num_nodes = len(labels)
    features = rng.normal(size=(num_nodes, 12)) + np.eye(4, 12)[labels]
    split = np.split(rng.permutation(num_nodes), [num_nodes // 2, 3 * num_nodes // 4])
    train, val, test = (np.sort(nodes) for nodes in split)
    return {
        "edge_index": edges,
        "features": features.astype(np.float32),
        "labels": labels,
        "train": train,
        "val": val,
        "test": test,
    }


GRAPHS = {
    "planted": _planted,
    "hubs": _hubs,
    "sparse": _sparse,
    "multilabel": _multilabel,
}
