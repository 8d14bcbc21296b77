"""Ctrl-C, SIGTERM and SIGUSR1: stop a run, and write a checkpoint first.

Batch systems send SIGUSR1 where they are asked for a warning before time is up.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_DEFAULTS = {signal.SIGINT: signal.default_int_handler} | {
    getattr(signal, name): signal.SIG_DFL
    for name in ("SIGTERM", "SIGUSR1")
    if hasattr(signal, name)
}


class Terminated(SystemExit):
    """SIGTERM or SIGUSR1 was received: the process ends, with the status of SIGTERM.

    Parameters
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.signal = signal.Signals(number).name


def name_of(stop: BaseException) -> str:
    """Return the name of the signal that stopped a run."""
    return stop.signal if isinstance(stop, Terminated) else "SIGINT"


class Signals:
    """Context manager that handles SIGINT, SIGTERM and SIGUSR1.

    SIGINT raises ``KeyboardInterrupt``, the others `Terminated`, in the main thread;
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
        if number is not None:
            raise Terminated(number)
