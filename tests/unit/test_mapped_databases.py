"""A database that somebody else has filled, by a mapping."""

import shutil

import numpy as np
import pyarrow as pa
import pytest
import yaml
from training import hub_graph, hub_weights, mostly_slow, small_sage

import daskgnn
from daskgnn.errors import DaskGNNError, InputError, StoreError

ladybug = pytest.importorskip("ladybug")

LABEL = "A paper; MATCH (n) DELETE n"
MAPPING = {
    "database": "ladybug:own.lbug",
    "nodes": LABEL,
    "edges": ["CITES"],
    "features": "x",
    "label": "venue",
    "split": "fold",
    "weight": "w",
    "num_clusters": 16,
}


@pytest.fixture(scope="module")
def data():
    return hub_graph(edge_weight=hub_weights())


def rows_of(data, features=None):
    """Return nodes and edges as their owner would have them, in an order of its own."""
    order = np.random.default_rng(0).permutation(data.num_nodes)
    keys = 3 * np.arange(data.num_nodes) + 1
    fold = np.full(data.num_nodes, None, object)
    for name, ids in data.splits.items():
        fold[ids] = name
    rows = data.features.tolist() if features is None else features
    nodes = {
        "num": keys[order],
        "x": pa.array([rows[i] for i in order], pa.list_(pa.float32())),
        "fold": pa.array(fold[order], pa.string()),
        "venue": [f"venue '{label}'" for label in data.labels[order]],
        "year": 2000 + order % 20,
    }
    row = np.repeat(np.arange(data.num_nodes), np.diff(data.indptr))
    once = row < data.indices
    edges = {
        "source": keys[row[once]],
        "target": keys[data.indices[once]],
        "w": data.edge_weight[once].astype(float),
    }
    return pa.table(nodes), pa.table(edges)


def fill(path, data, features=None):
    """Fill a file of Ladybug."""
    database = ladybug.Database(str(path), max_db_size=1 << 30)
    session = ladybug.Connection(database)
    session.execute(
        f"CREATE NODE TABLE `{LABEL}`(num INT64, x FLOAT[], fold STRING, "
        "venue STRING, year INT64, PRIMARY KEY(num))"
    )
    session.execute(f"CREATE REL TABLE CITES(FROM `{LABEL}` TO `{LABEL}`, w DOUBLE)")
    nodes, edges = rows_of(data, features)
    session.execute(f"COPY `{LABEL}` FROM $rows", {"rows": nodes})
    session.execute("COPY CITES FROM $rows", {"rows": edges})
    session.execute("CHECKPOINT")
    session.close()
    database.close()


def fill_duck(path, data, words=False, key="PRIMARY KEY"):
    """Fill a file of DuckDB, whose keys are numbers or words."""
    duckdb = pytest.importorskip("duckdb")
    nodes, edges = rows_of(data)
    kind = "VARCHAR" if words else "BIGINT"
    with duckdb.connect(str(path)) as session:
        session.register("given", nodes)
        session.register("links", edges)
        session.execute(
            f'CREATE TABLE "{LABEL}"(num {kind} {key}, x FLOAT[], fold VARCHAR, '
            "venue VARCHAR, year BIGINT)"
        )
        session.execute(f'INSERT INTO "{LABEL}" SELECT * FROM given')
        ends = f"source::{kind} AS source, target::{kind} AS target"
        session.execute(f"CREATE TABLE CITES AS SELECT {ends}, w FROM links")


def mapped(folder, **changed):
    """Write a mapping and return its place."""
    said = {k: v for k, v in {**MAPPING, **changed}.items() if v is not None}
    (folder / "own.yaml").write_text(yaml.safe_dump(said))
    return f"mapped:{folder}/own.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("own")
    fill(folder / "own.lbug", data)
    return folder


def fitted(place, **options):
    graph = daskgnn.open_graph(place, 2)
    given = {"num_neighbors": [4, 3], "batch_size": 48, **options}
    run = daskgnn.Trainer(small_sage(graph), graph, **given)
    run.fit(1)
    return run.params_sha256, run.evaluate("test")


@pytest.mark.parametrize("method", mostly_slow(["hash", "range", "metis"], "hash"))
@pytest.mark.parametrize(
    "sample_by", mostly_slow(["uniform", "edge_weight"], "uniform")
)
def test_parameters_are_those_of_the_graph_in_memory(folder, data, method, sample_by):
    found = fitted(mapped(folder, method=method), sample_by=sample_by)
    assert found == fitted(data.partition(16, method=method), sample_by=sample_by)


