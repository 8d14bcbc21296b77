"""Install daskgnn in clean environments, and train: Python versions times torch minors.

An sdist is built, a wheel from it, and each environment is made of that wheel and what
pip finds for it. A line for each says what was trained, or why it could not be.

    python benchmarks/torch_versions.py [--python python3.11,python3.12,python3.13]
        [--torch 2.5,2.9,2.13] [--index URL] [--json FILE]

--index is where pip finds the CPU builds of torch; others bring gigabytes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PYTHON, TORCH = "python3.11,python3.12,python3.13", "2.5,2.9,2.13"
BUILD = "from setuptools import build_meta; build_meta.build_sdist({!r})"


class FailedError(Exception):
    """A command failed, with what it said last."""


def call(*words: Any, **how: Any) -> str:
    # A checkout on this path would count as installed.
    clean = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, words)),
        capture_output=True,
        text=True,
        check=False,
        env=clean,
        **how,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise FailedError(lines[-1])
    return done.stdout


def build(folder: Path) -> Path:
    """Return a wheel that was built from an sdist, and not from the checkout."""
    code = BUILD.format(str(folder))
    call(sys.executable, "-c", code, cwd=ROOT)
    (sdist,) = folder.glob("daskgnn-*.tar.gz")
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps")
    call(*pip, "--no-build-isolation", "-w", folder, sdist)
    (wheel,) = folder.glob("daskgnn-*.whl")
    return wheel


def tried(python: str, torch: str, wheel: Path, index: str | None) -> dict[str, Any]:
    """Return what came of one environment."""
    row = {"python": python, "torch": torch, "trained": "no", "why": ""}
    program = shutil.which(python)
    if program is None:
        return row | {"why": "no such interpreter here"}
    more = ["--extra-index-url", index] if index else []
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder, "venv", "bin")
        try:
            call(program, "-m", "venv", inside.parent)
            pip = (inside / "python", "-m", "pip", "install", "-q")
            call(*pip, *more, wheel, f"torch=={torch}.*")
            words = ("train", "digits", "--workers", "2", "--num-parts", "2")
            call(
                *(inside / "daskgnn", *words, "--epochs", "2", "--out", "run"),
                cwd=folder,
            )
        except FailedError as error:
            return row | {"why": str(error)}
        told = json.loads(Path(folder, "run", "summary.json").read_text())
    return row | {"trained": "yes", "why": "", "params": told["params_sha256"][:12]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default=PYTHON)
    parser.add_argument("--torch", default=TORCH)
    parser.add_argument("--index", help="where the CPU builds of torch are")
    parser.add_argument("--json")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        for python in given.python.split(","):
            for torch in given.torch.split(","):
                rows.append(tried(python, torch, wheel, given.index))
                print(json.dumps(rows[-1]), flush=True)
    if given.json:
        Path(given.json).write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
