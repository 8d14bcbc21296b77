"""A graph on a Bolt server is trained as the same graph in a store."""

import dataclasses
import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import cloudpickle
import dask
import networkx as nx
import numpy as np
import pytest
import yaml
from boltservers import REAL, bolt_server
from databases import SAMPLERS, nasty_names
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
from daskgnn.errors import InputError, StoreError, TrainingError
from daskgnn.graph.databases import loading
from daskgnn.graph.databases.bolt import BoltDatabase
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


def fitted(place, epochs=2, features="auto", **options):
    graph = daskgnn.open_graph(place, 2, features)
    given = {"client": None, **FAN_OUTS, **options}
    if "sampler" in options and "num_neighbors" not in options:
        del given["num_neighbors"]
    if given["batch_size"] is None:
        del given["batch_size"]
    run = daskgnn.Trainer(small_sage(graph), graph, **given)
    run.fit(epochs)
    return run


def _forget(client=None):
    """Close what a process, and workers, have read from the server."""
    _kept.clear()
    if client is not None:
        client.run(_kept.clear)


@contextmanager
def small_cache(client):
    """Have rows read again and again, here and on workers."""

    def set_to(size):
        dask.config.set({"gnn.database-cache": size})

    for size in ("1kiB", "128MiB"):
        set_to(size)
        if client is not None:
            client.run(set_to, size)
        if size == "1kiB":
            yield
    _forget(client)


@pytest.mark.parametrize("options", [{}, {"features": "memory"}, *SAMPLERS], ids=str)
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


def test_the_password_is_in_no_task_and_no_log(place, server, cluster):
    """In a run whose tasks, keys and logs are looked at in its middle."""
    client, seen = cluster(2), []

    def tasks(dask_scheduler):
        found = dask_scheduler.tasks.values()
        return [(str(t.key), cloudpickle.dumps(t.run_spec)) for t in found]

    def look():
        seen.append(client.run_on_scheduler(tasks))
        seen.append(client.get_scheduler_logs())
        seen.append(client.get_worker_logs())

    _forget(client)
    fitted(place, client=client, progress=AtStep(3, look), steps="tasks")
    assert len(seen[0]) > 3
    told = repr(seen).encode() + b"".join(spec for _, spec in seen[0])
    assert server.url.rpartition("/")[2].encode() in told
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
    names = [f"{ODD}{i}" for i in range(30)] + nasty_names(50)
    graph = daskgnn.from_networkx(nx.path_graph(names)).partition(4)
    daskgnn.copy_graph(graph, server.url, overwrite=True)
    assert daskgnn.open_graph(server.url).node_ids().tolist() == names
    database = new_database(server.url, overwrite=True)
    there = database.records("MATCH (n:Person) RETURN n.name")
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
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("way", ["killed", "stopped"])
def test_a_server_that_is_away_for_half_a_minute_changes_nothing(
    place, store, server, cluster, way, workers
):
    """It is killed and started again, or stopped with its connections open."""

    def leave():
        away = server.kill if way == "killed" else server.stop
        back = server.start if way == "killed" else server.go_on
        away()
        threads.append(threading.Timer(30, back))
        threads[0].start()

    threads = []
    client = cluster(workers) if workers else None
    _forget(client)
    with small_cache(client):
        run = fitted(place, epochs=4, progress=AtStep(5, leave), client=client)
    assert not threads[0].is_alive()  # who had all rows already did not wait
    threads[0].join()
    assert run.params_sha256 == fitted(store, epochs=4).params_sha256


@own_server
def test_a_server_that_stays_stopped_ends_the_run(place, store, server, tmp_path):
    """Workers wait for an answer that never comes."""
    out = tmp_path / "run"
    words = ["--num-parts=2", "--epochs=60", "--num-neighbors=4,3", "--batch-size=48"]
    quick = {"DASK_GNN__PATIENCE": "2s", "DASK_GNN__DATABASE_CACHE": "1kiB"}
    command = [sys.executable, "-m", "daskgnn", "train", place, *words]
    command += [f"--out={out}", "--workers=1", "--checkpoint-every=2"]
    with in_environment(quick):
        run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        metrics = out / "metrics.jsonl"
        while not (metrics.exists() and "checkpoint" in metrics.read_text()):
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.2)
        server.stop()
        said = run.communicate(timeout=120)[1]
    finally:
        run.kill()
        server.go_on()
    assert run.returncode == 1
    (line,) = (line for line in said.splitlines() if "no server answers" in line)
    assert f"daskgnn train --resume {out}" in line
    assert "Traceback" not in said
    found = resume(out, workers=0)["params_sha256"]
    inside("train", store, *words, "--workers=0", f"--out={tmp_path}/z")
    summary = json.loads((tmp_path / "z" / "summary.json").read_text())
    assert found == summary["params_sha256"]


@own_server
def test_a_server_that_stays_away_ends_the_run(place, store, server, tmp_path):
    """With a line that says how to continue, which gives the same bits then."""
    out = tmp_path / "run"
    gone = AtStep(5, server.kill)
    _forget()  # the next driver has another patience
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


