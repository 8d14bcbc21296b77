"""Progress of a run: a bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, TextIO

from daskgnn.train.persist.recorder import Silent

Record = dict[str, Any]
_QUIET_SECONDS = 10.0
# Checkpoints are too frequent to be worth a line.
_SILENT_EVENTS = {"checkpoint", "step", "epoch"}


class _Planned(Silent):
    """Shows nothing, and remembers the plan."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.info: Record = {}

    def started(self, info: Record) -> None:
        """Remember the plan."""
        self.info = dict(info)

    def close(self) -> None:
        """Leave the output as it is."""


class LineProgress(_Planned):
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
        if record.get("event") not in _SILENT_EVENTS:
            self._say(happening(record))


class TerminalProgress(_Planned):
    """A bar over the run's steps, with the newest loss and accuracy."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._bar: Any = None
        self._shown: Record = {}

    def started(self, info: Record) -> None:
        """Name the plan and draw the bar."""
        from tqdm import tqdm

        super().started(info)
        print(plan(info), file=self.stream, flush=True)
        self._bar = tqdm(
            total=info.get("total_steps"),
            initial=info.get("first_step", 0),
            desc="training",
            unit="step",
            file=self.stream,
            **_size(self.stream),
        )

    def step(self, record: Record) -> None:
        """Move the bar by one step."""
        if self._bar is not None:
            epoch, epochs = record["epoch"] + 1, self.info.get("epochs")
            self._bar.set_description(f"epoch {epoch}/{epochs}", refresh=False)
            self._show(record)
            self._bar.update(1)

    def epoch(self, record: Record) -> None:
        """Show the epoch's accuracy in the bar."""
        if self._bar is not None:
            self._show(record)

    def _show(self, record: Record) -> None:
        """Put the newest measures behind the bar."""
        self._shown |= {name: f"{value:.4f}" for name, value in _measures(record)}
        self._bar.set_postfix(self._shown, refresh=False)

    def event(self, record: Record) -> None:
        """Show what happened, above the bar where there is one yet."""
        if record.get("event") in _SILENT_EVENTS:
            return
        if self._bar is None:
            print(happening(record), file=self.stream, flush=True)
        else:
            self._bar.write(happening(record), file=self.stream)

    def finished(self, summary: Record) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Leave the bar as it stands, whatever happened."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _size(stream: TextIO) -> Record:
    """Return tqdm's options for a bar that fits the terminal."""
    try:
        known = all(os.get_terminal_size(stream.fileno()))
    except (OSError, ValueError):
        known = False
    # Terminals of recorders and build systems have size 0 by 0: no bar.
    return {"dynamic_ncols": True} if known else {"ncols": 100, "nrows": 24}


def make_progress(stream: TextIO | None = None) -> LineProgress | TerminalProgress:
    """Return a bar if the stream is a terminal, else plain lines."""
    stream = stream or sys.stdout
    return TerminalProgress(stream) if stream.isatty() else LineProgress(stream)


def plan(info: Record) -> str:
    """Return the plan of a run in one line."""
    first = info.get("first_step") or 0
    begin = f" from step {first}" if first else ""
    if first and first >= (info.get("total_steps") or 0):
        begin = ", which are done: --epochs N trains up to N"
    line = f"{info.get('epochs')} epochs, {info.get('total_steps')} steps{begin}"
    if info.get("dashboard"):
        line += f"; dashboard: {info['dashboard']}"
    return line


def happening(record: Record) -> str:
    """Return an event in one line: ``worker lost: step=7 worker=tcp://...``."""
    name = str(record.get("event", "event")).replace("_", " ")
    rest = [f"{key}={value}" for key, value in record.items() if key != "event"]
    return f"{name}: {' '.join(rest)}" if rest else name


def _measures(record: Record) -> list[tuple[str, float]]:
    """Return the loss and every score of a record."""
    return [
        (name, float(value))
        for name, value in record.items()
        if (name == "loss" or name.startswith(("train_", "val_", "test_")))
        and name != "val_loss"
        and isinstance(value, int | float)
    ]


def measures(record: Record) -> str:
    """Return the loss, the scores and the time of a record in one line."""
    words = [f"{name} {value:.4f}" for name, value in _measures(record)]
    if isinstance(record.get("seconds"), int | float):
        words.append(f"{record['seconds']:.2f} s")
    return " ".join(words)
