"""Images in a folder for each class, as JPEG or whatever Pillow reads."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import DatasetError, first_line
from daskgnn.vision.data.images import SPLITS, ImageSet, Pixels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_JPEG, _OTHERS = (".jpg", ".jpeg"), (".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")
SUFFIXES = (*_JPEG, *_OTHERS, ".png", ".webp")
_SPELLINGS = {"train": "train", "val": "val", "valid": "val", "validation": "val"}
_SPELLINGS |= {"test": "test"}


class FilePixels(Pixels):
    """Images in files, made square and of one size when they are read.

    The shorter side is scaled to `size`, and the middle is taken. Files are opened by
    the process that needs them.

    Parameters
    ----------
    root
        The folder.
    names
        Of the files in it, by id.
    size
        Rows and columns.
    grey
        Whether one channel is read, instead of three.
    """

    def __init__(
        self, root: Path, names: list[str], size: int, *, grey: bool = False
    ) -> None:
        self.root, self.names, self.size = root.absolute(), names, size
        self.shape = (1 if grey else 3, size, size)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Return the images with the ids."""
        out = np.empty((len(ids), *self.shape), np.uint8)
        for place, i in enumerate(ids):
            out[place] = self._image(int(i))
        return out

    def only(self, ids: np.ndarray) -> Pixels:
        """Return what reads some of the files."""
        names, grey = [self.names[i] for i in ids], self.shape[0] == 1
        return FilePixels(self.root, names, self.size, grey=grey)

    def damaged(self, ids: np.ndarray) -> list[tuple[int, str]]:
        """Read the images with the ids; return those that cannot be."""
        found = []
        for i in ids:
            try:
                self._image(int(i))
            except DatasetError as error:
                found.append((int(i), str(error)))
        return found

    def digest(self) -> str:
        """Return a hash of the files' names and sizes."""
        told = hashlib.sha256(repr(self.shape).encode())
        for name in self.names:
            told.update(f"{name}\0{self._path(name).stat().st_size}\0".encode())
        return told.hexdigest()

    def _path(self, name: str) -> Path:
        return self.root / name

    def _image(self, i: int) -> np.ndarray:
        image = _pillow()
        path = self._path(self.names[i])
        try:
            with image.open(path) as opened:
                opened.draft("RGB", (self.size, self.size))
                found = opened.convert("L" if self.shape[0] == 1 else "RGB")
        except Exception as error:  # Pillow raises what its decoders raise
            said = getattr(error, "strerror", None) or first_line(error)
            raise DatasetError(
                f"image {path} cannot be read ({said})",
                python="replace it, or give damaged='skip'",
                shell="replace it, or give --damaged skip",
            ) from error
        shorter = min(found.size)
        if shorter != self.size:
            scaled = [
                max(round(n * self.size / shorter), self.size) for n in found.size
            ]
            found = found.resize(scaled, image.Resampling.BILINEAR)
        left, top = ((n - self.size) // 2 for n in found.size)
        found = found.crop((left, top, left + self.size, top + self.size))
        pixels = np.asarray(found)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _pillow() -> Any:
    """Return Pillow's module of images."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DatasetError(
            "image files are read by Pillow, which is not installed: "
            "pip install 'daskgnn[images]'"
        ) from error
    return Image


def is_image_folder(folder: Path) -> bool:
    """Return whether a folder has a folder of images for each class."""
    top = [*_split_folders(folder).values()] or [folder]
    return any(next(_files(below), None) is not None for below in top)


def from_folder(folder: Path, size: int, *, grey: bool = False) -> ImageSet:
    """Return the images of ``FOLDER/train/CLASS/*.jpg``, and of ``val`` and ``test``.

    Without such folders, of ``FOLDER/CLASS/*.jpg``, which are all for training.
    Classes are numbered by their names' order.

    Parameters
    ----------
    folder
        The folder.
    size
        Rows and columns that images are read with.
    grey
        Whether one channel is read, instead of three.

    Raises
    ------
    DatasetError
        If there are no images, or a class has none to train with.
    """
    tops = _split_folders(folder) or {"train": folder}
    found = {split: list(_files(top)) for split, top in tops.items()}
    if not found.get("train"):
        raise DatasetError(
            f"{folder} has no images to train with: expected "
            f"{folder}/train/CLASS/NAME.jpg, or {folder}/CLASS/NAME.jpg"
        )
    classes = sorted({path.parent.name for path in found["train"]})
    numbers = {name: i for i, name in enumerate(classes)}
    names: list[str] = []
    labels: list[int] = []
    splits: dict[str, np.ndarray] = {}
    for split in SPLITS:
        if split not in found:
            continue
        first = len(names)
        for path in found[split]:
            if path.parent.name not in numbers:
                raise DatasetError(
                    f"{path} is of class {path.parent.name!r}, which has no images to "
                    "train with"
                )
            names.append(path.relative_to(folder).as_posix())
            labels.append(numbers[path.parent.name])
        splits[split] = np.arange(first, len(names))
    pixels = FilePixels(folder, names, size, grey=grey)
    stated = np.array(labels, np.int64)
    return ImageSet(folder.name, pixels, stated, tuple(classes), splits)


def _split_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of splits, by what the package calls them."""
    found: dict[str, Path] = {}
    for spelling, split in _SPELLINGS.items():
        path = folder / spelling
        if path.is_dir() and any(below.is_dir() for below in path.iterdir()):
            found.setdefault(split, path)
    return found if "train" in found else {}


def _files(top: Path) -> Iterator[Path]:
    """Yield the images of a folder's classes, by class and name."""
    for below in sorted(path for path in top.iterdir() if path.is_dir()):
        for name in sorted(os.listdir(below)):
            if name.lower().endswith(SUFFIXES):
                yield below / name
