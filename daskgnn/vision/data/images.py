"""A set of images: where pixels are read from, labels, splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import DatasetError
from daskgnn.kernels.counter import SPLITTING, derive_key, keys_below

if TYPE_CHECKING:
    from collections.abc import Sequence

SPLITS = ("train", "val", "test")


def raw(array: np.ndarray) -> memoryview:
    """Return an array's bytes, to be hashed."""
    return np.ascontiguousarray(array).data


class Pixels:
    """Where pixels are read from: it travels to workers, which open it there.

    Image *i* of all has id *i*.
    """

    shape: tuple[int, int, int]
    """Channels, rows, columns of an image."""

    def __len__(self) -> int:
        """Return the number of images."""
        raise NotImplementedError

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Return the images with the ids, uint8 [n, C, H, W].

        Raises
        ------
        DatasetError
            If a file cannot be read; it is named.
        """
        raise NotImplementedError

    def digest(self) -> str:
        """Return a hash of what it reads: the same for the same images."""
        raise NotImplementedError

    def damaged(self, ids: np.ndarray) -> list[tuple[int, str]]:
        """Return the ids of images that cannot be read, and why."""
        return []


class ArrayPixels(Pixels):
    """Pixels in memory, for small sets: they travel with whatever needs them."""

    def __init__(self, pixels: np.ndarray) -> None:
        if pixels.ndim != 4 or pixels.dtype != np.uint8:
            raise DatasetError(
                f"images are {pixels.dtype} {list(pixels.shape)}, expected uint8 "
                "[n, channels, rows, columns]"
            )
        self.pixels = pixels
        self.shape = pixels.shape[1:]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.pixels)

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Return the images with the ids."""
        return self.pixels[ids]

    def digest(self) -> str:
        """Return a hash of the pixels."""
        told = hashlib.sha256(repr(self.pixels.shape).encode())
        told.update(raw(self.pixels))
        return told.hexdigest()


@dataclass(frozen=True)
class ImageSet:
    """Images with a label each, and which of them are for what."""

    name: str
    pixels: Pixels
    labels: np.ndarray
    """int64 [n], a class of each image."""
    class_names: tuple[str, ...]
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    """Sorted ids, int64, of "train", "val" and "test"; some may be missing."""
    skipped: tuple[str, ...] = ()
    """What was left out of it because it was damaged."""

    def __post_init__(self) -> None:
        count, classes = len(self.pixels), len(self.class_names)
        if len(self.labels) != count:
            raise DatasetError(
                f"{self.name} has {count} images and {len(self.labels)} labels"
            )
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= classes))
        if len(wrong):
            raise DatasetError(
                f"label {self.labels[wrong[0]]} of image {wrong[0]} of {self.name} is "
                f"none of its {classes} classes"
            )

    def __repr__(self) -> str:
        """Return a line that describes it."""
        counts = [f"{len(ids)} {name}" for name, ids in self.splits.items()]
        size = " x ".join(map(str, self.pixels.shape))
        return (
            f"ImageSet({self.name!r}, {len(self.pixels)} images of {size}, "
            f"{self.num_classes} classes, {', '.join(counts)})"
        )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of pixels, labels and splits, by which a resume knows the data."""
        told = hashlib.sha256(self.pixels.digest().encode())
        told.update(raw(self.labels.astype("<i8")))
        for name in SPLITS:
            told.update(name.encode())
            told.update(raw(np.asarray(self.splits.get(name, ()), "<i8")))
        return told.hexdigest()

    def with_validation(self, share: float, seed: int) -> ImageSet:
        """Return the set with some training images held out for validation.

        Which ones depends on the seed and the images' ids. A set that has a validation
        split already stays as it is.

        Parameters
        ----------
        share
            Of the training images, 0 for none.
        seed
            Of the choice.
        """
        train = self.splits["train"]
        if "val" in self.splits or not round(share * len(train)):
            return self
        key = np.uint64(derive_key(SPLITTING, seed))
        order = np.argsort(keys_below(key, train), kind="stable")
        count = round(share * len(train))
        splits = {
            **self.splits,
            "train": np.sort(train[order[count:]]),
            "val": np.sort(train[order[:count]]),
        }
        return self._with(splits=splits)

    def without(self, damaged: Sequence[tuple[int, str]]) -> ImageSet:
        """Return the set without images that cannot be read."""
        ids = np.array([i for i, _ in damaged], np.int64)
        splits = {
            name: np.setdiff1d(kept, ids, assume_unique=True)
            for name, kept in self.splits.items()
        }
        return self._with(splits=splits, skipped=tuple(why for _, why in damaged))

    def _with(self, **changed: object) -> ImageSet:
        names = ("name", "pixels", "labels", "class_names", "splits", "skipped")
        known: dict[str, Any] = {n: getattr(self, n) for n in names}
        return ImageSet(**known | changed)


def from_splits(
    name: str,
    pixels: Pixels,
    labels: Sequence[np.ndarray],
    class_names: Sequence[str],
) -> ImageSet:
    """Return a set whose images come training first, then those to test.

    `labels` are those of the training images and of the test images.
    """
    count = len(labels[0])
    splits = {
        "train": np.arange(count),
        "test": np.arange(count, count + len(labels[1])),
    }
    both = np.concatenate(labels).astype(np.int64)
    return ImageSet(name, pixels, both, tuple(class_names), splits)
