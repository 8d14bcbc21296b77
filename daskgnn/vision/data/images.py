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

    Image *i* of all has id *i*. Your own class reads whatever you have.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn.vision import Pixels
    >>> class Grey(Pixels):
    ...     shape = (1, 4, 4)
    ...
    ...     def __len__(self):
    ...         return 10
    ...
    ...     def read(self, ids):
    ...         return np.full((len(ids), *self.shape), 128, np.uint8)
    ...
    ...     def digest(self):
    ...         return "ten grey images"
    >>> Grey().read(np.array([3, 7])).shape
    (2, 1, 4, 4)
    >>> Grey().damaged(np.array([3, 7]))
    []
    >>> len(Grey().only(np.array([3, 7])))
    2
    """

    shape: tuple[int, int, int]
    """Channels, rows, columns of an image."""

    def __len__(self) -> int:
        """Return the number of images."""
        raise NotImplementedError

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Return some of the images.

        Parameters
        ----------
        ids : numpy.ndarray
            int64 [n], which ones.

        Returns
        -------
        numpy.ndarray
            uint8 [n, C, H, W].

        Raises
        ------
        DatasetError
            If a file cannot be read; it is named.
        """
        raise NotImplementedError

    def digest(self) -> str:
        """Return a hash of what it reads, by which a resumed run knows the data.

        Returns
        -------
        str
            The same for the same images.
        """
        raise NotImplementedError

    def damaged(self, ids: np.ndarray) -> list[tuple[int, str]]:
        """Read images and say which cannot be.

        Parameters
        ----------
        ids : numpy.ndarray
            int64 [n], which ones.

        Returns
        -------
        list of (int, str)
            The ids of those that cannot be read, and why.
        """
        return []

    def only(self, ids: np.ndarray) -> Pixels:
        """Return what reads some of the images alone: what a task is given.

        Parameters
        ----------
        ids : numpy.ndarray
            int64 [n], which ones.

        Returns
        -------
        Pixels
            Whose image *i* is that of ``ids[i]``.
        """
        return _Chosen(self, ids)


class _Chosen(Pixels):
    """Some of the images of a source that is small itself."""

    def __init__(self, source: Pixels, ids: np.ndarray) -> None:
        self.source, self.ids, self.shape = source, ids, source.shape

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Return images by their places among those chosen."""
        return self.source.read(self.ids[ids])


class ArrayPixels(Pixels):
    """Pixels in memory; those of a batch travel to the task that needs them.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8 [n, C, H, W].

    Raises
    ------
    DatasetError
        If it is anything else.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn.vision import ArrayPixels
    >>> len(ArrayPixels(np.zeros((10, 3, 32, 32), np.uint8)))
    10
    """

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

    def only(self, ids: np.ndarray) -> Pixels:
        """Return some of the images."""
        return ArrayPixels(self.pixels[ids])

    def digest(self) -> str:
        """Return a hash of the pixels."""
        told = hashlib.sha256(repr(self.pixels.shape).encode())
        told.update(raw(self.pixels))
        return told.hexdigest()


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, and the splits that they belong to.

    Raises
    ------
    DatasetError
        If labels do not fit images or classes.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn.vision import ArrayPixels, ImageSet
    >>> pixels = ArrayPixels(np.zeros((10, 1, 8, 8), np.uint8))
    >>> splits = {"train": np.arange(8), "test": np.arange(8, 10)}
    >>> images = ImageSet("mine", pixels, np.arange(10) % 2, ("a", "b"), splits)
    >>> images
    ImageSet('mine', 10 images of 1 x 8 x 8, 2 classes, 8 train, 2 test)
    >>> held = images.with_validation(0.25, seed=0)
    >>> len(held.splits["val"]), held.num_classes
    (2, 2)
    >>> len(images.without([(3, "it is torn")]).splits["train"])
    7
    >>> held.fingerprint == images.fingerprint
    False
    """

    name: str
    """What it is called."""
    pixels: Pixels
    """Where they are read from."""
    labels: np.ndarray
    """int64 [n], a class of each image."""
    class_names: tuple[str, ...]
    """Of all classes, by number."""
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
        share : float
            Of the training images, 0 for none.
        seed : int
            Of the choice.

        Returns
        -------
        ImageSet
            With a split "val".
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
        """Return the set without images that cannot be read.

        Parameters
        ----------
        damaged : sequence of (int, str)
            Their ids, and why they cannot be read.

        Returns
        -------
        ImageSet
            Whose splits do not have them.
        """
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
