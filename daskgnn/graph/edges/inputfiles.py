"""Files to read from: found by pattern, opened, and cut into blocks of whole lines."""

from __future__ import annotations

import bz2
import glob
import gzip
import lzma
import os
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from daskgnn.errors import DatasetError

_COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_COMMENT = re.compile(rb"(?m)^[ \t]*[#%][^\n]*(?:\n|\Z)")
_LONGEST_LINE = 1 << 24
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What a damaged file raises while it is read."""


def find_files(given: Any) -> list[Path]:
    """Return the files that a path, a pattern or a list of them means, sorted.

    Raises
    ------
    DatasetError
        If one names no file.
    """
    patterns = [given] if isinstance(given, str | os.PathLike) else given
    if not isinstance(patterns, Iterable):
        raise DatasetError(
            f"{given!r} is not a path: give a file, a pattern, or a list"
        )
    found: list[Path] = []
    for pattern in patterns:
        text = os.path.expanduser(os.fspath(pattern))
        paths = [text] if os.path.isfile(text) else sorted(glob.glob(text))
        files = [Path(path) for path in paths if os.path.isfile(path)]
        if not files:
            raise DatasetError(
                f"no file {text}: give a file, or a pattern like 'edges-*.csv'"
            )
        found += files
    if not found:
        raise DatasetError("no files given: give a file, or a pattern like 'e-*.csv'")
    return found


def plain_suffix(path: Path) -> str:
    """Return a file's suffix without that of its compression: ".csv" of x.csv.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def line_blocks(
    path: Path, size: int, progress: Any = None
) -> Iterator[tuple[int, bytes]]:
    """Yield a file's lines, about `size` bytes at once, and the first one's number.

    Comments (# or % first) are left as empty lines.

    Parameters
    ----------
    progress
        Told by ``update(bytes)`` how much of the file on disk was read.

    Raises
    ------
    DatasetError
        If the file cannot be read to its end.
    """
    done, line = 0, 1
    try:
        # The file is opened separately from the stream: its position shows progress.
        with path.open("rb") as raw, uncompressed(path, raw) as stream:
            for block in _whole_lines(stream, size):
                if progress is not None:
                    progress.update(raw.tell() - done)
                    done = raw.tell()
                first, line = line, line + block.count(b"\n")
                if b"#" in block or b"%" in block:
                    block = _COMMENT.sub(b"\n", block)
                if block.strip():
                    yield first, block
    except BROKEN as error:
        raise DatasetError(
            f"{path} cannot be read ({error or type(error).__name__}): get it again"
        ) from None


def read_bytes(path: Path) -> bytes:
    """Return the whole text of a file, uncompressed, with plain line ends.

    Raises
    ------
    DatasetError
        If it cannot be read to its end.
    """
    try:
        with path.open("rb") as raw, uncompressed(path, raw) as stream:
            return stream.read().removeprefix(BOM_UTF8).replace(b"\r\n", b"\n")
    except BROKEN as error:
        raise DatasetError(
            f"{path} cannot be read ({error or type(error).__name__}): get it again"
        ) from None


def count_lines(block: bytes) -> int:
    """Count the lines of a block that are not empty; it ends with a line's end."""
    ends = np.frombuffer(block, np.uint8) == ord("\n")
    empty = ends[1:] & ends[:-1]
    return int(ends.sum() - empty.sum() - ends[0])


def uncompressed(path: Path, raw: IO[bytes]) -> IO[bytes]:
    """Return what uncompresses an open file."""
    opener: Any = _COMPRESSED.get(path.suffix.lower())
    return raw if opener is None else opener(raw, "rb")


def _whole_lines(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """Cut a stream into blocks that end with a line's end."""
    rest = b""
    read = stream.read(max(size, len(BOM_UTF8))).removeprefix(BOM_UTF8)
    while read:
        block = (rest + read).replace(b"\r\n", b"\n")
        # A single carriage return may be half of a line end that was cut in two.
        end = block.rfind(b"\n") + 1
        rest = block[end:]
        if end:
            yield block[:end]
        elif len(rest) > _LONGEST_LINE:
            raise OSError(f"a line has more than {_LONGEST_LINE:,} bytes")
        read = stream.read(size)
    if rest.strip():
        yield rest.replace(b"\r\n", b"\n").rstrip(b"\r") + b"\n"
