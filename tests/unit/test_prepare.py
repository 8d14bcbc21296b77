"""Preparing out of core makes the store that a graph in memory makes, whatever dies."""

import errno
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from preparing import assert_same_store, edge_list
from training import mostly_slow, run_forked

from daskgnn.errors import GraphFormatError, PartitionError, StoreError
from daskgnn.graph.datasets.synthetic import Synthetic
from daskgnn.graph.edges.assemble import Spool, spools_in
from daskgnn.graph.opening import open_graph
from daskgnn.graph.readers.memory import from_edge_index
from daskgnn.graph.readers.open_file import read_graph
from daskgnn.graph.validate import validate
from daskgnn.prepare import pieces, rowfiles, rowstage
from daskgnn.prepare.stages import _plain, fitting_method, prepare


@pytest.fixture
def small_chunks(monkeypatch):
    """Buckets that do not fit and are sorted in pieces, many of them."""
    monkeypatch.setattr(rowstage, "sort_budget", lambda *_: 1 << 12)
    monkeypatch.setattr(rowstage, "BUCKETS_IN_BUDGET", 0.5)
    monkeypatch.setattr(rowfiles, "_LEAST_STEP", 64)


KINDS = [
    (directed, loops, weight)
    for directed in (False, True)
    for loops in ("drop", "keep")
    for weight in (None, "weight")
]


@pytest.mark.parametrize(
    ("directed", "loops", "weight"),
    mostly_slow(KINDS, (False, "keep", "weight"), (True, "drop", None)),
)
def test_the_store_is_that_of_a_graph_in_memory(
    tmp_path, small_chunks, directed, loops, weight
):
    file = edge_list(tmp_path / "edges.csv.gz")
    options = {"directed": directed, "self_loops": loops, "weight": weight}
    read_graph(file, **options).partition(8, "metis").save(tmp_path / "memory.zarr")
    prepare(
        file,
        tmp_path / "files.zarr",
        method="metis",
        num_clusters=8,
        memory_limit="64 MiB",
        **options,
    )
    assert_same_store(tmp_path / "files.zarr", tmp_path / "memory.zarr")
    assert validate(tmp_path / "files.zarr")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "edges.csv.gz",
        "files.zarr",
        "memory.zarr",
    ]


IDS = [str, lambda n: f"node {n}", lambda n: -(10**9) * n]


@pytest.mark.parametrize("ids", mostly_slow(IDS, IDS[1]))
def test_ids_and_tables_of_nodes_are_kept(tmp_path, ids):
    file = edge_list(tmp_path / "edges.csv", ids=ids)
    rng = np.random.default_rng(3)
    table = tmp_path / "nodes.csv"
    rows = [f"{ids(n)},{n % 3},{n % 3 == 0:d},{rng.random():.4f}" for n in range(300)]
    table.write_text("id,label,train,x\n" + "\n".join(rows) + "\n")
    options = {"nodes": str(table), "features": ["x"], "labels": "label"}
    options |= {"num_classes": 3, "train": "train"}
    graph = read_graph(file, **options)
    graph.partition(4, "kaminpar").save(tmp_path / "memory.zarr")
    prepare(file, tmp_path / "files.zarr", method="kaminpar", num_clusters=4, **options)
    assert_same_store(tmp_path / "files.zarr", tmp_path / "memory.zarr")


DTYPES = ("float32", "float16", "bfloat16")
DRAWN = [(kind, dtype) for kind in ("planted", "rmat") for dtype in DTYPES]


@pytest.mark.parametrize(
    ("kind", "dtype"),
    mostly_slow(DRAWN, ("planted", "bfloat16"), ("rmat", "float32")),
)
def test_a_drawn_graph_is_stored_as_it_is_drawn(tmp_path, kind, dtype):
    drawn = Synthetic(kind, 512, 3000, 4, num_features=6, train=0.3, val=0.2, test=0)
    ends = np.stack(drawn.edges(0, 3000))
    graph = from_edge_index(
        ends,
        num_nodes=512,
        features=drawn.features()[:],
        labels=drawn.classes(np.arange(512)),
        num_classes=4,
        **drawn.splits(),
        name=kind,
        metric="accuracy",
    )
    graph.partition(8, "metis").save(tmp_path / "memory.zarr", feature_dtype=dtype)
    prepare(
        drawn,
        tmp_path / "files.zarr",
        method="metis",
        num_clusters=8,
        feature_dtype=dtype,
    )
    assert_same_store(tmp_path / "files.zarr", tmp_path / "memory.zarr")


KILLED = """
import os, signal, sys
from daskgnn.prepare import pieces
from daskgnn.prepare import rowfiles
from daskgnn.graph.datasets import synthetic
from daskgnn.prepare import workfolder
from daskgnn.graph.store import writer
from daskgnn.graph.datasets.synthetic import Synthetic
from daskgnn.prepare import stages as prepare
from daskgnn.prepare import rowstage

rowfiles.SAVE_SECONDS = 0
synthetic.CHUNK = rowstage.PIECE_EDGES = 1000
rowstage.BUCKETS_IN_BUDGET = 10000
where, times, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
places = {
    "fill": (pieces, "arrange"),
    "sort": (rowfiles, "_sort"),
    "state": (workfolder.WorkFolder, "save"),
    "partition": (prepare, "partition_graph"),
    "array": (writer, "_write_array"),
    "metadata": (writer, "_write_metadata"),
    "rename": (writer, "_put_in_place"),
    "remove": (workfolder.WorkFolder, "remove"),
    "never": (prepare, "default_clusters"),
}
owner, name = places[where]
real, calls = getattr(owner, name), 0

def counted(*args, **options):
    global calls
    calls += 1
    if calls == times:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)

setattr(owner, name, counted)
drawn = Synthetic("planted", 2000, 20000, 4, num_features=4)
prepare.prepare(drawn, out, method="metis", num_clusters=8, resume=True)
print(calls)
"""


