"""Whether this checkout gives the same bits as another commit: all of them, or exit 1.

The base commit is built in a git worktree with an environment of its own, both kept in
runs/golden for the next time. The trainings of `golden_cases.py` run on both sides, on
this machine: parameters, the losses of all steps, scores and predictions must be equal.
Places of a case must be equal among each other as well, and what the base left when it
was stopped must go on here to the base's own end.

    python benchmarks/golden.py BASE [--only PATTERN] [--sides this] [--json FILE]
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from golden_cases import CASES, GRAPHS, HERE, Case
from report import machine, show

ROOT = Path(__file__).resolve().parents[1]
SIDES = ("base", "this")
COMPARISONS = ("against base", "among places")
"""Columns: this side with the base, and a case's places with its first one."""
Results = dict[tuple[str, str], dict[str, Any]]


def checkout(base: str) -> tuple[str, Path]:
    """Return a commit's hash, and the folder that holds it with its environment.

    Both are made on first need.
    """
    asked = ["git", "rev-parse", "--verify", "--quiet", f"{base}^{{commit}}"]
    found = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        raise SystemExit(f"golden: {base!r} is no commit: give BASE=<commit>")
    commit = found.stdout.strip()
    folder = ROOT / "runs" / "golden" / commit[:12]
    tree = folder / "tree"
    quiet = {"cwd": ROOT, "check": True, "stdout": sys.stderr}
    if not (tree / "Makefile").exists():
        subprocess.run(["git", "worktree", "prune"], **quiet)
        made = ["git", "worktree", "add", "--force", "--detach", str(tree), commit]
        subprocess.run(made, **quiet)
    # The variables of a `make` that runs this are not the base's.
    plain = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    install = ["make", "--silent", ".venv/.test", f"PYTHON={sys.executable}"]
    subprocess.run(install, **{**quiet, "cwd": tree}, env=plain)
    return commit, folder


def tree_of(side: str, folder: Path) -> tuple[Path, str]:
    """Return a side's checkout and its Python."""
    if side == "this":
        return ROOT, sys.executable
    return folder / "tree", str(folder / "tree" / ".venv" / "bin" / "python")


def environment(tree: Path) -> dict[str, str]:
    """Return what a side's processes run with: its package, then these scripts."""
    path = os.pathsep.join([str(tree), str(Path(__file__).parent)])
    return {**os.environ, "PYTHONPATH": path}


def run_side(side: str, folder: Path, names: list[str]) -> tuple[dict, Results]:
    """Run the named cases on one side; return its machine and what they gave."""
    tree, python = tree_of(side, folder)
    work = folder / side
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    command = [python, str(ROOT / "benchmarks" / "golden_side.py")]
    command += ["--tree", str(tree), "--work", str(work), "--cases", json.dumps(names)]
    command += ["--arrays", str(folder / "arrays")]
    if side == "this" and (folder / "base").exists():
        command += ["--old", str(folder / "base")]
    results: Results = {}
    about: dict[str, Any] = {}
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=work, env=environment(tree), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            found = json.loads(line)
            if "machine" in found:
                about = found["machine"]
                continue
            results[found["case"], found["place"]] = found
            took = time.perf_counter() - began
            print(
                f"{took:5.0f} s {side}: {found['case']}: {found['place']}",
                file=sys.stderr,
            )
    if process.returncode:
        raise SystemExit(f"golden: the side {side!r} ended with {process.returncode}")
    return about, results


def write_graphs(folder: Path) -> None:
    """Write the graphs, which both sides read."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in GRAPHS.items():
        np.savez(folder / f"{name}.npz", **make())


def difference(
    one: dict[str, Any], other: dict[str, Any], *, common: bool = False
) -> str:
    """Say what differs between two runs; "" if nothing does.

    Parameters
    ----------
    one, other
        Whatever `other` has beyond `one` is new, and no difference.
    common
        Whether only the steps and epochs that both have count.
    """
    failed = [run["error"] for run in (one, other) if "error" in run]
    if failed:
        return failed[0]
    said = []
    for name in ("losses", "epochs", "scores"):
        mine, theirs = one[name], other[name]
        at = [k for k in mine if k in theirs or not common]
        wrong = [k for k in at if not _agree(mine[k], theirs.get(k))]
        if wrong:
            k = wrong[0]
            said.append(f"{name} from {k}: {_clash(mine[k], theirs.get(k))}")
    for name in ("params_sha256", "predictions"):
        if one.get(name) != other.get(name):
            said.append(name)
    return "; ".join(said)


def _clash(mine: Any, theirs: Any) -> str:
    """Return two values that differ; of records, the entries that do."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        wrong = [k for k, v in mine.items() if not _agree(v, theirs.get(k))]
        return ", ".join(f"{k} {mine[k]} / {theirs.get(k)}" for k in wrong)
    return f"{mine} / {theirs}"


