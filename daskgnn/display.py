"""How values and objects are shown: words in a table, and HTML in a notebook."""

from __future__ import annotations

from html import escape
from numbers import Integral
from typing import TYPE_CHECKING, Any

from daskgnn.values import is_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MOST_ROWS = 20
_LEFT, _RIGHT = "text-align: left", "text-align: right"


def words(value: Any) -> str:
    """Return a value as it is read most easily.

    Examples
    --------
    >>> [words(value) for value in (None, 1234567, 0.123456, True, [15, 10])]
    ['-', '1,234,567', '0.1235', 'True', '[15, 10]']
    """
    if value is None:
        return "-"
    if not is_number(value):
        return str(value)
    return f"{value:,}" if isinstance(value, Integral) else f"{value:.4g}"


def html_table(
    title: str, rows: Iterable[Sequence[Any]], header: Sequence[str] = ()
) -> str:
    """Return a table as HTML, whose colours are those of the page around it.

    Parameters
    ----------
    title : str
        What stands above the table.
    rows : iterable of sequences
        Values of any kind, shown by `words`; the first of each row is its heading.
        Of many rows, the first and the last ones are shown.
    header : sequence of str
        The columns' names.

    Examples
    --------
    >>> print(html_table("Graph", [("N", 1797)]))
    <div><strong>Graph</strong>
    <table>
    <tr><th style="text-align: left">N</th><td style="text-align: right">1,797</td></tr>
    </table></div>
    """
    lines = [f"<div><strong>{escape(title)}</strong>", "<table>"]
    if header:
        cells = "".join(f'<th style="{_RIGHT}">{escape(name)}</th>' for name in header)
        lines.append(f"<thead><tr>{cells}</tr></thead>")
    shown = list(rows)
    if len(shown) > _MOST_ROWS:
        half = _MOST_ROWS // 2
        shown[half:-half] = [("...",) * len(shown[0])]
    for first, *others in shown:
        cells = _cell("th", first) + "".join(_cell("td", value) for value in others)
        lines.append(f"<tr>{cells}</tr>")
    return "\n".join([*lines, "</table></div>"])


def graph_table(kind: str, graph: Any, *names: str, **more: Any) -> str:
    """Return counts of a graph, these attributes of it, and more, as HTML."""
    shown = {name: getattr(graph, name) for name in ("num_nodes", "num_edges", *names)}
    facts = {n.removeprefix("num_").replace("_", " "): v for n, v in shown.items()}
    facts |= {f"{name} nodes": len(ids) for name, ids in graph.splits.items()}
    return html_table(f"{kind} {graph.name}", (facts | more).items())


def _cell(tag: str, value: Any) -> str:
    """Return a cell, numbers to the right."""
    style = _RIGHT if value is None or is_number(value) else _LEFT
    return f'<{tag} style="{style}">{escape(words(value))}</{tag}>'
