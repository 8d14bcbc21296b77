"""Training seeds a second: daskgnn, DGL and PyG, each on two one-core processes.

GraphSAGE with mean aggregation on the ``products`` or the ``arxiv`` shape, global
batch 2048, Adam, one thread a process. daskgnn: a local cluster of two workers, its
scheduler and driver on the same cores. DGL, PyG: DistributedDataParallel over gloo.
Every process is pinned to one core; only one side runs at a time, in fresh processes;
sides take turns. The clock leaves out loading and the first steps.

    python benchmarks/training.py [--shape arxiv] [--peers dgl,pyg] [--json FILE]

Each comparison is made twice: with each side's defaults ("as shipped": daskgnn's
workers keep freed memory by themselves), and with the same allocator settings in all
processes of both sides ("tuned").
"""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

import numpy as np
from processes import MALLOC, MEMORY_NOTE, SideFailedError, run_side
from report import show
from workloads import WORKLOADS, Workload, add_options, arrays_of, store_of

NEEDED = {"dgl": ["dgl"], "pyg": ["torch_geometric", "torch_sparse"]}
NAMES = {"daskgnn": "daskgnn", "dgl": "DGL", "pyg": "PyG"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, "arxiv")
    parser.add_argument("--peers", default="dgl", help="of dgl,pyg (default: dgl)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--malloc", default=",".join(MALLOC), help="of: %(default)s")
    parser.add_argument("--steps", type=int, help="timed, at least")
    parser.add_argument("--warm-up", type=int, help="steps before, at least")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--precision",
        choices=["float32", "bf16"],
        default="float32",
        help="of the dense products: daskgnn's precision, peers' torch.autocast",
    )
    parser.add_argument(
        "--peer-precision", choices=["float32", "bf16"], help="if another"
    )
    parser.add_argument("--feature-dtype", help="daskgnn's: float32, float16, bfloat16")
    parser.add_argument("--halo-cache", help="daskgnn's, for instance 64MB")
    parser.add_argument("--skip-ours", action="store_true", help="peers alone")
    parser.add_argument("--json")
    return parser.parse_args()


def base_settings(workload: Workload, args: argparse.Namespace) -> dict[str, Any]:
    """Return what both sides are told."""
    return {
        "fan_out": list(workload.fan_out),
        "hidden": workload.hidden,
        "batch_size": workload.batch_size,
        "warm_up": args.warm_up or workload.warm_up,
        "steps": args.steps or workload.steps,
        "workers": args.workers,
    }


def trainer_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `daskgnn.Trainer` that were asked for."""
    options: dict[str, Any] = {}
    if args.precision != "float32":
        options["precision"] = args.precision
    if args.feature_dtype:
        options["feature_dtype"] = args.feature_dtype
    if args.halo_cache:
        options["halo_cache"] = args.halo_cache
    return options


def present(peers: str) -> list[str]:
    """Return the peers that are installed; say which are not."""
    found = []
    for peer in filter(None, peers.split(",")):
        missing = [m for m in NEEDED[peer] if importlib.util.find_spec(m) is None]
        if missing:
            print(
                f"{NAMES[peer]} is not measured without {', '.join(missing)}: ", end=""
            )
            print("make bench-env")
        else:
            found.append(peer)
    return found


def compare(
    sides: dict[str, dict[str, Any]], malloc: str, repeats: int
) -> dict[str, list[dict[str, Any]]]:
    """Run the sides in turn; return their results."""
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for repeat in range(repeats):
        for side, settings in sides.items():
            try:
                result = run_side(f"side_{side}.py", settings, malloc)
            except SideFailedError as error:
                print(f"{NAMES[side]} ({malloc}): {error}", flush=True)
                continue
            results[side].append(result)
            print(
                f"{malloc}, {repeat + 1} of {repeats}: {NAMES[side]} "
                f"{result['seeds_per_second']:.0f} seeds/s",
                flush=True,
            )
    return {side: found for side, found in results.items() if found}


def table(
    results: dict[str, list[dict[str, Any]]], malloc: str
) -> list[dict[str, Any]]:
    """Return a row for each side: medians, and how daskgnn stands to it."""
    ours = results.get("daskgnn")
    rows = []
    for side, found in results.items():
        rates = [r["seeds_per_second"] for r in found]
        row = {
            "malloc": malloc,
            "side": NAMES[side],
            "seeds/s": float(np.median(rates)),
            "from": float(min(rates)),
            "to": float(max(rates)),
            "ms a step": float(np.median([r["ms_per_step"] for r in found])),
            "CPU ms": float(np.median([r["cpu_ms_per_step"] for r in found])),
            "peak MB": float(np.median([r["peak_mb"] for r in found])),
            "daskgnn is x faster": None,
            "x memory": None,
        }
        if ours and side != "daskgnn":
            mine = rows[0]
            row["daskgnn is x faster"] = mine["seeds/s"] / row["seeds/s"]
            row["x memory"] = mine["peak MB"] / row["peak MB"]
        rows.append(row)
    return rows


def main() -> None:
    args = parse()
    workload = WORKLOADS[args.shape]
    store = store_of(workload, args.cache, args.store)
    peers = present(args.peers)
    base = base_settings(workload, args)
    sides: dict[str, dict[str, Any]] = {}
    options = trainer_options(args)
    if not args.skip_ours:
        sides["daskgnn"] = {
            **base,
            "store": store,
            "num_parts": args.workers,
            "options": options,
        }
    precision = args.peer_precision or args.precision
    for peer in peers:
        arrays = arrays_of(store, args.cache)
        sides[peer] = {**base, "arrays": arrays, "precision": precision}
    rows, versions, details = [], {}, {}
    for malloc in args.malloc.split(","):
        results = compare(sides, malloc, args.repeats)
        rows += table(results, malloc)
        details[malloc] = results
        for found in results.values():
            versions.update(found[0]["versions"])
    said = ", ".join(f"{k}={v}" for k, v in options.items()) or "defaults"
    notes = [
        f"daskgnn: {said}; peers: {precision}; at least {base['steps']} steps timed",
        "CPU ms: CPU time of a step in all processes, daskgnn's scheduler and driver "
        "included",
        f"{MEMORY_NOTE}; of the larger process",
    ]
    title = (
        f"training, {args.shape} shape, {base['workers']} one-core processes, medians "
        f"of {args.repeats}"
    )
    show(
        title, rows, args.json, notes=notes, versions=versions, extra={"runs": details}
    )


if __name__ == "__main__":
    main()