def test_the_side_file_is_made_once_and_again_if_the_database_changes(
    folder, data, tmp_path
):
    fill(tmp_path / "own.lbug", data)
    place = mapped(tmp_path)
    source = daskgnn.open_graph(place).source
    side = tmp_path / "own.yaml.npz"
    written = side.stat().st_mtime_ns
    assert daskgnn.open_graph(place).class_names[0] == "venue '0'"
    assert side.stat().st_mtime_ns == written
    (tmp_path / "own.lbug").unlink()
    fill(tmp_path / "own.lbug", hub_graph(300, edge_weight=hub_weights(300)))
    other = daskgnn.open_graph(mapped(tmp_path, name="other"))
    assert other.num_nodes == 300
    assert source.schema.num_nodes == 400  # what is open stays open


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"nodes": "Author"}, f"has no label 'Author', it has '{LABEL}'"),
        ({"edges": "WROTE"}, "has no relationship type 'WROTE', it has 'CITES'"),
        ({"label": "topic"}, "'topic', it has 'num', 'x'"),
        ({"features": "x`) DELETE n //"}, "has no property of"),
        ({"colour": "red"}, "'colour' is unknown, expected one of database"),
        ({"nodes": None}, "'nodes' is missing"),
        ({"directed": "no"}, "directed is 'no', expected bool"),
        ({"database": "zarr:own.zarr"}, "is no database that a mapping can be of"),
        ({"val_from": 2012}, "val_from and test_from split the nodes by their time"),
        ({"method": "metiss"}, "unknown partition method 'metiss'"),
    ],
)
def test_wrong_mappings_get_one_line(folder, changed, said):
    with pytest.raises(InputError) as caught:
        daskgnn.open_graph(mapped(folder, **changed))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def duck(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("duck")
    fill_duck(folder / "own.duckdb", data)
    return folder


DUCK = {"database": "duckdb:own.duckdb"}


@pytest.mark.parametrize(
    "sample_by", mostly_slow(["uniform", "edge_weight"], "edge_weight")
)
def test_tables_of_duckdb_give_them_too(duck, data, sample_by):
    found = fitted(mapped(duck, **DUCK), sample_by=sample_by)
    assert found == fitted(data.partition(16, method="hash"), sample_by=sample_by)


def test_keys_may_be_words(duck, data, tmp_path):
    fill_duck(tmp_path / "own.duckdb", data, words=True)
    graphs = [daskgnn.open_graph(mapped(f, **DUCK)) for f in (duck, tmp_path)]
    by_number, by_word = ({k: i for i, k in enumerate(g.node_ids())} for g in graphs)
    node = graphs[0].source.rows("original_ids", np.arange(graphs[0].num_nodes))
    assert {str(key) for key in by_number} == by_word.keys()
    assert graphs[1].num_edges == graphs[0].num_edges
    assert len(set(node.tolist())) == len(node)


def test_duckdb_without_a_key_is_told_which_line_to_write(tmp_path, data):
    fill_duck(tmp_path / "own.duckdb", data, key="")
    with pytest.raises(InputError, match="as in 'key: id'"):
        daskgnn.open_graph(mapped(tmp_path, **DUCK))
    graph = daskgnn.open_graph(mapped(tmp_path, **DUCK, key="num"))
    assert graph.num_nodes == data.num_nodes
    with pytest.raises(InputError, match="no column in CITES 'begin', it has 'source'"):
        daskgnn.open_graph(mapped(tmp_path, **DUCK, key="num", source="begin"))


def test_splits_follow_from_times(duck, data, tmp_path):
    shutil.copy(duck / "own.duckdb", tmp_path)
    by_time = {"time": "year", "split": None, "val_from": 2012, "test_from": 2016}
    graph = daskgnn.open_graph(mapped(tmp_path, **DUCK, **by_time))
    original = graph.source.rows("original_ids", np.arange(graph.num_nodes))
    times = graph.source.rows("time", np.arange(graph.num_nodes))
    np.testing.assert_array_equal(times, 2000 + original % 20)
    expected = np.searchsorted([2012, 2016], times, "right")
    for number, name in enumerate(("train", "val", "test")):
        ids = np.flatnonzero(expected == number)
        np.testing.assert_array_equal(graph.splits[name], ids)


def test_features_of_unequal_length_name_the_node(tmp_path, data):
    rows = data.features.tolist()
    rows[7] = rows[7][:5]
    fill(tmp_path / "own.lbug", data, rows)
    with pytest.raises(DaskGNNError, match="'x' of node 22 has length 5, expected 12"):
        daskgnn.open_graph(mapped(tmp_path))


def test_a_missing_database_is_named(tmp_path):
    with pytest.raises(StoreError, match="there is no file"):
        daskgnn.open_graph(mapped(tmp_path))
