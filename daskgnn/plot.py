"""Figures of a run and of partitions. Imported when one is drawn."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from daskgnn.errors import needing
from daskgnn.paths import given_path
from daskgnn.values import is_finite, is_repeated

with needing("matplotlib", "a picture"):
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

Record = dict[str, Any]
_INK, _QUIET, _BLUE = "#222222", "#d9d9d9", "#1f5fa8"
_LIGHT, _ORANGE, _GREEN = "#a9c6e6", "#d9730d", "#2e8b57"
_LINE_COLOURS = {
    "sample": "#2e8b57",
    "gather": "#8fcfa8",
    "forward": _BLUE,
    "backward": "#6fa3d8",
    "compress": "#3d8ea6",
    "reduce": "#7a5ca8",
    "exchange": _ORANGE,
    "update": "#b39ad1",
    "state": "#5c4a72",
    "other": "#8c8c8c",
    "peers": "#f0ad4e",
    "form": "#f7d9a8",
    "batches": "#c0392b",
    "dask": "#555555",
    "driver": "#b0b0b0",
    "evaluation": "#d0d0d0",
    "outside": _QUIET,
}
"""Of a profile's lines: work blue and violet, preparation green, waiting warm."""
_MOST_ROWS = 12
_COLOURS = {"val": _ORANGE, "train": _BLUE, "test": _GREEN}
_NAMES = {"val": "validation", "train": "training", "test": "test"}


class ShownFigure(Figure):
    """A figure of no backend, which a notebook shows all the same."""

    def to_png(self) -> bytes:
        """Return the picture."""
        picture = BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()

    _repr_png_ = to_png


def draw_curves(steps: list[Record], epochs: list[Record]) -> ShownFigure:
    """Draw the loss and the scores of a run.

    Parameters
    ----------
    steps, epochs : list of dict
        A run's records as in `History`, in order, each once.
    """
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    _draw_loss(left, steps, epochs)
    _draw_scores(right, epochs)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes, "y", 0.02)
    return figure


def draw_runs(runs: dict[str, tuple[list[Record], list[Record]]]) -> ShownFigure:
    """Draw several runs: loss and validation score, and what they cost over time.

    Parameters
    ----------
    runs : dict
        By name, a run's records of steps and of epochs, in order, each once.
    """
    figure = new_figure(11, 12)
    grid = figure.add_gridspec(4, 2)
    for place, measure in enumerate(("loss", "score")):
        axes = figure.add_subplot(grid[0, place])
        _draw_measure(axes, {n: epochs for n, (_, epochs) in runs.items()}, measure)
    rows = [figure.add_subplot(grid[1 + number, :]) for number in range(3)]
    for number, (name, (steps, epochs)) in enumerate(runs.items()):
        look = {"color": f"C{number}", "label": name, "linewidth": 1.5}
        _draw_run(rows, steps, epochs, look)
    labels = ("seeds a second", "largest worker, MB", "a step, ms")
    titles = ("Throughput", "Memory", "Latency of steps: median, and 5 to 95 %")
    for axes, title, label in zip(rows, titles, labels, strict=True):
        _label(axes, title, label, bool(axes.get_lines()))
        axes.set_xlabel("seconds of training")
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        tidy(axes, "y", 0.02)
    return figure


def _draw_measure(axes: Any, runs: dict[str, list[Record]], measure: str) -> None:
    """Draw the loss, or the main validation score, of several runs' epochs."""
    for name, epochs in runs.items():
        points = [(r["epoch"] + 1, _measured(r, measure)) for r in epochs]
        points = [(x, y) for x, y in points if is_finite(y)]
        if points:
            axes.plot(*zip(*points, strict=True), linewidth=1.6, label=name)
    title = "Training loss" if measure == "loss" else "Validation score"
    _label(axes, title, measure, bool(axes.lines))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes, "y", 0.02)


def _measured(record: Record, measure: str) -> Any:
    """Return an epoch's loss, or the validation score that chose the best epoch."""
    if measure == "loss":
        return record.get("loss")
    return record.get("val_metric", record.get("val_accuracy"))