LABEL = "A paper'; MATCH (n) DELETE n"
OWN = {
    "nodes": LABEL,
    "edges": ["CITES"],
    "key": "num",
    "features": "x",
    "label": "venue",
    "weight": "w",
    "time": "day",
    "val_from": 18_200,
    "test_from": 18_300,
    "num_clusters": 16,
}
DAYS = 18_000
"""Days from 1970 to the first day of the nodes."""


def fill(database, data):
    """Fill a server as its owner would, whose keys are names that would be code."""
    nodes = [
        {
            "num": f"{ODD}{i:04}",
            "x": data.features[i].tolist(),
            "venue": f"{ODD} {data.labels[i]}",
            "day": np.datetime64(DAYS + i % 600, "D").item(),
        }
        for i in range(data.num_nodes)
    ]
    database._write(f"UNWIND $rows AS r CREATE (n:`{LABEL}`) SET n += r", rows=nodes)
    row = np.repeat(np.arange(data.num_nodes), np.diff(data.indptr))
    edges = [
        [nodes[a]["num"], nodes[b]["num"], float(w)]
        for a, b, w in zip(data.indices, row, data.edge_weight, strict=True)
        if a < b
    ]
    database._write(
        f"UNWIND $rows AS r MATCH (a:`{LABEL}` {{num: r[0]}}), "
        f"(b:`{LABEL}` {{num: r[1]}}) CREATE (a)-[:CITES {{w: r[2]}}]->(b)",
        rows=edges,
    )


@pytest.fixture(scope="module")
def own(server, tmp_path_factory):
    """The graph of a server's owner, and the place of its mapping."""
    data = hub_graph(edge_weight=hub_weights())
    folder, database = tmp_path_factory.mktemp("own"), BoltDatabase(server.url)
    said = {"database": server.url, **OWN}
    (folder / "own.yaml").write_text(yaml.safe_dump(said))
    few = daskgnn.load_dataset("karate")
    ones = np.ones(few.num_edges, np.float32)
    fill(database, dataclasses.replace(few, edge_weight=ones))
    with pytest.raises(InputError, match=r"no index of 'num'.*CREATE CONSTRAINT"):
        daskgnn.open_graph(f"mapped:{folder}/own.yaml")
    database._write(
        f"CREATE CONSTRAINT own_key FOR (n:`{LABEL}`) REQUIRE n.num IS UNIQUE"
    )
    database._write(f"MATCH (n:`{LABEL}`) DETACH DELETE n")
    fill(database, data)
    yield data, folder
    database._write(f"MATCH (n:`{LABEL}`) DETACH DELETE n")
    database.close()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("options", [{}, {"sample_by": "edge_weight"}], ids=str)
def test_a_mapping_of_a_server_gives_the_bits_of_memory(own, cluster, options, workers):
    data, folder = own
    client = cluster(workers) if workers else None
    run = fitted(f"mapped:{folder}/own.yaml", client=client, **options)
    time = np.arange(data.num_nodes) % 600 + DAYS
    bounds = {"train": (0, 18_200), "val": (18_200, 18_300), "test": (18_300, 1 << 40)}
    splits = {
        name: np.flatnonzero((time >= first) & (time < end))
        for name, (first, end) in bounds.items()
    }
    memory = dataclasses.replace(data, splits=splits).partition(16, method="hash")
    assert run.params_sha256 == fitted(memory, **options).params_sha256


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"nodes": "Author` {x: 1}) DETACH DELETE n //"}, "it has"),
        ({"edges": ["WROTE"]}, "has no relationship type 'WROTE', it has 'CITES'"),
        ({"label": "topic"}, "'topic', it has 'day', 'num', 'venue'"),
        ({"key": None}, "'key' is missing"),
        ({"key": "venue"}, "no index of 'venue'"),
    ],
)
def test_wrong_mappings_of_a_server_get_one_line(own, server, tmp_path, changed, said):
    given = {"database": server.url, **OWN, **changed}
    given = {name: value for name, value in given.items() if value is not None}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(given))
    with pytest.raises(InputError) as caught:
        daskgnn.open_graph(f"mapped:{tmp_path}/own.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_in_mappings_are_data(own, server, tmp_path):
    """Whatever they are: those that are not there are refused, and nothing changes."""
    database = BoltDatabase(server.url)
    everything = "MATCH (n) OPTIONAL MATCH (n)-[r]->() RETURN count(n), count(r)"
    before = database.records(everything)
    path = tmp_path / "own.yaml"
    for name in nasty_names(8):
        for place in ("nodes", "edges", "label", "features", "weight", "key", "time"):
            given = {"database": server.url, **OWN, place: name}
            path.write_text(yaml.safe_dump(given))
            with pytest.raises(InputError) as caught:
                daskgnn.open_graph(f"mapped:{path}")
            assert "\n" not in str(caught.value)
    assert database.records(everything) == before
    database.close()
