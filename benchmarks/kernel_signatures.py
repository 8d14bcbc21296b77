"""Record what most runs call kernels with: ``daskgnn/kernels/signatures.json``.

Some small runs train in this process, with an empty cache of compiled kernels, and it
is written down which kernels are compiled, and for which types.

    python benchmarks/kernel_signatures.py [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from numba.core import event

RUNS: tuple[dict[str, Any], ...] = (
    {"graph": "digits"},
    {"graph": "karate", "sparse_features": True},
    {"graph": "digits", "num_parts": 1},
)


class Recorder(event.Listener):
    """Takes note of every kernel that is compiled, those that others call included."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Any]] = {}
        self.cost: dict[str, float] = {}
        """Seconds of a kernel alone."""
        self.level: dict[str, int] = {}
        """How deep the calls of other kernels go in it."""
        self._open: list[list[float]] = []

    def on_start(self, event: Any) -> None:
        """Begin with a kernel."""
        self._open.append([time.perf_counter(), 0.0, 0])

    def on_end(self, event: Any) -> None:
        """Write down what was compiled."""
        began, within, level = self._open.pop()
        took = time.perf_counter() - began
        function, level = event.data["dispatcher"].py_func, int(level)
        own = function.__module__.startswith("daskgnn.")
        if self._open:
            outer = self._open[-1]
            outer[1] += took
            outer[2] = max(outer[2], level + own)
        given = _written(event.data["args"])
        if not own or given is None or "<" in function.__qualname__:
            return
        name = f"{function.__module__}.{function.__qualname__}"
        known = self.calls.setdefault(name, [])
        if given not in known:
            known.append(given)
        self.cost[name] = self.cost.get(name, 0.0) + took - within
        self.level[name] = max(level, self.level.get(name, 0))


def _written(args: Any) -> list[Any] | None:
    from daskgnn.kernels.compiling import written_type

    try:
        return [written_type(kind) for kind in args]
    except ValueError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out")
    args = parser.parse_args()
    seen = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DASKGNN_CACHE_DIR"] = folder
        from daskgnn.kernels import compiling
        from daskgnn.train.run import train

        compiling.compile_ahead = lambda _told: None
        event.register("numba:compile", seen)
        for number, given in enumerate(RUNS):
            out = str(Path(folder, f"run-{number}"))
            train(
                {
                    "workers": 0,
                    "epochs": 2,
                    "num_parts": 2,
                    "dropout": 0.5,
                    **given,
                    "out": out,
                }
            )
    # Kernels that others call come before them, and by one of the last it is seen
    # whether all are done (`daskgnn.kernels.warmup`).
    order = sorted(seen.calls, key=lambda n: (seen.level[n], -seen.cost[n]))
    lines = [f"{json.dumps(name)}: {json.dumps(seen.calls[name])}" for name in order]
    written = "{\n" + ",\n".join(lines) + "\n}\n"
    Path(args.out or compiling.SIGNATURES).write_text(written)
    print(f"{len(order)} kernels")


if __name__ == "__main__":
    main()
