"""Sets of images by name or path: embedded, in a data folder, or downloaded."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.errors import DatasetError, needing
from daskgnn.graph.datasets.download import cache_folder, check_file, data_folder, fetch
from daskgnn.paths import given_path
from daskgnn.vision.data.cifar import FOLDER, from_cifar, is_cifar, unpack
from daskgnn.vision.data.folder import from_folder, is_image_folder
from daskgnn.vision.data.idx import from_idx, idx_files
from daskgnn.vision.data.images import ArrayPixels, ImageSet

if TYPE_CHECKING:
    from collections.abc import Callable

FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
CIFAR_URL = "https://www.cs.toronto.edu/~kriz"
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"
SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    ),
    CIFAR_ARCHIVE: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
}
"""Of the published files."""
_GARMENTS = [
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "boot"),
]
FOLDER_SIZE = 224
"""Rows and columns that images of a folder are read with, unless it is said."""


def load_images(
    data: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    *,
    image_size: int | None = None,
) -> ImageSet:
    """Load a set of images by its name or path.

    "digits" comes with scikit-learn; "fashion-mnist" and "cifar10" are looked for in
    the data folder and downloaded if need be. A path is of a folder: with idx files,
    with CIFAR-10's binary files, or with a folder of images for each class.

    Parameters
    ----------
    data : str or path
        The name or the path.
    data_dir : str or path, optional
        The data folder; by default the environment variable ``DASKGNN_DATA_DIR``.
    image_size : int, optional
        Rows and columns that a folder's images are read with, 224 by default. Other
        sets have a size of their own.

    Returns
    -------
    ImageSet
        The images, their labels and splits.

    Raises
    ------
    DatasetError
        If the name is unknown, files are missing or damaged, or a download failed.

    Examples
    --------
    >>> from daskgnn.vision import load_images
    >>> load_images("digits")
    ImageSet('digits', 1797 images of 1 x 8 x 8, 10 classes, 1078 train, 359 val, ...)
    """
    text = os.fspath(data)
    name = text.lower()
    path = Path(given_path(text))
    if name in _NAMED and not path.is_dir():
        found = _NAMED[name](data_dir)
    elif not path.is_dir():
        raise DatasetError(_unknown(text))
    else:
        found = _of_folder(path, image_size)
    own = found.pixels.shape[1]
    if image_size not in (None, own):
        raise DatasetError(
            f"the images of {found.name} are of {own} x {own}",
            python=f"image_size={image_size} is for folders of image files",
            shell=f"--image-size {image_size} is for folders of image files",
        )
    return found


def _of_folder(path: Path, image_size: int | None) -> ImageSet:
    """Return what is in a folder."""
    if idx_files(path) is not None:
        return from_idx(path, path.name)
    for place in (path, path / FOLDER):
        if is_cifar(place):
            return from_cifar(place)
    if is_image_folder(path):
        return from_folder(path, image_size or FOLDER_SIZE)
    raise DatasetError(
        f"{path} has neither idx files, nor CIFAR-10's binary files, nor a folder of "
        "images for each class"
    )


def _unknown(text: str) -> str:
    near = difflib.get_close_matches(text.lower(), _NAMED, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(_NAMED)}"
    return f"no images {text!r}: {hint}, or the path of a folder"


def _digits(_data_dir: object) -> ImageSet:
    """Return scikit-learn's digits, split as the graph of that name is."""
    with needing("scikit-learn", "the data set digits"):
        from sklearn.datasets import load_digits

    found = load_digits()
    pixels = (found.images * (255 / 16)).round().astype(np.uint8)[:, None]
    count = len(pixels)
    order = np.random.RandomState(0).permutation(count)
    parts = np.split(order, [count * 6 // 10, count * 8 // 10])
    splits = dict(zip(("train", "val", "test"), map(np.sort, parts), strict=True))
    labels, names = found.target.astype(np.int64), map(str, range(10))
    return ImageSet("digits", ArrayPixels(pixels), labels, tuple(names), splits)


def _fashion(data_dir: str | os.PathLike[str] | None) -> ImageSet:
    name = "fashion-mnist"
    files = [file for file in SHA256 if file != CIFAR_ARCHIVE]
    folder = _local(data_dir, [name, f"{name}/raw", "FashionMNIST/raw"], files[0])
    if folder is None:
        folder = cache_folder() / name
        address = os.environ.get("DASKGNN_FASHION_MNIST_URL", FASHION_URL).rstrip("/")
        for file in files:
            fetch(f"{address}/{file}", SHA256[file], folder)
    else:
        for file in files:
            check_file(folder / file, SHA256[file])
    return from_idx(folder, name, _GARMENTS)


def _cifar(data_dir: str | os.PathLike[str] | None) -> ImageSet:
    for place in ("cifar10", ".", FOLDER, f"cifar10/{FOLDER}"):
        folder = _local(data_dir, [place], "test_batch.bin")
        if folder is not None:
            return from_cifar(folder)
    folder = _local(data_dir, ["cifar10", "."], CIFAR_ARCHIVE)
    cache = cache_folder() / "cifar10"
    if folder is None:
        address = os.environ.get("DASKGNN_CIFAR10_URL", CIFAR_URL).rstrip("/")
        archive = fetch(f"{address}/{CIFAR_ARCHIVE}", SHA256[CIFAR_ARCHIVE], cache)
    else:
        archive = folder / CIFAR_ARCHIVE
        check_file(archive, SHA256[CIFAR_ARCHIVE])
    return from_cifar(unpack(archive, cache))


def _local(
    data_dir: str | os.PathLike[str] | None, below: list[str], file: str
) -> Path | None:
    """Return the folder of the data folder, or below it, that has a file."""
    top = data_folder(None if data_dir is None else Path(data_dir))
    if top is None:
        return None
    places = [top / name for name in [*below, "."]]
    return next((place for place in places if (place / file).is_file()), None)


_NAMED: dict[str, Callable[..., ImageSet]] = {
    "digits": _digits,
    "fashion-mnist": _fashion,
    "cifar10": _cifar,
}
