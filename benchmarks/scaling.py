"""One, two and four workers on the same parts and batches: speedup, traffic, balance.

The graph is opened with four parts each time, so every run computes the same bits.
Workers are pinned to one core each, in turn: where there are fewer cores than workers,
these share. Scheduler and driver share the cores too; beside one worker they have the
others to themselves.

    python benchmarks/scaling.py [--shape products] [--workers 1,2,4] [--json FILE]
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from processes import MEMORY_NOTE, cores, run_side
from report import show, write
from training import base_settings
from workloads import WORKLOADS, add_options, store_of

import daskgnn
from daskgnn.graph.store.store import open_store

WAITS = {"exchange": "exchange", "peers": "peers", "batches": "batches", "Dask": "dask"}
"""What a column is called, and the profile's line."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, "products")
    parser.add_argument("--workers", default="1,2,4", help="default: %(default)s")
    parser.add_argument("--num-parts", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, help="timed, at least")
    parser.add_argument("--warm-up", type=int, help="steps before, at least")
    parser.add_argument("--form", choices=["auto", "tasks", "window"], default="auto")
    parser.add_argument("--json")
    return parser.parse_args()


def part_sizes(store: str, num_parts: int) -> dict[str, np.ndarray]:
    """Return nodes, edges and training nodes of each part."""
    graph = daskgnn.open_graph(store, num_parts)
    book, stored = graph.partition_book, open_store(store)
    edges = [int(stored.read("indptr", b, b + 1)[0]) for b in book]
    seeds = np.searchsorted(graph.splits["train"], book)
    return {
        "nodes": np.diff(book),
        "edges": np.diff(edges),
        "training nodes": np.diff(seeds),
    }


def split_rows(values: Any) -> dict[str, float]:
    """Return the coefficient of variation and the largest over the mean."""
    values = np.asarray(values, np.float64)
    return {
        "CoV": float(values.std() / values.mean()),
        "max/mean": float(values.max() / values.mean()),
    }


def run_all(
    base: dict[str, Any], workers: list[int], repeats: int
) -> dict[int, list[dict[str, Any]]]:
    """Measure each number of workers, in turn."""
    results: dict[int, list[dict[str, Any]]] = {count: [] for count in workers}
    for repeat in range(repeats):
        for count, found in results.items():
            found.append(run_side("side_daskgnn.py", {**base, "workers": count}))
            rate = found[-1]["seeds_per_second"]
            print(f"{repeat + 1} of {repeats}: {count} workers {rate:.0f} seeds/s")
    return results


def median(found: list[dict[str, Any]], name: str) -> float:
    return float(np.median([result[name] for result in found]))


def throughput(results: dict[int, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the table of speed, one row for each number of workers."""
    first = next(iter(results.values()))
    rows = []
    for count, found in results.items():
        busy = [np.sum(r["busy"]) / r["seconds"] for r in found]
        speedup = median(found, "seeds_per_second") / median(first, "seeds_per_second")
        rows.append(
            {
                "workers": count,
                "seeds/s": median(found, "seeds_per_second"),
                "ms a step": median(found, "ms_per_step"),
                "speedup": speedup,
                "efficiency": speedup / min(count, len(cores())),
                "cores in use": float(np.median(busy)),
                "driver's": float(
                    np.median([r["driver_busy"] / r["seconds"] for r in found])
                ),
                "peak MB": median(found, "peak_mb"),
            }
        )
    return rows


def traffic(results: dict[int, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the table of what crossed, a step."""
    rows = []
    for count, found in results.items():
        last = found[-1]
        rows.append(
            {
                "workers": count,
                "rows between parts": last["per_step"]["halo_rows"],
                "rows between workers": last["per_step"]["remote_rows"],
                "MB": last["per_step"]["remote_bytes"] / 1e6,
                "messages": last["per_step"]["messages"],
                "window": last["window"],
                "form": max(last["forms"], key=last["forms"].get),
            }
        )
    return rows


def waiting(results: dict[int, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the table of where the chain of steps waits, from profiles."""
    rows = []
    for count, found in results.items():
        profiles = [result["profile"] for result in found]
        lines = [profile["lines"] for profile in profiles]
        exchanges = [profile["gradients"]["exchange_ms"] for profile in profiles]
        row: dict[str, Any] = {"workers": count}
        for name, line in WAITS.items():
            shares = [each[line]["share"] if line in each else 0.0 for each in lines]
            row[f"{name} %"] = 100 * float(np.median(shares))
        for rank in ("p50", "p90", "p99"):
            times = [each[rank] for each in exchanges if rank in each]
            row[f"exchange ms {rank}"] = float(np.median(times)) if times else None
        rows.append(row)
    return rows


def balance(
    results: dict[int, list[dict[str, Any]]], sizes: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Return the table of balance: sizes of parts, times of workers."""
    rows = [{"what": f"{k} of a part", **split_rows(v)} for k, v in sizes.items()]
    for count, found in results.items():
        if count == 1:
            continue
        times = {
            "CPU time": [result["busy"] for result in found],
            "forward + backward": [computing(result["profile"]) for result in found],
        }
        for name, runs in times.items():
            each = [split_rows(values) for values in runs]
            middle = {k: float(np.median([e[k] for e in each])) for k in each[0]}
            rows.append({"what": f"{name} of a worker, {count} workers", **middle})
    for row in rows:
        row["efficiency"] = 1 / row["max/mean"]
    return rows


def computing(profile: dict[str, Any]) -> list[float]:
    """Return each worker's milliseconds a step of forward and backward passes."""
    lines = [profile["lines"][name]["by_worker"] for name in ("forward", "backward")]
    return [sum(line[worker] for line in lines) for worker in profile["workers"]]


def main() -> None:
    args = parse()
    workload = WORKLOADS[args.shape]
    store = store_of(workload, args.cache, args.store)
    base = {
        **base_settings(workload, args),
        "store": store,
        "num_parts": args.num_parts,
        "profile_steps": 2 * (args.steps or workload.steps),
        "options": {} if args.form == "auto" else {"steps": args.form},
    }
    counts = [int(count) for count in args.workers.split(",")]
    results = run_all(base, counts, args.repeats)
    about = f"{args.shape} shape, {args.num_parts} parts, medians of {args.repeats}"
    notes = [
        f"{len(cores())} cores, one for each worker in turn; efficiency: speedup over "
        "the cores that the workers have",
        "cores in use: CPU time of all workers over wall time; driver's: of the driver "
        "and the scheduler",
        f"{MEMORY_NOTE}; of the largest worker",
    ]
    tables = [
        show(f"speed, {about}", throughput(results), notes=notes, facts=False),
        show("what crossed, a step", traffic(results), facts=False),
        show(
            "where a step waits, share of its wall time",
            waiting(results),
            notes=[
                "exchange: of sums of gradients, from the last worker's coming; peers: "
                "for slower workers",
                "batches: for windows that are not prepared yet",
            ],
            facts=False,
        ),
        show(
            "balance (efficiency: mean/max)",
            balance(results, part_sizes(store, args.num_parts)),
        ),
    ]
    if args.json:
        write(args.json, {"tables": tables, "runs": results})


if __name__ == "__main__":
    main()