def plot_profile(figures: dict[str, Any], out: str | Path) -> Path:
    """Draw where a step's time went into a PNG.

    Parameters
    ----------
    figures : dict
        As in ``profile.json``: see `StepProfile.to_dict`.
    out : str or Path
        The file to write; a file that is there is replaced.

    Returns
    -------
    Path
        ``out``.
    """
    lines = figures.get("lines", {})
    workers = figures.get("workers", [])[:_MOST_ROWS]
    parts = range(min(figures.get("parts", 0), _MOST_ROWS))
    ahead = {} if figures.get("inline") else figures.get("ahead", {}).get("lines", {})
    rows = len(workers) + (len(parts) + 0.4 if ahead else 0)
    figure = new_figure(11, 2.1 + 0.5 * rows)
    axes = figure.subplots()
    names: list[tuple[float, str]] = []
    for number, worker in enumerate(workers):
        column = {name: line["by_worker"][worker] for name, line in lines.items()}
        _stack(axes, number, column)
        names.append((number, f"w{number}" if len(workers) > 1 else worker))
    for part in parts if ahead else ():
        place = len(workers) + 0.4 + part
        taken = {name: line["by_part"][part] for name, line in ahead.items()}
        _stack(axes, place, taken, 0.4)
        cpu = {name: line["cpu_by_part"][part] for name, line in ahead.items()}
        _stack(axes, place, cpu, height=0.3)
        names.append((place, f"ahead, part {part}"))
    _finish_profile(axes, figures, names, bool(ahead))
    out = Path(given_path(out))
    figure.savefig(out)
    return out


def _draw_run(
    axes: Any, steps: list[Record], epochs: list[Record], look: dict[str, Any]
) -> None:
    """Draw one run: a point an epoch, at its end."""
    marker = "o" if len(epochs) <= 40 else None
    seconds = np.array([record["seconds"] for record in epochs], float)
    ends = np.cumsum(seconds)
    counted = [i for i, record in enumerate(epochs) if record.get("seeds")]
    seeds = np.array([epochs[i]["seeds"] for i in counted])
    known = [i for i, record in enumerate(epochs) if record.get("worker_bytes")]
    memory = np.array([epochs[i]["worker_bytes"] for i in known]) / 1e6
    for one, at, values in (
        (axes[0], counted, seeds / np.maximum(seconds[counted], 1e-9)),
        (axes[1], known, memory),
    ):
        if at:
            one.plot(ends[at], values, marker=marker, ms=3, **look)
    taken: dict[int, list[float]] = {}
    for record in steps:
        taken.setdefault(record["epoch"], []).append(1e3 * record["seconds"])
    timed = [i for i, record in enumerate(epochs) if record["epoch"] in taken]
    if timed:
        shares = [np.percentile(taken[epochs[i]["epoch"]], [5, 50, 95]) for i in timed]
        low, middle, high = np.array(shares).T
        axes[2].plot(ends[timed], middle, marker=marker, ms=3, **look)
        axes[2].fill_between(
            ends[timed], low, high, color=look["color"], alpha=0.2, linewidth=0
        )


_PANELS = (
    ("edge_cut", "Share of edges cut", 1.0),
    ("replication_factor", "Replication factor", 1.0),
    ("edge_balance", "Largest part over mean, in edges", 1.0),
    ("remote_bytes_per_step", "Remote kB a step (estimate)", 1e-3),
    ("seconds", "Seconds", 1.0),
    ("peak_bytes", "Peak memory without the graph, MB", 1e-6),
)


def plot_comparison(rows: list[Record], out: str | Path) -> Path:
    """Draw partitioners side by side into a PNG.

    Parameters
    ----------
    rows : list of dict
        `to_dict` of `daskgnn.graph.memory.partitioning.Compared`, one a method.
    out : str or Path
        The file to write; a file that is there is replaced.

    Returns
    -------
    Path
        ``out``.
    """
    figure = new_figure(11, 2 * (1.3 + 0.3 * len(rows)))
    names = [row["method"] for row in rows]
    for place, (name, title, unit) in enumerate(_PANELS):
        axes = figure.add_subplot(2, 3, place + 1)
        bars = axes.barh(names, [row[name] * unit for row in rows], color=_BLUE)
        axes.bar_label(bars, fmt="%.3g", padding=3, fontsize=8, color=_INK)
        write_title(axes, title, 10)
        axes.invert_yaxis()
        axes.margins(x=0.18)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    out = Path(given_path(out))
    figure.savefig(out)
    return out


def new_figure(width: float, height: float) -> ShownFigure:
    """Return a figure without pyplot, which would choose a backend for all."""
    return ShownFigure(figsize=(width, height), dpi=150, layout="constrained")


def _stack(
    axes: Any,
    place: float,
    lengths: dict[str, float],
    alpha: float = 1.0,
    height: float = 0.72,
) -> None:
    """Draw one horizontal bar of coloured pieces, in milliseconds."""
    left = 0.0
    for name, length in lengths.items():
        look = {"color": _LINE_COLOURS[name], "alpha": alpha, "linewidth": 0}
        axes.barh(place, length, left=left, height=height, **look)
        left += length


