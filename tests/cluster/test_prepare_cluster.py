"""Preparing out of core by a cluster's tasks makes the store of one process."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from preparing import assert_same_store, edge_list
from training import mostly_slow

from daskgnn.cli import main
from daskgnn.cluster.clusters import own_cluster
from daskgnn.errors import ClusterError, GraphFormatError, StoreError
from daskgnn.graph.datasets.synthetic import Synthetic
from daskgnn.graph.opening import open_graph
from daskgnn.prepare import pieces, rowstage
from daskgnn.prepare.stages import prepare


@pytest.fixture(scope="module")
def client():
    with own_cluster(2, memory_limit=0) as found:
        yield found


def make_tasks_small(monkeypatch):
    """Many pieces, many buckets, several chunks of an array."""
    monkeypatch.setattr(rowstage, "PIECE_EDGES", 500)
    monkeypatch.setattr(rowstage, "sort_budget", lambda *_: 1 << 14)
    monkeypatch.setattr("daskgnn.graph.store.writer.CHUNK_BYTES", 4096)


@pytest.fixture
def small_tasks(monkeypatch):
    make_tasks_small(monkeypatch)


def drawn_graph(num_edges=6000):
    return Synthetic("planted", 512, num_edges, 4, num_features=6, train=0.3)


@pytest.mark.parametrize(("directed", "weight"), [(False, "weight"), (True, None)])
def test_a_file_becomes_the_same_store(tmp_path, client, small_tasks, directed, weight):
    files = [edge_list(tmp_path / f"edges-{i}.csv", seed=i) for i in range(3)]
    options = {"directed": directed, "weight": weight, "self_loops": "keep"}
    options |= {"num_clusters": 8, "memory_limit": "4 MiB"}
    here, there = tmp_path / "here.zarr", tmp_path / "there.zarr"
    prepare(files, here, **options)
    prepare(files, there, client=client, **options)
    assert_same_store(there, here)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("dtype", mostly_slow(["float32", "bfloat16"], "bfloat16"))
def test_a_drawn_graph_becomes_the_same_store(tmp_path, client, small_tasks, dtype):
    options = {"num_clusters": 8, "feature_dtype": dtype}
    prepare(drawn_graph(), tmp_path / "here.zarr", **options)
    prepare(drawn_graph(), tmp_path / "there.zarr", client=client, **options)
    assert_same_store(tmp_path / "there.zarr", tmp_path / "here.zarr")


class Killing:
    """A progress bar that kills a worker in the middle of a stage."""

    def __init__(self, client, after):
        self.client, self.left = client, after

    def update(self, _):
        self.left -= 1
        if self.left == 0:
            pids = self.client.run(os.getpid)
            os.kill(min(pids.values()), signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.mark.chaos
def test_killed_workers_change_nothing(tmp_path, client, small_tasks, monkeypatch):
    file = edge_list(tmp_path / "edges.csv", num_edges=20000)
    options = {"num_clusters": 8, "memory_limit": "4 MiB", "weight": "weight"}
    prepare(file, tmp_path / "here.zarr", **options)
    killed = []

    def killing(what, *_):
        killed.append(what)
        return Killing(client, 2)

    monkeypatch.setattr(rowstage, "bar", killing)
    monkeypatch.setattr("daskgnn.prepare.stages.bar", killing)
    prepare(file, tmp_path / "there.zarr", client=client, **options)
    assert killed == ["edges to buckets", "buckets to rows", "rows to the store"]
    assert_same_store(tmp_path / "there.zarr", tmp_path / "here.zarr")


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return a file of edges, options, and the store that becomes of them."""
    folder = tmp_path_factory.mktemp("undisturbed")
    file = edge_list(folder / "edges.csv", num_edges=8000)
    options = {"num_clusters": 8, "memory_limit": "4 MiB"}
    with pytest.MonkeyPatch.context() as monkeypatch:
        make_tasks_small(monkeypatch)
        prepare(file, folder / "here.zarr", **options)
    return file, options, folder / "here.zarr"


