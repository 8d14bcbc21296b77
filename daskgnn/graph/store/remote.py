"""A store at an address: chunks are fetched when they are read, and then verified.

A chunk is one request, and each read has several under way (Zarr's
``async.concurrency``). What comes is compared with the manifest before Zarr decodes it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
from dask.utils import parse_timedelta
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore, WrapperStore

from daskgnn import config as _config  # noqa: F401  (the defaults)
from daskgnn.errors import StoreError, first_line
from daskgnn.graph.store.manifest import (
    METADATA_FILE,
    Manifest,
    check_array,
    check_content,
    check_size,
    missing,
)
from daskgnn.graph.store.objects import Objects
from daskgnn.graph.store.store import (
    Store,
    check_same,
    described,
    no_store,
    open_arrays,
)
from daskgnn.graph.store.writer import FORMAT

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

_KEPT_BYTES = 64 << 20
_MOST_OPEN = 16
_stores: OrderedDict[tuple[str, str], RemoteStore] = OrderedDict()


class Fetched(WrapperStore[MemoryStore]):
    """Metadata in memory, and chunks that are fetched by their names.

    A chunk at the border of two parts is needed by both: such ones are `shared`, and
    kept for a while.
    """

    def __init__(
        self, metadata: MemoryStore, objects: Objects, manifest: Manifest
    ) -> None:
        super().__init__(metadata)
        self.objects, self.manifest = objects, manifest
        self.shared: set[str] = set()
        self._kept: OrderedDict[str, asyncio.Future[bytes]] = OrderedDict()

    def _with_store(self, store: MemoryStore) -> Fetched:
        return Fetched(store, self.objects, self.manifest)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return metadata, or a chunk."""
        array, _, place = key.partition("/c/")
        if f"c/{place}" not in self.manifest.chunks.get(array, {}):
            return await super().get(key, prototype, byte_range)
        content = await self._content(key, array, f"c/{place}")
        return prototype.buffer.from_bytes(content)

    async def _content(self, key: str, array: str, chunk: str) -> bytes:
        """Return a verified chunk, fetched unless it is kept or on its way."""
        if key not in self.shared:
            return await self._fetch(key, array, chunk)
        found = self._kept.get(key)
        if found is None or found.cancelled() or (found.done() and found.exception()):
            found = asyncio.ensure_future(self._fetch(key, array, chunk))
            self._kept[key] = found
        self._kept.move_to_end(key)
        self._make_room()
        return await asyncio.shield(found)

    def _make_room(self) -> None:
        """Forget the chunks that were not wanted for longest."""
        sizes = [int(self._size(key)) for key in self._kept]
        while len(sizes) > 1 and sum(sizes) > _KEPT_BYTES:
            self._kept.popitem(last=False)
            sizes.pop(0)

    def _size(self, key: str) -> int:
        array, _, place = key.partition("/c/")
        return int(self.manifest.chunks[array][f"c/{place}"][0])

    async def _fetch(self, key: str, array: str, chunk: str) -> bytes:
        patience = parse_timedelta(dask.config.get("gnn.patience"))
        expected = self.manifest.chunks[array][chunk]
        content = await self.objects.fetch(key, expected[0], patience)
        if content is None:
            raise missing(self.objects.url, array, chunk)
        check_content(self.objects.url, array, chunk, content, expected)
        return content