def run_killed(where, times, out):
    """Prepare in a process that kills itself, or not."""
    return run_forked(KILLED, where, times, out)


@pytest.mark.chaos
def test_a_preparation_killed_at_any_stage_goes_on(tmp_path):
    whole = tmp_path / "whole.zarr"
    drawn = Synthetic("planted", 2000, 20000, 4, num_features=4)
    prepare(drawn, whole, method="metis", num_clusters=8)
    out = tmp_path / "killed.zarr"
    stops = [("fill", 3), ("fill", 4), ("sort", 1), ("sort", 3), ("state", 1)]
    stops += [("partition", 1), ("array", 2), ("metadata", 1), ("rename", 1)]
    for where, times in stops:
        done = run_killed(where, times, out)
        assert done.returncode == -signal.SIGKILL, (where, done.stderr)
        assert not out.exists()
        with pytest.raises(StoreError):
            open_graph(out)
    done = run_killed("never", 10**9, out)
    assert done.returncode == 0, done.stderr
    assert_same_store(out, whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed.zarr", "whole.zarr"]


def test_killed_between_the_store_and_the_end_nothing_is_lost(tmp_path):
    out = tmp_path / "killed.zarr"
    assert run_killed("remove", 1, out).returncode == -signal.SIGKILL
    assert open_graph(out).num_nodes == 2000
    assert run_killed("never", 10**9, out).returncode == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed.zarr"]


def test_resume_refuses_other_input_and_options(tmp_path):
    out = tmp_path / "x.zarr"
    assert run_killed("sort", 1, out).returncode == -signal.SIGKILL
    drawn = Synthetic("planted", 2000, 20001, 4, num_features=4)
    with pytest.raises(StoreError, match="begun with another input, num clusters:"):
        prepare(drawn, out, method="metis", num_clusters=9, resume=True)
    # Without resume it begins anew.
    prepare(drawn, out, method="metis", num_clusters=9)
    assert open_graph(out).num_clusters == 9


def test_what_another_version_began_is_not_continued(tmp_path):
    out = tmp_path / "x.zarr"
    assert run_killed("partition", 1, out).returncode == -signal.SIGKILL
    path = tmp_path / ".x.zarr.preparing" / "state.json"
    state = json.loads(path.read_text())
    del state["content"]["format of the working folder"]
    state |= state.pop("work")  # as it was before there was a format
    path.write_text(json.dumps(state))
    done = run_killed("never", 10**9, out)
    assert "begun with another format of the working folder" in done.stderr


def test_another_assignment_is_another_option():
    first = np.arange(10) % 3
    assert _plain(first) == _plain(first.copy())
    assert _plain(first) != _plain(first[::-1])


def test_edges_that_wait_lie_beside_what_is_prepared(tmp_path):
    spool = Spool(limit=0)
    with spools_in(tmp_path):
        spool.append(np.arange(3), np.arange(3))
    lies = os.readlink(f"/proc/self/fd/{spool._file.fileno()}")
    assert lies.startswith(str(tmp_path))


def test_two_preparations_of_one_store_do_not_meet(tmp_path):
    folder = tmp_path / ".x.zarr.preparing"
    folder.mkdir()
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'w');"
        "fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(folder / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(StoreError, match="another process prepares"):
            prepare(Synthetic("rmat", 64, 100), tmp_path / "x.zarr")
        other.kill()


def test_what_does_not_fit_is_said_before_anything_is_done(tmp_path):
    drawn = Synthetic("planted", 10**8, 10**9)
    with pytest.raises(GraphFormatError, match="100,000,000 nodes need"):
        prepare(drawn, tmp_path / "x.zarr", memory_limit="1 GiB")
    assert not any(tmp_path.iterdir())
    with pytest.raises(PartitionError, match="use method="):
        fitting_method("metis", 10**7, 10**8, 4 << 30)
    assert fitting_method("auto", 10**4, 10**5, 4 << 30) == "metis"
    assert fitting_method("auto", 10**8, 10**9, 1 << 30) == "range"


def test_a_full_disk_is_said_and_gone_on_from(tmp_path, monkeypatch):
    drawn = Synthetic("rmat", 64, 100)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pieces, "whole_file", full)
        with pytest.raises(StoreError, match=r"No space left.*with resume"):
            prepare(drawn, tmp_path / "x.zarr")
    prepare(drawn, tmp_path / "x.zarr", resume=True)
    assert [p.name for p in tmp_path.iterdir()] == ["x.zarr"]
    assert open_graph(tmp_path / "x.zarr").num_nodes == 64


def test_bad_input_leaves_nothing(tmp_path):
    file = tmp_path / "edges.csv"
    file.write_text("1,2\n3,x\n")
    with pytest.raises(GraphFormatError):
        prepare(file, tmp_path / "x.zarr", ids="keep")
    assert os.listdir(tmp_path) == ["edges.csv"]
