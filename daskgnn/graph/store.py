"""Read a stored graph: every byte is checked, and any run of rows can be had alone.

The `load_*` functions are what tasks call: pure functions of a path and a run of
storage ids (rows ``start`` to ``stop - 1``).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from daskgnn.errors import StoreError
from daskgnn.graph.book import Clusters
from daskgnn.graph.gcxs import csr_block
from daskgnn.graph.manifest import (
    METADATA_FILE,
    REMEDY,
    Manifest,
    check_chunk,
    check_files,
    check_metadata,
    document_digest,
)
from daskgnn.graph.spread import is_vertex_cut, read_part_rows, read_whole_rows
from daskgnn.graph.writer import FORMAT, FORMAT_VERSION
from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.features import normalize_rows
from daskgnn.kernels.half import TABLE_DTYPES, check_range, narrow, widen

if TYPE_CHECKING:
    from sparse import GCXS


@dataclass(frozen=True, eq=False)
class Store:
    """A stored graph whose metadata has been read and checked."""

    path: str
    attributes: dict[str, Any]
    manifest: Manifest
    arrays: dict[str, zarr.Array]

    @property
    def checksum(self) -> str:
        """Names the content: SHA-256 of metadata that vouches for every chunk."""
        return str(self.attributes["checksum"])

    @property
    def feature_dtype(self) -> str | None:
        """What features are stored as; stores of format 1 have float32 only."""
        if not {"features", "features_indptr"} & self.arrays.keys():
            return None
        return str(self.attributes.get("feature_dtype", "float32"))

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

    def clusters(self) -> Clusters:
        """Return what was stored of the clusters."""
        return Clusters(self.read("cluster_bounds"), self.read("cluster_edges"))

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
        f"{path!r} is no stored graph: it {what}; "
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
            f"{METADATA_FILE!r} in {path!r} is damaged or of no stored graph: {REMEDY}"
        ) from None
    if not ours:
        raise StoreError(
            f"{path!r} is a Zarr group, but no graph stored by daskgnn: "
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


def load_adjacency(
    path: str, start: int, stop: int, checksum: str | None = None
) -> AdjacencyBlock:
    """Read rows of the graph, neighbours in the order of their original ids.

    Raises
    ------
    StoreError
        As for `Store.read`.
    """
    store = open_store(path, checksum)
    if is_vertex_cut(store):
        return read_whole_rows(store, start, stop)
    indptr = store.read("indptr", start, stop + 1)
    first, last = int(indptr[0]), int(indptr[-1])
    indptr -= first
    weighted = "edge_weight" in store.arrays
    return AdjacencyBlock(
        start=start,
        indptr=indptr,
        indices=store.read("indices", first, last),
        original_ids=store.read("original_ids", start, stop),
        weights=store.read("edge_weight", first, last) if weighted else None,
    )


def load_part_rows(
    path: str, start: int, stop: int, checksum: str | None = None
) -> AdjacencyBlock:
    """Read what a part has of the graph: of a vertex-cut, with rows that are spread.

    Raises
    ------
    StoreError
        As for `Store.read`.
    """
    store = open_store(path, checksum)
    if is_vertex_cut(store):
        return read_part_rows(store, start, stop)
    return load_adjacency(path, start, stop, checksum)


def load_features(
    path: str, start: int, stop: int, checksum: str | None = None
) -> np.ndarray | GCXS:
    """Read feature rows: float32 (n, F), a CSR `sparse.GCXS` if so stored.

    Rows stored in half precision are widened to float32.

    Raises
    ------
    StoreError
        As for `Store.read`, or if there are none.
    """
    store = open_store(path, checksum)
    if "features" in store.arrays:
        return widen(store.read("features", start, stop))
    _require(store, "features_indptr", "features")
    indptr = store.read("features_indptr", start, stop + 1)
    first, last = int(indptr[0]), int(indptr[-1])
    return csr_block(
        indptr - first,
        store.read("features_indices", first, last),
        store.read("features_data", first, last),
        (stop - start, int(store.attributes["num_features"])),
    )


def load_half_features(
    path: str,
    start: int,
    stop: int,
    feature_dtype: str,
    normalize: bool = False,
    checksum: str | None = None,
) -> np.ndarray:
    """Read dense feature rows as a half-precision table.

    Parameters
    ----------
    feature_dtype : {"float16", "bfloat16"}
        What they become, whatever they are stored as.
    normalize
        Whether to divide each row by its sum, in float32 before it is rounded.

    Returns
    -------
    numpy.ndarray
        int16 (float16 bits) or uint16 (bfloat16 bits), [n, F].

    Raises
    ------
    StoreError
        As for `Store.read`.
    InputError
        If a number is too large for the dtype, naming its node.
    """
    store = open_store(path, checksum)
    as_stored = store.feature_dtype == feature_dtype and not normalize
    if as_stored:
        return store.read("features", start, stop).view(TABLE_DTYPES[feature_dtype])
    array = store.arrays["features"]
    shape = (stop - start, array.shape[1])
    out: np.ndarray = np.empty(shape, TABLE_DTYPES[feature_dtype])
    # A chunk at a time, so that no part is in memory as float32.
    step = array.chunks[0]
    for first in range(start - start % step, stop, step):
        begin, end = max(first, start), min(first + step, stop)
        rows = widen(store.read("features", begin, end))
        if normalize:
            rows = normalize_rows(rows)
        check_range(rows, feature_dtype, "node", partial(_original, store, begin))
        out[begin - start : end - start] = narrow(rows, feature_dtype)
    return out


def _original(store: Store, start: int, row: int) -> int:
    """Return the original id of a row, counted from a storage id."""
    return int(store.read("original_ids", start + row, start + row + 1)[0])


def load_labels(
    path: str, start: int, stop: int, checksum: str | None = None
) -> np.ndarray:
    """Read labels: int64 (n,), or float32 (n, C) for yes/no targets.

    Raises
    ------
    StoreError
        As for `Store.read`, or if there are none.
    """
    store = open_store(path, checksum)
    _require(store, "labels", "labels")
    return store.read("labels", start, stop)


def load_original_ids(
    path: str, start: int, stop: int, checksum: str | None = None
) -> np.ndarray:
    """Read the original ids of nodes, int64 (n,).

    Raises
    ------
    StoreError
        As for `Store.read`.
    """
    return open_store(path, checksum).read("original_ids", start, stop)


def load_degrees(path: str, checksum: str | None = None) -> np.ndarray:
    """Read the number of in-neighbours of every node, int64 (N,), storage order.

    Raises
    ------
    StoreError
        As for `Store.read`.
    """
    return np.diff(open_store(path, checksum).read("indptr"))


def _require(store: Store, name: str, what: str) -> None:
    """Raise `StoreError` if the graph was stored without something."""
    if name not in store.arrays:
        raise StoreError(
            f"the graph in {store.path!r} has no {what}: build it with {what}=..."
        )
