"""The manifest of a store: size and CRC of every chunk, hash of every metadata file.

Zarr reads a missing chunk as zeros. The manifest says which chunks there are.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskgnn.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

METADATA_FILE = "zarr.json"
CRC_BYTES = 4
REMEDY = "restore the file from a copy or save the graph again"


@dataclass(frozen=True)
class Manifest:
    """The files of a store below its root metadata."""

    chunks: dict[str, dict[str, Sequence[Any]]]
    """By array, then by chunk ("c/0/0"): file size, CRC32C in hex (its last bytes)."""
    metadata: dict[str, str]
    """SHA-256 of the metadata file of each array and group."""

    @property
    def num_chunks(self) -> int:
        """How many chunk files there are."""
        return sum(len(chunks) for chunks in self.chunks.values())

    @property
    def num_bytes(self) -> int:
        """The bytes of all chunk files."""
        sizes = (size for chunks in self.chunks.values() for size, _ in chunks.values())
        return sum(sizes)


def digest(content: bytes) -> str:
    """Return the SHA-256 of `content` in hex."""
    return hashlib.sha256(content).hexdigest()


def document_digest(document: dict[str, Any]) -> str:
    """Return the checksum of a root metadata document, its own checksum left out."""
    attributes = dict(document["attributes"])
    attributes.pop("checksum", None)
    content = json.dumps({**document, "attributes": attributes}, sort_keys=True)
    return digest(content.encode())


def build_manifest(root: str) -> Manifest:
    """List the chunks and metadata that were written below `root`."""
    chunks: dict[str, dict[str, Sequence[Any]]] = {}
    metadata: dict[str, str] = {}
    for file in sorted(Path(root).rglob("*")):
        if not file.is_file():
            continue
        name = file.relative_to(root).as_posix()
        if file.name == METADATA_FILE:
            folder = name.removesuffix(METADATA_FILE).rstrip("/")
            if folder:
                metadata[folder] = digest(file.read_bytes())
                chunks.setdefault(folder, {})
        else:
            array, _, key = name.partition("/c/")
            chunks.setdefault(array, {})["c/" + key] = _size_and_crc(str(file))
    return Manifest({array: c for array, c in chunks.items() if c}, metadata)


def check_chunk(root: str, array: str, chunk: str, expected: Sequence[Any]) -> None:
    """Raise `StoreError` unless a chunk file has the size and CRC it was given."""
    try:
        found = _size_and_crc(os.path.join(root, array, chunk))
    except FileNotFoundError:
        raise missing(root, array, chunk) from None
    except OSError as error:
        raise _wrong(array, chunk, f"in {root!r} cannot be read ({error})") from error
    compare_chunk(root, array, chunk, found, expected)


def check_content(
    root: str, array: str, chunk: str, content: bytes, expected: Sequence[Any]
) -> None:
    """Raise `StoreError` unless the content of a chunk has its size and CRC."""
    found = len(content), content[-CRC_BYTES:].hex()
    compare_chunk(root, array, chunk, found, expected)


def compare_chunk(
    root: str, array: str, chunk: str, found: Sequence[Any], expected: Sequence[Any]
) -> None:
    """Raise `StoreError` unless a chunk's size and CRC are those expected."""
    size, crc = found
    check_size(root, array, chunk, size, expected[0])
    if crc != expected[1]:
        said = f"(checksum {crc}, expected {expected[1]})"
        what = f"in {root!r} is not the one that was saved {said}"
        raise _wrong(array, chunk, what)


def check_files(root: str, manifest: Manifest) -> None:
    """Raise `StoreError` unless every chunk file is there with its size."""
    for array, chunks in manifest.chunks.items():
        for chunk, (size, _) in chunks.items():
            try:
                found = os.stat(os.path.join(root, array, chunk)).st_size
            except OSError:
                raise missing(root, array, chunk) from None
            check_size(root, array, chunk, found, size)


def check_metadata(root: str, manifest: Manifest) -> None:
    """Raise `StoreError` unless every array's metadata is as it was saved."""
    for array in manifest.metadata:
        try:
            content = Path(root, array, METADATA_FILE).read_bytes()
        except OSError:
            content = None
        check_array(root, manifest, array, content)


def check_array(
    root: str, manifest: Manifest, array: str, content: bytes | None
) -> None:
    """Raise `StoreError` unless metadata of an array, None if missing, are as saved."""
    if content is None:
        raise StoreError(
            f"the metadata of array {array!r} is missing in {root!r}: {REMEDY}"
        )
    if digest(content) != manifest.metadata[array]:
        raise StoreError(
            f"the metadata of array {array!r} in {root!r} was changed or damaged: "
            f"{REMEDY}"
        )


def _size_and_crc(file: str) -> tuple[int, str]:
    """Return the size of a chunk file and its last bytes, the CRC32C of the rest."""
    with open(file, "rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        crc = os.pread(stream.fileno(), CRC_BYTES, max(size - CRC_BYTES, 0))
    return size, crc.hex()


def check_size(root: str, array: str, chunk: str, found: int, expected: int) -> None:
    """Raise `StoreError` if a chunk was cut short or grew."""
    if found != expected:
        what = f"in {root!r} has {found} bytes, expected {expected}"
        raise _wrong(array, chunk, what)


def missing(root: str, array: str, chunk: str) -> StoreError:
    """Make the error for a chunk that is not there."""
    return _wrong(array, chunk, f"is missing in {root!r}")


def _wrong(array: str, chunk: str, what: str) -> StoreError:
    """Make the error for a chunk that is not as it was saved."""
    return StoreError(f"chunk {chunk!r} of array {array!r} {what}: {REMEDY}")
