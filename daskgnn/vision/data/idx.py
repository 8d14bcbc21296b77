"""Images in idx files, the format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.errors import DatasetError, first_line
from daskgnn.vision.data.images import Pixels, from_splits, raw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.vision.data.images import ImageSet

NAMES = ("train", "t10k")
"""How the names of the files of the training and of the test images begin."""
_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: Path) -> np.ndarray:
    """Return the array in an idx file, which may be compressed by gzip.

    The file begins with two zero bytes, a code of the type, the number of dimensions,
    and each of them as a whole number of four bytes, the highest first.

    Raises
    ------
    DatasetError
        If it is missing, damaged, or of another format.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        said = getattr(error, "strerror", None) or first_line(error)
        raise DatasetError(f"{path} cannot be read ({said}): get it again") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES:
        raise DatasetError(f"{path} is not an idx file: it does not begin like one")
    dtype, dims = np.dtype(_TYPES[data[2]]), data[3]
    head = 4 + 4 * dims
    shape = tuple(np.frombuffer(data[4:head], ">u4").tolist())
    expected = head + math.prod(shape) * dtype.itemsize
    if len(shape) != dims or len(data) != expected:
        raise DatasetError(
            f"{path} is damaged: it has {len(data)} bytes, and {expected} for an array "
            f"of {' x '.join(map(str, shape))}: get it again"
        )
    return np.frombuffer(data, dtype, offset=head).reshape(shape)


@lru_cache(maxsize=8)
def _images(path: Path, _modified: int) -> np.ndarray:
    """Return the images of a file, as long as it does not change."""
    found = read_idx(path)
    if found.ndim != 3 or found.dtype != np.uint8:
        raise DatasetError(
            f"{path} has {found.dtype} in {found.ndim} dimensions, expected bytes "
            "in 3: images, rows, columns"
        )
    return found


class IdxPixels(Pixels):
    """Grey images of idx files, one file after another.

    A process reads a file once and keeps it.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = [Path(path).absolute() for path in paths]
        arrays = [self._array(path) for path in self.paths]
        sizes = {array.shape[1:] for array in arrays}
        if len(sizes) != 1:
            raise DatasetError(
                f"the images of {self.paths[0]} and {self.paths[-1]} differ in size"
            )
        self.starts = np.cumsum([0, *map(len, arrays)])
        self.shape = (1, *arrays[0].shape[1:])

    def __len__(self) -> int:
        """Return the number of images."""
        return int(self.starts[-1])

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Return the images with the ids."""
        out = np.empty((len(ids), *self.shape), np.uint8)
        for path, start, stop in zip(
            self.paths, self.starts[:-1], self.starts[1:], strict=True
        ):
            here = (ids >= start) & (ids < stop)
            if here.any():
                out[here, 0] = self._array(path)[ids[here] - start]
        return out

    def digest(self) -> str:
        """Return a hash of the files' arrays."""
        told = hashlib.sha256()
        for path in self.paths:
            told.update(raw(self._array(path)))
        return told.hexdigest()

    @staticmethod
    def _array(path: Path) -> np.ndarray:
        try:
            return _images(path, path.stat().st_mtime_ns)
        except OSError as error:
            raise DatasetError(f"{path}: {error.strerror}") from error


def idx_files(folder: Path) -> list[Path] | None:
    """Return a folder's four idx files: images and labels to train, and to test.

    None if it has none of them.

    Raises
    ------
    DatasetError
        If some are there and others are missing.
    """
    names = [
        f"{name}-{kind}-ubyte"
        for name in NAMES
        for kind in ("images-idx3", "labels-idx1")
    ]
    found = [_either(folder, name) for name in names]
    if not any(found):
        return None
    if missing := [n for n, path in zip(names, found, strict=True) if path is None]:
        raise DatasetError(f"{folder} has no {missing[0]} or {missing[0]}.gz")
    return [path for path in found if path is not None]


def _either(folder: Path, name: str) -> Path | None:
    paths = [folder / f"{name}.gz", folder / name]
    return next((path for path in paths if path.is_file()), None)


def from_idx(
    folder: Path, name: str, class_names: Sequence[str] | None = None
) -> ImageSet:
    """Return the images of a folder's idx files.

    Raises
    ------
    DatasetError
        If a file is missing, damaged, or does not fit the others.
    """
    files = idx_files(folder)
    if files is None:
        raise DatasetError(f"{folder} has no idx files, as train-images-idx3-ubyte.gz")
    pixels = IdxPixels(files[::2])
    labels = [read_idx(path) for path in files[1::2]]
    for images, stated, count in zip(
        files[::2], labels, np.diff(pixels.starts), strict=True
    ):
        if stated.shape != (count,):
            raise DatasetError(
                f"{images} has {count} images, and there are labels of {len(stated)}"
            )
    most = max((int(each.max()) for each in labels if len(each)), default=-1)
    names = class_names or [str(i) for i in range(most + 1)]
    return from_splits(name, pixels, labels, names)