def _agree(mine: Any, theirs: Any) -> bool:
    """Whether values are equal, NaN to NaN; of a record the base's entries count."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return all(k in theirs and _agree(v, theirs[k]) for k, v in mine.items())
    return json.dumps(mine) == json.dumps(theirs)


def row_of(case: Case, place: str, sides: dict[str, Results]) -> dict[str, Any]:
    """Return a run's line of the table."""
    row: dict[str, Any] = {"case": case.name, "where": place}
    runs = {side: found.get((case.name, place)) for side, found in sides.items()}
    old = place.endswith("old")
    if old and "base" in sides:
        runs["base"] = sides["base"].get((case.name, place.replace("old", "stop")))
    for side, run in runs.items():
        row[f"{side} s"] = None if run is None else run["seconds"]
    row |= dict.fromkeys(COMPARISONS)
    missing = [side for side, run in runs.items() if run is None]
    failed = [
        f"{side}: {run['error']}"
        for side, run in runs.items()
        if run and "error" in run
    ]
    if missing or failed:
        return {**row, "against base": "; ".join(failed) or f"not run: {missing[0]}"}
    if case.timed:
        return {**row, "against base": "both ran"}
    if len(runs) == 2:
        found = difference(*(runs[side] for side in SIDES), common=old)
        row["against base"] = found or "equal"
    unlike, compared = [], False
    first = str((case.places or (HERE,))[0])
    like = (case.same_as, str(HERE)) if case.same_as else (case.name, first)
    for side, run in runs.items():
        other = sides[side].get(like)
        if other is not None and other is not run:
            compared = True
            found = difference(other, run, common=old)
            unlike += [f"{side}: {found}"] if found else []
    if compared:
        row["among places"] = "; ".join(unlike) or f"as {' '.join(like)}"
    return row


def is_wrong(row: dict[str, Any]) -> bool:
    """Whether a line tells of a difference."""
    base, among = row["against base"], row["among places"]
    return base not in (None, "equal", "both ran") or not (among or "as ").startswith(
        "as "
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--only", help="names of cases, as in 'async*'")
    parser.add_argument(
        "--sides", default="base,this", help="to run only one, for debugging"
    )
    parser.add_argument("--json")
    args = parser.parse_args()
    names = [c.name for c in CASES if fnmatch.fnmatch(c.name, args.only or "*")]
    if not names:
        raise SystemExit(f"golden: no case is called {args.only!r}")
    chosen = [side for side in SIDES if side in args.sides.split(",")]
    commit, folder = checkout(args.base)
    write_graphs(folder / "arrays")
    began = time.perf_counter()
    ran = {side: run_side(side, folder, names) for side in chosen}
    sides = {side: results for side, (_, results) in ran.items()}
    keys = dict.fromkeys(key for results in reversed(sides.values()) for key in results)
    known = {case.name: case for case in CASES}
    rows = [row_of(known[name], place, sides) for name, place in keys]
    rows.sort(key=lambda row: names.index(row["case"]))
    wrong = [row for row in rows if is_wrong(row)]
    notes = [
        f"base {commit[:12]}, {len(names)} cases, {len(rows)} runs a side, "
        f"{time.perf_counter() - began:.0f} s: "
        + (f"{len(wrong)} differ" if wrong else "all equal")
    ]
    others = [about for about, _ in ran.values() if about != machine()]
    notes += [f"another side ran with {about}" for about in others]
    for row in wrong:
        where = f"{row['case']}, {row['where']}"
        said = [f"{name}: {row[name]}" for name in COMPARISONS if row[name]]
        notes.append(f"{where}: {'; '.join(said)}")
    rows = [{k: _clipped(v) for k, v in row.items()} for row in rows]
    title = f"{' and '.join(chosen)}: parameters, losses, scores, predictions"
    show(title, rows, args.json, notes=notes, extra={"runs": _listed(sides)})
    if wrong:
        raise SystemExit(1)


def _clipped(cell: Any) -> Any:
    """Return what a table has room for: the notes have the rest."""
    return f"{cell[:40]}..." if isinstance(cell, str) and len(cell) > 43 else cell


def _listed(sides: dict[str, Results]) -> dict[str, list[dict[str, Any]]]:
    """Return all results as the JSON file has them."""
    return {side: list(results.values()) for side, results in sides.items()}


if __name__ == "__main__":
    main()
