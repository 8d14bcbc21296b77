"""How long the package and the help of its commands take to start, beside torch.

Every line is a process of its own; they take turns, so that all of them meet the same
load. Times are those of whole processes, with Python's own start; processor
time says more than wall time where other processes run.

    python benchmarks/imports.py [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from report import show

SCRIPT = Path(sys.executable).with_name("daskgnn")
DASKGNN = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-m", "daskgnn"]
TORCH = "import torch"
SIDES = {
    TORCH: [sys.executable, "-c", TORCH],
    "pass": [sys.executable, "-c", "pass"],
    "import daskgnn": [sys.executable, "-c", "import daskgnn"],
    "daskgnn --help": [*DASKGNN, "--help"],
    "daskgnn train --help": [*DASKGNN, "train", "--help"],
}


def milliseconds(command: list[str]) -> tuple[float, float]:
    """Return the wall time and the processor time of a process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = (
        time.perf_counter() - began,
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1000 * wall, 1000 * used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json")
    given = parser.parse_args()
    for command in SIDES.values():  # files are read, and compiled, once before
        milliseconds(command)
    rounds = [
        {name: milliseconds(command) for name, command in SIDES.items()}
        for _ in range(given.rounds)
    ]
    rows = []
    for name in SIDES:
        row: dict[str, object] = {"process": name}
        for which, kind in enumerate(("wall", "CPU")):
            times = [taken[name][which] for taken in rounds]
            shares = [taken[name][which] / taken[TORCH][which] for taken in rounds]
            row |= {f"{kind} ms": median(times), f"{kind}, least": min(times)}
            row |= {f"{kind}, x torch": median(shares)}
        rows.append(row)
    title = f"Starting, {given.rounds} rounds, alternating"
    note = "x torch: the median, over rounds, of two times of the same round"
    extra = {"rounds": rounds, "command": DASKGNN}
    show(title, rows, given.json, notes=[note], extra=extra, markdown=True)


if __name__ == "__main__":
    main()
