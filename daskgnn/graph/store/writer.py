"""Write a store atomically: complete or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from daskgnn.errors import StoreError
from daskgnn.graph.store.manifest import METADATA_FILE, build_manifest, document_digest
from daskgnn.paths import absolute_path, is_url, store_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np

    Fill = Callable[[str, Iterable["ArraySource"], Callable[[int], Any]], None]

FORMAT = "daskgnn"
FORMAT_VERSION = 3
"""The newest: 3 has rows that are split, 2 features in half precision, anything else
is written as 1."""
CHUNK_BYTES = 16 << 20
_ARRAY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)?")


@dataclass(frozen=True)
class ArraySource:
    """One array to be stored, made a run of rows at a time."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    rows: Callable[[int, int], np.ndarray]
    """(start, stop) -> those rows."""
    compress: bool = True
    """Off for dense floats: they hardly shrink and may be read in place."""


def write_store(
    path: str | os.PathLike[str],
    sources: Iterable[ArraySource],
    attributes: dict[str, Any],
    overwrite: bool = False,
    temporary: str | os.PathLike[str] | None = None,
    told: Callable[[int], Any] = int,
    fill: Fill | None = None,
) -> str:
    """Write arrays and attributes as a store at `path`, which may be an address.

    Everything goes to a temporary sibling directory, is flushed to the disk and
    renamed, so that no reader ever meets half a store.

    Parameters
    ----------
    temporary
        That directory, on the same file system; what is there is removed.
    told
        Called with the bytes of each piece that was written.
    fill
        Writes the arrays; `fill_arrays` if not given.

    Returns
    -------
    str
        The absolute path.

    Raises
    ------
    StoreError
        If something is at `path` (and `overwrite` is off, or it is no store of
        this library), or it cannot be written.
    """
    target = store_target(path)
    if is_url(target):
        from daskgnn.graph.store.remote import write_remote

        def write(folder: str, overwrite: bool) -> str:
            how = attributes, overwrite, temporary, told, fill
            return write_store(folder, sources, *how)

        return write_remote(target, overwrite, write)
    check_target(target, overwrite)
    if temporary is None:
        temporary = _beside(target, "tmp")
    temporary = absolute_path(temporary)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        os.makedirs(temporary)
        (fill or fill_arrays)(temporary, sources, told)
        _write_metadata(temporary, attributes)
        _flush_tree(temporary)
        _put_in_place(temporary, target, overwrite)
        _flush(os.path.dirname(target))
    except OSError as error:
        raise StoreError(f"the store {target!r} cannot be written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _beside(target: str, suffix: str) -> str:
    """Return a hidden name that nobody else uses in the same folder."""
    parent, name = os.path.split(target)
    return os.path.join(
        parent, f".{name}.{os.getpid()}-{secrets.token_hex(4)}.{suffix}"
    )


def check_target(target: str, overwrite: bool) -> None:
    """Raise `StoreError` unless a store may be written at `target`."""
    if is_url(target):
        from daskgnn.graph.store.remote import check_remote_target

        check_remote_target(target, overwrite)
        return
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise StoreError(
            f"{target!r} exists already",
            python="give another path or save(path, overwrite=True)",
            shell="give another path, or replace it with --force",
        )
    # A damaged store may be replaced, so its content is not read.
    root = Path(target, METADATA_FILE)
    if not root.is_file() or f'"{FORMAT}"' not in root.read_text(errors="replace"):
        raise StoreError(
            f"{target!r} is not a store of daskgnn and is not overwritten: "
            "give another path or remove it first"
        )


def chunk_rows(shape: tuple[int, ...], itemsize: int) -> int:
    """Return the rows of a chunk: equal chunks of at most about 16 MB."""
    rows, row_bytes = shape[0], max(itemsize * math.prod(shape[1:]), 1)
    chunks = min(max(math.ceil(rows * row_bytes / CHUNK_BYTES), 1), max(rows, 1))
    return max(math.ceil(rows / chunks), 1)


def fill_arrays(
    root: str, sources: Iterable[ArraySource], told: Callable[[int], Any]
) -> None:
    """Write arrays below `root` in this process, one after the other."""
    for source in sources:
        _write_array(root, source, told)


def _write_array(root: str, source: ArraySource, told: Callable[[int], Any]) -> None:
    """Write one array, chunk by chunk."""
    array = create_array(root, source)
    for start, stop in chunk_bounds(source):
        found = source.rows(start, stop)
        array[start:stop] = found
        told(found.nbytes)


def create_array(root: str, source: ArraySource) -> zarr.Array:
    """Make an array without its chunks."""
    if not _ARRAY_NAME.fullmatch(source.name) or source.dtype.kind not in "biufc":
        raise StoreError(
            f"array {source.name!r} of type {source.dtype} cannot be stored: use a "
            "name of letters, digits and '_', and numbers or booleans"
        )
    rows = chunk_rows(source.shape, source.dtype.itemsize)
    shuffle = BloscCodec(cname="lz4", clevel=1, shuffle="shuffle")
    return zarr.create_array(
        root,
        name=source.name,
        shape=source.shape,
        chunks=(rows, *(max(n, 1) for n in source.shape[1:])),
        dtype=source.dtype.newbyteorder("="),
        compressors=[*([shuffle] if source.compress else []), Crc32cCodec()],
        fill_value=0,
        # A chunk that is all zeros must be a file too, or its loss could not be seen.
        config={"write_empty_chunks": True},
    )


def open_array(root: str, name: str) -> zarr.Array:
    """Open an array that `create_array` has made, to write its chunks."""
    with zarr.config.set({"array.write_empty_chunks": True}):
        return zarr.open_array(root, path=name, mode="r+")


def chunk_bounds(source: ArraySource) -> list[tuple[int, int]]:
    """Return the first row of each chunk and that after its last."""
    if not math.prod(source.shape):
        return []
    rows = chunk_rows(source.shape, source.dtype.itemsize)
    count = source.shape[0]
    return [(start, min(start + rows, count)) for start in range(0, count, rows)]


def _write_metadata(root: str, attributes: dict[str, Any]) -> None:
    """Write the root metadata, which vouches for every other file."""
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {
            "format": FORMAT,
            "format_version": _version(attributes),
            **attributes,
            "manifest": vars(build_manifest(root)),
        },
    }
    document = json.loads(json.dumps(document))
    document["attributes"]["checksum"] = document_digest(document)
    Path(root, METADATA_FILE).write_text(json.dumps(document, indent=1))


def _version(attributes: dict[str, Any]) -> int:
    """Return the oldest format that has what a store has."""
    if "spread_rows" in attributes.get("partitioner", {}):
        return 3
    return 2 if "feature_dtype" in attributes else 1


def _put_in_place(temporary: str, target: str, overwrite: bool) -> None:
    """Rename a finished directory to its place; the old one goes only after that."""
    check_target(target, overwrite)
    old = _beside(target, "old")
    replaces = os.path.lexists(target)
    if replaces:
        os.rename(target, old)
    try:
        os.rename(temporary, target)
    except OSError:
        if replaces:
            os.rename(old, target)
        raise
    if replaces:
        shutil.rmtree(old, ignore_errors=True)


def _flush_tree(root: str) -> None:
    """Bring every file and directory below `root` to the disk."""
    for folder, _, files in os.walk(root, topdown=False):
        for file in files:
            _flush(os.path.join(folder, file))
        _flush(folder)


def _flush(path: str) -> None:
    """Bring one file or directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
