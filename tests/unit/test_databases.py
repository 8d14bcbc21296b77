"""Graphs in databases: what is loaded comes back, and damage is told."""

import os
import pickle
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from databases import INSTALLED, loaded, nasty_names
from training import hub_graph, hub_weights, inside, invoked, mostly_slow, planted_graph

import daskgnn
from daskgnn.errors import InputError, StoreError
from daskgnn.graph.databases import loading
from daskgnn.graph.databases.schemes import new_database, open_source

ODD = "x') DETACH DELETE n //`\"; DROP TABLE Node; --"
"""A name that would be code, if names were put into queries."""


@pytest.fixture(params=mostly_slow(INSTALLED, *INSTALLED[:1]))
def scheme(request):
    return request.param


@pytest.fixture(scope="module")
def data():
    """A graph with weights, features of edges, and sparse features of nodes."""
    rng = np.random.default_rng(0)
    sparse = (rng.random((200, 40)) < 0.05).astype(np.float32)
    colours = {"colour": rng.normal(size=(1000, 3)).astype(np.float32)}
    return planted_graph(200, features=sparse, name=ODD, edge_attr=colours)


@pytest.fixture
def store(data, tmp_path):
    return data.partition(8).save(tmp_path / "g.zarr")


def refused(*words):
    done = invoked(*words)
    assert done.returncode == 2
    return done.stderr


def checksum(place):
    return daskgnn.open_graph(place).checksum


def test_a_graph_goes_into_a_database_and_back(store, scheme, tmp_path):
    place = loaded(store, tmp_path, scheme)
    graph, expected = daskgnn.open_graph(place), daskgnn.open_graph(store)
    assert graph.name == expected.name == ODD
    assert graph.checksum == expected.checksum
    assert graph.sparse_features
    back = daskgnn.copy_graph(place, tmp_path / "back.zarr")
    assert checksum(back) == expected.checksum  # that of every byte of the store
    found, known = (g.to_data() for g in (graph, expected))
    np.testing.assert_array_equal(found.indices, known.indices)
    assert (found.features != known.features).nnz == 0
    np.testing.assert_array_equal(found.edge_attr["colour"], known.edge_attr["colour"])


def test_rows_and_entries_are_those_of_the_store(scheme, tmp_path):
    graph = hub_graph(edge_weight=hub_weights())
    store = graph.partition(8).save(tmp_path / "g.zarr")
    source = open_source(loaded(store, tmp_path, scheme))
    expected = daskgnn.open_graph(store).source
    rng = np.random.default_rng(0)
    ids = rng.integers(0, graph.num_nodes, 500)
    ids = ids[expected.degrees(ids) > 0]
    slots = rng.integers(0, expected.degrees(ids))
    for name, values in expected.entries(ids, slots).items():
        np.testing.assert_array_equal(source.entries(ids, slots)[name], values)
    for table in ("features", "labels", "original_ids"):
        rows = np.unique(ids)
        found = pickle.loads(pickle.dumps(source)).rows(table, rows)
        np.testing.assert_array_equal(found, expected.rows(table, rows))


def test_names_of_nodes_are_data(scheme, tmp_path):
    names = [f"{ODD}{i}" for i in range(30)] + nasty_names(50)
    data = daskgnn.from_networkx(nx.path_graph(names))
    graph = daskgnn.open_graph(loaded(data.partition(4), tmp_path, scheme))
    assert graph.node_ids().tolist() == names
    np.testing.assert_array_equal(graph.to_data().indices, data.indices)


def test_interrupted_loading_is_continued(store, scheme, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "BATCH_BYTES", 1 << 12)
    place = f"{scheme}:{tmp_path}/g.db"
    stages = []

    def stop_in(stage):
        def told(at, done, total):
            stages.append((at, done))
            if at == stage and 0 < done < total:
                raise KeyboardInterrupt

        return told

    for stage in ("nodes", "links"):
        with pytest.raises(KeyboardInterrupt):
            daskgnn.copy_graph(store, place, told=stop_in(stage))
        assert not os.path.exists(f"{tmp_path}/g.db")
    daskgnn.copy_graph(store, place, told=stop_in("none"))
    nodes = [done for at, done in stages if at == "nodes"]
    assert nodes == sorted(set(nodes))  # none of them was written twice
    assert checksum(place) == checksum(store)


