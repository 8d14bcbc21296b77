"""Progress of a run: a bar on a terminal or in a notebook."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from daskgnn.errors import InputError
from daskgnn.train.persist.recorder import Silent
from daskgnn.values import in_short, is_repeated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.train.persist.recorder import Progress

Record = dict[str, Any]
READY = "blocks loaded, kernels ready"
SILENT_EVENTS = {"checkpoint", "step", "epoch"}
"""Checkpoints are too frequent to be worth a line."""
_METHODS = ("started", "step", "epoch", "event", "finished")


class Planned(Silent):
    """Shows nothing, and remembers the plan."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.info: Record = {}

    def started(self, info: Record) -> None:
        """Remember the plan."""
        self.info = dict(info)

    def close(self) -> None:
        """Leave the output as it is."""


class TerminalProgress(Planned):
    """A bar over the run's steps, with the newest loss and accuracy."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._bar: Any = None
        self._kernels: Any = None
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
        if record.get("event") in SILENT_EVENTS:
            return
        self._end_compiling()
        if self._bar is None:
            print(happening(record), file=self.stream, flush=True)
        else:
            self._bar.write(happening(record), file=self.stream)

    def compiling(self, done: int, total: int) -> None:
        """Show how many kernels are compiled, in a bar of their own."""
        if not done:
            from tqdm import tqdm

            how = {"desc": "kernels", "unit": "kernel", **_size(self.stream)}
            self._kernels = tqdm(total=total, file=self.stream, **how)
        elif self._kernels is not None:
            self._kernels.update(done - self._kernels.n)
        if done == total:
            self._end_compiling()

    def _end_compiling(self) -> None:
        if self._kernels is not None:
            self._kernels.close()
            self._kernels = None

    def finished(self, summary: Record) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Leave the bar as it stands, whatever happened."""
        self._end_compiling()
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


class Watched(TerminalProgress):
    """The bar of a program: on standard error, or as a notebook shows it.

    It falls silent when nobody can see it any more.
    """

    def __init__(self, stream: TextIO, bar: Any = None) -> None:
        super().__init__(stream)
        self._new_bar = bar

    def started(self, info: Record) -> None:
        """Draw the bar."""
        Planned.started(self, info)
        self.close()
        options = {} if self._new_bar else {"file": self.stream, **_size(self.stream)}
        with _unseen():
            self._bar = (self._new_bar or _tqdm())(
                total=info.get("total_steps"),
                initial=info.get("first_step", 0),
                desc="training",
                unit="step",
                **options,
            )

    def step(self, record: Record) -> None:
        """Move the bar by one step."""
        with _unseen():
            super().step(record)

    def epoch(self, record: Record) -> None:
        """Show the epoch's accuracy in the bar."""
        with _unseen():
            super().epoch(record)

    def event(self, record: Record) -> None:
        """Show what happened, above the bar where there is one yet."""
        if record.get("event") != READY:
            with _unseen():
                super().event(record)

    def close(self) -> None:
        """Leave the bar as it stands."""
        with _unseen():
            super().close()


@contextmanager
def _unseen() -> Iterator[None]:
    """Go on where a stream was closed."""
    try:
        yield
    except (OSError, ValueError):
        return


def _tqdm() -> Any:
    from tqdm import tqdm

    return tqdm


def _notebook_bar() -> Any:
    """Return the bar of notebooks; None where this process has no notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or "IPKernelApp" not in shell.config:
        return None
    with warnings.catch_warnings():
        # Without ipywidgets it is a bar of text, and a warning.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm


def chosen_progress(given: Any) -> Progress:
    """Return the progress that is meant: "auto" is a bar where somebody may watch it.

    Raises
    ------
    InputError
        If it is none.
    """
    if given is None:
        return Silent()
    if isinstance(given, str) and given == "auto":
        bar = _notebook_bar()
        seen = bar is not None or (sys.stderr is not None and sys.stderr.isatty())
        return Watched(sys.stderr, bar) if seen else Silent()
    missing = [name for name in _METHODS if not callable(getattr(given, name, None))]
    if missing:
        raise InputError(
            f'progress={in_short(given)} has no method {missing[0]!r}: give "auto" for '
            "a bar, None for nothing, or an object with the methods of "
            "daskgnn.train.persist.recorder.Progress"
        )
    progress: Progress = given
    return progress


@contextmanager
def closing(progress: Any) -> Iterator[None]:
    """Leave a bar as it stands in the end, whatever happened."""
    try:
        yield
    finally:
        if hasattr(type(progress), "close"):
            progress.close()


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
    if name == "live page":
        return f"{name}: {record['at']}"
    facts = {key: value for key, value in record.items() if key != "event"}
    rest = [str(v) if key == "reason" else f"{key}={v}" for key, v in facts.items()]
    return f"{name}: {' '.join(rest)}" if rest else name


def _measures(record: Record) -> list[tuple[str, float]]:
    """Return the loss and every score of a record."""
    return [
        (name, float(value))
        for name, value in record.items()
        if (name == "loss" or name.startswith(("train_", "val_", "test_")))
        and name != "val_loss"
        and isinstance(value, int | float)
        and not is_repeated(name, record)
    ]


def measures(record: Record) -> str:
    """Return the loss, the scores and the time of a record in one line."""
    words = [f"{name} {value:.4f}" for name, value in _measures(record)]
    if isinstance(record.get("seconds"), int | float):
        words.append(f"{record['seconds']:.2f} s")
    return " ".join(words)
