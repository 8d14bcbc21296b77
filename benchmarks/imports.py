"""How long the package and the help of its commands take to start, beside torch.

Every line is a process of its own; the processes run in turns, so that all of them meet
the same load. Times are wall times of whole processes, Python's own start included.

    python benchmarks/imports.py [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
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


def seconds(command: list[str]) -> float:
    """Return what a process takes from its start to its end."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json")
    given = parser.parse_args()
    for command in SIDES.values():  # files are read, and compiled, once before
        seconds(command)
    rounds = [
        {name: seconds(command) for name, command in SIDES.items()}
        for _ in range(given.rounds)
    ]
    rows = []
    for name in SIDES:
        times = [taken[name] for taken in rounds]
        shares = [taken[name] / taken[TORCH] for taken in rounds]
        rows.append(
            {
                "process": name,
                "median ms": 1000 * median(times),
                "least ms": 1000 * min(times),
                "most ms": 1000 * max(times),
                "of import torch": median(shares),
            }
        )
    title = f"Starting, {given.rounds} rounds in turns"
    note = "of import torch: the median, over rounds, of two times of the same round"
    extra = {"rounds": rounds, "command": DASKGNN}
    show(title, rows, given.json, notes=[note], extra=extra, markdown=True)


if __name__ == "__main__":
    main()
