"""What each worker did when: a picture of a step, and the share of time it waited."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskgnn.paths import given_path
from daskgnn.pipeline.schedules import BACKWARD, FORWARD, WEIGHTS
from daskgnn.plot import new_figure, tidy, write_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.pipeline.plan import Span
    from daskgnn.plot import ShownFigure

_COLOURS = {FORWARD: "#1f5fa8", BACKWARD: "#d9730d", WEIGHTS: "#2e8b57"}
_WORDS = {FORWARD: "forward", BACKWARD: "backward", WEIGHTS: "by parameters"}
_HEIGHT = 0.8


def bubble_share(spans: Sequence[Span]) -> float:
    """Return the share of the workers' time in which they waited, in one step.

    Parameters
    ----------
    spans : sequence of Span
        Of one step, from its first operation to its last.

    Returns
    -------
    float

    Examples
    --------
    >>> from daskgnn.pipeline import Span
    >>> from daskgnn.pipeline.gantt import bubble_share
    >>> from daskgnn.pipeline.schedules import Operation
    >>> first, second = Operation("F", 0, 0, 0), Operation("F", 0, 1, 0)
    >>> bubble_share([Span(0, first, 0.0, 1.0), Span(1, second, 1.0, 2.0)])
    0.5
    """
    workers = {span.worker for span in spans}
    first, last = min(s.began for s in spans), max(s.ended for s in spans)
    busy = sum(span.ended - span.began for span in spans)
    return 1 - busy / (len(workers) * (last - first))


def draw_schedule(
    spans: Sequence[Span], name: str = "", cut: Sequence[str] = ()
) -> ShownFigure:
    """Draw the operations of a step: a row a worker, a box an operation.

    Parameters
    ----------
    spans : sequence of Span
        `Pipeline.spans`.
    name : str
        What to call it in the title.
    cut : sequence of str, optional
        `Pipeline.cut_lines`, which name each stage's layers.

    Returns
    -------
    ShownFigure
        Micro-batches are numbered; where a worker has several stages, so are these.

    Examples
    --------
    >>> from daskgnn.pipeline import Span
    >>> from daskgnn.pipeline.gantt import draw_schedule
    >>> from daskgnn.pipeline.schedules import Operation
    >>> span = Span(0, Operation("F", 0, 0, 0), 0.0, 1.0)
    >>> len(draw_schedule([span], "1f1b").to_png()) > 1000
    True
    """
    workers = sorted({span.worker for span in spans})
    start = min(span.began for span in spans)
    figure = new_figure(11, 1.6 + 0.6 * len(workers))
    axes: Any = figure.subplots()
    whole = max(span.ended for span in spans) - start
    stages = {w: {s.operation.stage for s in spans if s.worker == w} for w in workers}
    for span in spans:
        kind, _, stage, m = span.operation
        row, length = workers.index(span.worker), span.ended - span.began
        look = {"color": _COLOURS[kind], "edgecolor": "white", "linewidth": 0.6}
        axes.barh(row, length, left=span.began - start, height=_HEIGHT, **look)
        if length > 0.015 * whole:
            label = f"{m}" if len(stages[span.worker]) == 1 else f"{stage}:{m}"
            place = span.began - start + length / 2
            how = {"ha": "center", "va": "center", "color": "white", "fontsize": 7}
            axes.text(place, row, label, **how)
    names = [_row_name(w, stages[w], cut) for w in workers]
    axes.set_yticks(range(len(workers)), names)
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    share = f"workers wait {100 * bubble_share(spans):.0f} % of the time"
    write_title(axes, f"{name}: {share}" if name else share)
    tidy(axes, "x", 0.01)
    kinds = [k for k in _COLOURS if any(s.operation.kind == k for s in spans)]
    handles = [axes.barh(0, 0, color=_COLOURS[kind]) for kind in kinds]
    figure.legend(
        handles,
        [_WORDS[kind] for kind in kinds],
        loc="outside lower center",
        ncols=len(kinds),
        frameon=False,
        fontsize=9,
    )
    return figure


def _row_name(worker: int, stages: set[int], cut: Sequence[str]) -> str:
    """Return what a row is called."""
    if len(stages) == 1 and cut:
        (stage,) = stages
        return f"w{worker}, {cut[stage].partition(' (')[0]}"
    listed = ", ".join(map(str, sorted(stages)))
    return f"w{worker}: stage{'s' if len(stages) > 1 else ''} {listed}"


def plot_schedule(spans: Sequence[Span], out: str | Path, name: str = "") -> Path:
    """Write the picture of `draw_schedule` to a file.

    Parameters
    ----------
    spans : sequence of Span
        `Pipeline.spans`.
    out : str or Path
        The file; its suffix says the format of the picture.
    name : str
        What to call it in the title.

    Returns
    -------
    Path
        `out`.

    Examples
    --------
    >>> import tempfile
    >>> from daskgnn.pipeline import Span
    >>> from daskgnn.pipeline.gantt import plot_schedule
    >>> from daskgnn.pipeline.schedules import Operation
    >>> span = Span(0, Operation("F", 0, 0, 0), 0.0, 1.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_schedule([span], f"{folder}/step.svg").name
    'step.svg'
    """
    path = Path(given_path(out))
    draw_schedule(spans, name).savefig(path)
    return path
