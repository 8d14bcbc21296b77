"""Write a run's ``metrics.jsonl``, ``summary.json`` and checkpoints."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from daskgnn.errors import IN_PYTHON, InputError, TrainingError, first_line
from daskgnn.train.persist.background import Background
from daskgnn.train.persist.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from daskgnn.train.persist.history import History
from daskgnn.train.persist.storage import CHECKPOINTS, METRICS, open_storage

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator


class Progress(Protocol):
    """Receives the events of a run: implement it to show them in your own way.

    Pass an object with these methods to `Trainer` as `progress`.

    Examples
    --------
    >>> import daskgnn
    >>> from daskgnn.nn import GraphSAGE
    >>> class Printer:
    ...     def started(self, info):
    ...         print("epochs:", info["epochs"])
    ...     def step(self, record):
    ...         pass
    ...     def epoch(self, record):
    ...         print("epoch", record["epoch"], "is done")
    ...     def event(self, record):
    ...         pass
    ...     def finished(self, summary):
    ...         pass
    >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition())
    >>> model = GraphSAGE(graph.num_features, 16, graph.num_classes)
    >>> options = {"num_neighbors": [10, 5], "client": None, "progress": Printer()}
    >>> _ = daskgnn.Trainer(model, graph, **options).fit(epochs=2)
    epochs: 2
    epoch 0 is done
    epoch 1 is done
    """

    def started(self, info: dict[str, Any]) -> None:
        """Called when training begins.

        Parameters
        ----------
        info : dict
            "total_steps", "first_step", "epochs", ...
        """

    def step(self, record: dict[str, Any]) -> None:
        """Called when a step is done.

        Parameters
        ----------
        record : dict
            "step", "epoch", "loss", "seconds", ...
        """

    def epoch(self, record: dict[str, Any]) -> None:
        """Called when an epoch is done.

        Parameters
        ----------
        record : dict
            "epoch", "loss", "seconds", "val_accuracy", ...
        """

    def event(self, record: dict[str, Any]) -> None:
        """Called for anything else: a checkpoint was written, a worker was lost, ...

        Parameters
        ----------
        record : dict
            "event" names it.
        """

    def finished(self, summary: dict[str, Any]) -> None:
        """Called when training has ended.

        Parameters
        ----------
        summary : dict
            What ``summary.json`` holds.
        """


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


class Recorder:
    """Writes a run's records to its directory (or only keeps them).

    Checkpoints are written by a background thread: see `save`.

    Parameters
    ----------
    place : path, URL or None
        Where to write; None writes nothing.
    progress : Progress
    keep : int
        Checkpoints to keep, beside the best one.
    command : str
        What continues the run, with ``--resume``.
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | None,
        progress: Progress,
        keep: int = 2,
        command: str = "daskgnn train",
    ) -> None:
        self.storage = None if place is None else open_storage(place)
        self.progress = progress
        self.history = History()
        self.last_summary: dict[str, Any] | None = None
        self.durable: int | None = None
        """The step of the newest checkpoint that this recorder knows to be whole."""
        self._keep, self._command = keep, command
        self._pending: list[dict[str, Any]] = []
        self._checkpoints = Background(self._write, spares=_is_best)

    @property
    def place(self) -> str | None:
        """The run's directory or URL."""
        return None if self.storage is None else self.storage.place

    def refuse_other_run(self) -> None:
        """Refuse to begin a run where one has been.

        Raises
        ------
        InputError
        """
        if self.storage is None:
            return
        for name in (METRICS, CHECKPOINTS):
            if self.storage.exists(name):
                raise InputError(
                    f"out={self.place!r} already holds a run",
                    python="give another out=..., or continue it with fit(epochs, "
                    "resume=True)",
                    shell="give another --out, or continue it with daskgnn train "
                    f"--resume {self.place}",
                )

    def begin(self, checkpoint: Checkpoint | None, step: int) -> None:
        """Drop a last line that a kill cut short, and note how training begins.

        Parameters
        ----------
        checkpoint
            Of where it begins: a run that is killed before the next one can be resumed
            too. None if it resumes from one, at `step`.

        Raises
        ------
        TrainingError
            As `flush`.
        """
        if self.storage is not None:
            self.storage.drop_torn_line(METRICS)
        if checkpoint is None:
            self.event("resume", step=step)
        else:
            self.save(checkpoint)
        self.wait_until_written()

    def step(self, record: dict[str, Any]) -> None:
        """Record a step."""
        self.history.steps.append(record)
        self._pending.append({"event": "step", **record})
        self.progress.step(record)

    def forget_steps(self, first: int) -> None:
        """Take back what is not written yet of steps from `first` on."""

        def stays(record: dict[str, Any]) -> bool:
            return record.get("event", "step") != "step" or record["step"] < first

        self._pending = [record for record in self._pending if stays(record)]
        self.history.steps = [r for r in self.history.steps if stays(r)]

    def window(self, record: dict[str, Any]) -> None:
        """Tell those who watch of a window; its steps are recorded one by one."""
        window = getattr(self.progress, "window", None)
        if window is not None:
            window(record)

    def epoch(self, record: dict[str, Any]) -> None:
        """Record an epoch's end."""
        self.history.epochs.append(record)
        self._pending.append({"event": "epoch", **record})
        self.progress.epoch(record)

    def event(self, name: str, **facts: Any) -> None:
        """Record anything else."""
        record = {"event": name, **facts}
        self._pending.append(record)
        self.progress.event(record)

    def flush(self) -> None:
        """Write the records of a window; to an object store, those of a checkpoint.

        Raises
        ------
        TrainingError
            If the disk refuses them, or refused a checkpoint since the last call.
        """
        self._hear()
        if self.storage is None or self.storage.appends:
            self._write_pending()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint in the background.

        One is written at a time; while it is, only the newest further one waits.

        Raises
        ------
        TrainingError
            As `flush`.
        """
        if self.storage is None:
            return
        self._hear()
        # Records of the steps that a checkpoint covers are written before it.
        self._write_pending()
        self._checkpoints.put(checkpoint)

    def wait_for(self, step: int) -> None:
        """Wait until a checkpoint of `step` or a later one is written.

        Raises
        ------
        TrainingError
            As `flush`.
        """
        self._hear()
        if self.storage is not None and (self.durable or 0) < step:
            self.wait_until_written()

    def wait_until_written(self) -> None:
        """Wait until all checkpoints are written.

        Raises
        ------
        TrainingError
            As `flush`.
        """
        self._checkpoints.drain()
        self._hear()
        self._write_pending()

    @contextmanager
    def written(self) -> Iterator[None]:
        """Wait in the end until all checkpoints are written.

        Raises
        ------
        TrainingError
            As `flush`; what failed inside is reported first.
        """
        try:
            yield
        except BaseException:
            with suppress(TrainingError):
                self.wait_until_written()
            raise
        self.wait_until_written()

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint of the directory."""
        if self.storage is None:
            return None
        checkpoint = newest_checkpoint(self.storage.inside(CHECKPOINTS))
        self.durable = checkpoint.step
        return checkpoint

    def summary(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json`` at once or not at all."""
        self._write_pending()
        self.last_summary = summary
        if self.storage is not None:
            with self._told("summary.json"):
                self.storage.write_json("summary.json", summary)
        self.progress.finished(summary)

    def how_to_continue(self) -> str:
        """Say which checkpoint stands and what continues from it."""
        if self.storage is None:
            return "no checkpoint was kept: give out=DIR"
        if self.durable is None:
            return "there is no checkpoint yet: train again"
        return (
            f"the checkpoint of step {self.durable} is in "
            f"{self.storage.path_of(CHECKPOINTS)}: {self._command} "
            f"--resume {self.place}{IN_PYTHON}"
        )

    def _write(self, checkpoint: Checkpoint) -> tuple[int, float]:
        """Write a checkpoint, in the thread; return its step, and seconds."""
        assert self.storage is not None
        began = time.perf_counter()
        save_checkpoint(self.storage.inside(CHECKPOINTS), checkpoint, self._keep)
        return checkpoint.step, time.perf_counter() - began

    def _hear(self) -> None:
        """Record what the thread has written; raise what it has met."""
        for step, seconds in self._checkpoints.done():
            self.durable = step
            self.event("checkpoint", step=step, seconds=round(seconds, 6))
        failure = self._checkpoints.failure()
        if failure is not None:
            checkpoint, error = failure
            with self._told(f"the checkpoint of step {checkpoint.step}"):
                raise error

    def _write_pending(self) -> None:
        """Write all records that are not written yet."""
        records, self._pending = self._pending, []
        if self.storage is not None and records:
            lines = "".join(json.dumps(record) + "\n" for record in records)
            with self._told(METRICS):
                self.storage.append(METRICS, lines.encode())

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn what a disk or an object store says into one line."""
        try:
            yield
        except Exception as error:
            said = first_line(getattr(error, "strerror", None) or error)
            raise TrainingError(
                f"{what} cannot be written to {self.place} ({said}); "
                f"{self.how_to_continue()}"
            ) from error


def _is_best(newer: Checkpoint, older: Checkpoint) -> bool:
    """Return whether the older checkpoint is the best epoch's, by the newer one."""
    return bool(newer.facts.get("best_step") == older.step)
