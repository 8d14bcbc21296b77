"""Structured records of a run through `logging`, as text or as JSON.

The logger is ``daskgnn.run``. Records have the fields ``event``, ``run``, ``step``,
``part`` and ``worker``, as far as they are known, and more by their event.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from daskgnn.monitor.callback import Callback, Record
from daskgnn.monitor.teller import published

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

LOGGER = logging.getLogger("daskgnn.run")
LEVELS = ("debug", "info", "warning", "error")
_FIELDS = "daskgnn"
"""The attribute of a record that holds its fields."""
_LOUD = {"worker_lost", "scheduler_lost", "workers_restarted"}


def configure(
    form: str = "text", level: str = "info", stream: TextIO | None = None
) -> Callable[[], None]:
    """Write the records of runs to a stream, in a thread of their own.

    Parameters
    ----------
    form : {"text", "json"}, default "text"
        One line a record: words, or an object.
    level : str, default "info"
        The least of debug, info, warning and error. "debug" has a record for every
        exchange, batch and update.
    stream : file, optional
        By default standard error.

    Returns
    -------
    callable
        Call it to write what is left, and to end this.

    Examples
    --------
    >>> import io, json
    >>> from daskgnn.monitor.logs import RunLog, configure
    >>> stream = io.StringIO()
    >>> stop = configure("json", "info", stream)
    >>> RunLog("cora-1").event({"event": "recovered", "seconds": 0.5})
    >>> stop()
    >>> record = json.loads(stream.getvalue())
    >>> record["level"], record["event"], record["run"], record["seconds"]
    ('info', 'recovered', 'cora-1', 0.5)
    """
    writer = logging.StreamHandler(stream or sys.stderr)
    writer.setFormatter(JsonLines() if form == "json" else TextLines())
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = _Queued(queue)
    listener = QueueListener(queue, writer)
    before = LOGGER.level, LOGGER.propagate
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False
    LOGGER.addHandler(handler)
    listener.start()

    def stop() -> None:
        LOGGER.removeHandler(handler)
        LOGGER.level, LOGGER.propagate = before
        listener.stop()

    return stop


class _Queued(QueueHandler):
    """Leaves formatting to the other thread."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return the record as it is."""
        return record


def _when(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, event, and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        head = {"time": _when(record), "level": record.levelname.lower()}
        event = {"event": record.getMessage()}
        return json.dumps(head | event | getattr(record, _FIELDS, {}))


class TextLines(logging.Formatter):
    """A record in words: time, level, event, and ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = getattr(record, _FIELDS, {})
        told = [f"{name}={_word(value)}" for name, value in fields.items()]
        level = f"{record.levelname.lower():7}"
        return " ".join([_when(record), level, record.getMessage(), *told])


def _word(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class RunLog(Callback):
    """Logs what a run does; only numbers, names and workers' addresses.

    Parameters
    ----------
    run : str
        What the run is called.
    """

    def __init__(self, run: str) -> None:
        self.run = run

    def _log(self, level: int, event: str, **fields: Any) -> None:
        if LOGGER.isEnabledFor(level):
            more = {_FIELDS: {"run": self.run, **fields}}
            LOGGER.log(level, event, extra=more)

    def started(self, info: Record) -> None:
        """Log that training begins."""
        self._log(logging.INFO, "started", step=info.get("first_step"), **_plain(info))

    def window(self, record: Record) -> None:
        """Log a window's batches, exchanges and updates."""
        if not LOGGER.isEnabledFor(logging.DEBUG):
            return
        size = len(record["losses"])
        step = record["step"] - size
        for part, (worker, seconds) in enumerate(record["parts"]):
            took = {"steps": size, "milliseconds": seconds * size * 1000}
            self._log(
                logging.DEBUG, "batch", step=step, part=part, worker=worker, **took
            )
        for receiver, sender, nbytes, messages in record["pairs"]:
            told = {"sender": sender, "bytes": nbytes, "messages": messages}
            self._log(logging.DEBUG, "exchange", step=step, worker=receiver, **told)
        members = [worker for worker, *_ in record["sums"]]
        for worker, when, seconds, nbytes in record["sums"]:
            told = {"bytes": nbytes, "milliseconds": seconds * 1000, "at": when}
            told["peers"] = [member for member in members if member != worker]
            self._log(logging.DEBUG, "sum", step=step, worker=worker, **told)
        for i, (loss, took) in enumerate(
            zip(record["losses"], record["seconds"], strict=True)
        ):
            told = {"loss": loss, "milliseconds": took * 1000}
            self._log(logging.DEBUG, "update", step=step + i, **told)

    def epoch(self, record: Record) -> None:
        """Log an epoch."""
        self._log(logging.INFO, "epoch", **_plain(record))

    def event(self, record: Record) -> None:
        """Log what happened."""
        name = re.sub(r"\W+", "_", str(record.get("event")))
        level = logging.WARNING if name in _LOUD else logging.INFO
        self._log(level, name, **_plain(record))

    def finished(self, summary: Record) -> None:
        """Log the scores."""
        scores = {n: v for n, v in summary.items() if n.startswith(("val_", "test_"))}
        self._log(logging.INFO, "finished", step=summary.get("steps"), **scores)


def _plain(record: Record) -> Record:
    """Return the fields of a record beside those that are given."""
    return {n: v for n, v in published(record).items() if n not in ("event", "run")}
