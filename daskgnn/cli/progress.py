"""Progress of a command: a bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from daskgnn.train.progress import (
    SILENT_EVENTS,
    Planned,
    Record,
    TerminalProgress,
    happening,
    measures,
    plan,
)

_QUIET_SECONDS = 10.0


class LineProgress(Planned):
    """One line per epoch and event, and one if nothing happened for 10 s."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._last = time.monotonic()

    def _say(self, line: str) -> None:
        """Write one line at once, so that a pipe sees it."""
        print(line, file=self.stream, flush=True)
        self._last = time.monotonic()

    def started(self, info: Record) -> None:
        """Name the plan and the dashboard."""
        super().started(info)
        self._say(plan(info))

    def step(self, record: Record) -> None:
        """Show a sign of life in long epochs."""
        if time.monotonic() - self._last >= _QUIET_SECONDS:
            total = self.info.get("total_steps")
            self._say(f"step {record['step'] + 1}/{total} {measures(record)}".rstrip())

    def epoch(self, record: Record) -> None:
        """Show the epoch's loss and accuracy."""
        total = self.info.get("epochs")
        self._say(f"epoch {record['epoch'] + 1}/{total} {measures(record)}".rstrip())

    def event(self, record: Record) -> None:
        """Show what happened."""
        if record.get("event") not in SILENT_EVENTS:
            self._say(happening(record))


def make_progress(stream: TextIO | None = None) -> LineProgress | TerminalProgress:
    """Return a bar if the stream is a terminal, else plain lines."""
    stream = stream or sys.stdout
    return TerminalProgress(stream) if stream.isatty() else LineProgress(stream)
