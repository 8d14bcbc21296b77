"""The memory of a step by sampler: measured, over what the memory plan expects.

    python benchmarks/step_memory.py [--graphs pubmed,amazon_photo,...] [--json FILE]

A step is that of one part, prepared: rows of features, edges, labels.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from typing import Any

from report import show
from sampler_accuracy import TEXTS, of_steps, trainer_of
from ways import ACCURACY, PARTS, stores

GRAPHS = ("cora", "pubmed", "amazon_photo", "coauthor_cs", "facebook_large")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--graphs", default=",".join(GRAPHS))
    parser.add_argument("--samplers", default=";".join(TEXTS), help="; between them")
    parser.add_argument("--json")
    given = parser.parse_args()
    cache = os.environ.get("DASKGNN_BENCH_DIR", "~/.cache/daskgnn-bench")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        found = list(stores(given.graphs.split(","), folder, cache))
        for text in given.samplers.split(";"):
            row: dict[str, Any] = {"sampler": text}
            for name, path in found:
                trainer = trainer_of(ACCURACY[name], path, text, 0)
                measured = of_steps(trainer)["step_bytes"] / PARTS
                row[name] = f"{measured / trainer.deployment.step_size.nbytes:.2f}"
            rows.append(row)
            print(row, flush=True)
    show("measured over planned bytes of a step", rows, given.json, markdown=True)


if __name__ == "__main__":
    main()
