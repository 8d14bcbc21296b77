"""Install daskgnn in clean environments, and train: Python versions times torch minors.

An sdist is built, a wheel from it, and each environment is made of that wheel (or, with
--sdist, of the sdist) and what pip finds for it. There, a graph made of arrays and the
data set digits are trained on. A line for each says so, or why it could not be.

    python benchmarks/torch_versions.py [--python python3.11,python3.12,python3.13]
        [--torch 2.5,2.9,2.13] [--index URL | --without-cuda] [--sdist] [--json FILE]

--index is where pip finds the CPU builds of torch; others bring gigabytes of CUDA. With
--without-cuda these are left out of them, and only their CPU part is tried.
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

from without_cuda import leave_out_cuda

ROOT = Path(__file__).parents[1]
PYTHON, TORCH = "python3.11,python3.12,python3.13", "2.5,2.9,2.13"
BUILD = "from setuptools import build_meta; build_meta.build_sdist({!r})"
ARRAYS = """
import numpy as np, daskgnn
rng = np.random.default_rng(0)
edges, features = rng.integers(0, 60, (2, 300)), rng.random((60, 8))
graph = daskgnn.from_edge_index(edges, num_nodes=60, features=features,
    labels=rng.integers(0, 3, 60), train=np.arange(30), val=np.arange(30, 60))
graph = daskgnn.open_graph(graph.partition(4), num_parts=2)
model = daskgnn.nn.GraphSAGE(8, 8, 3)
daskgnn.Trainer(model, graph, num_neighbors=[3, 3], client=None).fit(2)
"""


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


def build(folder: Path) -> tuple[Path, Path]:
    """Return a wheel that was built from an sdist, and the sdist."""
    code = BUILD.format(str(folder))
    call(sys.executable, "-c", code, cwd=ROOT)
    (sdist,) = folder.glob("daskgnn-*.tar.gz")
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps")
    call(*pip, "--no-build-isolation", "-w", folder, sdist)
    (wheel,) = folder.glob("daskgnn-*.whl")
    return wheel, sdist


def tried(python: str, torch: str, package: Path, given: Any) -> dict[str, Any]:
    """Return what came of one environment."""
    row = {"python": python, "torch": torch, "trained": "no", "why": ""}
    program = shutil.which(python)
    if program is None:
        return row | {"why": "no such interpreter here"}
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder, "venv", "bin")
        try:
            call(program, "-m", "venv", inside.parent)
            install(inside / "python", torch, package, given)
            code = "import torch; print(torch.__version__)"
            row["torch"] = call(inside / "python", "-c", code).strip()
            call(inside / "python", "-c", ARRAYS, cwd=folder)
            words = ("train", "digits", "--workers", "2", "--num-parts", "2")
            call(
                *(inside / "daskgnn", *words, "--epochs", "2", "--out", "run"),
                cwd=folder,
            )
        except FailedError as error:
            return row | {"why": str(error)}
        told = json.loads(Path(folder, "run", "summary.json").read_text())
    return row | {"trained": "yes", "params": told["params_sha256"][:12]}


def install(python: Path, torch: str, package: Path, given: Any) -> None:
    """Install a torch, and daskgnn with what it requires."""
    pip = (python, "-m", "pip", "install", "-q")
    if given.without_cuda:
        call(*pip, "--no-deps", f"torch=={torch}.*")
        code = "import sysconfig; print(sysconfig.get_path('platlib'))"
        leave_out_cuda(Path(call(python, "-c", code).strip()))
    more = ["--extra-index-url", given.index] if given.index else []
    call(*pip, *more, f"{package}[datasets]", f"torch=={torch}.*")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default=PYTHON)
    parser.add_argument("--torch", default=TORCH)
    parser.add_argument("--index", help="where the CPU builds of torch are")
    parser.add_argument("--without-cuda", action="store_true", help="CPU part alone")
    parser.add_argument("--sdist", action="store_true", help="install the sdist")
    parser.add_argument("--json")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        wheel, sdist = build(Path(folder))
        package = sdist if given.sdist else wheel
        for python in given.python.split(","):
            for torch in given.torch.split(","):
                rows.append(tried(python, torch, package, given))
                print(json.dumps(rows[-1]), flush=True)
    if given.json:
        Path(given.json).write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
