"""The plots of the live page, with nothing in them yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bokeh.models import (
    ColumnDataSource,
    FactorRange,
    HoverTool,
    LinearColorMapper,
    NumeralTickFormatter,
    Range1d,
)
from bokeh.plotting import figure
from bokeh.themes import Theme

from daskgnn.monitor.history import KINDS

BLUE, ORANGE, GREEN, RED, GREY = "#3f7fc8", "#d9730d", "#2e8b57", "#c0392b", "#888888"
PHASES = {
    "sample": GREEN,
    "exchange": ORANGE,
    "gather": "#8fcfa8",
    "forward": BLUE,
    "backward": "#8bb4e2",
    "reduce": "#7a5ca8",
    "waiting": GREY,
}
"""Where a step's time goes, in the order of the stack."""
SCORE_COLOURS = (ORANGE, GREEN, BLUE, "#7a5ca8", RED, GREY)
_EVENT_COLOURS = dict(zip(KINDS, (RED, GREEN, GREY, BLUE, ORANGE), strict=True))
_HEIGHT = 210


@dataclass(frozen=True)
class Look:
    """Colours of a page."""

    background: str
    ink: str
    grid: str
    palette: tuple[str, ...]
    """Of a matrix, from nothing to most."""


LIGHT = Look(
    "#ffffff", "#222222", "#e4e4e4", ("#f2f6fb", "#c6daf0", "#8bb4e2", "#3f7fc8")
)
DARK = Look(
    "#16191d", "#d8dbe0", "#31363d", ("#1e242b", "#24405e", "#2f639a", "#6aa5e8")
)


def theme_of(look: Look) -> Theme:
    """Return a look as Bokeh takes it."""
    text = {"text_color": look.ink}
    axis = {
        "axis_line_color": look.grid,
        "major_tick_line_color": look.grid,
        "minor_tick_line_color": None,
        "major_label_text_color": look.ink,
        "axis_label_text_color": look.ink,
        "axis_label_text_font_style": "normal",
    }
    figures = {
        "background_fill_color": look.background,
        "border_fill_color": look.background,
        "outline_line_color": None,
    }
    return Theme(
        json={
            "attrs": {
                "Plot": figures,
                "Title": {**text, "text_font_size": "12px"},
                "Grid": {"grid_line_color": look.grid},
                "Axis": axis,
                "Legend": {
                    "background_fill_color": look.background,
                    "background_fill_alpha": 0.7,
                    "border_line_color": None,
                    "label_text_color": look.ink,
                    "label_text_font_size": "10px",
                    "spacing": 0,
                },
            }
        }
    )


def _source(*columns: str) -> ColumnDataSource:
    return ColumnDataSource({name: [] for name in columns})


