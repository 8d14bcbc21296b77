"""Stores in object stores: the same graph, verified, with few requests."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager

import dask
import numpy as np
import pytest
from objectstores import PASSWORD, Gate, ObjectServer, free_port, in_environment
from training import inside, invoked, planted_graph

import daskgnn
from daskgnn.errors import InputError, StoreError
from daskgnn.graph.store.remote import _stores

KARATE = daskgnn.load_dataset("karate")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An S3 server with a bucket, which this process's environment names."""
    found = ObjectServer(tmp_path_factory.mktemp("s3"))
    try:
        with in_environment(found.environment):
            files().mkdir("bucket")
            yield found
    finally:
        found.close()


def files():
    """Return the file system of the server."""
    import s3fs

    return s3fs.S3FileSystem(skip_instance_cache=True)


@pytest.fixture(scope="module")
def url(server):
    """The address of a stored graph."""
    return planted_graph().partition(num_clusters=16).save("s3://bucket/planted.zarr")


def same(one, other):
    """Check that two opened graphs are the same."""
    assert one.graph_hash == other.graph_hash
    for name in ("features", "labels", "original_ids"):
        found = [getattr(graph, name).compute() for graph in (one, other)]
        np.testing.assert_array_equal(*found)
    difference = one.adjacency.compute() != other.adjacency.compute()
    assert difference.nnz == 0
    assert difference.fill_value == 0


def test_any_file_system_holds_a_store(tmp_path):
    path = KARATE.partition(4).save(tmp_path / "k.zarr")
    for place in ("memory://a/k.zarr", "zarr:memory://a/k2.zarr/"):
        found = KARATE.partition(4).save(place)
        assert found == place.removeprefix("zarr:").rstrip("/")
        graph = daskgnn.open_graph(place, num_parts=2)
        assert graph.path == found
        assert daskgnn.validate(place).num_nodes == 34
        assert graph.to_data().num_edges == 156
    for place in (f"zarr:{path}", f"file://{path}", f"zarr:file://{path}"):
        assert daskgnn.open_graph(place).path == path


def test_s3_holds_the_graph_of_a_path(url, tmp_path):
    path = planted_graph().partition(num_clusters=16).save(tmp_path / "g.zarr")
    same(daskgnn.open_graph(url, 4), daskgnn.open_graph(path, 4))
    assert (
        str(daskgnn.validate(url)).splitlines()[1:]
        == (str(daskgnn.validate(path)).splitlines()[1:])
    )


def test_half_precision_and_vertex_cuts(server, tmp_path):
    graph = planted_graph(200).partition(num_clusters=4, method="hash")
    kept = [
        graph.save(place, feature_dtype="float16")
        for place in ("s3://bucket/half.zarr", tmp_path / "half.zarr")
    ]
    same(*(daskgnn.open_graph(place, 2) for place in kept))
    cut = planted_graph(200).partition(num_clusters=4, method="dbh")
    kept = [cut.save(p) for p in ("s3://bucket/cut.zarr", tmp_path / "cut.zarr")]
    same(*(daskgnn.open_graph(place, 2) for place in kept))


def test_each_chunk_is_asked_for_once(server, url):
    """By parts that share chunks, several at once; and no other object is."""
    graph = daskgnn.open_graph(url, num_parts=8)
    before = len(server.requests())
    dask.compute(graph.adjacency, graph.features, graph.labels, scheduler="threads")
    asked = Counter(server.requests()[before:])
    assert {request.split()[0] for request in asked} == {"GET"}
    assert set(asked.values()) == {1}
    assert len(asked) >= 4
    assert all("/c/" in request for request in asked)


def test_an_old_store_is_replaced_only_if_asked(server):
    place = "s3://bucket/twice.zarr"
    planted_graph(200).partition(num_clusters=4).save(place)
    files().pipe("bucket/twice.zarr/mine.txt", b"not of the store")
    opened = daskgnn.open_graph(place)
    with pytest.raises(StoreError, match="exists already"):
        KARATE.partition(4).save(place)
    KARATE.partition(4).save(place, overwrite=True)
    assert daskgnn.validate(place).num_nodes == 34
    assert files().cat("bucket/twice.zarr/mine.txt") == b"not of the store"
    with pytest.raises(StoreError, match="chunk 'c/0/0' of array 'features'"):
        opened.features.compute()
    files().pipe("bucket/other/zarr.json", b"{}")
    with pytest.raises(StoreError, match="is not a store of daskgnn"):
        KARATE.partition(4).save("s3://bucket/other", overwrite=True)


