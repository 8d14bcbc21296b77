"""What a pipeline of stages takes against its bound, and against torch's own.

The bound of S stages and M micro-batches is a speed-up of S M / (M + S - 1) over the
run in one process *with the same micro-batches*: a batch as a whole may be slower than
in pieces for reasons of its own.

    python benchmarks/pipelines.py [--only simulated,real,recovery] [--json FILE]

``simulated`` has stages that sleep, so that it needs no cores; ``real`` has two stages
that compute, each worker pinned to a core; ``recovery`` kills a worker in mid-step.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from processes import run_side
from report import show
from simulated_stages import FORWARD_SECONDS, sleeping_model, sleeping_seconds

from daskgnn.cluster.clusters import own_cluster
from daskgnn.pipeline import Pipeline
from daskgnn.pipeline.gantt import bubble_share, plot_schedule
from daskgnn.pipeline.schedules import Shape, assign, make_schedule
from daskgnn.pipeline.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Callable

FORMS = ("workers", "operations")
BOUNDARY = 75_000
"""Numbers that go from stage to stage: 0.3 MB."""


def timed(pipeline: Pipeline, x: Any, y: Any, repeats: int) -> float:
    """Return the median seconds of a step, the first one left out.

    As in `Pipeline.fit`, a batch is sent while the step before runs.
    """
    given = [pipeline.cut_batch(x, y) for _ in range(2)]
    found = []
    for turn in range(repeats + 2):
        now, after = given[turn % 2], given[1 - turn % 2]
        found.append(pipeline.step_on(now, following=after).seconds)
    return median(found[2:])


# -- stages that sleep


def simulated(repeats: int, pictures: Path | None) -> list[dict[str, Any]]:
    """Return a row a schedule and form, of four workers."""
    rows = []
    with own_cluster(4) as client:
        cases = [
            ("gpipe", 4, 8),
            ("1f1b", 4, 8),
            ("interleaved", 8, 8),
            ("zero-bubble", 4, 8),
            ("1f1b", 4, 4),
            ("zero-bubble", 4, 4),
        ]
        for schedule, stages, micro_batches in cases:
            for form in FORMS:
                how = schedule, stages, micro_batches, form
                rows.append(simulated_row(client, how, repeats, pictures))
    return rows


def simulated_row(
    client: Any, how: tuple[str, int, int, str], repeats: int, pictures: Path | None
) -> dict[str, Any]:
    schedule, stages, micro_batches, form = how
    model, where, durations = sleeping_model(stages, 4, FORWARD_SECONDS * 4 / stages)
    pipeline = Pipeline(
        model,
        lambda out, target: (out * 0).sum(),
        device_map=where,
        micro_batches=micro_batches,
        schedule=schedule,
        form=form,
        optimizer="sgd",
        client=client,
    )
    x = np.zeros((micro_batches, BOUNDARY), np.float32)
    seconds = timed(pipeline, x, np.zeros(micro_batches), repeats)
    shape = Shape(schedule, stages, micro_batches, assign(schedule, stages, 1, 4))
    expected = simulate(shape, make_schedule(shape), sleeping_seconds(shape, durations))
    if pictures is not None and form == "workers":
        name = f"{schedule}, {stages} stages, {micro_batches} micro-batches"
        plot_schedule(
            pipeline.spans, pictures / f"{schedule}-{micro_batches}.svg", name
        )
    row = {
        "schedule": schedule,
        "stages": stages,
        "micro-batches": micro_batches,
        "form": form,
        "s a step": seconds,
        "ideal s": expected.seconds,
        "time / ideal": seconds / expected.seconds,
        "bubble": bubble_share(pipeline.spans),
        "formula": expected.bubble(4),
        "held": max(expected.held.values()),
    }
    pipeline.close()
    return row


# -- stages that compute


def layers(width: int, count: int) -> torch.nn.Sequential:
    """Return layers that all compute the same amount."""
    torch.manual_seed(0)
    blocks = [
        torch.nn.Sequential(
            torch.nn.Linear(width, 4 * width),
            torch.nn.GELU(),
            torch.nn.Linear(4 * width, width),
        )
        for _ in range(count)
    ]
    return torch.nn.Sequential(*blocks)


WIDTH, LAYERS, ROWS = 256, 4, 2048
"""ROWS of a micro-batch: a stage's forward pass takes 50 ms, its backward pass 100."""


