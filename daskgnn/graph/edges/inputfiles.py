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
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from daskgnn.errors import DaskGNNError, DatasetError, first_line
from daskgnn.paths import given_path

_COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_COMMENT = re.compile(rb"(?m)^[ \t]*[#%][^\n]*(?:\n|\Z)")
_LONGEST_LINE = 1 << 24
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What a damaged file raises while it is read."""


@contextmanager
def readable(
    path: Path, what: str, broken: Any = BROKEN, remedy: str = "get it again"
) -> Iterator[None]:
    """Say in one line what is wrong with a file where reading it fails.

    Parameters
    ----------
    what : str
        What to say of the path, such as "is damaged or not GraphML".
    broken : exception or tuple of exceptions
        What reading raises then; errors of ours pass as they are.
    """
    try:
        yield
    except DaskGNNError:
        raise
    except broken as error:
        raise DatasetError(f"{path} {what} ({first_line(error)}): {remedy}") from None


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
        text = given_path(pattern)
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


def plain_name(path: Path) -> str:
    """Return a file's name without its suffix: "x.y" of x.y.csv.gz."""
    packed = path.suffix.lower() in _COMPRESSED
    return Path(path.stem).stem if packed else path.stem


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
    with opened(path) as (raw, text):
        for block in _whole_lines(text, size):
            if progress is not None:
                progress.update(raw.tell() - done)
                done = raw.tell()
            first, line = line, line + block.count(b"\n")
            if b"#" in block or b"%" in block:
                block = _COMMENT.sub(b"\n", block)
            if block.strip():
                yield first, block


def read_bytes(path: Path) -> bytes:
    """Return the whole text of a file, uncompressed, with plain line ends.

    Raises
    ------
    DatasetError
        If it cannot be read to its end.
    """
    with opened(path) as (_, text):
        return text.read().removeprefix(BOM_UTF8).replace(b"\r\n", b"\n")


def count_lines(block: bytes) -> int:
    """Count the lines of a block that are not empty; it ends with a line's end."""
    ends = np.frombuffer(block, np.uint8) == ord("\n")
    empty = ends[1:] & ends[:-1]
    return int(ends.sum() - empty.sum() - ends[0])


@contextmanager
def opened(
    path: Path, what: str = "cannot be read", broken: Any = BROKEN
) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Open a file to read: yield it, whose position shows progress, and its text.

    See `readable` for the errors.
    """
    opener: Any = _COMPRESSED.get(path.suffix.lower(), lambda raw, _: raw)
    with (
        readable(path, what, broken),
        path.open("rb") as raw,
        opener(raw, "rb") as text,
    ):
        yield raw, text


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
