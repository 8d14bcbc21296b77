"""A run's records by step and by epoch: shown short, as a table, or drawn."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daskgnn.display import html_table, words
from daskgnn.errors import InputError
from daskgnn.train.persist.storage import METRICS, open_storage
from daskgnn.values import is_finite

if TYPE_CHECKING:
    import os

    import pandas as pd

    from daskgnn.plot import ShownFigure

Record = dict[str, Any]


@dataclass(repr=False)
class History:
    """Records of a run, as plain dictionaries.

    `Trainer.fit` returns them; `History.read` reads those of a run's directory.

    Examples
    --------
    >>> import daskgnn
    >>> first = {"epoch": 0, "loss": 1.5, "seconds": 0.5, "val_accuracy": 0.75}
    >>> second = {"epoch": 1, "loss": 0.5, "seconds": 0.25, "val_accuracy": 0.875}
    >>> history = daskgnn.History(epochs=[first, second])
    >>> history
    History(2 epochs, 0 steps, loss 0.5, best val_accuracy 0.875 in epoch 1)
    >>> history.to_pandas()[["loss", "val_accuracy"]].loc[1].tolist()
    [0.5, 0.875]
    """

    steps: list[Record] = field(default_factory=list)
    """One record a step: step, epoch, loss, seconds."""
    epochs: list[Record] = field(default_factory=list)
    """One record an epoch: epoch, loss, seconds, val_accuracy, remote_bytes, ..."""

    @classmethod
    def read(cls, directory: str | os.PathLike[str]) -> History:
        """Read the records in a run's directory, even while the run goes on.

        Parameters
        ----------
        directory : str, path or URL
            What ``Trainer(out=...)`` or ``daskgnn train --out`` named.

        Returns
        -------
        History
            Of steps and epochs that were repeated, the last record; an incomplete last
            line is left out.

        Raises
        ------
        InputError
            If there is no run.

        Examples
        --------
        >>> import os, tempfile
        >>> import daskgnn
        >>> folder = tempfile.mkdtemp()
        >>> with open(os.path.join(folder, "metrics.jsonl"), "w") as file:
        ...     _ = file.write('{"event": "epoch", "epoch": 0, "loss": 0.5}')
        >>> daskgnn.History.read(folder).epochs
        [{'epoch': 0, 'loss': 0.5}]
        """
        storage = open_storage(directory)
        if not storage.exists(METRICS):
            raise InputError(
                f"{storage.place} holds no {METRICS}: give the directory of a run, "
                "what out= or daskgnn train --out named"
            )
        found: dict[str, list[Record]] = {"step": [], "epoch": []}
        for line in storage.read(METRICS).splitlines():
            with suppress(ValueError):
                record = json.loads(line)
                found.setdefault(record.pop("event"), []).append(record)
        return cls(_newest(found["step"], "step"), _newest(found["epoch"], "epoch"))

    def to_pandas(self, records: str = "epochs") -> pd.DataFrame:
        """Return the records as a table.

        Parameters
        ----------
        records : {"epochs", "steps"}, default "epochs"
            Whether a row is an epoch or a step.

        Returns
        -------
        pandas.DataFrame
            Indexed by the number of the epoch or step, from 0; values that a record
            lacks are NaN.

        Raises
        ------
        InputError
            If `records` is neither.
        """
        import pandas as pd

        if records not in ("epochs", "steps"):
            raise InputError(
                f"to_pandas got {records!r}, expected 'epochs' or 'steps': "
                'history.to_pandas("steps")'
            )
        found: list[Record] = getattr(self, records)
        frame = pd.DataFrame(found, columns=None if found else [records[:-1]])
        return frame.set_index(records[:-1])

    def plot(self) -> ShownFigure:
        """Draw the loss of steps and epochs, and the scores of epochs.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it; ``figure.savefig("curves.png")`` writes it.

        Examples
        --------
        >>> import daskgnn
        >>> records = [{"epoch": i, "loss": 1 / (i + 1)} for i in range(5)]
        >>> type(daskgnn.History(epochs=records).plot()).__mro__[1].__name__
        'Figure'
        """
        from daskgnn.plot import draw_curves

        return draw_curves(_newest(self.steps, "step"), _newest(self.epochs, "epoch"))

    def __repr__(self) -> str:
        """Return one line: how many records there are, and how training went."""
        facts = [_count(self.epochs, "epoch"), _count(self.steps, "step")]
        if self.epochs or self.steps:
            last = (self.epochs or self.steps)[-1]
            facts.append(f"loss {words(last['loss'])}")
        name = next(iter(self._scores()), "")
        scored = [record for record in self.epochs if is_finite(record.get(name))]
        if scored:
            best = max(scored, key=lambda record: record[name])
            facts.append(f"best {name} {words(best[name])} in epoch {best['epoch']}")
        return f"History({', '.join(facts)})"

    def _repr_html_(self) -> str:
        """Return the first and the last epochs as a table."""
        names = ["epoch", "loss", *self._scores(), "seconds"]
        rows = [[record.get(name) for name in names] for record in self.epochs]
        return html_table(repr(self), rows, names if rows else ())

    def _scores(self) -> list[str]:
        """Return the names of validation scores, that of the best epoch first."""
        names = dict.fromkeys(name for record in self.epochs for name in record)
        found = [n for n in names if n.startswith("val_") and n != "val_loss"]
        return sorted(found, key=lambda name: name != "val_metric")


def _count(records: list[Record], name: str) -> str:
    """Return how many records there are."""
    return f"{len(records):,} {name}{'' if len(records) == 1 else 's'}"


def _newest(records: list[Record], number: str) -> list[Record]:
    """Return the last record of every step (or epoch), in order."""
    found = {record[number]: record for record in records}
    return [found[key] for key in sorted(found)]
