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
import torch
from ways import MODES, PARTS, stores, trainer_of, updates_of

from daskgnn.cluster.clusters import own_cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ways import Setup

ON_WORKERS = ("server 8",)
"""What has bits of its own there; all others have the same ones in this process."""
SAME = {"ring": "tree"}
"""Of two parts there is one sum: one seed shows it, and is not repeated."""
POINT = 1.0
"""Per cent that a way may be behind the tree, or two standard errors."""


def measure_accuracy(
    setups: dict[str, Setup],
    modes: Sequence[str],
    seeds: int,
    folder: str,
    cache: str,
    results: str,
) -> list[dict[str, Any]]:
    """Do the runs that `results` does not have; return a row a mode."""
    torch.set_num_threads(1)
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
                and (seed == 0 or mode not in SAME)
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
        replace(setup, batch=_batch(setup, mode)),
        path,
        client,
        mode,
        seed,
        window=16,
        progress=None,
    )
    each = updates_of(trainer, mode)
    one_a_step = -(-len(trainer.plan.targets) // setup.batch)
    epochs = max(round(setup.epochs * one_a_step / each), 1)
    trainer.options["eval_every"] = max(epochs // setup.evaluations, 1)
    history = trainer.fit(epochs)
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
        "updates": each * epochs,
        "validation": curve,
        "staleness": trainer.run_state.total.staleness,
        "forms": trainer.run_state.forms,
        "params_sha256": trainer.params_sha256,
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
    """Return a row a mode: what `_cell` says of each graph."""
    rows: list[dict[str, Any]] = [{"mode": mode} for mode in modes]
    for name, setup in setups.items():
        text = _text(setup)
        of_mode = {
            mode: [
                runs[name, SAME[mode] if seed and mode in SAME else mode, seed, text]
                for seed in range(seeds)
            ]
            for mode in modes
        }
        for mode, other in SAME.items():
            bits = {
                runs[name, which, 0, text]["params_sha256"]
                for which in (mode, other)
                if which in modes
            }
            assert len(bits) <= 1, f"{mode} and {other} differ"
        tree = of_mode.get("tree", of_mode[modes[0]])
        for row in rows:
            row[name] = _cell(of_mode[row["mode"]], tree)
            last = [100 * x["validation"][-1][1] for x in of_mode[row["mode"]]]
            base = [100 * x["validation"][-1][1] for x in tree]
            row[f"{name}, last"] = f"{np.mean(last) - np.mean(base):+.1f}"
    return rows


def _cell(lines: list[dict[str, Any]], tree: list[dict[str, Any]]) -> str:
    """Return the mean, and the difference from the tree with its standard error.

    An exclamation mark stands where it is further behind than it may be.
    """
    found, base = (np.array([100 * x["accuracy"] for x in r]) for r in (lines, tree))
    if lines is tree:
        return f"{found.mean():.1f}"
    off = found.mean() - base.mean()
    error = float(np.hypot(found.std(ddof=1), base.std(ddof=1)) / np.sqrt(len(found)))
    behind = " !" if -off > max(POINT, 2 * error) else ""
    return f"{found.mean():.1f} ({off:+.2f} ± {error:.2f}){behind}"
