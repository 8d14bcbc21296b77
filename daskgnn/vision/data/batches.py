"""Batches of images: which ones, read and changed by tasks of their own.

A batch is a function of the run's seed, the epoch and the step alone, so a task that
reads one may run anywhere, and again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.task_spec import Task

from daskgnn.errors import InputError
from daskgnn.kernels.counter import DROPOUT, PERMUTATION, derive_key, keys_below
from daskgnn.kernels.images import NOTHING, Changes, epoch_key, image_values
from daskgnn.kernels.seeds import cut_runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daskgnn.vision.data.images import ImageSet, Pixels


@dataclass(frozen=True)
class ImageBatch:
    """A few images, ready for a model."""

    x: np.ndarray
    """float32 [n, C, H, W], from -1 to 1."""
    labels: np.ndarray
    """int64 [n]."""
    ids: np.ndarray
    """int64 [n], the images' ids."""
    key: int
    """What is dropped in the step is drawn with this: see `daskgnn.nn.Draws`."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)


@dataclass(frozen=True)
class BatchPlan:
    """Which images each step trains on, and how a step is cut.

    The order of an epoch depends on the seed, the epoch and the images' ids. The last
    batch may be short. A batch is cut into as equal micro-batches as there can be: they
    differ by one image at most.
    """

    ids: np.ndarray
    """int64, those to train on, sorted."""
    batch_size: int
    micro_batches: int
    """Of a step, over all copies of the model."""
    seed: int
    changes: Changes = NOTHING

    def __post_init__(self) -> None:
        if not len(self.ids):
            raise InputError("there are no images to train on")
        if self.smallest < self.micro_batches:
            raise InputError(
                f"a batch of {self.smallest} images cannot be cut into "
                f"{self.micro_batches} micro-batches: the {len(self.ids)} images are "
                "taken in batches of "
                f"batch_size={self.batch_size}; give another batch_size=, or fewer "
                "micro_batches= or copies="
            )

    @property
    def smallest(self) -> int:
        """Number of images of the smallest batch, the last of an epoch."""
        return len(self.ids) % self.batch_size or self.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps, the last short one included."""
        return -(-len(self.ids) // self.batch_size)

    def batch(self, epoch: int, step: int) -> np.ndarray:
        """Return the ids of a step's images, in order; steps count from the epoch's."""
        first = step * self.batch_size
        return self._order(epoch)[first : first + self.batch_size]

    def micro(self, epoch: int, step: int) -> list[np.ndarray]:
        """Return the ids of each micro-batch of a step."""
        ids = self.batch(epoch, step)
        return np.split(ids, cut_runs(len(ids), self.micro_batches)[1:-1])

    def key(self, epoch: int, step: int) -> int:
        """Return the key of what is dropped in a step."""
        return derive_key(DROPOUT, self.seed, epoch, step)

    @property
    def remainder(self) -> int:
        """Images of a whole batch that the micro-batches do not share equally."""
        return self.batch_size % self.micro_batches

    def _order(self, epoch: int) -> np.ndarray:
        return _permuted(self.seed, epoch, self.ids.tobytes())


@lru_cache(maxsize=4)
def _permuted(seed: int, epoch: int, ids: bytes) -> np.ndarray:
    """Return the ids in an epoch's order."""
    given = np.frombuffer(ids, np.int64)
    keys = keys_below(np.uint64(derive_key(PERMUTATION, seed, epoch)), given)
    return given[np.argsort(keys, kind="stable")]


def read_batch(
    pixels: Pixels,
    labels: np.ndarray,
    ids: np.ndarray,
    how: tuple[int, np.uint64, Changes] = (0, np.uint64(0), NOTHING),
) -> ImageBatch:
    """Read images, and change them as their ids say: a task's function.

    Parameters
    ----------
    pixels
        Reads these images alone, in order.
    labels
        Theirs.
    ids
        int64 [n].
    how
        The step's key, the epoch's key, and what may be done to an image.
    """
    key, epoch, changes = how
    x = image_values(pixels.read(np.arange(len(ids))), ids, epoch, changes)
    return ImageBatch(x, labels, ids, key)


@dataclass(frozen=True)
class Batches:
    """Reads the batches of a plan."""

    images: ImageSet
    plan: BatchPlan

    def read(self, epoch: int, step: int) -> list[ImageBatch]:
        """Read the micro-batches of a step in this process."""
        return [read_batch(*given) for given in self._asked(epoch, step)]

    def graph(
        self, name: str, epoch: int, steps: Iterable[int]
    ) -> tuple[dict[Any, Any], list[list[Any]]]:
        """Return tasks that read micro-batches, and their keys by step.

        Parameters
        ----------
        name
            Of the run, a part of the tasks' keys.
        epoch
        steps
            Numbers of steps, counted from the epoch's begin.
        """
        graph: dict[Any, Any] = {}
        keys: list[list[Any]] = []
        for step in steps:
            keys.append([])
            for m, given in enumerate(self._asked(epoch, step)):
                key = (f"images-{name}", epoch, step, m)
                graph[key] = Task(key, read_batch, *given)
                keys[-1].append(key)
        return graph, keys

    def _asked(self, epoch: int, step: int) -> list[tuple[Any, ...]]:
        """Return what `read_batch` is given for each micro-batch of a step."""
        plan, images = self.plan, self.images
        how = plan.key(epoch, step), epoch_key(plan.seed, epoch), plan.changes
        return [
            (images.pixels.only(ids), images.labels[ids], ids, how)
            for ids in plan.micro(epoch, step)
        ]


def in_batches(ids: np.ndarray, size: int) -> list[np.ndarray]:
    """Return ids in order, so many at a time."""
    return [ids[first : first + size] for first in range(0, len(ids), size)]


def parse_changes(text: str) -> Changes:
    """Return what is asked by words such as ``shift:2,flip,erase:8``, or ``none``.

    Raises
    ------
    InputError
        If a word is unknown or lacks its number.
    """
    if text == "none":
        return NOTHING
    found: dict[str, Any] = {}
    for word in text.split(","):
        name, _, value = word.strip().partition(":")
        if name == "flip" and not value:
            found[name] = True
        elif name in ("shift", "erase") and value.isdecimal():
            found[name] = int(value)
        else:
            raise InputError(
                f"augment={text!r} has {word.strip()!r}, expected none, or of "
                "shift:PIXELS, flip and erase:PIXELS, as in augment='shift:2,flip'"
            )
    return Changes(**found)


def find_damaged(pixels: Pixels, ids: np.ndarray) -> list[tuple[int, str]]:
    """Return which of some images cannot be read, and why: a task's function."""
    return pixels.damaged(ids)
