"""Find the files of a data set, or download them."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from pathlib import Path

from daskgnn.errors import DatasetError, first_line
from daskgnn.paths import given_path

_TIMEOUT = 30.0


def data_folder(data_dir: str | Path | None = None) -> Path | None:
    """Return the user's data folder: ``data_dir``, else ``DASKGNN_DATA_DIR``.

    Raises
    ------
    DatasetError
        If one is named that does not exist.
    """
    given = data_dir or os.environ.get("DASKGNN_DATA_DIR")
    if not given:
        return None
    folder = Path(given_path(given))
    if not folder.is_dir():
        raise DatasetError(
            f"data folder {folder} does not exist",
            python="set data_dir=... or DASKGNN_DATA_DIR to an existing folder, or to "
            "none",
            shell="set --data-dir or DASKGNN_DATA_DIR to an existing folder, or to "
            "none",
        )
    return folder


def cache_folder() -> Path:
    """Return the folder of downloads: ``DASKGNN_CACHE_DIR``, else the user's cache."""
    given = os.environ.get("DASKGNN_CACHE_DIR")
    if given:
        return Path(given_path(given))
    import pooch

    return Path(pooch.os_cache("daskgnn"))


def check_file(path: Path, sha256: str) -> None:
    """Check that a file is there and undamaged.

    Raises
    ------
    DatasetError
        If it is not.
    """
    if not path.is_file():
        raise DatasetError(f"file {path} is missing: get it again")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise DatasetError(
            f"file {path} is damaged: its SHA-256 is {found[:12]}..., "
            f"expected {sha256[:12]}...: get it again"
        )


def fetch(url: str, sha256: str, folder: Path) -> Path:
    """Return the file ``url`` names, from ``folder`` if it is there undamaged.

    Otherwise it is downloaded to a temporary name, checked and renamed; a terminal
    gets a progress bar, a pipe one line.

    Raises
    ------
    DatasetError
        If it cannot be had or is not the expected file.
    """
    import pooch
    import requests

    name = url.rpartition("/")[2]
    terminal = sys.stderr.isatty()
    if not terminal and not (folder / name).is_file():
        print(f"downloading {url}", file=sys.stderr)
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        path = pooch.retrieve(
            url,
            known_hash=f"sha256:{sha256}",
            fname=name,
            path=folder,
            downloader=pooch.HTTPDownloader(progressbar=terminal, timeout=_TIMEOUT),
        )
    except (ValueError, OSError, requests.RequestException) as error:
        raise DatasetError(
            f"cannot download {url} ({first_line(error)})",
            python="check the network, or put the files into a folder and name it by "
            "data_dir=... or DASKGNN_DATA_DIR",
            shell="check the network, or put the files into a folder and name it by "
            "--data-dir or DASKGNN_DATA_DIR",
        ) from None
    return Path(path)
