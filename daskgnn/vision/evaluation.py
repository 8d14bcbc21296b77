"""Accuracy and loss of a model over a split of images, in batches.

A batch is scored by the same function in this process and in a task, and batches are
added in their order: the result does not depend on where they are scored.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from dask.task_spec import DataNode, Task, TaskRef
from torch.nn import functional

from daskgnn.nn.device import CPU
from daskgnn.train.compute.arithmetic import computing
from daskgnn.train.compute.state import Weights, write_weights
from daskgnn.vision.data.batches import in_batches, read_batch
from daskgnn.vision.modelspec import LOCK, ModelSpec, shared_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from daskgnn.vision.data.images import ImageSet, Pixels

BATCH = 256
"""Images that are scored together."""
_AHEAD = 64
"""Batches that are scored by one graph of tasks."""


@dataclass(frozen=True)
class BatchScore:
    """Sums over the images of a batch."""

    loss: float
    right: int
    count: int
    seconds: float = 0.0

    def __add__(self, other: BatchScore) -> BatchScore:
        """Return the sums over both."""
        return BatchScore(
            self.loss + other.loss,
            self.right + other.right,
            self.count + other.count,
            self.seconds + other.seconds,
        )

    def of(self, split: str) -> dict[str, float]:
        """Return accuracy and mean loss, as records hold them."""
        return {
            f"{split}_accuracy": self.right / max(self.count, 1),
            f"{split}_loss": self.loss / max(self.count, 1),
        }


NOTHING = BatchScore(0.0, 0, 0)


@dataclass(frozen=True)
class Trained:
    """A model and what it computes with."""

    spec: ModelSpec
    weights: Weights
    threads: int = 1


def score_batch(
    trained: Trained, pixels: Pixels, labels: np.ndarray, ids: np.ndarray
) -> BatchScore:
    """Read images and score them: a task's function.

    `pixels` reads these images alone, in order.
    """
    began = time.perf_counter()
    batch = read_batch(pixels, labels, ids)
    with LOCK, computing(trained.threads), torch.no_grad():
        model = shared_model(trained.spec)
        write_weights(model, trained.weights)
        outputs = model(CPU.tensor(batch.x))
        wanted = CPU.copy(batch.labels)
        loss = float(functional.cross_entropy(outputs, wanted, reduction="sum"))
        right = int((outputs.argmax(1) == wanted).sum())
    return BatchScore(loss, right, len(ids), time.perf_counter() - began)


def score_split(
    trained: Trained, images: ImageSet, split: str, client: Any = None
) -> list[BatchScore]:
    """Return the scores of each batch of a split, in order.

    Parameters
    ----------
    trained
        The model.
    images
        The set.
    split
        "train", "val" or "test".
    client
        Scores batches as tasks; None does so in this process.
    """
    batches = in_batches(images.splits[split], BATCH)
    found: list[BatchScore] = []
    for first in range(0, len(batches), _AHEAD):
        piece = batches[first : first + _AHEAD]
        if client is not None:
            with suppress(Exception):  # lost with its cluster, or raised here again
                graph = _graph(trained, images, piece)
                found += client.get(graph, [k for k in graph if k[0] == "score"])
                continue
        for ids in piece:
            found.append(score_batch(trained, *_asked(images, ids)))
    return found


def _graph(
    trained: Trained, images: ImageSet, batches: list[np.ndarray]
) -> dict[Any, Any]:
    """Return tasks that score batches."""
    model = ("trained",)
    nodes: dict[Any, Any] = {model: DataNode(model, trained)}
    for number, ids in enumerate(batches):
        key = ("score", trained.weights.digest()[:16], number, int(ids[0]))
        nodes[key] = Task(key, score_batch, TaskRef(model), *_asked(images, ids))
    return nodes


def _asked(images: ImageSet, ids: np.ndarray) -> tuple[Pixels, np.ndarray, np.ndarray]:
    """Return what `score_batch` is given of a set."""
    return images.pixels.only(ids), images.labels[ids], ids


def total(scores: Iterator[BatchScore] | list[BatchScore]) -> BatchScore:
    """Return the sums over batches, added in their order."""
    return sum(scores, NOTHING)
