"""Every source of one graph, in a table and a picture: ``sources.py compare``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import daskgnn

if TYPE_CHECKING:
    import argparse

BATCHES, WARM_UP = 40, 10


def compare(given: argparse.Namespace, folder: Path) -> list[dict]:
    """Measure every source; the same parameters must come of each."""
    import sources

    store = sources.stored(folder, sources.spec(given))
    with ExitStack() as servers:
        places = {"memory": sources.spec(given), "zarr": str(store)}
        places["zarr on s3"] = stored_on_s3(store, folder, servers)
        for scheme in ("ladybug", "duckdb"):
            places[scheme] = sources.loaded(store, scheme, links=scheme == "ladybug")
        server = servers.enter_context(sources.bolt_server())
        daskgnn.copy_graph(store, server.url, links=False, overwrite=True)
        places["bolt"] = server.url
        rows = [measured(name, place, folder) for name, place in places.items()]
    assert len({row.pop("params_sha256") for row in rows}) == 1, "other parameters"
    draw(rows, folder / "sources.png")
    return rows


def stored_on_s3(store: Path, folder: Path, servers: ExitStack) -> str:
    """Copy a store to a moto server, which is closed with `servers`."""
    import s3fs
    from objectstores import ObjectServer

    server = ObjectServer(folder)
    servers.callback(server.close)
    os.environ |= server.environment
    system = s3fs.S3FileSystem()
    system.mkdir("bucket")
    system.put(str(store), "bucket/g.zarr", recursive=True)
    return "s3://bucket/g.zarr"


def measured(name: str, place: str, folder: Path) -> dict:
    """Return a source's row: of a process that draws batches, and of a run."""
    import sources

    drop_pages(place)
    words = [sys.executable, sources.__file__, "--tell", name, place]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    told = [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"]
    label = name.replace(" ", "-")
    (folder / f"latency-{label}.jsonl").write_text(
        "".join(f"{json.dumps(line)}\n" for line in told)
    )
    facts = told[0]
    row = {"source": name, "start_up_s": facts["start_up_s"]}
    row["process_MB"] = told[-1]["peak_MB"]
    for state in ("cold", "warm"):
        ms = [line["ms"] for line in told if line.get("state") == state]
        row |= {
            f"{state}_p{q}_ms": round(float(np.percentile(ms, q)), 1)
            for q in (50, 95, 99)
        }
    cut = sources.CUT if name == "memory" else {}
    run = folder / f"run-{label}-{os.getpid()}"
    return row | sources.trained(place, run, **cut)


def drop_pages(place: str) -> None:
    """Have the system forget what it keeps of files, so that they are read anew."""
    path = Path(place.rpartition(":")[2])
    for file in path.rglob("*") if path.is_dir() else [path] * path.is_file():
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def tell_source(name: str, place: str) -> None:
    """Print what a process measures that draws batches, a JSON object a line.

    A batch is cold if no row of it was read before: of a database, its caches are
    empty. The first batch of all, which compiles, is not told of.
    """
    import sources
    from source_batches import SEEDS, Sampled

    before = peak_memory()
    begun = time.perf_counter()
    if name == "memory":
        data = daskgnn.load_dataset(place)
        cut = data.partition(sources.CUT["num_clusters"], method=sources.CUT["method"])
        sampled = Sampled(cut, name)
    else:
        sampled = Sampled(place, name)
    start_up = time.perf_counter() - begun
    print(json.dumps({"source": name, "start_up_s": round(start_up, 2)}))
    rng = np.random.default_rng(0)
    for number in range(2 * BATCHES + WARM_UP + 1):
        seeds = np.sort(rng.choice(sampled.train, SEEDS, replace=False))
        cold = number <= BATCHES
        if cold and sampled.on_demand:
            vars(sampled.source.arrays).pop("caches", None)
        begun = time.perf_counter()
        nodes = sampled.batch(seeds, number)
        line = {"state": "cold" if cold else "warm", "number": number, "nodes": nodes}
        if number and not BATCHES < number <= BATCHES + WARM_UP:
            line["ms"] = round(1e3 * (time.perf_counter() - begun), 2)
            print(json.dumps(line))
    peak = (peak_memory() - before) / 1e6
    print(json.dumps({"source": name, "peak_MB": round(peak)}))


def peak_memory() -> int:
    """Return the most bytes that this process has held."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def draw(rows: list[dict], path: Path) -> None:
    """Draw latency, throughput and memory of the sources side by side."""
    from matplotlib.figure import Figure

    names = [row["source"] for row in rows]
    figure = Figure((11, 3.6), layout="constrained")
    latency, speed, memory = figure.subplots(1, 3, sharey=True)
    y = np.arange(len(rows))
    for state, shift, colour in (("cold", -0.2, "#1f5fa8"), ("warm", 0.2, "#d9730d")):
        middle = [row[f"{state}_p50_ms"] for row in rows]
        most = [row[f"{state}_p99_ms"] for row in rows]
        latency.barh(y + shift, middle, 0.38, color=colour, label=f"{state}, median")
        latency.plot(most, y + shift, "|", color="#222222")
        name = "seeds_per_s_first" if state == "cold" else "seeds_per_s"
        told = "first epoch" if state == "cold" else "later"
        values = [row[name] for row in rows]
        speed.barh(y + shift, values, 0.38, color=colour, label=told)
    memory.barh(y, [row["worker_MB"] for row in rows], 0.6, color="#2e8b57")
    latency.set(xscale="log", yticks=y, yticklabels=names)
    latency.set_xlabel("ms a batch (line: 99th percentile)")
    latency.invert_yaxis()
    speed.set_xlabel("training, seeds per second")
    memory.set_xlabel("a worker's memory, MB")
    for axes in (latency, speed):
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
