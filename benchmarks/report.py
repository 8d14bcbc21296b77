"""What every benchmark prints beside its figures: versions, machine, a table."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import dask
import distributed
import numpy as np
import torch


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


def show(title: str, rows: list[dict[str, Any]], out: str | None = None) -> None:
    """Print rows as a table with the machine below; write JSON where asked."""
    print(f"\n{title}")
    columns = list(rows[0])
    cells = [columns, *([_cell(row[c]) for c in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  " + "  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)))
    print("  " + ", ".join(f"{k} {v}" for k, v in machine().items()))
    if out:
        content = {"title": title, "machine": machine(), "rows": rows}
        Path(out).write_text(json.dumps(content, indent=1) + "\n")


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
