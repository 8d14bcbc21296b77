"""Settings that other libraries have, and what there is here instead."""

from __future__ import annotations

from typing import Literal

Place = Literal["python", "shell", "file"]
"""Where a setting was written."""

_CPU = "daskgnn computes on CPUs, whatever the model is on: leave it out"
_ATTRIBUTES = "edge attributes are stored, and models are given edge_weight alone"
_WORKERS = {
    "python": "a client, as in client=Client(n_workers=2)",
    "shell": "--workers 2",
    "file": "workers: 2",
}
_AHEAD = {
    place: f"Dask's workers prepare minibatches while earlier steps run: give {what}"
    for place, what in _WORKERS.items()
}
_EPOCHS = {
    "python": "give epochs to fit, as in trainer.fit(epochs=20)",
    "shell": "give --epochs 20",
    "file": "give epochs: 20",
}
_ABSENT: dict[str, str | dict[str, str]] = {
    **dict.fromkeys(("device", "devices", "accelerator", "gpus", "cuda"), _CPU),
    **dict.fromkeys(("num_workers", "pin_memory", "persistent_workers"), _AHEAD),
    **dict.fromkeys(("prefetch_factor", "num_data_workers"), _AHEAD),
    **dict.fromkeys(("edge_attr", "edge_dim"), _ATTRIBUTES),
    **dict.fromkeys(("epochs", "max_epochs"), _EPOCHS),
    "shuffle": "each epoch has an order of its own, which follows from seed",
}


def instead_of(name: str, place: Place = "python") -> str | None:
    """Return what there is instead of a setting, if it is one of other libraries.

    `name` may be written as a command's option.
    """
    found = _ABSENT.get(name.removeprefix("--").replace("-", "_"))
    return found[place] if isinstance(found, dict) else found