def _finish_profile(
    axes: Any, figures: dict[str, Any], names: list[tuple[float, str]], ahead: bool
) -> None:
    """Name rows and colours."""
    lines = figures.get("lines", {})
    axes.set_yticks([place for place, _ in names], [name for _, name in names])
    axes.invert_yaxis()
    axes.set_xlabel(
        "milliseconds a step"
        + ("; ahead: in other threads, narrow: processor time" if ahead else "")
    )
    title = f"Where a step's time goes: {figures.get('wall_ms', 0.0):.1f} ms"
    write_title(axes, title + (f", {len(figures['workers'])} workers" if ahead else ""))
    prepared = figures.get("ahead", {}).get("lines", {}) if ahead else {}
    shown = [n for n, line in lines.items() if line["share"] >= 0.0005]
    labels = {n: f"{lines[n]['label']} {lines[n]['ms']:.1f}" for n in shown}
    labels |= {n: f"ahead: {n} {line['ms']:.1f}" for n, line in prepared.items()}
    axes.figure.legend(
        [Patch(color=_LINE_COLOURS[name]) for name in labels],
        list(labels.values()),
        loc="outside lower center",
        ncols=min(max(len(labels), 1), 5),
        frameon=False,
        fontsize=9,
    )
    tidy(axes, "x", 0.01)


def _draw_loss(axes: Any, steps: list[Record], epochs: list[Record]) -> None:
    """Draw each step's loss faintly and each epoch's mean on top, over epochs."""
    if steps:
        place, loss = _places(steps), [record["loss"] for record in steps]
        axes.plot(place, loss, color=_LIGHT, linewidth=0.8, label="step")
    if epochs:
        numbers = [record["epoch"] + 1 for record in epochs]
        loss = [record["loss"] for record in epochs]
        dot = "o" if len(epochs) <= 40 else None
        axes.plot(
            numbers, loss, color=_BLUE, linewidth=1.8, marker=dot, ms=3, label="epoch"
        )
        # With a log scale a steep fall at the beginning does not hide the rest.
        if min(loss) > 0 and max(loss) > 20 * min(loss):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
    _label(axes, "Training loss", "loss", bool(steps or epochs))


def _places(steps: list[Record]) -> np.ndarray:
    """Return each step's place between epochs, the last at its epoch's end."""
    epoch = np.array([record["epoch"] for record in steps])
    values, first, counts = np.unique(epoch, return_index=True, return_counts=True)
    group = np.searchsorted(values, epoch)
    within = np.arange(len(epoch)) - first[group] + 1
    return epoch + within / counts[group]


def _draw_scores(axes: Any, epochs: list[Record]) -> None:
    """Draw every score that the epochs hold, and mark the best validation."""
    names = _score_names(epochs)
    for name in names:
        split = name.partition("_")[0]
        points = [(r["epoch"] + 1, r[name]) for r in epochs if is_finite(r.get(name))]
        x, y = np.array(points, dtype=float).T
        axes.plot(
            x, y, color=_COLOURS[split], linewidth=1.8, label=_series(name, names)
        )
        if split == "val":
            _mark_best(axes, x, y)
    metrics = {name.partition("_")[2].replace("_", " ") for name in names}
    title = metrics.pop() if len(metrics) == 1 else "accuracy" if not names else "score"
    _label(axes, title[:1].upper() + title[1:], title, bool(names))


def _series(name: str, names: list[str]) -> str:
    """Return what the legend calls a score: its metric too, where there are several."""
    split, _, metric = name.partition("_")
    several = len({other.partition("_")[2] for other in names}) > 1
    return f"{_NAMES[split]} {metric}" if several else _NAMES[split]


def _score_names(epochs: list[Record]) -> list[str]:
    """Return the names like ``val_accuracy`` that have a value in some epoch."""
    given = ((name, value) for record in epochs for name, value in record.items())
    names = dict.fromkeys(name for name, value in given if is_finite(value))
    scores = (name for name in names if name.partition("_")[0] in _COLOURS)
    found = [name for name in scores if not name.endswith("_loss")]
    newest = {name: value for record in epochs for name, value in record.items()}
    return [name for name in found if not is_repeated(name, newest)]


def _mark_best(axes: Any, x: np.ndarray, y: np.ndarray) -> None:
    """Mark the first best epoch, and give its score in the legend."""
    best = int(np.argmax(y))
    label = f"best: {y[best]:.4f} after {int(x[best])}"
    axes.plot(x[best], y[best], "o", color=_ORANGE, ms=6, label=label)


def _label(axes: Any, title: str, measure: str, drawn: bool) -> None:
    """Write what an axes shows, or that it shows nothing."""
    write_title(axes, title)
    axes.set_xlabel("epochs done")
    axes.set_ylabel(measure)
    if drawn:
        axes.legend(frameon=False, fontsize=9)
    else:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center")
        axes.set(xticks=[], yticks=[])


def write_title(axes: Any, text: str, size: int = 12) -> None:
    """Write what an axes shows above it."""
    axes.set_title(text, loc="left", fontsize=size, fontweight="bold", color=_INK)


def tidy(axes: Any, across: str, margin: float) -> None:
    """Leave only the lines that help to read: those `across` an axis."""
    axes.grid(axis=across, color=_QUIET, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=margin)
