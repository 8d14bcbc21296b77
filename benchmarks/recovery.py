"""What the loss of a worker costs, beside a restart from the last checkpoint.

The restart is what runs do that cannot outlive a worker: all processes are killed, and
the command that resumes is given at once. Times are from the kill to the first step
that is new.

    python benchmarks/recovery.py [--repeats 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from report import show

from daskgnn import Trainer, load_dataset, nn, open_graph
from daskgnn.cluster.clusters import own_cluster

EPOCHS, BATCH, STEPS = 20, 32, 40
"""STEPS are about those of an epoch of digits."""


class KillAfter:
    """A progress that kills a worker after a step."""

    def __init__(self, pid: int, step: int) -> None:
        self.pid, self.at = pid, step
        self.events: list[dict[str, Any]] = []
        self.killed = self.next = 0.0

    def step(self, record: dict[str, Any]) -> None:
        if record["step"] == self.at:
            # The rest of its window is on record at once: that is no new step.
            threading.Timer(0.02, self.kill).start()
        elif self.killed and not self.next:
            self.next = time.time()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.killed = time.time()

    def event(self, record: dict[str, Any]) -> None:
        self.events.append(record)

    def started(self, info: dict[str, Any]) -> None:
        pass

    epoch = finished = started


def lost_worker(store: str, step: int, standby: int) -> tuple[float, int]:
    """Kill one of two workers; return seconds and steps redone."""
    with own_cluster(2 + standby) as client:
        graph = open_graph(store, 2)
        model = nn.GraphSAGE(graph.num_features, 64, graph.num_classes, 2)
        pids = client.run(os.getpid)
        progress = KillAfter(0, step)
        trainer = Trainer(
            model,
            graph,
            num_neighbors=[10, 5],
            batch_size=BATCH,
            standby=standby,
            progress=progress,  # type: ignore[arg-type]
        )
        progress.pid = pids[trainer.executor.worker_of(1)]
        trainer.fit(EPOCHS)
    redone = [e["steps_redone"] for e in progress.events if e["event"] == "recovered"]
    return progress.next - progress.killed, max(redone, default=0)


def restart(store: str, step: int) -> tuple[float, int]:
    """Kill the whole run; resume; return seconds and steps redone."""
    with TemporaryDirectory() as folder:
        out = Path(folder, "run")
        words = [sys.executable, "-m", "daskgnn", "train"]
        options = [store, "--epochs", str(EPOCHS), "--batch-size", str(BATCH)]
        options += ["--num-neighbors", "10,5", "--hidden-channels", "64"]
        first = _quietly([*words, *options, "--no-recipe", "--out", str(out)])
        _wait_for_step(out, step)
        os.killpg(first.pid, signal.SIGKILL)
        killed = time.time()
        first.wait()
        done = _steps(out)
        checkpoint = _last(out, "checkpoint")
        again = _quietly([*words, "--resume", str(out)])
        _wait_for_step(out, done)
        took = time.time() - killed
        os.killpg(again.pid, signal.SIGTERM)
        again.wait()
    return took, done - checkpoint


def _quietly(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait_for_step(out: Path, step: int) -> None:
    while _steps(out) <= step:
        time.sleep(0.02)


def _steps(out: Path) -> int:
    """Return how many steps are on record."""
    return _last(out, "step") + 1


def _last(out: Path, event: str) -> int:
    """Return the highest step of an event in the records."""
    try:
        text = (out / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return -1
    lines = text[: text.rfind("\n") + 1].splitlines()
    found = [r["step"] for r in map(json.loads, lines) if r["event"] == event]
    return max(found, default=-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json")
    args = parser.parse_args()
    rng = random.Random(0)
    with TemporaryDirectory() as folder:
        store = str(Path(folder, "digits.zarr"))
        load_dataset("digits").partition(num_clusters=16).save(store)
        steps = [rng.randrange(5 * STEPS, 15 * STEPS) for _ in range(args.repeats)]
        sides = {
            "a worker is lost": lambda step: lost_worker(store, step, 0),
            "the same, with a standby": lambda step: lost_worker(store, step, 1),
            "restart from the last checkpoint": lambda step: restart(store, step),
        }
        rows = []
        for side, run in sides.items():
            found = []
            for step in steps:
                found.append(run(step))
                print(side, found[-1], file=sys.stderr, flush=True)
            seconds = [took for took, _ in found]
            rows.append(
                {
                    "what": side,
                    "seconds": median(seconds),
                    "longest": max(seconds),
                    "steps redone": median(redone for _, redone in found),
                    "most": max(redone for _, redone in found),
                }
            )
    show(
        f"from the kill to the next new step, digits, 2 workers, {args.repeats} kills",
        rows,
        args.json,
        notes=["checkpoints at each epoch's end, as by default"],
    )


if __name__ == "__main__":
    main()
