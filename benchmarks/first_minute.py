"""What a first run waits for: imports, the first Trainer, a cluster, kernels, its end.

Each figure is of processes of their own, seconds on the wall, medians.

    python benchmarks/first_minute.py [--repeats 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from report import show

if TYPE_CHECKING:
    from collections.abc import Callable

CLOCK = "import time; began = time.perf_counter()\n"
TOLD = "\nprint(time.perf_counter() - began)"
STORE = "import sys, daskgnn\n"
STORE += "daskgnn.load_dataset('digits').partition().save(sys.argv[1])"
TRAINER = """
import sys, torch
began = time.perf_counter()
import daskgnn
graph = daskgnn.open_graph(sys.argv[1], num_parts=2)
model = daskgnn.nn.GraphSAGE(graph.num_features, 16, graph.num_classes)
daskgnn.Trainer(model, graph, num_neighbors=[10, 10])
"""
CLUSTER = """
import time
if __name__ == "__main__":
    began = time.perf_counter()
    from daskgnn.cluster.clusters import own_cluster
    with own_cluster(2):
        up = time.perf_counter()
        print(up - began)
        up = time.perf_counter()
    print(time.perf_counter() - up)
"""
ONE_BY_ONE = """
from daskgnn.kernels import compiling
for name in compiling._recorded():
    compiling.compile_kernel(name)
"""
AT_ONCE = """
from daskgnn.kernels.compiling import compile_ahead
compile_ahead(lambda done, total: None)
"""


def seconds(code: str, *words: str, cache: str | None = None) -> list[float]:
    """Run code that prints seconds in a process of its own; return them."""
    env = {**os.environ, **({"DASKGNN_CACHE_DIR": cache} if cache else {})}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "code.py")
        script.write_text(code)
        command = [sys.executable, str(script), *words]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=env
        )
    return [float(line) for line in done.stdout.split()]


def compiled(code: str) -> list[float]:
    """Time a way to compile all recorded kernels, from an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        return seconds(f"{CLOCK}{code}{TOLD}", cache=cache)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder, "graph.zarr"))
        subprocess.run([sys.executable, "-c", STORE, store], check=True)
        ways: dict[str, Callable[[], list[float]]] = {
            "import torch": lambda: seconds(f"{CLOCK}import torch{TOLD}"),
            "import daskgnn": lambda: seconds(f"{CLOCK}import daskgnn{TOLD}"),
            "the first Trainer, beyond import torch": lambda: seconds(
                f"import time{TRAINER}{TOLD}", store
            ),
            "own cluster of 2 up|and down": lambda: seconds(CLUSTER),
            "kernels, one after the other": lambda: compiled(ONE_BY_ONE),
            "kernels, on all processors": lambda: compiled(AT_ONCE),
        }
        rounds = [
            {name: way() for name, way in ways.items()} for _ in range(args.repeats)
        ]
    rows = []
    for name in ways:
        for number, what in enumerate(name.split("|")):
            found = [taken[name][number] for taken in rounds]
            rows.append(
                {
                    "what": what,
                    "seconds": f"{median(found):.2f}",
                    "from": f"{min(found):.2f}",
                    "to": f"{max(found):.2f}",
                }
            )
    title = f"The first minute, medians of {args.repeats}"
    show(title, rows, args.json, extra={"rounds": rounds}, markdown=True)


if __name__ == "__main__":
    main()
