"""The runs in a folder, and how far each has come."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskgnn.paths import given_path
from daskgnn.train.persist.storage import METRICS
from daskgnn.train.rundirectory import SETTINGS, settings_used

if TYPE_CHECKING:
    import os

_TAIL = 65536
"""Bytes at the end of a run's records in which its last step is looked for."""


def list_runs(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return a row for each run in a folder, the newest first.

    Parameters
    ----------
    folder : str or path
        Only the directories directly in it are looked at.

    Returns
    -------
    list of dict
        "run", "graph", "model", "state" ("done", "stopped" or "open"), "epochs",
        "steps", "score" (of the validation split) and "changed".

    Examples
    --------
    >>> import os, tempfile
    >>> from daskgnn.train.run import train
    >>> from daskgnn.train.runlist import list_runs
    >>> folder = tempfile.mkdtemp()
    >>> out = os.path.join(folder, "first")
    >>> _ = train({"graph": "karate", "out": out, "workers": 0, "epochs": 2})
    >>> [(row["run"], row["state"], row["epochs"]) for row in list_runs(folder)]
    [('first', 'done', 2)]
    """
    place = Path(given_path(folder))
    found = [path for path in place.glob("*/") if (path / SETTINGS).is_file()]
    rows = [(_changed(path), _row(path)) for path in found]
    return [row for _, row in sorted(rows, key=lambda row: row[0], reverse=True)]


def _changed(path: Path) -> float:
    """Return when a run has written last."""
    times = [file.stat().st_mtime for file in path.iterdir() if file.is_file()]
    return max(times, default=0.0)


def _row(path: Path) -> dict[str, Any]:
    settings, summary = (
        settings_used(_json(path / SETTINGS)),
        _json(path / "summary.json"),
    )
    records = _newest_records(path / METRICS)
    epoch, step = records.get("epoch", {}), records.get("step", {})
    metric = summary.get("val_metric", summary.get("val_accuracy"))
    score = metric if summary else epoch.get("val_metric", epoch.get("val_accuracy"))
    when = datetime.fromtimestamp(_changed(path)).isoformat(" ", "minutes")
    return {
        "run": path.name,
        "graph": Path(str(settings.get("graph", "-"))).name,
        "model": settings.get("model", "-"),
        "state": "done" if summary else "stopped" if "stopped" in records else "open",
        "epochs": summary.get("epochs", epoch.get("epoch", -1) + 1),
        "steps": summary.get("steps", step.get("step", -1) + 1),
        "score": score,
        "changed": when,
    }


def _json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found
    return {}


def _newest_records(path: Path) -> dict[str, dict[str, Any]]:
    """Return the newest record of each kind, among the last ones."""
    found: dict[str, dict[str, Any]] = {}
    with suppress(OSError), path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(file.tell() - _TAIL, 0))
        for line in file.read().splitlines():
            with suppress(ValueError):
                record = json.loads(line)
                found[record["event"]] = record
                if record["event"] == "step":
                    found.pop("stopped", None)  # it goes on since
    return found
