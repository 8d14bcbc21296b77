"""CIFAR-10 in its published binary form."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.errors import DatasetError, first_line
from daskgnn.vision.data.images import Pixels, from_splits, raw

if TYPE_CHECKING:
    from pathlib import Path

    from daskgnn.vision.data.images import ImageSet

SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
"""Bytes of an image: its class, then red, green and blue, row by row."""
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST, META = "test_batch.bin", "batches.meta.txt"
FOLDER = "cifar-10-batches-bin"
"""The folder in the published archive."""


class CifarPixels(Pixels):
    """Images of binary files, read where they lie."""

    shape = SHAPE

    def __init__(self, paths: list[Path]) -> None:
        self.paths = [path.absolute() for path in paths]
        self.starts = np.cumsum([0, *map(_count, self.paths)])

    def __len__(self) -> int:
        """Return the number of images."""
        return int(self.starts[-1])

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Return the images with the ids."""
        return self._records(ids)[:, 1:].reshape(-1, *SHAPE)

    def labels(self, ids: np.ndarray) -> np.ndarray:
        """Return the classes of the images with the ids, uint8 [n]."""
        return self._records(ids)[:, 0]

    def _records(self, ids: np.ndarray) -> np.ndarray:
        out = np.empty((len(ids), _RECORD), np.uint8)
        for path, start, stop in zip(
            self.paths, self.starts[:-1], self.starts[1:], strict=True
        ):
            here = (ids >= start) & (ids < stop)
            if here.any():
                out[here] = _mapped(path)[ids[here] - start]
        return out

    def digest(self) -> str:
        """Return a hash of the files."""
        told = hashlib.sha256()
        for path in self.paths:
            told.update(raw(_mapped(path)))
        return told.hexdigest()


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.memmap(path, np.uint8, "r").reshape(-1, _RECORD)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {first_line(error)}") from error


def _count(path: Path) -> int:
    """Return the number of images in a file, which has a whole number of them."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}: get it again") from error
    if not size or size % _RECORD:
        raise DatasetError(
            f"{path} is damaged: it has {size} bytes, expected a multiple of {_RECORD}"
        )
    return size // _RECORD


def is_cifar(folder: Path) -> bool:
    """Return whether a folder holds the binary files."""
    return (folder / TEST).is_file() or (folder / TRAIN[0]).is_file()


def from_cifar(folder: Path, name: str = "cifar10") -> ImageSet:
    """Return the images of the binary files in a folder.

    Raises
    ------
    DatasetError
        If a file is missing or damaged.
    """
    paths = [folder / TRAIN[0], *(folder / n for n in TRAIN[1:])]
    pixels = CifarPixels([*paths, folder / TEST])
    classes = pixels.labels(np.arange(len(pixels)))
    count = int(pixels.starts[-2])
    names = _class_names(folder)
    return from_splits(name, pixels, [classes[:count], classes[count:]], names)


def _class_names(folder: Path) -> list[str]:
    try:
        words = (folder / META).read_text().split()
    except OSError:
        words = []
    return words if len(words) == 10 else [str(i) for i in range(10)]


def unpack(archive: Path, folder: Path) -> Path:
    """Take the files of CIFAR-10 out of its archive; return where they are.

    Only these files are taken, under their own names, whatever else is in it. A file
    appears when it is whole.

    Raises
    ------
    DatasetError
        If it is no such archive.
    """
    target = folder / FOLDER
    wanted = [*TRAIN, TEST, META]
    if all((target / name).is_file() for name in wanted):
        return target
    target.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            for name in wanted:
                _take(tar, f"{FOLDER}/{name}", target / name)
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise DatasetError(
            f"{archive} is not CIFAR-10's archive of binary files: {first_line(error)}"
        ) from error
    return target


def _take(tar: tarfile.TarFile, name: str, path: Path) -> None:
    """Write a file of an archive."""
    member = tar.extractfile(name)
    if member is None:
        raise KeyError(f"{name} is no file")
    torn = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with member, torn.open("wb") as file:
        shutil.copyfileobj(member, file)
    torn.replace(path)
