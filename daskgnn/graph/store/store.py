"""Read a stored graph, any range of rows by itself, and verify checksums."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from daskgnn.errors import StoreError, first_line
from daskgnn.graph.store.manifest import (
    METADATA_FILE,
    REMEDY,
    Manifest,
    check_chunk,
    check_files,
    check_metadata,
    document_digest,
)
from daskgnn.graph.store.writer import FORMAT, FORMAT_VERSION
from daskgnn.kernels.preads import read_rows
from daskgnn.partition.book import Clusters
from daskgnn.paths import is_url, store_place

if TYPE_CHECKING:
    from collections.abc import Mapping


class Arrays(ABC):
    """The arrays that a graph is stored as, and what is said of it."""

    attributes: dict[str, Any]
    arrays: dict[str, Any]
    """By name, each with a `shape` and a `dtype`."""

    @abstractmethod
    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start`` to ``stop - 1`` of an array, whole if not given."""

    def read_entries(self, name: str, start: int, indptr: np.ndarray) -> np.ndarray:
        """Return the entries of adjacent rows of an array.

        Parameters
        ----------
        start
            The first row.
        indptr
            int64 [m + 1], where these rows and the one after them begin.
        """
        return self.read(name, int(indptr[0]), int(indptr[-1]))

    @property
    @abstractmethod
    def checksum(self) -> str:
        """Names the content."""

    @property
    def feature_dtype(self) -> str | None:
        """What features are stored as; stores of format 1 have float32 only."""
        if not {"features", "features_indptr"} & self.arrays.keys():
            return None
        return str(self.attributes.get("feature_dtype", "float32"))

    def group(self, prefix: str) -> Mapping[str, np.ndarray]:
        """Return the arrays of a group, by their names in it."""
        names = (name for name in self.arrays if name.startswith(f"{prefix}/"))
        return {name.removeprefix(f"{prefix}/"): self.read(name) for name in names}

    def clusters(self) -> Clusters:
        """Return what was stored of the clusters."""
        names = ("cluster_bounds", "cluster_edges", "cluster_crossing")
        return Clusters(*(self.read(name) for name in names if name in self.arrays))


