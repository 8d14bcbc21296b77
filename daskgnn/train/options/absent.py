"""Settings that other libraries have, and what there is here instead."""

from __future__ import annotations

_CPU = "daskgnn computes on CPUs, whatever the model is on: leave it out"
_AHEAD = (
    "Dask's workers prepare minibatches while earlier steps run: give a client, as in "
    "client=Client(n_workers=2), or --workers 2"
)
_ABSENT = {
    **dict.fromkeys(("device", "devices", "accelerator", "gpus", "cuda"), _CPU),
    **dict.fromkeys(("num_workers", "pin_memory", "persistent_workers"), _AHEAD),
    **dict.fromkeys(("prefetch_factor", "num_data_workers"), _AHEAD),
    "edge_attr": "edge attributes are stored, and models are given edge_weight alone",
    "edge_dim": "edge attributes are stored, and models are given edge_weight alone",
    "epochs": "give it to fit, as in trainer.fit(epochs=20)",
    "max_epochs": "give epochs to fit, as in trainer.fit(epochs=20), or --epochs 20",
    "shuffle": "each epoch has an order of its own, which follows from seed",
}


def instead_of(name: str) -> str | None:
    """Return what there is instead of a setting, if it is one of other libraries.

    `name` may be written as a command's option.
    """
    return _ABSENT.get(name.removeprefix("--").replace("-", "_"))