def damaged(kind, name):
    """Damage an object in a way."""
    system, content = files(), bytearray(files().cat(name))
    content[len(content) // 2] ^= 1
    if kind == "missing":
        system.rm(name)
    else:
        content = {"longer": content + b"x", "shorter": content[:-1]}.get(kind, content)
        system.pipe(name, bytes(content))


@pytest.mark.parametrize("kind", ["missing", "longer", "shorter", "flipped"])
def test_damage_is_told_of(kind, server):
    place = f"s3://bucket/{kind}.zarr"
    planted_graph(200).partition(num_clusters=4).save(place)
    opened = daskgnn.open_graph(place)
    damaged(kind, f"bucket/{kind}.zarr/features/c/0/0")
    with pytest.raises(StoreError, match="chunk 'c/0/0' of array 'features'") as error:
        opened.features.compute()
    assert "\n" not in str(error.value)
    if kind != "flipped":
        with pytest.raises(StoreError, match="chunk 'c/0/0' of array 'features'"):
            daskgnn.open_graph(place)
    damaged("flipped", f"bucket/{kind}.zarr/labels/zarr.json")
    with pytest.raises(StoreError, match="metadata of array 'labels'"):
        daskgnn.open_graph(place)


@contextmanager
def elsewhere(port):
    """Have a server at another port for a while."""
    import s3fs

    with in_environment({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}):
        s3fs.S3FileSystem.clear_instance_cache()
        _stores.clear()
        yield
    s3fs.S3FileSystem.clear_instance_cache()
    _stores.clear()


def refused(place, match, act=daskgnn.open_graph):
    with pytest.raises(InputError, match=match) as error:
        act(place)
    assert "\n" not in str(error.value)
    assert PASSWORD not in str(error.value)


def test_trouble_is_one_line(server, url):
    refused("s3://nobucket/g.zarr", "bucket does not exist")
    refused("s3://nobucket/g.zarr", "make the bucket first", KARATE.partition(4).save)
    refused("s3://bucket/g.zarr", r"'zarr.json' is not there")
    refused(f"s3://me:{PASSWORD}@bucket/g.zarr", r"s3://\.\.\.@bucket/g.zarr holds a p")
    refused("nosuch://a/g.zarr", "cannot be opened")
    refused("gs://a/g.zarr", "pip install 'gcsfs'")
    with pytest.raises(InputError, match="at an address, a request away"):
        daskgnn.open_graph(url, features="disk")
    with elsewhere(free_port()):
        refused("s3://elsewhere/g.zarr", "check that the server is there")
    done = invoked("partition", "karate", "s3://nobucket/g.zarr")
    assert done.returncode == 2
    assert "make the bucket first" in done.stderr
    done = invoked("partition", "karate", url)
    assert done.returncode == 2
    assert "exists already" in done.stderr


def test_a_package_that_is_not_there_is_named():
    code = (
        "import sys; sys.modules['s3fs'] = None; import daskgnn\n"
        "daskgnn.open_graph('s3://bucket/g.zarr')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'daskgnn[s3]'" in done.stderr.splitlines()[-1]


def test_a_server_may_be_away_for_a_while(server, url):
    """What is read meanwhile waits; for too long is an error of one line."""
    gate = Gate(server.port)
    try:
        with elsewhere(gate.port):
            graph = daskgnn.open_graph(url)
            expected = graph.features.compute()
            gate.shut()
            threading.Timer(2.0, gate.open).start()
            np.testing.assert_array_equal(graph.features.compute(), expected)
            gate.shut()
            with dask.config.set({"gnn.patience": "1s"}):
                begun = time.monotonic()
                with pytest.raises(StoreError, match="check that the server is there"):
                    graph.features.compute()
                assert time.monotonic() - begun < 60
    finally:
        gate.shut()


def test_commands_take_addresses(server, tmp_path):
    """They partition to one, describe it, and train from it as from a path."""
    hashes = set()
    for place in ("s3://bucket/cli.zarr", f"{tmp_path}/cli.zarr"):
        inside("partition", "karate", place, "--num-clusters=8")
        assert "34" in inside("info", place, "--validate")
        out = f"{tmp_path}/run-{len(hashes)}"
        inside("train", place, "--epochs=2", "--workers=0", f"--out={out}")
        with open(f"{out}/summary.json") as file:
            hashes.add(json.load(file)["params_sha256"])
        with open(f"{out}/run.json") as file:
            assert json.load(file)["store"] == place
    assert len(hashes) == 1
    assert PASSWORD not in everything_in(tmp_path)


def everything_in(folder):
    """Return all that is in a folder's files."""
    kept = (file.read_bytes() for file in folder.rglob("*") if file.is_file())
    return b"\n".join(kept).decode("latin-1")


_SEEN = """
import os, sys, urllib.request
from distributed import Client
import daskgnn
from daskgnn.train.run import train

def seen(dask_scheduler):
    tasks = [(t.key, t.run_spec, t.annotations) for t in dask_scheduler.tasks.values()]
    events = {t: list(e) for t, e in dask_scheduler.get_events().items()}
    return repr((tasks, list(dask_scheduler.transition_log), events))

if __name__ == "__main__":
    url, out, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if not workers:
        train(
            {"graph": url, "out": out, "workers": 0, "num_parts": 2, "epochs": 2}
        )
        sys.exit()
    with Client(n_workers=workers, threads_per_worker=2) as client:
        graph = daskgnn.open_graph(url, num_parts=2)
        trainer = train(
            {"graph": url, "out": out, "scheduler": client.scheduler.address,
             "num_parts": 2, "epochs": 2}
        )
        graph.features.persist()
        text = client.run_on_scheduler(seen)
        host = client.dashboard_link.rpartition("/")[0]
        for page in ("info/main/workers.html", "status", "tasks", "metrics"):
            text += urllib.request.urlopen(f"{host}/{page}").read().decode()
        text += repr(client.get_worker_logs()) + repr(client.get_scheduler_logs())
        with open(out + "/seen.txt", "w") as file:
            file.write(text)
"""


@pytest.mark.slow
def test_workers_fetch_their_own_parts(url, tmp_path):
    """With the same bits as from a path, and the password nowhere."""
    path = planted_graph().partition(num_clusters=16).save(tmp_path / "g.zarr")
    script, hashes = tmp_path / "script.py", []
    script.write_text(_SEEN)
    for number, (place, workers) in enumerate(
        [(path, 0), *((url, w) for w in range(3))]
    ):
        out = tmp_path / f"run{number}"
        words = [sys.executable, script, place, out, str(workers)]
        environment = {**os.environ, "DASK_GNN__WINDOW": "8"}
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        (out / "said.txt").write_text(done.stdout + done.stderr)
        hashes.append(json.loads((out / "summary.json").read_text())["params_sha256"])
    assert len({*hashes}) == 1
    found = everything_in(tmp_path)
    assert "planted.zarr" in found
    assert PASSWORD not in found
