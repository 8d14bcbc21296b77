"""A callback that turns all calls into records of numbers."""

from __future__ import annotations

from typing import Any

from daskgnn.monitor.callback import Callback

Record = dict[str, Any]

_WORDS = {"event", "worker", "form", "signal"}
"""Names whose values are words; of all others only numbers are published."""


def published(record: Record) -> Record:
    """Return what of a record may leave the driver: numbers, and few words.

    Examples
    --------
    >>> published({"event": "checkpoint", "step": 3, "out": "/data", "seconds": 0.5})
    {'event': 'checkpoint', 'step': 3, 'seconds': 0.5}
    """
    return {
        n: v for n, v in record.items() if n in _WORDS or isinstance(v, int | float)
    }


class Teller(Callback):
    """Passes records on, by their kind; subclasses say where."""

    def __init__(self) -> None:
        self.info: Record = {}
        """How the run began; empty before."""
        self.ended = False

    def put(self, kind: str, record: Record) -> None:
        """Pass a record on."""
        raise NotImplementedError

    def started(self, info: Record) -> None:
        """Tell that the run begins."""
        self.info, self.ended = published(info), False
        self.put("started", self.info)

    def window(self, record: Record) -> None:
        """Tell of a window."""
        self.put("window", record)

    def epoch(self, record: Record) -> None:
        """Tell of an epoch."""
        self.put("epoch", published(record))

    def event(self, record: Record) -> None:
        """Tell of anything else, once the run has begun."""
        if self.info:
            self.put("event", published(record))

    def finished(self, summary: Record) -> None:
        """Tell the last scores."""
        scores = {n: v for n, v in summary.items() if n.startswith(("val_", "test_"))}
        self.put("finished", published(scores))

    def close(self) -> None:
        """Tell that the fit is over."""
        if self.info and not self.ended:
            self.ended = True
            self.put("stopped", {})
