"""One long id costs its own length, not that of all others."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest

import daskgnn
from daskgnn.graph.readers.edgelist import read_edge_list
from daskgnn.graph.readers.parquet import read_parquet

LONG = "x" * 20_000


def make(folder, form, count):
    ids = np.array([f"node {i}" for i in range(count)], object)
    ids[7] = LONG
    frame = pd.DataFrame({"source": ids, "target": np.roll(ids, 1)})
    path = folder / f"e.{form}"
    frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    nodes = pd.DataFrame({"id": ids, "x": range(count)})
    nodes.to_csv(folder / "n.csv", index=False)
    return path, ids


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_ids_take_their_bytes(form, tmp_path):
    path, ids = make(tmp_path, form, 2000)
    read = read_edge_list if form == "csv" else read_parquet
    for nodes in (None, tmp_path / "n.csv"):
        graph = read(path, memory_limit="1 MiB", nodes=nodes)
        assert sorted(graph.node_ids.tolist()) == sorted(ids)
        assert graph.node_ids.nbytes < 100 * len(ids)
    store = graph.partition(4, "hash").save(tmp_path / "g.zarr")
    opened = daskgnn.open_graph(store).node_ids()
    assert opened.tolist() == graph.node_ids.tolist()
    assert opened.nbytes < 100 * len(ids)


CODE = """
import resource, sys
from daskgnn.graph.readers.edgelist import read_edge_list
import pandas, pyarrow.csv, pyarrow.parquet
folder = sys.argv[1]
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_edge_list(folder + "/small.csv")
before = peak()
graph = read_edge_list(folder + "/e.csv", memory_limit="64 MiB", nodes=sys.argv[2])
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_stays_within_the_limit(tmp_path):
    make(tmp_path, "csv", 20_000)
    (tmp_path / "small.csv").write_text("a,b\nb,c\n")
    command = [sys.executable, "-c", CODE, str(tmp_path), f"{tmp_path}/n.csv"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 64 * 1024  # KiB


def test_a_long_class_among_labels_takes_its_bytes():
    labels = [f"class {i % 7}" for i in range(2000)]
    labels[5] = LONG
    edges = [[*range(1999)], [*range(1, 2000)]]
    tracemalloc.start()
    graph = daskgnn.from_edge_index(edges, labels=labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert graph.class_names[graph.labels[5]] == LONG
    assert peak < 8 << 20  # 160 MB, were each as wide as this one
