"""One page of HTML about a run, with all that it shows in itself."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from html import escape
from typing import TYPE_CHECKING, Any

from daskgnn.errors import DaskGNNError, InputError
from daskgnn.graph.opening import open_graph
from daskgnn.train.persist.history import History
from daskgnn.train.persist.storage import METRICS, open_storage
from daskgnn.train.profile.text import table
from daskgnn.train.progress import happening
from daskgnn.train.rundirectory import SETTINGS, settings_used

if TYPE_CHECKING:
    import os

    from daskgnn.train.persist.storage import Storage

REPORT, PROFILE = "report.html", "profile.json"
_MOST_EVENTS = 200
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 Helvetica, Arial, sans-serif; margin: 2em auto; max-width: 70em;
       padding: 0 1em; }
h1, h2 { line-height: 1.2; } img { max-width: 100%; background: #fff; }
table { border-collapse: collapse; }
th { text-align: left; font-weight: normal; padding-right: 2em; vertical-align: top; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
pre { overflow-x: auto; } .columns { columns: 22em; } tr { break-inside: avoid; }
"""


def write_report(directory: str | os.PathLike[str]) -> str:
    """Write ``report.html`` beside a run's records.

    Settings, curves, profile, partition, events and the environment are in the one
    file, even while the run goes on.

    Parameters
    ----------
    directory : str, path or URL
        What ``Trainer(out=...)`` or ``daskgnn train --out`` named.

    Returns
    -------
    str
        Its path.

    Raises
    ------
    InputError
        If there is no run.

    Examples
    --------
    >>> import os, tempfile
    >>> from daskgnn.train.htmlreport import write_report
    >>> from daskgnn.train.run import train
    >>> out = os.path.join(tempfile.mkdtemp(), "run")
    >>> _ = train({"graph": "karate", "out": out, "workers": 0, "epochs": 2})
    >>> os.path.basename(write_report(out))
    'report.html'
    """
    out = open_storage(directory)
    history = History.read(out.place)
    settings, summary = _json(out, SETTINGS), _json(out, "summary.json")
    environment = summary.pop("environment", {})
    sections = {
        "Result": _facts(summary) if summary else "<p>The run has not ended.</p>",
        "Curves": _curves(history),
        "Where a step's time goes": _profile(out),
        "Partition": _partition(settings),
        "Events": _events(out),
        "Settings": _facts(settings_used(settings)),
        "Environment": _facts(environment),
    }
    name = escape(str(settings.get("graph", summary.get("dataset", "a graph"))))
    parts = [f"<h2>{title}</h2>\n{text}" for title, text in sections.items() if text]
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>daskgnn: {name}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{name}</h1>\n{''.join(parts)}</body></html>\n"
    )
    out.write(REPORT, page.encode())
    return out.path_of(REPORT)


def _json(out: Storage, name: str) -> dict[str, Any]:
    """Return what a file of a run holds; nothing if it is not there."""
    found: dict[str, Any] = json.loads(out.read(name)) if out.exists(name) else {}
    return found


def _facts(facts: dict[str, Any]) -> str:
    """Return names and values as a table, without those that are not set."""
    rows = [
        f"<tr><th>{escape(name)}</th><td>{escape(_word(value))}</td></tr>"
        for name, value in facts.items()
        if value is not None
    ]
    return f'<div class="columns"><table>{"".join(rows)}</table></div>' if rows else ""


def _word(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _curves(history: History) -> str:
    """Return loss and scores as a picture, where it can be drawn."""
    try:
        picture = history.plot().to_png()
    except InputError as error:
        return f"<p>Not drawn: {error}.</p>"
    return _picture(picture, "loss and scores")


def _picture(png: bytes, told: str) -> str:
    text = base64.b64encode(png).decode()
    return f'<img alt="{told}" src="data:image/png;base64,{text}">'


def _profile(out: Storage) -> str:
    if not out.exists(PROFILE):
        return ""
    text = f"<pre>{escape(table(_json(out, PROFILE)))}</pre>"
    if out.exists("profile.png"):
        text += _picture(out.read("profile.png"), "a step's time")
    return text


def _partition(settings: dict[str, Any]) -> str:
    """Return the quality of the partition, where the store is still there."""
    if not settings.get("store"):
        return ""
    with suppress(DaskGNNError, OSError):
        graph = open_graph(settings["store"], settings["num_parts"])
        return f"<pre>{escape(str(graph.quality(settings['num_parts'])))}</pre>"
    return ""


def _events(out: Storage) -> str:
    """Return what happened beside steps and epochs, the newest of many."""
    lines = []
    for line in out.read(METRICS).splitlines():
        with suppress(ValueError):
            record = json.loads(line)
            if record.get("event") not in ("step", "epoch"):
                lines.append(happening(record))
    return f"<pre>{escape(chr(10).join(lines[-_MOST_EVENTS:]))}</pre>" if lines else ""
