"""Training on bags of words: features that stay sparse, and the same made dense.

GraphSAGE with mean aggregation, [10, 10], 256 hidden channels, global batch 1024, Adam,
on two one-core processes, as in `training.py`. Sides take turns: this checkout, this
checkout with ``sparse_features=False``, another commit if one is given, and DGL with
dense features if it is installed. By default on Coauthor CS (18,333 nodes, 6,805
columns of which 60 a row are not zero), whose file is looked for in --data-dir.

    python benchmarks/sparse_features.py [--graph FILE.npz] [--base COMMIT]
        [--sides sparse,dense,base,dgl] [--repeats 3] [--profile] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from processes import MEMORY_NOTE, SideFailedError, run_side
from report import show
from training import is_present
from workloads import CLUSTERS, arrays_of

ROOT = Path(__file__).resolve().parents[1]
SIDES = ("sparse", "dense", "base", "dgl")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--graph", default="coauthor_cs.npz")
    parser.add_argument("--data-dir", default=os.environ.get("DASKGNN_DATA_DIR", "."))
    parser.add_argument("--cache", default="~/.cache/daskgnn-bench")
    parser.add_argument("--base", help="a commit to compare with")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--warm-up", type=int, default=11)
    parser.add_argument("--steps", type=int, default=44)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="of the sparse side")
    parser.add_argument("--json")
    return parser.parse_args()


MAKE = """
import sys
import daskgnn
daskgnn.read_npz(sys.argv[1]).partition(int(sys.argv[2])).save(sys.argv[3])
"""


def store_of(args: argparse.Namespace, tree: str) -> str:
    """Return the path of the graph's store; make it on first need.

    By the package of a checkout: older ones cannot read what newer ones write.
    """
    file = Path(args.data_dir, args.graph).expanduser().absolute()
    folder = Path(args.cache).expanduser().absolute()
    path = folder / f"{file.stem}-{Path(tree).name}.zarr"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-c", MAKE, str(file), str(CLUSTERS), str(path)]
        # `python -c` looks for modules in its folder first.
        environment = {**os.environ, "PYTHONPATH": tree}
        subprocess.run(words, check=True, env=environment, cwd=tree)
    return str(path)


def checkout(commit: str) -> str:
    """Return the folder of a commit's files; make it on first need."""
    folder = ROOT / "runs" / "sparse_features" / commit
    if not folder.exists():
        made = ["git", "worktree", "add", "--force", "--detach", str(folder), commit]
        subprocess.run(made, cwd=ROOT, check=True, stdout=sys.stderr)
    return str(folder)


def sides_of(args: argparse.Namespace) -> dict[str, tuple[Any, ...]]:
    """Return what `run_side` is given for each side."""
    wanted, tree = args.sides.split(","), str(ROOT)
    if args.base:
        tree = args.base if Path(args.base).is_dir() else checkout(args.base)
    store = store_of(args, tree)
    base = {
        "fan_out": [10, 10],
        "hidden": args.hidden,
        "batch_size": 1024,
        "warm_up": args.warm_up,
        "steps": args.steps,
        "workers": args.workers,
    }
    ours = {**base, "store": store, "num_parts": args.workers, "options": {}}
    profiled = {"profile_steps": args.steps} if args.profile else {}
    found: dict[str, tuple[Any, ...]] = {
        "sparse": ("side_daskgnn.py", {**ours, **profiled}),
        "dense": ("side_daskgnn.py", {**ours, "options": {"sparse_features": False}}),
    }
    if args.base:
        found["base"] = "side_daskgnn.py", ours, "as shipped", tree
    if "dgl" in wanted and is_present("dgl", ["dgl"]):
        arrays = {"arrays": arrays_of(store, args.cache), "precision": "float32"}
        found["dgl"] = "side_dgl.py", {**base, **arrays}
    return {name: side for name, side in found.items() if name in wanted}


def main() -> None:
    args = parse()
    file = Path(args.data_dir, args.graph).expanduser()
    if not file.exists():
        print(f"not measured: there is no {file}: give --data-dir")
        return
    sides = sides_of(args)
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for repeat in range(args.repeats):
        for side, given in sides.items():
            try:
                found = run_side(*given)
            except SideFailedError as error:
                print(f"{side}: {error}", flush=True)
                continue
            results[side].append(found)
            rate = found["seeds_per_second"]
            told = f"{repeat + 1} of {args.repeats}: {side} {rate:.0f} seeds/s"
            print(told, flush=True)
    rows = [row_of(side, found) for side, found in results.items() if found]
    for other in ("base", "dgl"):
        its = next((row for row in rows if row["side"] == other), None)
        for row in rows if its else ():
            row[f"x {other}"] = row["seeds/s"] / its["seeds/s"]
            row[f"{other}'s memory"] = row["peak MB"] / its["peak MB"]
    notes = [f"at least {args.steps} steps timed; medians of {args.repeats}"]
    notes.append(f"{MEMORY_NOTE}; of the larger process")
    title = f"{args.graph}, {args.workers} one-core processes"
    show(title, rows, args.json, notes=notes, extra={"runs": results})


def row_of(side: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a side's line: medians."""
    names = {
        "seeds_per_second": "seeds/s",
        "ms_per_step": "ms a step",
        "cpu_ms_per_step": "CPU ms",
        "peak_mb": "peak MB",
        "steady_mb": "steady MB",
    }
    medians = {
        told: float(np.median([run[name] for run in found]))
        for name, told in names.items()
    }
    return {"side": side, **medians}


if __name__ == "__main__":
    main()
