"""A background thread for writing checkpoints."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
R = TypeVar("R")


class Background(Generic[T, R]):
    """Does one thing at a time in a thread; a newer one replaces those that wait.

    Parameters
    ----------
    work : callable
        From an item to what is to be known of it. An error drops what waits.
    spares : callable, optional
        Whether a new item, the first argument, leaves one that waits in its place.
    """

    def __init__(
        self, work: Callable[[T], R], spares: Callable[[T, T], bool] | None = None
    ) -> None:
        self._work = work
        self._spares = spares or (lambda _new, _old: False)
        self._lock = threading.Lock()
        self._waiting: list[T] = []
        self._done: list[R] = []
        self._failure: tuple[T, Exception] | None = None
        self._thread: threading.Thread | None = None
        """It ends when nothing waits any more."""

    def put(self, item: T) -> None:
        """Have `item` done soon, in place of those that are not begun."""
        with self._lock:
            kept = [old for old in self._waiting if self._spares(item, old)]
            self._waiting = [*kept, item]
            if self._thread is None:
                # A daemon thread: a hanging disk does not keep the process alive.
                self._thread = threading.Thread(
                    target=self._run, name="daskgnn-checkpoints", daemon=True
                )
                self._thread.start()

    def done(self) -> list[R]:
        """Return what has come of the items since the last call."""
        with self._lock:
            done, self._done = self._done, []
            return done

    def failure(self) -> tuple[T, Exception] | None:
        """Return an item since the last call, and what it raised."""
        with self._lock:
            failure, self._failure = self._failure, None
            return failure

    def drain(self) -> None:
        """Wait until nothing is left to do."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                item = self._waiting.pop(0)
            try:
                result = self._work(item)
            except Exception as error:
                with self._lock:
                    self._failure, self._waiting = (item, error), []
            else:
                with self._lock:
                    self._done.append(result)
