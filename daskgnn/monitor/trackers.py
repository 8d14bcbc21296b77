"""Callbacks that write a run's records for TensorBoard, MLflow and Weights & Biases.

All write to a local directory; nothing is sent anywhere.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError
from daskgnn.monitor.callback import Callback, Record
from daskgnn.paths import absolute_path, is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def check_trackers(name: str, words: list[str]) -> list[str]:
    """Return trackers' names; refuse others.

    Raises
    ------
    InputError
    """
    for word in words:
        tracker, colon, place = word.partition(":")
        if tracker not in _CLASSES or (colon and not place.strip()):
            raise InputError(
                f"{name}={word!r}, expected tensorboard, mlflow or wandb, with a "
                f"directory or without, as in {name}='tensorboard:logs'"
            )
    return words


def new_tracker(word: str, run: str, out: str | None, settings: Record) -> Callback:
    """Return the tracker that a word names; it writes nothing before a run begins.

    Parameters
    ----------
    word : str
        ``NAME`` or ``NAME:DIR``.
    run : str
        What the run is called.
    out : str, optional
        The run's directory, in which DIR lies by default.
    settings : dict
        The run's settings, for those who keep them.

    Raises
    ------
    InputError
        If its package is not installed, or there is no directory.
    """
    tracker, _, place = word.partition(":")
    if not place:
        if out is None or is_url(out):
            raise InputError(
                f"track={tracker!r} needs a directory: give track='{tracker}:DIR'"
            )
        place = os.path.join(out, tracker)
    if find_spec(tracker) is None:
        raise InputError(
            f"track={tracker!r} needs a package that is not installed: pip install "
            f"'daskgnn[{tracker}]'"
        )
    return _CLASSES[tracker](Path(absolute_path(place)), run, settings)


class _Tracker(Callback):
    """Writes numbers by name and step; subclasses say where."""

    def __init__(self, place: Path, run: str, settings: Record) -> None:
        self.place, self.run, self.settings = place, run, settings
        self.steps_per_epoch = 1
        self.is_open = False

    def open(self) -> None:
        """Begin to write."""
        raise NotImplementedError

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Write some numbers of a step."""
        raise NotImplementedError

    def started(self, info: Record) -> None:
        """Begin to write, unless that was done before."""
        self.steps_per_epoch = int(info["steps_per_epoch"])
        if not self.is_open:
            self.place.mkdir(parents=True, exist_ok=True)
            self.open()
            self.is_open = True

    def window(self, record: Record) -> None:
        """Write the losses of a window, and its speed."""
        first = record["step"] - len(record["losses"])
        for number, loss in enumerate(record["losses"]):
            self.write({"loss": loss}, first + number + 1)
        spent = sum(record["seconds"])
        if spent:
            rate = record["seeds"] / spent
            self.write({"seeds_per_second": rate}, record["step"])

    def epoch(self, record: Record) -> None:
        """Write the numbers of an epoch, at its last step."""
        values = {
            f"epoch/{name}": value
            for name, value in record.items()
            if isinstance(value, int | float) and name != "epoch"
        }
        self.write(values, (record["epoch"] + 1) * self.steps_per_epoch)


class TensorBoard(_Tracker):
    """Writes event files of TensorBoard."""

    def open(self) -> None:
        """Open a file of events."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.place))

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add scalars."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        if self.is_open:
            self.writer.flush()


class MLflow(_Tracker):
    """Writes a run of MLflow to a database in a directory."""

    def open(self) -> None:
        """Begin a run."""
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(f"sqlite:///{self.place / 'mlflow.db'}")
        found = self.client.get_experiment_by_name("daskgnn")
        name = found.experiment_id if found else self._experiment()
        self.id = self.client.create_run(name, run_name=self.run).info.run_id
        for key, value in self.settings.items():
            self.client.log_param(self.id, key, value)

    def _experiment(self) -> Any:
        uri = (self.place / "artifacts").as_uri()
        return self.client.create_experiment("daskgnn", uri)

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics."""
        for name, value in values.items():
            self.client.log_metric(self.id, name, value, step=step)

    def finished(self, summary: Record) -> None:
        """Log the scores; the run has ended well."""
        for name, value in summary.items():
            if name.startswith("test_") and isinstance(value, int | float):
                self.client.log_metric(self.id, name, value)
        self.client.set_terminated(self.id, "FINISHED")
        self.is_open = False

    def close(self) -> None:
        """Take note that the run has ended otherwise."""
        if self.is_open:
            self.client.set_terminated(self.id, "FAILED")
            self.is_open = False


class Wandb(_Tracker):
    """Writes an offline run of Weights & Biases."""

    def open(self) -> None:
        """Begin an offline run."""
        import wandb

        self.writer = wandb.init(
            project="daskgnn",
            name=self.run,
            dir=str(self.place),
            config=self.settings,
            mode="offline",
            settings=wandb.Settings(silent=True),
        )

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers of a step."""
        self.writer.log(dict(values), step=step)

    def close(self) -> None:
        """End the run."""
        if self.is_open:
            self.writer.finish()
            self.is_open = False


_CLASSES: dict[str, Callable[[Path, str, Record], Callback]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": Wandb,
}
"""By name, which is the package's, too."""
