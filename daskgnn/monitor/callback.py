"""`Callback`: the six calls by which a run tells what it does."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError, first_line
from daskgnn.values import in_short

if TYPE_CHECKING:
    from collections.abc import Iterable

Record = dict[str, Any]
HOOKS = ("started", "step", "window", "epoch", "event", "finished")
"""In the order in which they are first called."""


class Callback:
    """Base class of objects for ``Trainer(callbacks=[...])``: six calls, all optional.

    They are made in the driver's process, between windows: what takes long delays
    training. What a callback raises ends the run.

    Examples
    --------
    >>> import daskgnn
    >>> from daskgnn.nn import GraphSAGE
    >>> class Printer(daskgnn.Callback):
    ...     def started(self, info):
    ...         print("epochs:", info["epochs"])
    ...     def step(self, record):
    ...         self.loss = record["loss"]
    ...     def window(self, record):
    ...         print("step", record["step"], record["seeds"], "seeds")
    ...     def epoch(self, record):
    ...         print("epoch", record["epoch"], "is done")
    ...     def event(self, record):
    ...         self.last_event = record["event"]
    ...     def finished(self, summary):
    ...         print("accuracy", summary["test_accuracy"])
    >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition())
    >>> model = GraphSAGE(graph.num_features, 16, graph.num_classes)
    >>> options = {"num_neighbors": [10, 5], "client": None, "callbacks": [Printer()]}
    >>> _ = daskgnn.Trainer(model, graph, **options).fit(epochs=2)
    epochs: 2
    step 1 4 seeds
    epoch 0 is done
    step 2 4 seeds
    epoch 1 is done
    """

    def started(self, info: Record) -> None:
        """Called when training begins.

        Parameters
        ----------
        info : dict
            "run" (its name), "total_steps", "first_step", "epochs",
            "steps_per_epoch", "first_seeds", "planned_bytes" (of a worker), "out",
            "dashboard", "page".
        """

    def step(self, record: Record) -> None:
        """Called for each step, when its window is done.

        Parameters
        ----------
        record : dict
            "step" (from 0), "epoch", "loss", "seconds".
        """

    def window(self, record: Record) -> None:
        """Called when a window is done, after its steps.

        Parameters
        ----------
        record : dict
            "step" (steps done), "epoch", "losses" and "seconds" (a number a step),
            "seeds", "form", "lines" (seconds of the window by what they went to, mean
            over workers), "ahead" (the same for its preparation), "wait" (seconds
            without minibatches), "parts" (worker and seconds a step of each), "pairs"
            (receiver, sender, bytes, messages), "sums" (worker, when, seconds and bytes
            of the exchange of gradients), "gradient_bytes", "halo_cache_hits",
            "halo_cache_misses", "in_flight" (windows), "staleness" (updates).
        """

    def epoch(self, record: Record) -> None:
        """Called when an epoch is done.

        Parameters
        ----------
        record : dict
            As in ``metrics.jsonl``: "epoch", "loss", "seconds", "val_accuracy", ...
        """

    def event(self, record: Record) -> None:
        """Called for anything else: a checkpoint was written, a worker was lost, ...

        Parameters
        ----------
        record : dict
            "event" names it.
        """

    def finished(self, summary: Record) -> None:
        """Called when training has ended well, if the run has a directory.

        Parameters
        ----------
        summary : dict
            What ``summary.json`` holds.
        """


class Optional(Callback):
    """Passes calls on to a callback without which a run goes on.

    If it raises, there is one warning, and it is not called any more.
    """

    def __init__(self, what: str, callback: Any) -> None:
        self.what = what
        self.callback = callback

    def _pass(self, hook: str, record: Record | None) -> None:
        if self.callback is None:
            return
        call = getattr(self.callback, hook, None)
        try:
            if call is not None:
                call() if record is None else call(record)
        except Exception as error:
            self.callback = None
            warnings.warn(
                f"{self.what} stopped ({type(error).__name__}: {first_line(error)}); "
                "training goes on",
                stacklevel=2,
            )

    def started(self, info: Record) -> None:
        """Pass it on."""
        self._pass("started", info)

    def step(self, record: Record) -> None:
        """Pass it on."""
        self._pass("step", record)

    def window(self, record: Record) -> None:
        """Pass it on."""
        self._pass("window", record)

    def epoch(self, record: Record) -> None:
        """Pass it on."""
        self._pass("epoch", record)

    def event(self, record: Record) -> None:
        """Pass it on."""
        self._pass("event", record)

    def finished(self, summary: Record) -> None:
        """Pass it on."""
        self._pass("finished", summary)

    def close(self) -> None:
        """Pass it on."""
        self._pass("close", None)


class Watchers:
    """All that are told of a run, one after the other.

    Parameters
    ----------
    *watchers
        Each has some of the methods of `Callback`, and perhaps ``close()``, which is
        called when a fit ends, well or not.
    """

    def __init__(self, *watchers: Any) -> None:
        self.watchers = list(watchers)

    def _tell(self, hook: str, record: Record) -> None:
        for watcher in self.watchers:
            call = getattr(watcher, hook, None)
            if call is not None:
                call(record)

    def started(self, info: Record) -> None:
        """Tell that training begins."""
        self._tell("started", info)

    def step(self, record: Record) -> None:
        """Tell of a step."""
        self._tell("step", record)

    def window(self, record: Record) -> None:
        """Tell of a window."""
        self._tell("window", record)

    def epoch(self, record: Record) -> None:
        """Tell of an epoch."""
        self._tell("epoch", record)

    def event(self, record: Record) -> None:
        """Tell of anything else."""
        self._tell("event", record)

    def finished(self, summary: Record) -> None:
        """Tell that training has ended."""
        self._tell("finished", summary)

    def close(self) -> None:
        """Tell that the fit is over, well or not."""
        for watcher in self.watchers:
            if hasattr(type(watcher), "close"):
                watcher.close()


def check_callbacks(name: str, value: Iterable[Any]) -> list[Any]:
    """Return callbacks as a list; refuse what has none of the six methods.

    Raises
    ------
    InputError
    """
    callbacks = [value] if isinstance(value, Callback) else value
    if isinstance(callbacks, str) or not hasattr(callbacks, "__iter__"):
        callbacks = [callbacks]
    found = list(callbacks)
    for one in found:
        if isinstance(one, type) or not any(hasattr(one, hook) for hook in HOOKS):
            raise InputError(
                f"{name}={in_short(value)}, expected a list of objects with methods "
                f"such as epoch(record): {name}=[MyCallback()], see daskgnn.Callback"
            )
    return found
