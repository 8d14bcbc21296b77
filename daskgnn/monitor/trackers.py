"""Callbacks that write a run's records for TensorBoard, MLflow and Weights & Biases.

All write to a local directory; nothing is sent anywhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError
from daskgnn.monitor.callback import Callback, Record
from daskgnn.paths import absolute_path, is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
"""By tracker, what pip installs for it."""


def check_trackers(name: str, words: list[str]) -> list[str]:
    """Return trackers' names; refuse others.

    Raises
    ------
    InputError
    """
    for word in words:
        tracker, colon, place = word.partition(":")
        if tracker not in _PACKAGES or (colon and not place.strip()):
            raise InputError(
                f"{name}={word!r}, expected tensorboard, mlflow or wandb, with a "
                f"directory or without, as in {name}='tensorboard:logs'"
            )
    return words


def new_tracker(word: str, run: str, out: str | None, settings: Record) -> Callback:
    """Return the tracker that a word names.

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
    try:
        return _CLASSES[tracker](Path(absolute_path(place)), run, settings)
    except ImportError as error:
        raise InputError(
            f"track={tracker!r} needs a package that is not installed: pip install "
            f"{_PACKAGES[tracker]}"
        ) from error


class _Tracker(Callback):
    """Writes numbers by name and step; subclasses say where."""

    steps_per_epoch = 1

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Write some numbers of a step."""
        raise NotImplementedError

    def started(self, info: Record) -> None:
        """Take note of how long an epoch is."""
        self.steps_per_epoch = int(info["steps_per_epoch"])

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

    def __init__(self, place: Path, _run: str, _settings: Record) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(place))

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add scalars."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self.writer.flush()


class MLflow(_Tracker):
    """Writes a run of MLflow to a database in a directory."""

    def __init__(self, place: Path, run: str, settings: Record) -> None:
        from mlflow.tracking import MlflowClient

        place.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
        found = self.client.get_experiment_by_name("daskgnn")
        name = found.experiment_id if found else self._experiment(place)
        self.run = self.client.create_run(name, run_name=run).info.run_id
        for key, value in settings.items():
            self.client.log_param(self.run, key, value)

    def _experiment(self, place: Path) -> Any:
        uri = (place / "artifacts").as_uri()
        return self.client.create_experiment("daskgnn", uri)

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics."""
        for name, value in values.items():
            self.client.log_metric(self.run, name, value, step=step)

    def finished(self, summary: Record) -> None:
        """Log the scores; the run has ended well."""
        for name, value in summary.items():
            if name.startswith("test_") and isinstance(value, int | float):
                self.client.log_metric(self.run, name, value)
        self.client.set_terminated(self.run, "FINISHED")
        self.run = ""

    def close(self) -> None:
        """Take note that the run has ended otherwise."""
        if self.run:
            self.client.set_terminated(self.run, "FAILED")


class Wandb(_Tracker):
    """Writes an offline run of Weights & Biases."""

    def __init__(self, place: Path, run: str, settings: Record) -> None:
        import wandb

        place.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            project="daskgnn", name=run, dir=str(place), config=settings, mode="offline"
        )

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers of a step."""
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        """End the run."""
        self.run.finish(quiet=True)


_CLASSES: dict[str, Callable[[Path, str, Record], Callback]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": Wandb,
}
