"""The table of trials: what was done how often, and what came of it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median


@dataclass
class Trial:
    """What a test tells of a trial; a row of the table has all of a name."""

    name: str
    passed: bool = False
    same: bool | None = None
    """Whether no bit differs from the undisturbed run; None if nothing was compared."""
    redone: int | None = None
    """Steps."""
    seconds: float | None = None
    """From the fault to the next step that came home."""
    form: str | None = None
    load: float = 0.0
    """Of the machine, at the end."""


def keep(trial, file):
    """Append a trial to a file."""
    trial.load = round(os.getloadavg()[0], 1)
    with Path(file).open("a") as lines:
        lines.write(json.dumps(asdict(trial)) + "\n")


def kept(file):
    """Return the trials of a file."""
    return [Trial(**json.loads(line)) for line in Path(file).read_text().splitlines()]


def table(trials):
    """Return lines of Markdown, a row for each name."""
    lines = [
        "| fault | trials | passed | same bits | steps redone, at most | next step |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(trial.name for trial in trials):
        rows = [trial for trial in trials if trial.name == name]
        lines.append(_line(name, rows))
    return lines


def _line(name, rows):
    compared = [row.same for row in rows if row.same is not None]
    redone = [row.redone for row in rows if row.redone is not None]
    seconds = [row.seconds for row in rows if row.seconds is not None]
    after = (
        f"median {median(seconds):.1f} s, longest {max(seconds):.1f} s"
        if seconds
        else ""
    )
    cells = [
        name,
        len(rows),
        sum(row.passed for row in rows),
        sum(compared) if compared else "",
        max(redone) if redone else "",
        after,
    ]
    return "| " + " | ".join(map(str, cells)) + " |"
