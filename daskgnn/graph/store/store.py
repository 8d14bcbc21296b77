"""Read a stored graph, any range of rows by itself, and verify checksums."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from daskgnn.errors import StoreError
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
from daskgnn.partition.book import Clusters


class Arrays(ABC):
    """The arrays that a graph is stored as, and what is said of it."""

    attributes: dict[str, Any]
    arrays: dict[str, Any]
    """By name, each with a `shape` and a `dtype`."""

    @abstractmethod
    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start`` to ``stop - 1`` of an array, whole if not given."""

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
        for chunk in self._chunks(name, start, stop):
            check_chunk(self.path, name, chunk, self.manifest.chunks[name][chunk])
        try:
            return np.asarray(array[start:stop])
        except Exception as error:
            raise self._damage(name, start, stop, error) from error

    def check(self) -> None:
        """Raise `StoreError` unless every file is still there, chunks by size."""
        check_metadata(self.path, self.manifest)
        check_files(self.path, self.manifest)

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
                reason = str(damage).partition("\n")[0]
                return StoreError(
                    f"chunk {chunk!r} of array {name!r} in {self.path!r} is damaged "
                    f"({reason}): {REMEDY}"
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
    absolute = os.path.abspath(os.fspath(path))
    try:
        root = Path(absolute, METADATA_FILE).read_bytes()
    except OSError:
        raise StoreError(_no_store(absolute)) from None
    store = _open(absolute, root)
    if checksum is not None and store.checksum != checksum:
        raise StoreError(
            f"the store {absolute!r} was replaced since it was opened: "
            "open it again with open_graph"
        )
    return store


def _no_store(path: str) -> str:
    """Say what is wrong with a path that holds no store."""
    if not os.path.lexists(path):
        what = "does not exist"
    elif not os.path.isdir(path):
        what = "is a file"
    else:
        what = f"holds no {METADATA_FILE!r}"
    return (
        f"{path!r} is not a stored graph: it {what}; "
        "write one with graph.partition(...).save(path)"
    )


@lru_cache(maxsize=16)
def _open(path: str, root: bytes) -> Store:
    """Open a store by the content of its root metadata."""
    attributes = _root_attributes(path, root)
    if "manifest" not in attributes:
        raise StoreError(f"{METADATA_FILE!r} in {path!r} has no manifest: {REMEDY}")
    manifest = Manifest.from_dict(attributes["manifest"])
    check_metadata(path, manifest)
    group = zarr.open_group(LocalStore(path, read_only=True), mode="r", zarr_format=3)
    arrays = {name: _array(path, group, name) for name in manifest.metadata}
    return Store(path, attributes, manifest, _only_arrays(arrays))


def _array(path: str, group: zarr.Group, name: str) -> Any:
    """Return a member of the store; refuse metadata that Zarr cannot read."""
    try:
        return group[name]
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise StoreError(
            f"the metadata of array {name!r} in {path!r} cannot be used ({reason}): "
            f"{REMEDY}"
        ) from error


def _only_arrays(members: dict[str, Any]) -> dict[str, zarr.Array]:
    """Leave out the groups."""
    return {name: a for name, a in members.items() if isinstance(a, zarr.Array)}


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
