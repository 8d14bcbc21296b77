"""A graph from nothing to trained parameters, stage by stage: time, memory, disk.

``python benchmarks/scale.py --nodes 1000000 --entries 10000000`` draws a planted graph
with shuffled ids, partitions it by its edges alone into 64 clusters, stores it with
half-precision features, opens it with two parts and trains 50 steps on two workers
whose memory limits together are below the size of the graph, features left on the disk.
Each stage's peak memory is that of all its processes together: anonymous and shared
pages by share (PSS); pages of files, which the system may drop, are not counted. Each
stage's disk is the most that the graph's folder took, with files that have no name any
more but are open.

``--sizes 1000000,10000000,100000000`` does so for each number of entries, with a tenth
as many nodes, and ``--plot`` draws seconds per million entries.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

FEATURES = 32
BATCH, STEPS, FAN_OUT = 1024, 50, (10, 5)
PREPARING = "edges to buckets", "buckets to rows", "partition", "rows to the store"
LEAST_LIMIT = 1_500_000_000
"""A worker's memory limit is not below this: the process itself takes a part of it."""


def prepare_graph(path, nodes, edges, given):
    """Draw, partition and store; print the name of each stage as it begins."""
    from daskgnn.graph.datasets.synthetic import Synthetic
    from daskgnn.prepare.stages import prepare

    drawn = Synthetic(
        "planted",
        nodes,
        edges,
        given.communities,
        num_features=FEATURES,
        train=min(BATCH * STEPS / nodes, 0.5),
        val=0.0,
        test=0.0,
    )
    prepare(
        drawn,
        path,
        method=given.method,
        num_clusters=given.clusters,
        feature_dtype="float16",
        memory_limit=given.memory_limit,
        resume=given.resume,
        tell=say,
    )
    say("done")


def train_graph(path, given):
    """Open the store with two parts and train; print the stages and what came of it."""
    import daskgnn
    from daskgnn.cluster.clusters import own_cluster
    from daskgnn.nn import GraphSAGE

    say("start workers")
    graph = daskgnn.open_graph(path, num_parts=2, features=given.features)
    limit = max(int(graph_bytes(graph) * 0.45), LEAST_LIMIT)
    with own_cluster(2, memory_limit=limit) as client:
        say("train")
        model = GraphSAGE(graph.num_features, 128, graph.num_classes, len(FAN_OUT))
        run = daskgnn.Trainer(
            model, graph, client=client, num_neighbors=list(FAN_OUT), batch_size=BATCH
        )
        epochs = max(round(STEPS * BATCH / len(graph.splits["train"])), 1)
        history = run.fit(epochs)
        say("stop")
    summary = {
        "graph_bytes": graph_bytes(graph),
        "worker_limit": limit,
        "limits_below_graph": 2 * limit < graph_bytes(graph),
        "steps": run.run_state.state.step,
        "loss": history.epochs[-1]["loss"],
        "edge_cut": graph.partitioner["edge_cut"],
        "entries": graph.num_edges,
        "method": graph.partitioner["method"],
        "params_sha256": run.params_sha256,
    }
    say("done", **summary)


def graph_bytes(graph):
    """Return the bytes of a graph's arrays in memory, features as they are stored."""
    features = graph.num_features * (4 if graph.feature_dtype == "float32" else 2)
    return graph.num_edges * 4 + graph.num_nodes * (8 + 8 + 8 + features)


def say(stage, **more):
    """Print that a stage begins."""
    print(json.dumps({"stage": stage, "at": time.monotonic(), **more}), flush=True)


class Watch(threading.Thread):
    """The peak memory of a process tree and the most that a folder takes, by stage."""

    def __init__(self, pid, folder):
        super().__init__(daemon=True)
        self.pid, self.folder, self.stage = pid, folder, "start"
        self.memory, self.disk, self.ended = {}, {}, threading.Event()

    def run(self):
        """Look several times a second; less often where a look takes long."""
        pause = 0.2
        while not self.ended.wait(pause):
            began = time.perf_counter()
            stage, memory = self.stage, tree_memory(self.pid)
            self.memory[stage] = max(self.memory.get(stage, 0), memory)
            taken = disk_of(self.folder) + unnamed_of(self.pid, self.folder)
            self.disk[stage] = max(self.disk.get(stage, 0), taken)
            pause = max(0.2, 20 * (time.perf_counter() - began))


def tree_of(pid):
    """Return the numbers of a process and its children."""
    try:
        own = psutil.Process(pid)
        return [pid, *(child.pid for child in own.children(recursive=True))]
    except psutil.Error:
        return []


def tree_memory(pid):
    """Return the bytes of a process and its children that are no pages of files."""
    total = 0
    for one in tree_of(pid):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        for name in ("Pss_Anon:", "Pss_Shmem:"):
            total += int(text.split(name)[1].split()[0]) * 1024
    return total


def disk_of(folder):
    """Return the bytes that a folder's files take."""
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.lstat(os.path.join(place, file)).st_blocks * 512
            except OSError:
                continue
    return total


def unnamed_of(pid, folder):
    """Return the bytes of a folder's removed files that a process tree holds open."""
    found, disk = {}, os.stat(folder).st_dev
    for one in tree_of(pid):
        for handle in Path(f"/proc/{one}/fd").glob("*"):
            try:
                facts = handle.stat()
            except OSError:
                continue
            if facts.st_dev == disk and facts.st_nlink == 0:
                found[facts.st_ino] = facts.st_blocks * 512
    return sum(found.values())