@dataclass(frozen=True, eq=False)
class Store(Arrays):
    """A stored graph whose metadata has been read and checked."""

    path: str
    attributes: dict[str, Any]
    manifest: Manifest
    arrays: dict[str, zarr.Array]

    @property
    def checksum(self) -> str:
        """Names the content: SHA-256 of metadata that vouches for every chunk."""
        return str(self.attributes["checksum"])

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start`` to ``stop - 1`` of an array, whole if not given.

        Raises
        ------
        StoreError
            If a chunk of these rows is missing, cut short or changed.
        """
        array = self.arrays[name]
        stop = array.shape[0] if stop is None else stop
        if not 0 <= start <= stop <= array.shape[0]:
            raise StoreError(
                f"rows {start}:{stop} of array {name!r} in {self.path!r} were asked "
                f"for: it has {array.shape[0]}"
            )
        self.check_chunks(name, start, stop)
        try:
            return np.asarray(array[start:stop])
        except StoreError:
            raise
        except Exception as error:
            raise self._damage(name, start, stop, error) from error

    def check(self) -> None:
        """Raise `StoreError` unless every file is still there, chunks by size."""
        check_metadata(self.path, self.manifest)
        check_files(self.path, self.manifest)

    def check_chunks(self, name: str, start: int, stop: int) -> None:
        """Compare the chunks of a run of rows with the manifest, without reading them.

        By their size and the checksum that they end with (``daskgnn info --validate``
        reads them).

        Raises
        ------
        StoreError
            If a chunk is missing, cut short or another one.
        """
        for chunk in self._chunks(name, start, stop):
            check_chunk(self.path, name, chunk, self.manifest.chunks[name][chunk])

    def _chunks(self, name: str, start: int, stop: int) -> list[str]:
        """Name the chunks that hold a run of rows (all of them span all columns)."""
        if name not in self.manifest.chunks or start == stop:
            return []
        array = self.arrays[name]
        rows, rest = array.chunks[0], "/0" * (array.ndim - 1)
        return [f"c/{i}{rest}" for i in range(start // rows, -(-stop // rows))]

    def _damage(self, name: str, start: int, stop: int, error: Exception) -> StoreError:
        """Find the chunk that cannot be decoded and name it."""
        array = self.arrays[name]
        rows = array.chunks[0]
        for chunk in self._chunks(name, start, stop):
            first = int(chunk.split("/")[1]) * rows
            try:
                array[first : min(first + rows, array.shape[0])]
            except Exception as damage:
                return StoreError(
                    f"chunk {chunk!r} of array {name!r} in {self.path!r} is damaged "
                    f"({first_line(damage)}): {REMEDY}"
                )
        return StoreError(
            f"array {name!r} in {self.path!r} cannot be read: {str(error)!r}"
        )


def open_store(path: str | os.PathLike[str], checksum: str | None = None) -> Store:
    """Read and check the metadata of a store (kept while it does not change).

    Parameters
    ----------
    checksum
        The store that is expected at the path, if it matters.

    Raises
    ------
    StoreError
        If there is no store, one of a newer format, a damaged one or another one.
    """
    absolute = store_place(path)
    if is_url(absolute):
        from daskgnn.graph.store.remote import open_remote

        return open_remote(absolute, checksum)
    try:
        root = Path(absolute, METADATA_FILE).read_bytes()
    except OSError:
        raise StoreError(no_store(absolute, _lack(absolute))) from None
    store = _open(absolute, root)
    check_same(store, checksum)
    return store


def check_same(store: Store, checksum: str | None) -> None:
    """Raise `StoreError` if a store is not the one that was expected, if any was."""
    if checksum is not None and store.checksum != checksum:
        raise StoreError(
            f"the store {store.path!r} was replaced since it was opened: "
            "open it again with open_graph"
        )


def no_store(path: str, lack: str) -> str:
    """Say what is wrong with a place that holds no store."""
    return (
        f"{path!r} is not a stored graph: {lack}; "
        "write one with graph.partition(...).save(path)"
    )


def _lack(path: str) -> str:
    """Say what is at a path where no store is."""
    if not os.path.lexists(path):
        return "it does not exist"
    if not os.path.isdir(path):
        return "it is a file"
    return f"it holds no {METADATA_FILE!r}"


@lru_cache(maxsize=16)
def _open(path: str, root: bytes) -> Store:
    """Open a store by the content of its root metadata."""
    attributes, manifest = described(path, root)
    check_metadata(path, manifest)
    files = LocalStore(path, read_only=True)
    return Store(path, attributes, manifest, open_arrays(path, files, manifest))


def described(path: str, root: bytes) -> tuple[dict[str, Any], Manifest]:
    """Return what the root metadata of a store say: attributes, and the manifest.

    Raises
    ------
    StoreError
        If they are damaged, or not a graph's.
    """
    attributes = _root_attributes(path, root)
    if "manifest" not in attributes:
        raise StoreError(f"{METADATA_FILE!r} in {path!r} has no manifest: {REMEDY}")
    return attributes, Manifest(**attributes["manifest"])


def open_arrays(path: str, files: Any, manifest: Manifest) -> dict[str, zarr.Array]:
    """Open the arrays in a `zarr.abc.store.Store` by their names.

    Raises
    ------
    StoreError
        If Zarr cannot read their metadata.
    """
    group = zarr.open_group(files, mode="r", zarr_format=3)
    members = {name: _member(path, group, name) for name in manifest.metadata}
    return {name: a for name, a in members.items() if isinstance(a, zarr.Array)}


def _member(path: str, group: zarr.Group, name: str) -> Any:
    """Return a member of the store; refuse metadata that Zarr cannot read."""
    try:
        return group[name]
    except Exception as error:
        raise StoreError(
            f"the metadata of array {name!r} in {path!r} cannot be used "
            f"({first_line(error)}): {REMEDY}"
        ) from error


def _root_attributes(path: str, root: bytes) -> dict[str, Any]:
    """Check the root metadata and return its attributes."""
    try:
        document = json.loads(root)
        attributes = document["attributes"]
        ours = attributes.get("format") == FORMAT
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoreError(
            f"{METADATA_FILE!r} in {path!r} is damaged, or not a graph's: {REMEDY}"
        ) from None
    if not ours:
        raise StoreError(
            f"{path!r} is a Zarr group, but not a graph of daskgnn: "
            "write one with graph.partition(...).save(path)"
        )
    version = attributes.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise StoreError(
            f"{path!r} has format version {version}, expected at most "
            f"{FORMAT_VERSION}: open it with a newer daskgnn"
        )
    if attributes.get("checksum") != document_digest(document):
        raise StoreError(f"{METADATA_FILE!r} in {path!r} is damaged: {REMEDY}")
    return dict(attributes)


def read_stored_rows(store: Store, ids: np.ndarray) -> np.ndarray:
    """Return feature rows of ascending ids [m, F], as they are stored.

    Raises
    ------
    StoreError
        If a chunk cannot be read.
    """
    array = store.arrays["features"]
    rows, columns = array.chunks
    width = columns * array.dtype.itemsize
    out = np.empty((len(ids), columns), array.dtype)
    chunks = np.arange(len(ids) and ids[0] // rows, len(ids) and ids[-1] // rows + 2)
    bounds = np.searchsorted(ids, chunks * rows)
    for chunk, first, last in zip(chunks, bounds, bounds[1:], strict=False):
        if first == last:
            continue
        path = os.path.join(store.path, "features", "c", str(chunk), "0")
        offsets = (ids[first:last] - chunk * rows) * width
        if _read_chunk(path, offsets, out[first:last]) >= 0:
            raise StoreError(
                f"chunk 'c/{chunk}/0' of array 'features' in {store.path!r} cannot be "
                f"read: {REMEDY}"
            )
    return out


def _read_chunk(path: str, offsets: np.ndarray, out: np.ndarray) -> int:
    """Read rows of one chunk's file; return the first that is not there, or -1."""
    try:
        with open(path, "rb", buffering=0) as stream:
            file = stream.fileno()
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
            return read_rows(file, offsets, out)
    except OSError:
        return 0
