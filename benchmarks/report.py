"""What every benchmark prints beside its figures: versions, machine, a table."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import distributed
import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


def machine() -> dict[str, Any]:
    """Return the machine and the versions that a figure belongs to."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [s for s in info.read_text().splitlines() if s.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "dask": dask.__version__,
        "distributed": distributed.__version__,
    }


def show(
    title: str,
    rows: list[dict[str, Any]],
    out: str | None = None,
    *,
    notes: Sequence[str] = (),
    versions: dict[str, str] | None = None,
    extra: dict[str, Any] | None = None,
    facts: bool = True,
    markdown: bool = False,
) -> dict[str, Any]:
    """Print rows as a table with the machine below; write JSON where asked.

    Parameters
    ----------
    notes
        Lines below the table: how things were measured, what was left out.
    versions
        Of peers, beside those of the machine.
    extra
        What only the JSON file holds: single runs.
    facts
        Print the machine and versions, too: once a script is enough.
    markdown
        Print the table as the documentation has it.

    Returns
    -------
    dict
        What the JSON file holds.
    """
    about = {**machine(), **(versions or {})}
    print(f"\n{title}")
    columns = list(rows[0])
    cells = [columns, *([_cell(row.get(c)) for c in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for number, line in enumerate(cells):
        padded = [c.rjust(w) for c, w in zip(line, widths, strict=True)]
        print(f"| {' | '.join(padded)} |" if markdown else "  " + "  ".join(padded))
        if markdown and number == 0:
            print(f"| {' | '.join('-' * (w - 1) + ':' for w in widths)} |")
    for note in notes:
        print(f"  {note}")
    if facts:
        print("  " + ", ".join(f"{k} {v}" for k, v in about.items()), flush=True)
    table = {"title": title, "machine": about, "notes": list(notes), "rows": rows}
    table |= extra or {}
    if out:
        write(out, table)
    return table


def write(out: str, content: Any) -> None:
    """Write tables as JSON."""
    Path(out).write_text(json.dumps(content, indent=1) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