def run_stages(words, folder):
    """Run this script's part in a process; return the stages' records and its words."""
    command = [sys.executable, __file__, *words]
    env = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as child:
        watch = Watch(child.pid, folder)
        watch.start()
        said = []
        for line in child.stdout:
            if line.startswith("{"):
                said.append(json.loads(line))
                watch.stage = said[-1]["stage"]
    watch.ended.set()
    watch.join()
    if child.returncode:
        raise SystemExit(f"{' '.join(words)} ended with status {child.returncode}")
    records = [
        {
            "stage": this["stage"],
            "seconds": following["at"] - this["at"],
            "peak_bytes": watch.memory.get(this["stage"], 0),
            "disk_bytes": watch.disk.get(this["stage"], 0),
        }
        for this, following in itertools.pairwise(said)
    ]
    return records, said[-1]


def measure(nodes, entries, given):
    """Measure one size; return its record."""
    folder = Path(given.keep or tempfile.mkdtemp(prefix="scale-", dir=given.folder))
    folder.mkdir(exist_ok=True)
    store, known = str(folder / "graph.zarr"), folder / "stages.json"
    shared = ["--method", given.method, "--clusters", str(given.clusters)]
    shared += ["--communities", str(given.communities), "--features", given.features]
    shared += ["--memory-limit", given.memory_limit, "--nodes", str(nodes)]
    shared += ["--entries", str(entries), "--path", store]
    try:
        if known.exists():
            stages = json.loads(known.read_text())
        else:
            stages, _ = run_stages(["--part", "prepare", *shared], folder)
            known.write_text(json.dumps(stages))
        trained, facts = run_stages(["--part", "train", *shared], folder)
        size = disk_of(store)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    facts = {k: v for k, v in facts.items() if k not in ("stage", "at")}
    record = {"nodes": nodes, "asked_entries": entries, "store_bytes": size, **facts}
    return record | {"stages": stages + trained}


def table(record):
    """Return a record as lines."""
    lines = [
        f"{record['nodes']:,} nodes, {record['entries']:,} entries, graph "
        f"{record['graph_bytes'] / 1e9:.2f} GB, "
        f"store {record['store_bytes'] / 1e9:.2f} GB, "
        f"cut {record['edge_cut']:.3f} by {record['method']}, {record['steps']} "
        f"steps to loss {record['loss']:.3f}; two workers of "
        f"{record['worker_limit'] / 1e9:.2f} GB, together "
        + ("below" if record["limits_below_graph"] else "NOT below")
        + " the graph's size",
        "| stage | seconds | peak memory, MB | disk, MB |",
        "| --- | --- | --- | --- |",
    ]
    rows = [*record["stages"], total(record["stages"])]
    lines += [
        f"| {row['stage']} | {row['seconds']:.1f} | {row['peak_bytes'] / 1e6:,.0f} | "
        f"{row['disk_bytes'] / 1e6:,.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def total(stages):
    """Return the sum of times and the largest of the rest."""
    return {
        "stage": "all",
        "seconds": sum(row["seconds"] for row in stages),
        "peak_bytes": max(row["peak_bytes"] for row in stages),
        "disk_bytes": max(row["disk_bytes"] for row in stages),
    }


def stages_of(record, names):
    """Return the seconds of some stages."""
    return sum(row["seconds"] for row in record["stages"] if row["stage"] in names)


def draw(records, path):
    """Draw seconds per million entries, of each stage and of all until the store."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    sizes = [record["entries"] for record in records]
    for i, stage in enumerate([s["stage"] for s in records[0]["stages"]]):
        seconds = [record["stages"][i]["seconds"] for record in records]
        if max(seconds) >= 1:  # the others would stretch the axis
            each = [s / n * 1e6 for s, n in zip(seconds, sizes, strict=True)]
            axes.plot(sizes, each, marker="o", label=stage)
    preparing = [stages_of(record, PREPARING) / record["entries"] for record in records]
    per_million = [seconds * 1e6 for seconds in preparing]
    axes.plot(sizes, per_million, marker="s", color="black", label="all to the store")
    axes.set(xscale="log", yscale="log", xlabel="entries")
    axes.set_ylabel("seconds per million entries")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main():
    """Measure the sizes asked for, and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--sizes", help="Entries; a tenth as many nodes: 1000000,...")
    parser.add_argument("--clusters", type=int, default=64)
    parser.add_argument("--communities", type=int, default=64)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--features", default="disk", choices=["disk", "memory"])
    parser.add_argument("--memory-limit", default="14 GB", help="Of preparing.")
    parser.add_argument("--folder", help="Where files go: there must be room.")
    parser.add_argument(
        "--keep", help="A folder: the store stays there, and is used the next time."
    )
    parser.add_argument("--json")
    parser.add_argument("--plot")
    parser.add_argument("--beside", help="Sizes of an earlier --json, for --plot.")
    parser.add_argument("--part", choices=["prepare", "train"], help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part == "prepare":
        prepare_graph(given.path, given.nodes, given.entries // 2, given)
    elif given.part == "train":
        train_graph(given.path, given)
    else:
        sizes = [(given.nodes, given.entries)]
        if given.sizes:
            sizes = [(int(s) // 10, int(s)) for s in given.sizes.split(",")]
        records = []
        for nodes, entries in sizes:
            records.append(measure(nodes, entries, given))
            print(table(records[-1]), flush=True)
            if given.json:
                Path(given.json).write_text(json.dumps(records, indent=1))
        if given.plot:
            beside = json.loads(Path(given.beside).read_text()) if given.beside else []
            draw([*records, *beside], given.plot)


if __name__ == "__main__":
    main()
