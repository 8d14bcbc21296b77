"""Ctrl-C and SIGTERM: stop a run, and write a checkpoint first."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Terminated(SystemExit):
    """SIGTERM was received: the process ends, with the status a shell would give."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Signals:
    """Context manager that handles SIGINT and SIGTERM.

    SIGINT raises ``KeyboardInterrupt`` and SIGTERM `Terminated`, in the main thread;
    inside `held`, a first one waits until `released` or the end. Handlers that a
    program has set itself stay.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._holding = False
        self._waiting: int | None = None

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number, default in _DEFAULTS.items():
                current = signal.getsignal(number)
                ours = isinstance(getattr(current, "__self__", None), Signals)
                if ours or current == default:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let what is inside come to its end; a second signal does not wait."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        self._raise()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Take signals here, within `held`: where nothing is half done."""
        before, self._holding = self._holding, False
        try:
            self._raise()
            yield
        finally:
            self._holding = before

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first = self._waiting is None
        self._waiting = number
        if not (self._holding and first):
            self._raise()

    def _raise(self) -> None:
        """Raise what has come."""
        number, self._waiting = self._waiting, None
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGTERM:
            raise Terminated
