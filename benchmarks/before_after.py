"""Whether this checkout is as fast as another commit: both measured alternately.

Each side runs its own copies of the benchmarks, on one store, base and this one after
the other; a pair of such runs gives a ratio of speeds, above 1 where this checkout is
faster. The table has the median of the pairs' ratios and their spread. "slower" is
what lies below 0.97 with all pairs below 1. The base is built as in `golden.py`.

    python benchmarks/before_after.py BASE [--pairs 5] [--only training] [--small]
        [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from cora import stages
from golden import ROOT, SIDES, checkout, tree_of
from report import show

if TYPE_CHECKING:
    from collections.abc import Callable

Figures = dict[str, tuple[float, bool]]
"""By the name of a quantity: its value, and whether more is better."""
ENOUGH = 0.97
"""Of the base's speed."""
SMALL_STORE = """
import sys
import numpy as np
import daskgnn
rng = np.random.default_rng(0)
nodes = rng.permutation(20_000)
daskgnn.from_edge_index(
    rng.integers(0, len(nodes), (2, 5 * len(nodes))),
    features=rng.normal(size=(len(nodes), 128)).astype(np.float32),
    labels=rng.integers(0, 40, len(nodes)),
    train=np.sort(nodes[:12_000]),
    val=np.sort(nodes[12_000:16_000]),
    test=np.sort(nodes[16_000:]),
).partition(64).save(sys.argv[1])
"""


def training(table: dict[str, Any]) -> Figures:
    """Read what ``training.py`` measured."""
    (sides,) = table["runs"].values()
    names = {"daskgnn": "float32", "daskgnn-half": "half precision"}
    found: Figures = {}
    for side, (run,) in sides.items():
        what = f"training, {names[side]}"
        found[f"{what}, seeds/s"] = run["seeds_per_second"], True
        found[f"{what}, peak MB of a worker"] = run["peak_mb"], False
    return found


def step_latency(table: dict[str, Any]) -> Figures:
    """Read what ``step_latency.py`` measured."""
    return {
        f"step as {row['form']}, {name}": (row[name], False)
        for row in table["rows"]
        for name in ("ms a step", "engine ms")
    }


def sampler(table: dict[str, Any]) -> Figures:
    """Read what ``sampler.py`` measured, with freed memory kept."""
    return {
        f"sampler {row['fan-outs']}, {row['graph']}, M edges/s": (
            row["daskgnn M edges/s"],
            True,
        )
        for row in table["rows"]
        if row["malloc"] == "kept"
    }


def cora(side: str, folder: Path, *, small: bool) -> Figures:
    """Time the command from its start to its end."""
    tree, python = tree_of(side, folder)
    env = {**os.environ, "PYTHONPATH": str(tree)}
    found: Figures = {}
    for workers in (0, 2):
        seconds = stages(3 if small else 50, workers, python, env)["in all"]
        found[f"daskgnn train cora --workers {workers}, s"] = seconds, False
    return found


SCRIPTS: dict[str, Callable[[dict[str, Any]], Figures]] = {
    "training": training,
    "step_latency": step_latency,
    "sampler": sampler,
}


def words_of(store: str, *, small: bool) -> dict[str, list[str]]:
    """Return the options of each script."""
    few = ["--steps", "8", "--warm-up", "4"] if small else []
    sides = ["--sides", "daskgnn,daskgnn-half"]
    return {
        "training": [*sides, "--store", store, "--malloc", "as shipped", *few],
        "step_latency": [],
        "sampler": ["--store", store],
    }


def run(
    script: str, words: list[str], side: str, folder: Path, repeats: int
) -> Figures:
    """Run a side's own copy of a benchmark once; return its figures."""
    tree, python = tree_of(side, folder)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "table.json"
        command = [python, str(tree / "benchmarks" / f"{script}.py"), *words]
        command += ["--repeats", str(repeats), "--json", str(out)]
        done = subprocess.run(
            command,
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not out.exists():
            said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
            raise SystemExit(f"{script}.py failed on the side {side!r}: {said[-1]}")
        return SCRIPTS[script](json.loads(out.read_text()))


def make_store(folder: Path, *, small: bool) -> str:
    """Return the path of the store that both sides open; the base makes it."""
    tree, python = tree_of("base", folder)
    path = folder / "speed" / ("small.zarr" if small else "arxiv.zarr")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(".part")
        how = ["-c", SMALL_STORE]
        if not small:
            how = [str(tree / "benchmarks" / "workloads.py"), "make", "arxiv"]
        env = {**os.environ, "PYTHONPATH": str(tree)}
        subprocess.run([python, *how, str(made)], env=env, check=True)
        made.rename(path)
    return str(path)


def described() -> str:
    """Return what git calls this checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def rows_of(pairs: list[dict[str, Figures]]) -> list[dict[str, Any]]:
    """Return a line for each quantity: medians, ratios of speed, spread."""
    rows = []
    for name, (_, more_is_better) in pairs[0]["base"].items():
        if any(name not in figures for pair in pairs for figures in pair.values()):
            raise SystemExit(f"{name!r} was not measured on both sides")
        base, this = (
            np.array([pair[side][name][0] for pair in pairs]) for side in SIDES
        )
        ratios = this / base if more_is_better else base / this
        median = float(np.median(ratios))
        slower = median < ENOUGH and float(ratios.max()) < 1
        rows.append(
            {
                "quantity": name,
                "base": float(np.median(base)),
                "this": float(np.median(this)),
                "ratio": f"{median:.3f}",
                "from": f"{ratios.min():.3f}",
                "to": f"{ratios.max():.3f}",
                "": "slower" if slower else "",
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", help=f"of {','.join(SCRIPTS)},cora")
    parser.add_argument(
        "--small", action="store_true", help="to try it, not to measure"
    )
    parser.add_argument("--json")
    args = parser.parse_args()
    known = [*SCRIPTS, "cora"]
    chosen = args.only.split(",") if args.only else list(known)
    if unknown := set(chosen).difference(known):
        raise SystemExit(f"--only {unknown.pop()}: expected {', '.join(known)}")
    notes = []
    if "cora" in chosen and not os.environ.get("DASKGNN_DATA_DIR"):
        chosen.remove("cora")
        notes.append("Cora is not measured: DASKGNN_DATA_DIR does not say where it is")
    commit, folder = checkout(args.base)
    store = "" if chosen == ["cora"] else make_store(folder, small=args.small)
    words = words_of(store, small=args.small)

    def measure(side: str, script: str) -> Figures:
        if script == "cora":
            return cora(side, folder, small=args.small)
        repeats = 3 if script == "sampler" and not args.small else 1
        return run(script, words[script], side, folder, repeats)

    pairs: list[dict[str, Figures]] = []
    for number in range(args.pairs):
        pairs.append({side: {} for side in SIDES})
        for script in chosen:
            for side in SIDES:
                pairs[-1][side] |= measure(side, script)
                print(
                    f"{number + 1} of {args.pairs}: {script}, {side}", file=sys.stderr
                )
    rows = rows_of(pairs)
    shape = "a small graph, to try it" if args.small else "arxiv shape"
    notes += [
        f"base {commit[:12]}, this {described()}, {shape}",
        f"medians of {args.pairs} pairs, alternating; ratio: of a pair's speeds, "
        "this to base (of memory and time: base to this), and the pairs' range",
    ]
    show(
        "before and after",
        rows,
        args.json,
        notes=notes,
        markdown=True,
        extra={"pairs": pairs},
    )
    if any(row[""] for row in rows) and not args.small:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
