"""Databases that are one file: how it is found, checked and put in place."""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from functools import lru_cache
from typing import Any

from daskgnn.errors import StoreError
from daskgnn.graph.databases.database import Database, import_extra, told_of
from daskgnn.paths import absolute_path, target_path


class EmbeddedDatabase(Database):
    """A database in a file, opened by this process.

    Parameters
    ----------
    place
        Scheme and path.
    sha256
        The content that is expected; what stands in the file beside it, if there is
        one, otherwise what is found.
    write
        Whether it is written: to a hidden file, which `finish` puts in its place.
    overwrite
        Whether a file that is there may be replaced.
    """

    scheme: str
    package: str

    def __init__(
        self,
        place: str,
        sha256: str = "",
        *,
        write: bool = False,
        overwrite: bool = False,
    ) -> None:
        path = place.partition(":")[2]
        self.module = import_extra(self.package, self.scheme)
        self.path = target_path(path) if write else absolute_path(path)
        self.place = f"{self.scheme}:{self.path}"
        if write and not overwrite:
            self._refuse_existing()
        self.sha256 = "" if write else self._checked(sha256)
        self.write = write
        folder, name = os.path.split(self.path)
        self.file = os.path.join(folder, f".{name}.loading") if write else self.path
        self._database = self._opened()

    @abstractmethod
    def open_file(self) -> Any:
        """Open `file`, to write if `write`."""

    @abstractmethod
    def checkpoint(self) -> None:
        """Bring everything that was written into the file."""

    def _opened(self) -> Any:
        version = getattr(self.module, "__version__", "")
        said = (
            f"cannot be opened by {self.package} {version} (another version may have "
            f"written it: load the graph again with daskgnn load GRAPH {self.place})"
        )
        with told_of(self.place, said):
            return self.open_file()

    def _checked(self, expected: str) -> str:
        """Return the SHA-256 of the file, which must be the one that is expected."""
        if not os.path.isfile(self.path):
            raise StoreError(
                f"there is no file {self.path}: make it with daskgnn load GRAPH "
                f"{self.scheme}:{self.path}"
            )
        expected = expected or _written_digest(self.path)
        found = file_digest(self.path)
        if expected and found != expected:
            raise StoreError(
                f"{self.path} is not the file that was loaded (SHA-256 {found[:16]}, "
                f"expected {expected[:16]}): restore it from a copy, or load the graph "
                "again"
            )
        return found

    def _refuse_existing(self) -> None:
        if os.path.lexists(self.path):
            raise StoreError(
                f"{self.path} exists already",
                python="give another place, or copy_graph(..., overwrite=True)",
                shell="give another place, or replace it with --force",
            )

    def finish(self) -> None:
        """Write everything to the file, put it in its place, and tell its SHA-256."""
        with told_of(self.place, "cannot be finished"):
            self.checkpoint()
        self.close()
        digest = file_digest(self.file)
        with open(f"{self.path}.sha256", "w") as beside:
            beside.write(f"{digest}  {os.path.basename(self.path)}\n")
        os.replace(self.file, self.path)

    def remove(self) -> None:
        """Begin anew with an empty file."""
        self.close()
        remove_files(self.file)
        self._database = self._opened()

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def remove_files(path: str) -> None:
    """Remove a database's file, and those that its library keeps beside it."""
    folder, name = os.path.split(path)
    for other in os.listdir(folder):
        if other == name or other.startswith(f"{name}."):
            os.remove(os.path.join(folder, other))


def _written_digest(path: str) -> str:
    """Return the SHA-256 in the file beside a database; empty if there is none."""
    try:
        with open(f"{path}.sha256") as beside:
            return beside.read().split()[0]
    except (OSError, IndexError):
        return ""


def file_digest(path: str) -> str:
    """Return the SHA-256 of a file, kept while it does not change."""
    found = os.stat(path)
    return _digest(path, found.st_size, found.st_mtime_ns, found.st_ino)


@lru_cache(maxsize=32)
def _digest(path: str, *_: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
