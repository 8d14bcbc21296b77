"""A graph on a Bolt server is trained as the same graph in a store."""

import json
import subprocess
import sys
import threading
import time

import dask
import networkx as nx
import numpy as np
import pytest
from boltservers import REAL, bolt_server
from objectstores import in_environment
from training import (
    AtStep,
    hub_graph,
    hub_weights,
    inside,
    invoked,
    planted_graph,
    small_sage,
)

import daskgnn
from daskgnn.errors import StoreError, TrainingError
from daskgnn.graph.databases import loading
from daskgnn.graph.databases.schemes import new_database, open_source
from daskgnn.graph.databases.source import _kept
from daskgnn.train.run import resume

pytest.importorskip("neo4j")
if not REAL:
    pytest.importorskip("arcadedb_embedded")

pytestmark = pytest.mark.slow

ODD = "x'}) DETACH DELETE n //`\"; MATCH (n) DETACH DELETE n; --"
"""A name that would be code, if names were put into queries."""
FAN_OUTS = {"num_neighbors": [4, 3], "batch_size": 48, "window": 3}
own_server = pytest.mark.skipif(bool(REAL), reason="the server is not ours to kill")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with bolt_server(tmp_path_factory.mktemp("bolt")) as found:
        yield found


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    data = hub_graph(edge_weight=hub_weights())
    return data.partition(16).save(tmp_path_factory.mktemp("store") / "g.zarr")


@pytest.fixture
def place(server, store):
    """The place of that graph on the server."""
    try:
        found = daskgnn.open_graph(server.url).checksum
    except StoreError:
        found = None
    if found != daskgnn.open_graph(store).checksum:
        daskgnn.copy_graph(store, server.url, overwrite=True)
    return server.url


def fitted(place, epochs=2, **options):
    graph = daskgnn.open_graph(place, 2)
    given = {"client": None, **FAN_OUTS, **options}
    run = daskgnn.Trainer(small_sage(graph), graph, **given)
    run.fit(epochs)
    return run


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sampler": "labor"},
        {"sample_by": "edge_weight"},
        {"sampler": "neighbor:replace=true"},
    ],
    ids=str,
)
def test_the_bits_are_those_of_the_store(place, store, options):
    run, expected = (fitted(where, **options) for where in (place, store))
    assert run.params_sha256 == expected.params_sha256
    assert run.evaluate("test") == expected.evaluate("test")


