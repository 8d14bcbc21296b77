"""The live page of runs: a Bokeh application on the scheduler's dashboard.

Imported by the scheduler alone. Sources are filled while somebody looks, and only when
a run has told something new.
"""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING, Any

from bokeh.layouts import column, row
from bokeh.models import Div, Select

from daskgnn.monitor.plots import DARK, LIGHT, Plots, theme_of
from daskgnn.monitor.sources import fill

if TYPE_CHECKING:
    from daskgnn.monitor.history import Run, RunHistory

_UPDATE_MS = 1000
_NEWEST = "newest run"
_TEMPLATE = """
{% block postamble %}
<style>
  body { background: {{ background }}; color: {{ ink }}; margin: 12px;
         font-family: Helvetica, Arial, sans-serif; }
</style>
<script>
  const query = new URLSearchParams(window.location.search);
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  if (!query.has("theme") && dark) { window.location.replace("?theme=dark"); }
</script>
{% endblock %}
"""


def show(scheduler: Any, _extra: Any, doc: Any) -> None:
    """Make the document of one visitor."""
    from daskgnn.monitor.plugin import PLUGIN

    given = getattr(doc.session_context, "request", None)
    asked = given.arguments.get("theme", [b""]) if given else [b""]
    dark = asked[0] == b"dark"
    look = DARK if dark else LIGHT
    doc.title = "daskgnn"
    doc.theme = theme_of(look)
    doc.template = _TEMPLATE
    doc.template_variables.update(background=look.background, ink=look.ink)
    view = View(scheduler.plugins[PLUGIN].history, scheduler, look)
    doc.add_root(view.layout)
    view.update()
    doc.add_periodic_callback(view.update, _UPDATE_MS)


class View:
    """One visitor's plots of one run.

    Parameters
    ----------
    history : RunHistory
    scheduler : distributed.Scheduler
        Whose workers' memory is shown.
    look : Look
        Light or dark.
    """

    def __init__(self, history: RunHistory, scheduler: Any, look: Any) -> None:
        self.history, self.scheduler = history, scheduler
        self._seen: tuple[int, str] = (-1, "")
        self.plots = Plots(look)
        self.head = Div(sizing_mode="stretch_width", name="head")
        style = f"background-color: {look.background}; color: {look.ink}"
        self.choice = Select(
            options=[_NEWEST],
            value=_NEWEST,
            width=220,
            name="run",
            stylesheets=[f".bk-input {{ {style}; border-color: {look.grid} }}"],
        )
        other = "light" if look is DARK else "dark"
        switch = f'<a href="?theme={other}" style="color: {look.ink}">{other}</a>'
        self.layout = column(
            row(self.choice, self.head, Div(text=switch), sizing_mode="stretch_width"),
            *(row(*plots, sizing_mode="stretch_width") for plots in self.plots.grid()),
            sizing_mode="stretch_width",
        )

    def update(self) -> None:
        """Show what is new."""
        names = [_NEWEST, *reversed(self.history.runs)]
        if names != self.choice.options:
            self.choice.options = names
        chosen = self.history.runs.get(self.choice.value, self.history.newest)
        if chosen is None:
            self.head.text = "no run has begun yet"
            return
        self.head.text = headline(chosen)
        seen = self.history.version, chosen.name
        fill(self.plots.sources, chosen, self.scheduler, everything=seen != self._seen)
        self._seen = seen


def headline(run: Run) -> str:
    """Return how far a run is, as HTML."""
    info, (seeds, _) = run.info, run.pace()
    total = info.get("total_steps") or "?"
    facts = [
        f"epoch {run.epoch + 1} of {info.get('epochs', '?')}",
        f"step {run.steps:,} of {total}",
    ]
    if run.loss:
        facts.append(f"loss {run.loss[-1][1]:.4f}")
    facts += [f"{name} {points[-1][1]:.4f}" for name, points in run.scores.items()][:3]
    if run.ended:
        facts.append(run.ended)
    else:
        left = run.seconds_left()
        facts.append(f"{seeds:,.0f} seeds a second")
        facts.append("time left " + ("?" if left is None else duration(left)))
        quiet = time.time() - run.changed
        if quiet > 5:
            facts.append(f"nothing heard for {duration(quiet)}")
    return f"<b>{escape(run.name)}</b> &nbsp; {' &nbsp;·&nbsp; '.join(facts)}"


def duration(seconds: float) -> str:
    """Return a time in words.

    Examples
    --------
    >>> [duration(seconds) for seconds in (5.2, 90, 7300)]
    ['5 s', '1 min 30 s', '2 h 1 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