@dataclass(frozen=True, eq=False)
class RemoteStore(Store):
    """A stored graph at an address, whose metadata has been read and checked."""

    files: Fetched

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start`` to ``stop - 1`` of an array, whole if not given.

        Raises
        ------
        StoreError
            If a chunk is missing or changed, or the server is away for too long.
        """
        array = self.arrays[name]
        last = array.shape[0] if stop is None else stop
        chunks, rows = self._chunks(name, start, last), array.chunks[0]
        if chunks and start % rows:
            self.files.shared.add(f"{name}/{chunks[0]}")
        if chunks and last % rows and last < array.shape[0]:
            self.files.shared.add(f"{name}/{chunks[-1]}")
        return super().read(name, start, stop)

    def check(self) -> None:
        """Raise `StoreError` unless every chunk is listed with its size."""
        found = self.files.objects.sizes()
        for array, chunks in self.manifest.chunks.items():
            for chunk, (size, _) in chunks.items():
                there = found.get(f"{array}/{chunk}")
                if there is None:
                    raise missing(self.path, array, chunk)
                check_size(self.path, array, chunk, there, size)

    def check_chunks(self, name: str, start: int, stop: int) -> None:
        """Do nothing: a chunk is compared when it comes."""


def open_remote(url: str, checksum: str | None) -> RemoteStore:
    """Read and check the metadata of a store at an address, once a process.

    Raises
    ------
    StoreError
        As for `daskgnn.graph.store.store.open_store`.
    """
    known = _stores.get((url, checksum or ""))
    if known is not None:
        return known
    objects = Objects(url)
    try:
        root = objects.get_first(METADATA_FILE)
    except FileNotFoundError as error:
        lack = f"{METADATA_FILE!r} is not there ({first_line(error)})"
        raise no_store(url, lack) from None
    attributes, manifest = described(url, root)
    names = {array: f"{array}/{METADATA_FILE}" for array in manifest.metadata}
    found = objects.get(names.values())
    for array, name in names.items():
        check_array(url, manifest, array, found.get(name))
    make = default_buffer_prototype().buffer.from_bytes
    held = {METADATA_FILE: root, **found}
    memory = MemoryStore({n: make(c) for n, c in held.items()}, read_only=True)
    files = Fetched(memory, objects, manifest)
    arrays = open_arrays(url, files, manifest)
    store = RemoteStore(url, attributes, manifest, arrays, files)
    check_same(store, checksum)
    _stores[url, store.checksum] = store
    while len(_stores) > _MOST_OPEN:
        _stores.popitem(last=False)
    return store


def check_remote_target(url: str, overwrite: bool) -> set[str]:
    """Return what an old store has at an address where one may be written.

    Raises
    ------
    StoreError
        If there is one and it may not be replaced, or what is there is none.
    """
    root = Objects(url).get([METADATA_FILE]).get(METADATA_FILE)
    if root is None:
        return set()
    if not overwrite:
        raise StoreError(
            f"{url!r} exists already",
            python="give another address or save(address, overwrite=True)",
            shell="give another address, or replace it with --force",
        )
    if f'"{FORMAT}"'.encode() not in root:
        raise StoreError(
            f"{url!r} is not a store of daskgnn and is not overwritten: give another "
            "address or remove it first"
        )
    try:
        manifest = described(url, root)[1]
    except StoreError:  # a damaged one may be replaced, too
        return {METADATA_FILE}
    chunks = {f"{array}/{c}" for array, cs in manifest.chunks.items() for c in cs}
    metadata = {f"{array}/{METADATA_FILE}" for array in manifest.metadata}
    return {METADATA_FILE} | chunks | metadata


def write_remote(url: str, overwrite: bool, write: Callable[[str, bool], str]) -> str:
    """Write a store at an address: what vouches for all else comes last.

    It is made in a folder for temporary files first. An old store is none any more
    when the first of its objects is replaced.

    Parameters
    ----------
    write
        (path, whether it may be replaced) -> writes the store as files.

    Returns
    -------
    str
        The address.

    Raises
    ------
    StoreError
        As for `check_remote_target`, and if it cannot be written.
    """
    old, objects = check_remote_target(url, overwrite), Objects(url)
    with tempfile.TemporaryDirectory(prefix="daskgnn-") as folder:
        made = Path(write(f"{folder}/graph.zarr", False))
        files = {
            file.relative_to(made).as_posix(): file
            for file in sorted(made.rglob("*"))
            if file.is_file()
        }
        root = {METADATA_FILE: files.pop(METADATA_FILE)}
        if old:
            objects.remove([METADATA_FILE])
            gone = old - files.keys() - root.keys()
            if gone:
                objects.remove(sorted(gone))
        objects.put(files)
        objects.put(root)
    return url