STAGES = ["buckets to rows", "partition", "rows to the store"]


@pytest.mark.parametrize("stage", mostly_slow(STAGES, "buckets to rows"))
def test_what_was_interrupted_goes_on(
    tmp_path, client, small_tasks, undisturbed, stage
):
    file, options, expected = undisturbed
    out = tmp_path / "there.zarr"

    def stop_at(name):
        if name == stage:
            raise Stopped

    with pytest.raises(Stopped):
        prepare(file, out, client=client, tell=stop_at, **options)
    assert not out.exists()
    with pytest.raises(StoreError, match="begun with another place of work"):
        prepare(file, out, resume=True, **options)
    prepare(file, out, client=client, resume=True, **options)
    assert_same_store(out, expected)


def test_a_task_that_runs_again_does_nothing(tmp_path):
    ends = np.array([[0, 1, 2, 3], [1, 2, 3, 3]])

    class Edges:
        calls = 0

        def chunks(self, first=0):
            self.calls += 1
            yield ends[0], ends[1], None

    source = Edges()
    work = pieces.PieceWork(tmp_path, 4, 2, False, False, False, 1 << 20)
    assert [pieces.put_piece(work, source, 0, 0, 1) for _ in range(2)] == [4, 4]
    assert source.calls == 1
    facts = pieces.join_pieces(work, 1)
    assert (facts["edges"], facts["loops"], sum(facts["sizes"])) == (4, 1, 6)
    for _ in range(2):
        (found,) = pieces.sort_whole(work, 0)
        assert found.columns.tolist() == [1, 0, 2]
        assert found.indptr.tolist() == [0, 1, 3]


def test_the_memory_limit_is_for_all_tasks_together(tmp_path, client):
    with pytest.raises(GraphFormatError, match="with 4 tasks at once need"):
        prepare(
            drawn_graph(), tmp_path / "x.zarr", memory_limit="100 MB", client=client
        )
    assert not any(tmp_path.iterdir())


def test_a_worker_that_does_not_see_the_folder_is_named(tmp_path, client):
    unshare, hide = shutil.which("unshare"), f"mount -t tmpfs none {tmp_path}"
    if unshare is None or subprocess.run([unshare, "-rm", "sh", "-c", hide]).returncode:
        pytest.skip("no mount namespaces here: unshare -rm cannot mount")
    start = f"{sys.executable} -m distributed.cli.dask_worker"
    start += f" {client.scheduler.address} --no-nanny --no-dashboard --name blind"
    with subprocess.Popen(
        [unshare, "-rm", "sh", "-c", f"{hide} && cd / && exec {start}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as blind:
        try:
            client.wait_for_workers(3, timeout=60)
            workers = client.scheduler_info(n_workers=-1)["workers"].items()
            (address,) = [a for a, info in workers if info["name"] == "blind"]
            with pytest.raises(ClusterError, match=f"{address} does not see"):
                prepare(drawn_graph(), tmp_path / "x.zarr", client=client)
        finally:
            blind.kill()  # told to end, it may hang
    assert not any(tmp_path.iterdir())


def test_the_command_shares_work_with_a_cluster(tmp_path, capsys):
    file = edge_list(tmp_path / "edges.csv")
    words = [str(file), str(tmp_path / "there.zarr"), "--num-clusters", "8"]

    def run(*more):
        with pytest.raises(SystemExit) as stop:
            main(["partition", *words, *more])
        return stop.value.code, *capsys.readouterr()

    code, _, err = run("--workers", "2")
    assert code == 2
    assert "--workers is for --out-of-core" in err
    code, said, err = run("--out-of-core", "--workers", "1", "--method", "metis")
    assert code == 0, err
    assert "buckets to rows ..." in err
    assert "8 clusters by metis" in said
    prepare(file, tmp_path / "here.zarr", num_clusters=8, method="metis")
    assert_same_store(tmp_path / "there.zarr", tmp_path / "here.zarr")
    assert open_graph(tmp_path / "there.zarr").num_nodes == 300
