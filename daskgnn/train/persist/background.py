"""A background thread for writing checkpoints."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

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
        self._changed = threading.Condition()
        self._waiting: list[T] = []
        self._busy = False
        self._done: list[R] = []
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def put(self, item: T) -> None:
        """Have `item` done soon, in place of those that are not begun."""
        with self._changed:
            kept = [old for old in self._waiting if self._spares(item, old)]
            self._waiting = [*kept, item]
            if self._thread is None:
                # A daemon thread: a hanging disk does not keep the process alive.
                self._thread = threading.Thread(
                    target=self._run, name="daskgnn-checkpoints", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def done(self) -> list[R]:
        """Return what has come of the items since the last call."""
        with self._changed:
            done, self._done = self._done, []
            return done

    def failure(self) -> Exception | None:
        """Return what an item since the last call raised."""
        with self._changed:
            error, self._error = self._error, None
            return error

    def drain(self) -> None:
        """Wait until nothing is left to do, and end the thread."""
        with self._changed:
            while self._busy or self._waiting:
                self._changed.wait()
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        me: Any = threading.current_thread()
        while True:
            with self._changed:
                while not self._waiting and self._thread is me:
                    self._changed.wait()
                if not self._waiting:
                    return
                item = self._waiting.pop(0)
                self._busy = True
            self._do(item)

    def _do(self, item: T) -> None:
        done: list[R] = []
        error = None
        try:
            done.append(self._work(item))
        except Exception as caught:
            error = caught
        with self._changed:
            self._busy = False
            self._done += done
            if error is not None:
                self._error = error
                self._waiting = []
            self._changed.notify_all()
