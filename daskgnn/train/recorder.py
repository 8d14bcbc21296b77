"""What a run leaves behind: ``metrics.jsonl``, ``summary.json``, checkpoints."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from daskgnn.errors import InputError
from daskgnn.train.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint


class Progress(Protocol):
    """Told of a run's course; a terminal, a notebook or a log may implement it."""

    def started(self, info: dict[str, Any]) -> None:
        """Take note that training begins (total_steps, first_step, epochs, ...)."""

    def step(self, record: dict[str, Any]) -> None:
        """Take note of a step."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Take note of an epoch's end."""

    def event(self, record: dict[str, Any]) -> None:
        """Take note of anything else."""

    def finished(self, summary: dict[str, Any]) -> None:
        """Take note that training has ended."""


class Silent:
    """A progress that shows nothing."""

    def started(self, info: dict[str, Any]) -> None:
        """Ignore it."""

    def step(self, record: dict[str, Any]) -> None:
        """Ignore it."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Ignore it."""

    def event(self, record: dict[str, Any]) -> None:
        """Ignore it."""

    def finished(self, summary: dict[str, Any]) -> None:
        """Ignore it."""


@dataclass
class History:
    """Records of a fit, as plain dictionaries."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    """One a step: step, epoch, loss, seconds."""
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """One an epoch: epoch, loss, seconds, val_accuracy, remote_bytes, ..."""


class Recorder:
    """Writes a run's records to its directory (or only keeps them).

    Parameters
    ----------
    directory : path or None
        Where to write; None writes nothing.
    progress : Progress
    """

    def __init__(self, directory: str | Path | None, progress: Progress) -> None:
        self.directory = None if directory is None else Path(directory).absolute()
        self.progress = progress
        self.history = History()
        self.last_summary: dict[str, Any] | None = None
        self._pending: list[str] = []

    def refuse_other_run(self) -> None:
        """Refuse to begin a run where one has been.

        Raises
        ------
        InputError
        """
        if self.directory is None:
            return
        for name in ("metrics.jsonl", "checkpoints"):
            if (self.directory / name).exists():
                raise InputError(
                    f"out={str(self.directory)!r} already holds a run: give another "
                    "out, or continue it with fit(epochs, resume=True)"
                )

    def open(self) -> None:
        """Make the directory; drop a last line that a kill cut short."""
        if self.directory is None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "metrics.jsonl"
        if path.exists():
            text = path.read_bytes()
            whole = text[: text.rfind(b"\n") + 1]
            if whole != text:
                os.truncate(path, len(whole))

    def step(self, record: dict[str, Any]) -> None:
        """Record a step."""
        self.history.steps.append(record)
        self._pending.append(json.dumps({"event": "step", **record}))
        self.progress.step(record)

    def epoch(self, record: dict[str, Any]) -> None:
        """Record an epoch's end."""
        self.history.epochs.append(record)
        self._pending.append(json.dumps({"event": "epoch", **record}))
        self.progress.epoch(record)

    def event(self, name: str, **facts: Any) -> None:
        """Record anything else."""
        record = {"event": name, **facts}
        self._pending.append(json.dumps(record))
        self.progress.event(record)

    def flush(self) -> None:
        """Write the records of a window."""
        if self.directory is not None and self._pending:
            with (self.directory / "metrics.jsonl").open("a") as file:
                file.write("\n".join(self._pending) + "\n")
        self._pending.clear()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and say so."""
        if self.directory is None:
            return
        # What the checkpoint covers must be on record before it.
        self.flush()
        save_checkpoint(self.directory / "checkpoints", checkpoint)
        self.event("checkpoint", step=checkpoint.step)
        self.flush()

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint of the directory."""
        if self.directory is None:
            return None
        return newest_checkpoint(self.directory / "checkpoints")

    def summary(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json`` at once or not at all."""
        self.flush()
        self.last_summary = summary
        if self.directory is not None:
            write_json(self.directory / "summary.json", summary)
        self.progress.finished(summary)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file by a rename, so that no reader sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
