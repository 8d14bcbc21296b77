"""Wall time of ``daskgnn train cora --workers 2 --epochs 50``, command to end.

The stages are seen from outside, by the lines that the command prints; imports and the
start of a cluster are timed in processes of their own.

    python benchmarks/cora.py [--repeats 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import numpy as np
from report import show

IMPORTS = "import daskgnn.cli, daskgnn.train.run"
CLUSTER = """
import time
from daskgnn.cluster.clusters import own_cluster
if __name__ == "__main__":
    began = time.perf_counter()
    with own_cluster({workers}):
        print(time.perf_counter() - began, flush=True)
        began = time.perf_counter()
    print(time.perf_counter() - began)
"""
MARKS = (
    ("blocks, kernels", "blocks loaded"),
    ("first epoch", "epoch 1/"),
    ("other epochs", "epoch {epochs}/{epochs}"),
    ("exact scores", "test accuracy"),
    ("curves", "metrics"),
)
"""What a line that begins so is the end of, in order."""


def stages(
    epochs: int,
    workers: int,
    python: str = sys.executable,
    env: dict[str, str] | None = None,
) -> dict[str, float]:
    """Run the command once; return the seconds of its stages and in all."""
    marks = [(stage, text.format(epochs=epochs)) for stage, text in MARKS]
    lines: list[tuple[float, str]] = []
    with TemporaryDirectory() as folder:
        command = [python, "-m", "daskgnn", "train", "cora"]
        command += ["--workers", str(workers), "--epochs", str(epochs)]
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--out", f"{folder}/run"],
            stdout=subprocess.PIPE,
            text=True,
            env=env,
            cwd=folder,
        )
        reader = Thread(target=_stamp, args=(process.stdout, lines))
        reader.start()
        code = process.wait()
        ended = time.perf_counter()
        # Processes that it left behind may hold its output for longer.
        reader.join()
        let_go = time.perf_counter()
        if code:
            raise SystemExit(f"the command failed with {code}")
    last = lines[0][0]
    found = {"until it is ready": last - began}
    for now, line in lines:
        if marks and line.startswith(marks[0][1]):
            found[marks.pop(0)[0]] = now - last
            last = now
    found |= {"closing": ended - last, "in all": ended - began}
    return {**found, "(then output is held)": let_go - ended}


def _stamp(stream: Any, lines: list[tuple[float, str]]) -> None:
    """Take note of when lines come."""
    lines.extend((time.perf_counter(), line) for line in stream)


def import_seconds() -> float:
    """Time an interpreter that imports what the command needs."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.perf_counter() - began


def cluster_seconds(workers: int) -> tuple[float, float]:
    """Time the start and the end of a cluster."""
    with TemporaryDirectory() as folder:
        script = Path(folder, "cluster.py")
        script.write_text(CLUSTER.format(workers=workers))
        out = subprocess.run(
            [sys.executable, str(script)], check=True, capture_output=True, text=True
        ).stdout.split()
    return float(out[0]), float(out[1])


def measure(epochs: int, workers: int) -> dict[str, float]:
    """Run everything once."""
    start, close = cluster_seconds(workers) if workers else (0.0, 0.0)
    apart = {"imports": import_seconds(), "cluster start": start}
    found = stages(epochs, workers)
    ready = found.pop("until it is ready")
    prepared = ready - sum(apart.values())
    return {
        **apart,
        "data, partition, store": prepared,
        **found,
        "(cluster end)": close,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json")
    args = parser.parse_args()
    if not os.environ.get("DASKGNN_DATA_DIR"):
        print("Cora is not measured: DASKGNN_DATA_DIR does not say where it is")
        return
    runs = [measure(args.epochs, args.workers) for _ in range(args.repeats)]
    rows: list[dict[str, Any]] = [
        {
            "stage": stage,
            "seconds": float(np.median([run[stage] for run in runs])),
            "from": min(run[stage] for run in runs),
            "to": max(run[stage] for run in runs),
        }
        for stage in runs[0]
    ]
    show(
        f"daskgnn train cora --workers {args.workers} --epochs {args.epochs}, medians "
        f"of {args.repeats}",
        rows,
        args.json,
        notes=[
            "imports, cluster start and end: timed alone, in processes of their own; "
            "the cluster's end is part of closing"
        ],
        extra={"runs": runs},
    )


if __name__ == "__main__":
    main()
