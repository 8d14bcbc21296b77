"""The log of batches as a table: one row a batch, in the columns of published logs."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

from daskgnn.errors import InputError
from daskgnn.paths import target_path

if TYPE_CHECKING:
    from typing import TextIO

COLUMNS = ("epoch", "batch", "batch_time(s)", "loss", "phase")
TRAIN, VALIDATION = 0, 1
"""What a batch was for, in the last column."""


class BatchLog:
    """Writes a CSV file, a row a batch; epochs and batches count from 0.

    Parameters
    ----------
    path : path
        The file.
    resumed : (int, int) or None
        Epoch and batch at which training goes on: rows from there on are of steps that
        are done again, and are taken out. None begins the file.

    Raises
    ------
    InputError
        If the file cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], resumed: tuple[int, int] | None = None
    ) -> None:
        self.path = Path(target_path(path))
        kept = [] if resumed is None else self._before(resumed)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO = self.path.open("w", newline="")
        except OSError as error:
            raise InputError(
                f"filename={os.fspath(path)} cannot be written ({error.strerror})"
            ) from error
        self._writer = csv.writer(self._file)
        self._writer.writerows([COLUMNS, *kept])
        self._file.flush()

    def add(
        self, epoch: int, batch: int, seconds: float, loss: float, phase: int
    ) -> None:
        """Write a row."""
        self._writer.writerow([epoch, batch, round(seconds, 6), loss, phase])

    def flush(self) -> None:
        """Have others see what is written."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _before(self, resumed: tuple[int, int]) -> list[list[str]]:
        """Return the rows of what was done before."""
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) == len(COLUMNS)]
        return [row for row in rows[1:] if _is_before(row, resumed)]


def _is_before(row: list[str], resumed: tuple[int, int]) -> bool:
    """Return whether a row's batch is not done again."""
    epoch, batch = resumed
    if int(row[0]) != epoch:
        return int(row[0]) < epoch
    return row[4] == str(TRAIN) and int(row[1]) < batch
