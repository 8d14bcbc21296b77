"""Where a run is written: a local directory, or a folder of an object store by URL.

Object stores have no rename, so a folder's files are written in order there, and it
counts as written when its last file is there. A local folder appears by a rename.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from daskgnn.errors import InputError
from daskgnn.paths import (
    absolute_path,
    check_no_password,
    refuse_dangling,
    target_path,
    url_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

METRICS, CHECKPOINTS = "metrics.jsonl", "checkpoints"
"""Names in a run's directory."""

TORN = ".tmp-"
"""In the names of local files and folders that are not whole yet."""


class Storage:
    """Files by relative names, with ``/`` between folders: here in a local directory.

    It may be of a file system that is mounted; `ObjectStorage` does the same elsewhere.
    """

    place: str
    """As a user would name it: an absolute path or a URL."""
    appends = True
    """Whether a few lines can be added to a file without writing all of it."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(absolute_path(directory))
        refuse_dangling(str(self.directory))
        self.place = str(self.directory)

    def names(self, folder: str = "") -> list[str]:
        """Return what is whole and directly in a folder; nothing if it is not there."""
        path = self.directory / folder
        if not path.is_dir():
            return []
        return sorted(p.name for p in path.iterdir() if TORN not in p.name)

    def exists(self, name: str) -> bool:
        """Return whether there is such a file or folder."""
        return (self.directory / name).exists()

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file to read; ``OSError`` if it is not there."""
        return (self.directory / name).open("rb")

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that no reader sees half of it: it is renamed."""
        path = Path(target_path(self.directory / name))
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = path.with_name(f"{path.name}{TORN}{os.getpid()}")
        try:
            with _flushed(torn) as file:
                file.write(content)
            torn.replace(path)
        except BaseException:
            with suppress(OSError):
                torn.unlink(missing_ok=True)
            raise

    def append(self, name: str, lines: bytes) -> None:
        """Add lines to a file: all of them, or none if the disk is full."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_size if path.exists() else 0
        try:
            with path.open("ab") as file:
                file.write(lines)
        except OSError:
            with suppress(OSError):
                os.truncate(path, before)
            raise

    @contextmanager
    def new_folder(
        self, name: str
    ) -> Iterator[Callable[[str], AbstractContextManager[BinaryIO]]]:
        """Write a folder's files in order: it is whole when the last one is there.

        Here it is written beside its place, and renamed when all is on the disk.
        """
        final = Path(target_path(self.directory / name))
        final.parent.mkdir(parents=True, exist_ok=True)
        for left in final.parent.glob(f"*{TORN}*"):
            _remove(left)
        torn = final.with_name(f"{final.name}{TORN}{os.getpid()}")
        try:
            torn.mkdir()
            yield lambda file: _flushed(torn / file)
            _flush_directory(torn)
            _remove(final)
            torn.rename(final)
        except BaseException:
            _remove(torn)
            raise
        _flush_directory(final.parent)

    def remove(self, name: str) -> None:
        """Remove a folder, or a file; nothing happens if it is not there.

        It is taken away under another name, so that none is half gone.
        """
        path = self.directory / name
        torn = path.with_name(f"{path.name}{TORN}{os.getpid()}-old")
        with suppress(OSError):
            path.rename(torn)
            _remove(torn)

    def inside(self, folder: str) -> Storage:
        """Return the storage of a folder."""
        return Storage(self.directory / folder)

    def read(self, name: str) -> bytes:
        """Return a file's content; ``OSError`` if it is not there."""
        with self.open(name) as file:
            return file.read()

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Write a JSON file so that no reader sees half of it."""
        self.write(name, (json.dumps(value, indent=1) + "\n").encode())

    def path_of(self, name: str) -> str:
        """Return a file's name as a user would give it."""
        return f"{self.place}/{name}" if name else self.place

    def drop_torn_line(self, name: str) -> None:
        """Cut off a last line that a kill cut short."""
        path = self.directory / name
        if not path.exists():
            return
        text = path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole != len(text):
            os.truncate(path, whole)


class ObjectStorage(Storage):
    """A folder of an object store, by a URL that fsspec knows."""

    appends = False

    def __init__(self, url: str, filesystem: Any = None) -> None:
        import fsspec

        check_no_password(url)
        self.place = url.rstrip("/")
        try:
            found, root = fsspec.core.url_to_fs(self.place)
        except (ImportError, ValueError) as error:
            raise InputError(f"{url!r} cannot be used: {error}") from error
        self.root = root.rstrip("/")
        self.filesystem = filesystem or found
        self._logs: dict[str, bytes] = {}

    def names(self, folder: str = "") -> list[str]:
        """Return what is directly in a folder."""
        # Some file systems cache listings, and other processes write, too.
        self.filesystem.invalidate_cache()
        try:
            found = self.filesystem.ls(self._path(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def exists(self, name: str) -> bool:
        """Return whether there is such a file or folder."""
        self.filesystem.invalidate_cache()
        return bool(self.filesystem.exists(self._path(name)))

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Fetch a file: what is read is verified first, so twice."""
        return io.BytesIO(self.filesystem.cat_file(self._path(name)))

    def write(self, name: str, content: bytes) -> None:
        """Write an object: stores show none before it is whole."""
        self.filesystem.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
        self.filesystem.pipe_file(self._path(name), content)

    def append(self, name: str, lines: bytes) -> None:
        """Write the whole object again, with the lines at its end."""
        if name not in self._logs:
            self._logs[name] = self.read(name) if self.exists(name) else b""
        self._logs[name] += lines
        self.write(name, self._logs[name])

    def drop_torn_line(self, name: str) -> None:
        """Do nothing: objects are written whole."""

    @contextmanager
    def new_folder(
        self, name: str
    ) -> Iterator[Callable[[str], AbstractContextManager[BinaryIO]]]:
        """Write a folder's files in place, one after another."""
        self.remove(name)
        self.filesystem.makedirs(self._path(name), exist_ok=True)
        try:
            yield lambda file: self.filesystem.open(self._path(f"{name}/{file}"), "wb")
        except BaseException:
            with suppress(Exception):
                self.remove(name)
            raise

    def remove(self, name: str) -> None:
        """Remove a folder, its last file first: without it the others are nothing."""
        for file in reversed(self.names(name)):
            with suppress(FileNotFoundError):
                self.filesystem.rm_file(self._path(f"{name}/{file}"))
        with suppress(FileNotFoundError):
            self.filesystem.rm(self._path(name), recursive=True)

    def inside(self, folder: str) -> ObjectStorage:
        """Return the storage of a folder."""
        return ObjectStorage(f"{self.place}/{folder}", self.filesystem)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root


def open_storage(place: str | os.PathLike[str]) -> Storage:
    """Return the storage at a path or URL.

    Raises
    ------
    InputError
        If fsspec does not know the URL, or lacks a package for it.
    """
    url = url_of(place)
    return Storage(place) if url is None else ObjectStorage(url)


@contextmanager
def _flushed(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write, and leave when it is on the disk."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _flush_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
