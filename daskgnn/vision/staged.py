"""A model of images cut into stages, as the loop of training uses it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.nn import functional

from daskgnn.nn.counted import Draws
from daskgnn.pipeline import MicroBatch, Pipeline
from daskgnn.train.compute.state import Weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from daskgnn.pipeline.plan import Following, Span
    from daskgnn.train.persist.checkpoint import Checkpoint
    from daskgnn.vision.data.batches import ImageBatch
    from daskgnn.vision.modelspec import ModelSpec

_OF_PIPELINE = (
    *("stages", "balance", "micro_batches", "schedule", "copies", "optimizer", "lr"),
    *("weight_decay", "seed", "form", "recompute", "boundary", "threads"),
)


class StagedModel:
    """A model's layers, in this process or on workers.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    settings : dict
        Of the run.
    client : distributed.Client or None
        Whose workers compute the stages; None for this process.
    """

    def __init__(self, spec: ModelSpec, settings: Mapping[str, Any], client: Any):
        self.model = spec.make(settings["seed"])
        loss = functional.cross_entropy
        if settings["label_smoothing"]:
            loss = partial(loss, label_smoothing=settings["label_smoothing"])
        how = {name: settings[name] for name in _OF_PIPELINE}
        self.pipeline = Pipeline(self.model, loss, client=client, **how)
        self.threads: int = settings["threads"]

    def given(self, batches: Sequence[ImageBatch]) -> list[MicroBatch]:
        """Return what layers are given of images."""
        return [
            MicroBatch(b.x, b.labels, self.model.beside(Draws(b.key, b.ids)))
            for b in batches
        ]

    def step(
        self, given: Sequence[MicroBatch], lr: float, following: Following
    ) -> tuple[float, int]:
        """Train on micro-batches; return the loss, and how many steps were redone.

        Parameters
        ----------
        given
            The micro-batches.
        lr
            The learning rate.
        following
            Returns those of the next step: called while workers compute.
        """
        result = self.pipeline.step_on(given, lr, following)
        return result.loss, result.redone

    def weights(self) -> Weights:
        """Return what the model computes with now."""
        return weights_in(self.pipeline.checkpoint())

    def checkpoint(self, **facts: Any) -> Checkpoint:
        """Return the state after the last step."""
        return self.pipeline.checkpoint(**facts)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.pipeline.restore(checkpoint)

    @property
    def spans(self) -> tuple[Span, ...]:
        """Each operation of the last step: where and when."""
        return self.pipeline.spans

    @property
    def cut_lines(self) -> list[str]:
        """What each stage has, a line each."""
        return self.pipeline.cut_lines

    def close(self) -> None:
        """Free what workers hold."""
        self.pipeline.close()


def weights_in(checkpoint: Checkpoint) -> Weights:
    """Return what a model computes with, from the state of its layers in order."""
    arrays, prefix = checkpoint.arrays, "statistics/"
    names = [name for name in arrays if name.startswith(prefix)]
    names.sort(key=lambda name: int(name.removeprefix(prefix)))
    statistics = np.concatenate([arrays[n] for n in names]) if names else None
    return Weights(arrays["parameters"], statistics)
