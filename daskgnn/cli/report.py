"""The directory of a run, and the lines printed at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daskgnn.paths import is_url
from daskgnn.train.persist.storage import CHECKPOINTS, METRICS, open_storage

if TYPE_CHECKING:
    from daskgnn.train.persist.storage import Storage

CURVES = "curves.png"


def free_directory(graph: str, parent: str = "runs") -> Path:
    """Return the first of runs/NAME, runs/NAME-2, ... that is not there yet.

    Parameters
    ----------
    graph : str
        A data set's name or a path.
    parent : str
        The folder of all runs.

    Returns
    -------
    Path
        A path at which nothing exists.
    """
    name = Path(graph.partition(":")[0]).stem or "run"
    path, number = Path(parent, name), 1
    while path.exists():
        number += 1
        path = Path(parent, f"{name}-{number}")
    return path


def report(summary: dict[str, Any], info: dict[str, Any]) -> None:
    """Print the scores, and where everything lies."""
    out = open_storage(info["out"])
    profile = summary.get("profile", {})
    if profile:
        click.echo(f"{_profile(out.read(profile['figures']))}\n")
    for name, value in summary.items():
        if name.startswith("test_") and isinstance(value, int | float):
            click.echo(f"{name.replace('_', ' '):14} {value:.4f}")
    _draw(out)
    places = {
        "metrics": METRICS,
        "summary": "summary.json",
        "checkpoints": CHECKPOINTS,
        "curves": CURVES,
        "profile": profile.get("picture"),
    }
    for name, file in places.items():
        if file is not None:
            click.echo(f"{name:14} {near(out.path_of(file))}")
    dashboard = _dashboard(summary, info)
    if dashboard is not None:
        click.echo(f"{'dashboard':14} {dashboard}")


def _profile(figures: bytes) -> str:
    """Return the table of a run's profile."""
    from daskgnn.train.profile.text import table

    return table(json.loads(figures))


def near(place: str) -> str:
    """Return a path as seen from the current directory, if it lies within."""
    here = Path.cwd()
    if is_url(place) or not Path(place).is_relative_to(here):
        return place
    return str(Path(place).relative_to(here))


def _dashboard(summary: dict[str, Any], info: dict[str, Any]) -> str | None:
    """Return the dashboard's address, and whether it can still be opened."""
    address = info.get("dashboard") or summary.get("dashboard")
    if address and not info.get("remote"):
        return f"{address} (while the run lasted)"
    return address


def _draw(out: Storage) -> None:
    """Draw the curves of a run beside its metrics."""
    from daskgnn.train.persist.history import History

    out.write(CURVES, History.read(out.place).plot().to_png())