def test_another_graph_begins_anew(store, scheme, tmp_path):
    place = f"{scheme}:{tmp_path}/g.db"

    def told(at, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        daskgnn.copy_graph(store, place, told=told)
    other = hub_graph(100).partition(4)
    daskgnn.copy_graph(other, place)
    assert daskgnn.open_graph(place).num_nodes == 100
    with pytest.raises(StoreError, match=r"exists already.*overwrite=True"):
        daskgnn.copy_graph(other, place)


def test_a_damaged_file_is_refused(store, scheme, tmp_path):
    path = loaded(store, tmp_path, scheme).partition(":")[2]
    whole = Path(path).read_bytes()
    middle = len(whole) // 2
    flipped = bytes(255 - b for b in whole[middle : middle + 4096])
    damaged = whole[:middle] + flipped + whole[middle + 4096 :]
    for content in (whole[: len(whole) // 2], damaged):
        Path(path).write_bytes(content)
        with pytest.raises(StoreError, match="is not the file that was loaded") as said:
            daskgnn.open_graph(f"{scheme}:{path}")
        assert "\n" not in str(said.value)


def test_damage_of_any_page_is_told_by_checksums_of_rows(scheme, tmp_path):
    """As far as anything of it is read: a copy without the hash of its file."""
    store = hub_graph().partition(8).save(tmp_path / "g.zarr")
    path = loaded(store, tmp_path, scheme).partition(":")[2]
    expected = daskgnn.open_graph(store)
    rows = expected.source.load_rows(0, expected.num_nodes).indices
    features = expected.features.compute()
    whole, refusals = Path(path).read_bytes(), []
    for number, start in enumerate(range(0, len(whole), max(len(whole) // 12, 1))):
        other = tmp_path / f"{number}.db"
        flipped = bytes(255 - b for b in whole[start : start + 4096])
        other.write_bytes(whole[:start] + flipped + whole[start + 4096 :])
        try:
            graph = daskgnn.open_graph(f"{scheme}:{other}")
            found = graph.source.load_rows(0, graph.num_nodes).indices
            np.testing.assert_array_equal(found, rows)
            np.testing.assert_array_equal(graph.features.compute(), features)
        except StoreError as error:
            refusals.append(str(error))
    assert not any("\n" in line for line in refusals)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("{0}:nowhere/g.db", "there is no file .*nowhere/g.db.*daskgnn load"),
        ("{0}:{1}/text", "cannot be opened by .*another version may have written it"),
    ],
)
def test_what_is_no_database_gets_one_line(scheme, tmp_path, place, said):
    (tmp_path / "text").write_text("no database " * 1000)
    with pytest.raises(StoreError, match=said) as caught:
        daskgnn.open_graph(place.format(scheme, tmp_path))
    assert "\n" not in str(caught.value)


def test_a_database_of_something_else_is_named(scheme, tmp_path):
    database = new_database(f"{scheme}:{tmp_path}/g.db")
    database.create("Node", {"id": "int"})
    database.finish()
    with pytest.raises(StoreError, match="holds no graph of daskgnn"):
        daskgnn.open_graph(f"{scheme}:{tmp_path}/g.db")


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(InputError, match=r'pip install "daskgnn\[duckdb\]"'):
        daskgnn.open_graph(f"duckdb:{tmp_path}/g.duckdb")


def test_the_commands_load_and_export(scheme, tmp_path):
    place = f"{scheme}:{tmp_path}/k.db"
    assert "34 nodes" in inside("load", "karate", place)
    assert "exists already" in refused("load", "karate", place)
    assert "valid, content" in inside("info", place, "--validate")
    out = str(tmp_path / "back.zarr")
    assert "verified" in inside("export", place, out)
    expected = daskgnn.load_dataset("karate").partition().save(tmp_path / "k.zarr")
    assert checksum(out) == checksum(expected)
    said = refused("load", out, place, "--force", "--method", "hash")
    assert "partitioned already, so --method cannot be given" in said
    assert "names no database" in refused("load", "karate", out)


def opened(place):
    """Open a database, read some rows, and return a number of them."""
    source = open_source(place)
    return int(source.load_rows(0, 50).indices.sum())


@pytest.mark.slow
def test_many_readers_at_once(scheme, tmp_path):
    store = hub_graph().partition(8).save(tmp_path / "g.zarr")
    path = loaded(store, tmp_path, scheme).partition(":")[2]
    places = []
    for number in range(50):  # a process opens a path once
        shutil.copy(path, f"{path}-{number}")
        places += [f"{scheme}:{path}-{number}"] * 4
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        found = set(pool.map(opened, places))
    assert found == {opened(f"{scheme}:{path}")}