@pytest.mark.parametrize(("workers", "steps"), [(1, "window"), (2, "tasks")])
def test_workers_give_them_and_the_password_is_nowhere(
    place, store, server, tmp_path, workers, steps
):
    words = ["--num-parts=2", "--epochs=2", f"--steps={steps}", "--num-neighbors=4,3"]
    command = [sys.executable, "-m", "daskgnn", "train"]
    out = tmp_path / "run"
    done = subprocess.run(
        [*command, place, *words, f"--workers={workers}", f"--out={out}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    inside("train", store, *words[:2], words[3], "--workers=0", f"--out={tmp_path}/z")
    hashes = [
        json.loads((folder / "summary.json").read_text())["params_sha256"]
        for folder in (out, tmp_path / "z")
    ]
    assert hashes[0] == hashes[1]
    told = (done.stdout + done.stderr).encode()
    told += b"".join(f.read_bytes() for f in out.rglob("*") if f.is_file())
    assert place.encode() in told
    assert server.password.encode() not in told


def test_each_seed_has_its_own_neighbours(place, store):
    graphs = [daskgnn.open_graph(where) for where in (place, store)]
    ids = np.arange(0, graphs[0].num_nodes, 3)
    degree = graphs[1].source.degrees(ids)
    ids, slots = np.repeat(ids, degree), np.concatenate([*map(np.arange, degree)])
    found, known = (graph.source.entries(ids, slots) for graph in graphs)
    for name in ("source", "weight"):
        np.testing.assert_array_equal(found[name], known[name])


def test_names_are_data_and_what_else_is_there_stays(server, tmp_path):
    """Names of nodes and of a graph that would be code."""
    database = new_database(server.url, overwrite=True)
    database._write("CREATE (:Person {name: $name})", name=ODD)
    database.close()
    rng = np.random.default_rng(0)
    colours = {"colour": rng.normal(size=(1000, 2)).astype(np.float32)}
    sparse = (rng.random((200, 40)) < 0.05).astype(np.float32)
    kept = planted_graph(200, features=sparse, name=ODD, edge_attr=colours)
    path = kept.partition(8).save(tmp_path / "g.zarr")
    daskgnn.copy_graph(path, server.url, overwrite=True)
    back = daskgnn.copy_graph(server.url, tmp_path / "back.zarr")
    assert daskgnn.open_graph(back).checksum == daskgnn.open_graph(path).checksum
    names = [f"{ODD}{i}" for i in range(30)]
    graph = daskgnn.from_networkx(nx.path_graph(names)).partition(4)
    daskgnn.copy_graph(graph, server.url, overwrite=True)
    assert daskgnn.open_graph(server.url).node_ids().tolist() == names
    database = new_database(server.url, overwrite=True)
    there = database._read("MATCH (n:Person) RETURN n.name")
    assert [ODD] in there
    database._write("MATCH (n:Person {name: $name}) DETACH DELETE n", name=ODD)
    assert database.count("Node") == 0
    database.close()


def test_interrupted_loading_is_continued(server, store, monkeypatch):
    monkeypatch.setattr(loading, "BATCH_BYTES", 1 << 12)
    new_database(server.url, overwrite=True).close()
    nodes = []

    def stop_in(stage):
        def told(at, done, total):
            if at == "nodes":
                nodes.append(done)
            if at == stage and 0 < done < total:
                raise KeyboardInterrupt

        return told

    for stage in ("nodes", "links"):
        with pytest.raises(KeyboardInterrupt):
            daskgnn.copy_graph(store, server.url, told=stop_in(stage))
        with pytest.raises(StoreError, match="load the graph"):
            daskgnn.open_graph(server.url)
    daskgnn.copy_graph(store, server.url, told=stop_in("none"))
    assert nodes == sorted(set(nodes))  # none of them was written twice
    with pytest.raises(StoreError, match=r"holds a graph already.*overwrite=True"):
        daskgnn.copy_graph(store, server.url)


def test_a_graph_that_was_replaced_is_refused(place, store, server, tmp_path):
    source = open_source(place)
    daskgnn.copy_graph(hub_graph(100).partition(4), place, overwrite=True)
    with pytest.raises(StoreError, match="was replaced since it was opened"):
        type(source.arrays.database)(place, source.sha256)


def test_wrong_credentials_and_databases_are_told_of(place, server):
    with in_environment({"NEO4J_PASSWORD": "wrong-5d1c"}):
        done = invoked("train", place.replace("127.0.0.1", "localhost"))
        assert done.returncode == 2
        assert "NEO4J_PASSWORD in the environment" in done.stderr
        assert "wrong-5d1c" not in done.stderr
    done = invoked("load", "karate", place)
    assert done.returncode == 2
    assert "or replace it with --force" in done.stderr
    address = place.rpartition("/")[0]
    done = invoked("info", f"{address}/nobody-has-this")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


@own_server
def test_a_server_that_comes_back_changes_nothing(place, store, server):
    """It is killed in the middle of a run, and is there again after a few seconds."""

    def restart():
        time.sleep(3)
        server.start()

    def kill():
        server.kill()
        threads.append(threading.Thread(target=restart))
        threads[0].start()

    threads = []
    run = fitted(place, epochs=4, progress=AtStep(5, kill))
    threads[0].join()
    assert run.params_sha256 == fitted(store, epochs=4).params_sha256


@own_server
def test_a_server_that_stays_away_ends_the_run(place, store, server, tmp_path):
    """With a line that says how to continue, which gives the same bits then."""
    out = tmp_path / "run"
    gone = AtStep(5, server.kill)
    open_source(place).arrays.database.close()  # the next driver has another patience
    _kept.clear()
    try:
        with (
            dask.config.set({"gnn.patience": "1s"}),
            pytest.raises(TrainingError, match=r"no server answers.*resume") as error,
        ):
            fitted(place, epochs=4, progress=gone, out=out, checkpoint_every=1)
        assert "\n" not in str(error.value)
        assert "daskgnn train --resume" in error.value.in_shell
    finally:
        server.start()
    found = resume(out, workers=0)["params_sha256"]
    assert found == fitted(store, epochs=4).params_sha256
