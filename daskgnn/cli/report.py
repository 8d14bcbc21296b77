"""The directory of a run, and the lines printed at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskgnn.errors import InputError
from daskgnn.graph.databases.schemes import scheme_of
from daskgnn.paths import is_store_name, is_url
from daskgnn.train.persist.history import History
from daskgnn.train.persist.storage import CHECKPOINTS, METRICS, open_storage
from daskgnn.train.profile.text import table
from daskgnn.values import is_repeated

if TYPE_CHECKING:
    from daskgnn.train.persist.storage import Storage

CURVES = "curves.png"
_FIRST_STEPS = {
    "warmup": "the learning rate rose",
    "ramp": "gradients were not late, and sparsity rose,",
}
"""What was gentle in the first steps of a run."""


def free_directory(graph: str) -> Path:
    """Return the first of runs/NAME, runs/NAME-2, ... that is not there yet.

    Parameters
    ----------
    graph : str
        A data set's name or a path.

    Returns
    -------
    Path
        A path at which nothing exists.
    """
    scheme, _, rest = graph.partition(":")
    named = rest if scheme_of(graph) or is_store_name(graph) else scheme
    name = Path(named).stem or "run"
    path, number = Path("runs", name), 1
    while path.exists():
        number += 1
        path = Path("runs", f"{name}-{number}")
    return path


def report(summary: dict[str, Any], info: dict[str, Any]) -> None:
    """Print the scores, and where everything lies."""
    out = open_storage(info["out"])
    profile = summary.get("profile", {})
    if profile:
        click.echo(f"{table(json.loads(out.read(profile['figures'])))}\n")
    for name, value in summary.items():
        score = name.startswith("test_") and isinstance(value, int | float)
        if score and not is_repeated(name, summary):
            click.echo(f"{name.replace('_', ' ', 1):14} {value:.4f}")
    for name, what in _FIRST_STEPS.items():
        steps = summary.get(f"{name}_steps")
        if steps:
            told = f"{what} in the first {steps} steps: see --{name}-steps"
            click.echo(f"{name:14} {told}")
    for line in summary.get("cut", ()):
        click.echo(f"{'cut':14} {line}")
    drawn = _draw(out)
    places = {
        "metrics": METRICS,
        "summary": "summary.json",
        "checkpoints": CHECKPOINTS,
        "curves": CURVES if drawn else None,
        "profile": profile.get("picture"),
        "schedule": summary.get("schedule_picture"),
    }
    for name, file in places.items():
        if file is not None:
            click.echo(f"{name:14} {near(out.path_of(file))}")
    if info.get("dashboard"):
        click.echo(f"{'dashboard':14} {info['dashboard']} (while the run lasted)")


def near(place: str) -> str:
    """Return a path as seen from the current directory, if it lies within."""
    here = Path.cwd()
    if is_url(place) or not Path(place).is_relative_to(here):
        return place
    return str(Path(place).relative_to(here))


def _draw(out: Storage) -> bool:
    """Draw the curves of a run beside its metrics; say so where that cannot be."""
    try:
        out.write(CURVES, History.read(out.place).plot().to_png())
    except InputError as error:
        click.echo(f"daskgnn: no {CURVES}: {error}", err=True)
        return False
    return True
