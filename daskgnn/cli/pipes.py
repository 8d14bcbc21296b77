"""Output that nobody takes: ``daskgnn train ... | head -1``, ``>&-``, a full disk."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Unbroken:
    """A stream that nobody reads any more drops what is written: the work goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        """Send what is buffered, and all that comes, to nowhere; say why, if unknown.

        Who closes a pipe knows it.
        """
        with suppress(OSError, ValueError):
            _to_nowhere(self._stream.fileno())
        if not isinstance(error, BrokenPipeError) and sys.stderr is not self:
            why = error.strerror or error
            print(f"daskgnn: output is dropped from here on: {why}", file=sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _to_nowhere(number: int) -> None:
    """Have what is written to a file descriptor, open or not, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


def _open_again(number: int) -> TextIO:
    """Return a stream to nowhere in the place of one that was closed.

    Else the next file that is opened would have its number, and be written into.
    """
    try:
        os.fstat(number)
    except OSError:
        _to_nowhere(number)
    return open(os.devnull, "w", encoding="utf-8")


@contextmanager
def unbroken_streams() -> Iterator[None]:
    """Have a command go on, silently, when what it writes to is closed."""
    before = sys.stdout, sys.stderr
    streams: list[Any] = [
        _Unbroken(_open_again(number) if stream is None else stream)
        for number, stream in enumerate(before, start=1)
    ]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before
