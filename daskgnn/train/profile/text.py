"""The figures of `daskgnn.train.profile.stepprofile.StepProfile.to_dict` as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskgnn.train.profile.windowprofile import LINES

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_COLUMNS = 4
_ON_CORE = ("forward", "backward", "compress", "reduce", "update", "state", "other")
_TASKS = {
    "want": "ask others",
    "serve": "answer others",
    "sample": "own draws, merge",
    "rows": "rows for others",
    "halo-cache": "halo cache",
    "gather": "own rows, aggregate",
}
"""What tasks that prepare windows are called, by their keys' first word."""


def table(figures: dict[str, Any]) -> str:
    """Return the figures as a table."""
    if not figures["steps"]:
        return "no step was taken"
    parts = [_head(figures), _chain_table(figures)]
    if not figures["inline"]:
        parts.append(_ahead_table(figures))
    parts.append(_notes(figures))
    return "\n\n".join(parts)


def _head(figures: dict[str, Any]) -> str:
    forms = ", ".join(f"{count} as {form}" for form, count in figures["forms"].items())
    where = f" ({forms}), {_many(len(figures['workers']), 'worker')}, "
    where += _many(figures["parts"], "part")
    if figures["inline"]:
        where = ", in this process"
    skipped = " after the first window" if figures["without_first_window"] else ""
    return (
        f"{_many(figures['steps'], 'step')}{skipped}{where}: "
        f"{figures['wall_ms']:.2f} ms a step"
    )


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _chain_table(figures: dict[str, Any]) -> str:
    """Return the lines that add up to a step."""
    workers = figures["workers"]
    each = len(workers) <= _MOST_COLUMNS
    names = [f"w{i}" for i in range(len(workers))] if each else ["least", "most"]
    names = names if len(workers) > 1 else []
    rows = [["a step's time", "ms", "share", "CPU ms", *names]]
    for line in figures["lines"].values():
        if line["ms"] < 0.005:
            continue
        values = list(line["by_worker"].values())
        shown = values if each else [min(values), max(values)]
        cpu = "" if line["cpu_ms"] is None else f"{line['cpu_ms'] / len(workers):.2f}"
        rows.append(
            [
                line["label"],
                f"{line['ms']:.2f}",
                f"{line['share']:.1%}",
                cpu,
                *(f"{value:.2f}" for value in shown if names),
            ]
        )
    total = figures["sum_ms"]
    rows.append(["sum", f"{total:.2f}", f"{total / figures['wall_ms']:.1%}"])
    return _aligned(rows)


def _ahead_table(figures: dict[str, Any]) -> str:
    """Return what happens in other threads."""
    rows = [["prepared ahead, per step and part", "ms", "CPU ms", "least", "most"]]
    ahead = figures["ahead"]
    for name, line in ahead["lines"].items():
        times = [line["ms"], line["cpu_ms"], min(line["by_part"]), max(line["by_part"])]
        rows.append([LINES[name], *(f"{value:.2f}" for value in times)])
        for word in line["tasks"]:
            found = ahead["tasks"][word]
            cells = (f"{found[kind]:.2f}" for kind in ("ms", "cpu_ms"))
            rows.append([f"  {_TASKS.get(word, word)}", *cells])
    fetched = {
        word: found
        for word, found in figures["halo"]["fetched"].items()
        if word in ahead["tasks"]
    }
    if fetched:
        spent = sum(found["ms"] for found in fetched.values())
        rows.append(["halo exchange (all parts)", f"{spent:.2f}"])
    hidden = figures["lines"]["batches"]["ms"]
    return (
        f"{_aligned(rows)}\n"
        f"a window is ready {ahead['latency_ms']:.0f} ms after it was requested; "
        f"not hidden: {hidden:.2f} ms a step"
    )


def _notes(figures: dict[str, Any]) -> str:
    """Return counts of tasks, bytes and messages, and what follows from the lines."""
    halo, gradients = figures["halo"], figures["gradients"]
    lines = [
        f"steps had a core for {_core_share(figures):.0%} of the time they computed",
        f"Dask: {figures['dask']['tasks']:.1f} tasks a step",
    ]
    if not figures["inline"]:
        lines.append(
            f"halo: {halo['remote_rows']:,.0f} rows, {halo['remote_bytes'] / 1e6:.2f} "
            f"MB, {halo['messages']:.1f} messages a step between workers"
        )
    met = halo["cache_hits"] + halo["cache_misses"]
    if halo["cache_hits"]:
        lines.append(
            f"halo cache: {halo['cache_hits'] / met:.1%} of {met:,.0f} rows a step, "
            f"{halo['cache_saved_bytes'] / 1e6:.2f} MB saved"
        )
    if gradients["messages"]:
        lines.append(
            f"sums of gradients: {gradients['bytes'] / 1e6:.2f} MB, "
            f"{gradients['messages']:.0f} messages a step"
        )
    if gradients["exchange_ms"]:
        named = ", ".join(f"{k} {v:.2f}" for k, v in gradients["exchange_ms"].items())
        lines.append(f"exchange of sums, ms: {named}")
    if len(figures["workers"]) > 1:
        lines.append(_shares(figures))
    if len(figures["workers"]) > 1 and figures["balance"]:
        balance = figures["balance"]
        lines.append(
            "balance of forward and backward: max/mean "
            f"{balance['max_over_mean']:.3f}, CoV {balance['cov']:.3f}"
        )
    return "\n".join(lines)


def _shares(figures: dict[str, Any]) -> str:
    """Say how long steps wait for bytes, and for anything."""
    share, waiting = figures["communication_share"], figures["waiting_share"]
    if share is None:
        return (
            "communication: with tasks, the exchange of sums is part of Dask's "
            f"remainder; all other waiting {waiting:.1%}"
        )
    return (
        f"communication share {share:.1%} (exchange of sums), all waiting {waiting:.1%}"
    )


def _core_share(figures: dict[str, Any]) -> float:
    """Return for which share of the time of measured lines a core was theirs."""
    lines = [line for name, line in figures["lines"].items() if name in _ON_CORE]
    wall = sum(line["ms"] for line in lines) * len(figures["workers"])
    return sum(line["cpu_ms"] or 0.0 for line in lines) / wall if wall else 0.0


def _aligned(rows: list[list[str]]) -> str:
    """Return rows as lines, the first column to the left and others to the right."""
    count = max(map(len, rows))
    rows = [[*row, *[""] * (count - len(row))] for row in rows]
    lines = aligned(rows, [False] + [True] * (count - 1))
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Return rows as lines whose columns are aligned to the left or `right`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [">" if is_right else "<" for is_right in right]
    form = "  ".join(f"{{:{s}{w}}}" for s, w in zip(sides, widths, strict=True))
    return [form.format(*row).rstrip() for row in rows]