class Plots:
    """The figures, and the sources that fill them, by name."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self.sources: dict[str, Any] = {
            "loss": _source("step", "loss"),
            "scores": _source("xs", "ys", "name", "colour"),
            "score points": _source("epoch", "score", "colour"),
            "rate": _source("step", "seeds"),
            "phases": _source("step", *PHASES),
            "parts": _source("part", "ms", "worker", "moves", "colour"),
            "pairs": _source("to", "from", "bytes", "messages", "shown"),
            "cache": _source("step", "share"),
            "flight": _source("step", "windows", "staleness"),
            "memory": _source("worker", "used", "plan"),
            "events": _source("time", "kind", "name", "told", "colour"),
        }

    def grid(self) -> list[list[Any]]:
        """Return all figures, in rows."""
        return [
            [self._loss(), self._scores(), self._rate()],
            [self._phases(), self._parts(), self._pairs()],
            [self._cache(), self._flight(), self._memory()],
            [self._events()],
        ]

    def _figure(self, title: str, name: str, **options: Any) -> Any:
        return figure(
            title=title,
            name=name,
            height=_HEIGHT,
            sizing_mode="stretch_width",
            toolbar_location=None,
            tools="",
            **options,
        )

    def _line(self, name: str, title: str, y: str, colour: str, **options: Any) -> Any:
        plot = self._figure(title, name, x_axis_label="step", **options)
        source = self.sources[name]
        plot.line("step", y, source=source, color=colour, line_width=1.5)
        plot.add_tools(HoverTool(tooltips=[("step", "@step"), (y, f"@{y}")]))
        return plot

    def _loss(self) -> Any:
        return self._line("loss", "Loss", "loss", BLUE)

    def _rate(self) -> Any:
        plot = self._line("rate", "Seeds a second", "seeds", GREEN)
        plot.yaxis.formatter = NumeralTickFormatter(format="0.[0]a")
        plot.y_range.start = 0
        return plot

    def _scores(self) -> Any:
        plot = self._figure("Scores", "scores", x_axis_label="epochs done")
        plot.xaxis.ticker.min_interval = 1
        plot.multi_line(
            "xs",
            "ys",
            source=self.sources["scores"],
            color="colour",
            line_width=1.5,
            legend_field="name",
        )
        points = self.sources["score points"]
        plot.scatter("epoch", "score", source=points, color="colour", size=4)
        plot.legend.location = "bottom_right"
        return plot

    def _phases(self) -> Any:
        title = "A step's time, ms (sample and gather: ahead)"
        plot = self._figure(title, "phases", x_axis_label="step")
        plot.varea_stack(
            list(PHASES),
            x="step",
            source=self.sources["phases"],
            color=list(PHASES.values()),
            legend_label=list(PHASES),
        )
        plot.add_layout(plot.legend[0], "right")
        plot.y_range.start = 0
        return plot

    def _parts(self) -> Any:
        plot = self._figure(
            "Parts on workers: ms a step", "parts", y_range=FactorRange()
        )
        source = self.sources["parts"]
        plot.hbar(y="part", right="ms", height=0.7, source=source, color="colour")
        tips = [("worker", "@worker"), ("ms a step", "@ms"), ("moves", "@moves")]
        plot.add_tools(HoverTool(tooltips=tips))
        plot.x_range.start = 0
        self.sources["part range"] = plot.y_range
        return plot

    def _pairs(self) -> Any:
        plot = self._figure(
            "Bytes between workers",
            "pairs",
            x_range=FactorRange(),
            y_range=FactorRange(),
            x_axis_label="from",
            y_axis_label="to",
        )
        mapper = LinearColorMapper(palette=list(self.look.palette), low=0)
        plot.rect(
            "from",
            "to",
            width=0.95,
            height=0.95,
            source=self.sources["pairs"],
            line_color=None,
            fill_color={"field": "bytes", "transform": mapper},
        )
        plot.text(
            "from",
            "to",
            text="shown",
            source=self.sources["pairs"],
            text_align="center",
            text_baseline="middle",
            text_font_size="10px",
            text_color=self.look.ink,
        )
        tips = [("bytes", "@bytes{0,0}"), ("messages", "@messages{0,0}")]
        plot.add_tools(HoverTool(tooltips=tips))
        self.sources["pair ranges"] = (plot.x_range, plot.y_range)
        return plot

    def _cache(self) -> Any:
        plot = self._line("cache", "Halo cache: share of rows held", "share", ORANGE)
        plot.y_range.start, plot.y_range.end = 0, 1
        plot.yaxis.formatter = NumeralTickFormatter(format="0%")
        plot.visible = False  # until there is one
        self.sources["cache plot"] = plot
        return plot

    def _flight(self) -> Any:
        plot = self._figure(
            "Windows in flight; updates late", "flight", x_axis_label="step"
        )
        for name, colour in (("windows", BLUE), ("staleness", RED)):
            plot.step(
                "step",
                name,
                source=self.sources["flight"],
                color=colour,
                legend_label=name,
                mode="after",
            )
        plot.y_range.start, plot.y_range.range_padding = 0, 0.3
        plot.yaxis.ticker.min_interval = 1
        plot.legend.location = "bottom_left"
        return plot

    def _memory(self) -> Any:
        plot = self._figure(
            "Memory, MiB: used, and planned at most (line)",
            "memory",
            y_range=FactorRange(),
        )
        source = self.sources["memory"]
        plot.hbar(y="worker", right="used", height=0.6, source=source, color=BLUE)
        plot.scatter(
            "plan", "worker", source=source, marker="dash", angle=1.5708, size=26,
            color=RED, line_width=2,
        )  # fmt: skip
        plot.x_range.start = 0
        self.sources["memory range"] = plot.y_range
        return plot

    def _events(self) -> Any:
        plot = self._figure(
            "Events, by UTC",
            "events",
            x_range=Range1d(),
            y_range=FactorRange(factors=list(reversed(KINDS))),
            x_axis_type="datetime",
        )
        plot.scatter(
            "time", "kind", source=self.sources["events"], size=9, color="colour"
        )
        plot.add_tools(HoverTool(tooltips=[("", "@name"), ("", "@told")]))
        self.sources["time range"] = plot.x_range
        return plot


def event_colour(kind: str) -> str:
    """Return the colour of a kind of event."""
    return _EVENT_COLOURS[kind]
