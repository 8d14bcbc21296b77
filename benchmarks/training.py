"""Training seeds a second: daskgnn, DGL and PyG, each on two one-core processes.

GraphSAGE with mean aggregation on the ``products`` or the ``arxiv`` shape, global
batch 2048, Adam, one thread a process. daskgnn: a local cluster of two workers, its
scheduler and driver on the same cores. DGL, PyG: DistributedDataParallel over gloo.
Every process is pinned to one core; only one side runs at a time, in fresh processes;
sides take turns. The clock leaves out loading and the first steps.

    python benchmarks/training.py [--shape arxiv] [--sides daskgnn,dgl] [--json FILE]

Sides: daskgnn, dgl, pyg in float32; with -bf16, the dense products are in bfloat16
(daskgnn's ``precision="bf16"``, torch's autocast for DGL), with -medium daskgnn's
``precision="medium"``; daskgnn-half keeps features in bfloat16 besides.

Each comparison is made twice: with each side's defaults ("as shipped": daskgnn's
workers keep freed memory by themselves), and with the same allocator settings in all
processes of all sides ("tuned").
"""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

import numpy as np
from processes import MALLOC, MEMORY_NOTE, SideFailedError, run_side
from report import show
from workloads import WORKLOADS, Workload, add_options, arrays_of, store_of

OURS: dict[str, dict[str, Any]] = {
    "daskgnn": {},
    "daskgnn-medium": {"precision": "medium"},
    "daskgnn-bf16": {"precision": "bf16"},
    "daskgnn-half": {"precision": "bf16", "feature_dtype": "bfloat16"},
}
"""Options of `daskgnn.Trainer`."""

PEERS: dict[str, tuple[str, str]] = {
    "dgl": ("side_dgl.py", "float32"),
    "dgl-bf16": ("side_dgl.py", "bf16"),
    "pyg": ("side_pyg.py", "float32"),
}
NEEDED = {"side_dgl.py": ["dgl"], "side_pyg.py": ["torch_geometric", "torch_sparse"]}
BASELINES = {"dgl": "x DGL", "pyg": "x PyG"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, "arxiv")
    parser.add_argument(
        "--sides",
        default="daskgnn,dgl",
        help=f"of {', '.join([*OURS, *PEERS])} (default: %(default)s)",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--malloc", default=",".join(MALLOC), help="of: %(default)s")
    parser.add_argument("--steps", type=int, help="timed, at least")
    parser.add_argument("--warm-up", type=int, help="steps before, at least")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--halo-cache", help="daskgnn's, for instance '64 MB'")
    parser.add_argument("--json")
    return parser.parse_args()


def base_settings(workload: Workload, args: argparse.Namespace) -> dict[str, Any]:
    """Return what all sides are told."""
    return {
        "fan_out": list(workload.fan_out),
        "hidden": workload.hidden,
        "batch_size": workload.batch_size,
        "warm_up": args.warm_up or workload.warm_up,
        "steps": args.steps or workload.steps,
        "workers": args.workers,
    }


def make_sides(args: argparse.Namespace) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the script and the settings of each side that can be measured."""
    workload = WORKLOADS[args.shape]
    store = store_of(workload, args.cache, args.store)
    base = base_settings(workload, args)
    cache = {"halo_cache": args.halo_cache} if args.halo_cache else {}
    sides: dict[str, tuple[str, dict[str, Any]]] = {}
    for name in args.sides.split(","):
        if name in OURS:
            graph = {"store": store, "num_parts": args.workers}
            options = {"options": {**OURS[name], **cache}}
            sides[name] = "side_daskgnn.py", {**base, **graph, **options}
        elif name not in PEERS:
            raise SystemExit(f"--sides {name}: expected {', '.join([*OURS, *PEERS])}")
        else:
            script, precision = PEERS[name]
            if not is_present(name, NEEDED[script]):
                continue
            arrays = arrays_of(store, args.cache)
            sides[name] = script, {**base, "arrays": arrays, "precision": precision}
    return sides


def is_present(side: str, modules: list[str]) -> bool:
    """Return whether a peer is installed; say so if it is not."""
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        print(f"{side} is not measured without {', '.join(missing)}: make bench-env")
    return not missing


def compare(
    sides: dict[str, tuple[str, dict[str, Any]]], malloc: str, repeats: int
) -> dict[str, list[dict[str, Any]]]:
    """Run the sides in turn; return their results."""
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for repeat in range(repeats):
        for side, (script, settings) in sides.items():
            try:
                result = run_side(script, settings, malloc)
            except SideFailedError as error:
                print(f"{side} ({malloc}): {error}", flush=True)
                continue
            results[side].append(result)
            print(
                f"{malloc}, {repeat + 1} of {repeats}: {side} "
                f"{result['seeds_per_second']:.0f} seeds/s",
                flush=True,
            )
    return {side: found for side, found in results.items() if found}


def table(
    results: dict[str, list[dict[str, Any]]], malloc: str
) -> list[dict[str, Any]]:
    """Return a row for each side: medians, and how it stands to the peers."""
    rows = []
    for side, found in results.items():
        rates = [r["seeds_per_second"] for r in found]
        row = {
            "malloc": malloc,
            "side": side,
            "seeds/s": float(np.median(rates)),
            "from": float(min(rates)),
            "to": float(max(rates)),
            "ms a step": float(np.median([r["ms_per_step"] for r in found])),
            "CPU ms": float(np.median([r["cpu_ms_per_step"] for r in found])),
            "peak MB": float(np.median([r["peak_mb"] for r in found])),
        }
        rows.append(row)
    for baseline, name in BASELINES.items():
        if baseline in results:
            its = next(row for row in rows if row["side"] == baseline)
            for row in rows:
                row[name] = row["seeds/s"] / its["seeds/s"]
                row[f"{name} memory"] = row["peak MB"] / its["peak MB"]
    return rows


def main() -> None:
    args = parse()
    sides = make_sides(args)
    rows, versions, runs = [], {}, {}
    for malloc in args.malloc.split(","):
        results = compare(sides, malloc, args.repeats)
        rows += table(results, malloc)
        runs[malloc] = results
        for found in results.values():
            versions.update(found[0]["versions"])
    if not rows:
        raise SystemExit("no side gave a result")
    steps = base_settings(WORKLOADS[args.shape], args)["steps"]
    notes = [
        f"at least {steps} steps timed; medians of {args.repeats}",
        "CPU ms: CPU time of a step in all processes, daskgnn's scheduler and driver "
        "included",
        f"{MEMORY_NOTE}; of the larger process",
        *(
            [f"daskgnn with a halo cache of {args.halo_cache}"]
            if args.halo_cache
            else []
        ),
    ]
    title = f"training, {args.shape} shape, {args.workers} one-core processes"
    show(title, rows, args.json, notes=notes, versions=versions, extra={"runs": runs})


if __name__ == "__main__":
    main()
