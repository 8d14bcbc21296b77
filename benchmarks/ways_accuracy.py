"""Test accuracy of every way to combine gradients, at the same number of updates.

    python benchmarks/gradients.py --only accuracy --results FILE

A run is a line of the file; runs that are in it are not done again. Every update is of
as many seeds: accumulated batches are so much smaller, and those of a parameter server,
whose updates are of one part's seeds, so much larger.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ways import MODES, PARTS, stores, trainer_of, updates_of

from daskgnn.cluster.clusters import own_cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ways import Setup

ON_WORKERS = ("server 8",)
"""What has bits of its own there; all others have the same ones in this process."""


def measure_accuracy(
    setups: dict[str, Setup],
    modes: Sequence[str],
    seeds: int,
    folder: str,
    cache: str,
    results: str,
) -> list[dict[str, Any]]:
    """Do the runs that `results` does not have; return a row a mode."""
    found = list(stores(list(setups), folder, cache))
    file = Path(results)
    done = _read(file)
    with ExitStack() as stack:
        for on_workers in (False, True):
            client = None
            todo = [
                (name, path, mode, seed)
                for seed in range(seeds)
                for name, path in found
                for mode in modes
                if (mode in ON_WORKERS) == on_workers
                and (name, mode, seed, _text(setups[name])) not in done
            ]
            if todo and on_workers:
                client = stack.enter_context(own_cluster(PARTS))
            for name, path, mode, seed in todo:
                line = _train(name, setups[name], path, client, mode, seed)
                with file.open("a") as lines:
                    lines.write(json.dumps(line) + "\n")
                print(f"  {line}", flush=True)
    measured = {name: setups[name] for name, _ in found}
    return _table(_read(file), measured, modes, seeds)


def _text(setup: Setup) -> str:
    return json.dumps(asdict(setup))


def _read(file: Path) -> dict[tuple[str, str, int, str], dict[str, Any]]:
    """Return the runs that are done, by graph, mode, seed and how it is trained."""
    if not file.exists():
        return {}
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return {(r["graph"], r["mode"], r["seed"], r["setup"]): r for r in lines}


def _train(
    name: str, setup: Setup, path: str, client: Any, mode: str, seed: int
) -> dict[str, Any]:
    """Train once; return what is kept of the run."""
    began = time.perf_counter()
    trainer = trainer_of(
        replace(setup, batch=_batch(setup, mode)), path, client, mode, seed, window=8
    )
    trainer.options["eval_every"] = setup.epochs // setup.evaluations
    each = updates_of(trainer, mode)
    history = trainer.fit(setup.epochs)
    curve = [
        [each * (e["epoch"] + 1), e["val_accuracy"]]
        for e in history.epochs
        if e.get("val_accuracy") is not None
    ]
    return {
        "graph": name,
        "mode": mode,
        "seed": seed,
        "setup": _text(setup),
        "accuracy": trainer.evaluate("test")["accuracy"],
        "updates": each * setup.epochs,
        "validation": curve,
        "staleness": trainer.run_state.total.staleness,
        "forms": trainer.run_state.forms,
        "seconds": round(time.perf_counter() - began, 1),
    }


def _batch(setup: Setup, mode: str) -> int:
    """Return the seeds a step of which every update has as many."""
    if mode.startswith("server"):
        return setup.batch * PARTS
    return -(-setup.batch // MODES[mode].get("accumulate", 1))


def _table(
    runs: dict[tuple[str, str, int, str], dict[str, Any]],
    setups: dict[str, Setup],
    modes: Sequence[str],
    seeds: int,
) -> list[dict[str, Any]]:
    """Return a row a mode: means in per cent, and how far from the tree."""
    rows: list[dict[str, Any]] = [{"mode": mode} for mode in modes]
    for name, setup in setups.items():
        text = _text(setup)
        for row in rows:
            lines = [runs[name, row["mode"], seed, text] for seed in range(seeds)]
            found = [100 * line["accuracy"] for line in lines]
            curves = 100 * np.array([[v for _, v in x["validation"]] for x in lines])
            row[name] = f"{np.mean(found):.2f}"
            base = runs.get((name, "tree", 0, text)) and [
                100 * runs[name, "tree", seed, text]["accuracy"]
                for seed in range(seeds)
                if (name, "tree", seed, text) in runs
            ]
            if base:
                row[f"{name} off tree"] = f"{np.mean(found) - np.mean(base):+.2f}"
            row[f"{name} std"] = f"{np.std(found):.2f}"
            row[f"{name} updates"] = lines[0]["updates"]
            row[f"{name} still rising"] = f"{_rise(curves):+.2f}"
    return rows


def _rise(curves: np.ndarray) -> float:
    """Return how much higher the last quarter of evaluations is than the one before.

    `curves` are validation scores [seeds, evaluations].
    """
    quarter = max(1, curves.shape[1] // 4)
    last, before = curves[:, -quarter:], curves[:, -2 * quarter : -quarter]
    return float(last.mean() - before.mean())