def pin_workers(client: Any) -> None:
    """Pin each worker to a core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    for i, address in enumerate(sorted(client.scheduler_info(-1)["workers"])):
        core = {cores[i % len(cores)]}
        client.run(_pin, core, workers=[address])


def _pin(cores: set[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)


def real(repeats: int, micro_batches: int = 8) -> list[dict[str, Any]]:
    """Return a row a form, and one of torch's own pipeline."""
    bound = 2 * micro_batches / (micro_batches + 1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(micro_batches * ROWS, WIDTH)).astype(np.float32)
    mine = set(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {min(mine)})
    how: dict[str, Any] = {"micro_batches": micro_batches, "optimizer": "sgd"}
    loss = torch.nn.functional.mse_loss
    alone = Pipeline(layers(WIDTH, LAYERS), loss, client=None, **how)
    sequential = timed(alone, x, x, repeats)
    os.sched_setaffinity(0, mine)
    rows: list[dict[str, Any]] = [
        {
            "what": "sequential",
            "s a step": sequential,
            "speed-up": 1.0,
            "of the bound": 1 / bound,
        }
    ]
    with own_cluster(2) as client:
        pin_workers(client)
        for form in FORMS:
            given = layers(WIDTH, LAYERS)
            pipeline = Pipeline(given, loss, stages=2, form=form, client=client, **how)
            rows.append({"what": form, "s a step": timed(pipeline, x, x, repeats)})
            pipeline.close()
    settings = {
        "width": WIDTH,
        "layers": LAYERS,
        "rows": ROWS,
        "micro_batches": micro_batches,
        "repeats": repeats,
    }
    found = run_side("torch_pipeline.py", settings)
    rows.append({"what": "torch.distributed.pipelining", "s a step": found["seconds"]})
    for row in rows[1:]:
        row["speed-up"] = sequential / row["s a step"]
        row["of the bound"] = row["speed-up"] / bound
    return rows


# -- a worker is killed


def recovery(trials: int) -> list[dict[str, Any]]:
    """Return a row a trial: a step in which a worker is killed."""
    rows = []
    for trial in range(trials):
        with own_cluster(2) as client:
            row = recovery_row(client, trial)
        rows.append(row)
    return rows


def recovery_row(client: Any, trial: int) -> dict[str, Any]:
    given: dict[str, Any] = {"micro_batches": 8, "stages": 2, "client": client}
    loss = torch.nn.functional.mse_loss
    # Of 4 MB: a state that comes back after every step.
    pipeline = Pipeline(layers(WIDTH, 2), loss, optimizer="sgd", **given)
    x = np.zeros((8 * ROWS, WIDTH), np.float32)
    undisturbed = timed(pipeline, x, x, 3)
    pids = sorted(client.run(os.getpid).values())
    rng = np.random.default_rng(trial)
    after = rng.uniform(0.1, 0.9) * undisturbed
    victim = int(rng.choice(pids))
    timer = threading.Timer(after, os.kill, (victim, signal.SIGKILL))
    timer.start()
    result = pipeline.step(x, x)
    timer.join()
    return {
        "trial": trial,
        "killed after s": after,
        "step s": undisturbed,
        "step with kill s": result.seconds,
        "recovery s": result.seconds - undisturbed,
        "steps redone": result.redone,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="simulated,real,recovery")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json")
    parser.add_argument("--pictures", type=Path, help="Draw schedules to this folder.")
    args = parser.parse_args()
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "simulated": lambda: simulated(args.repeats, args.pictures),
        "real": lambda: real(args.repeats),
        "recovery": lambda: recovery(args.repeats),
    }
    for name in args.only.split(","):
        out = None if args.json is None else args.json.replace(".json", f"-{name}.json")
        show(f"pipelines, {name}", parts[name](), out)


if __name__ == "__main__":
    main()
