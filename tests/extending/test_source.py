"""A graph source of one's own, as a script would write it: rows of a SQLite file."""

import os
import sqlite3
import threading
from functools import cached_property

import dask
import numpy as np
import pytest
from training import (
    AtStep,
    die,
    hub_graph,
    hub_weights,
    mostly_slow,
    planted_graph,
    small_sage,
    stop,
)

import daskgnn
from daskgnn.errors import ClusterError, InputError

PARTS, EPOCHS = 2, 2

TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value);
CREATE TABLE nodes (id INTEGER PRIMARY KEY, original INTEGER, label INTEGER,
                    split TEXT, features BLOB);
CREATE TABLE edges (target INTEGER, slot INTEGER, source INTEGER, weight REAL,
                    PRIMARY KEY (target, slot)) WITHOUT ROWID;
"""


def write_database(path, store):
    """Write what a store holds into tables, in the order in which it is stored."""
    graph = daskgnn.open_graph(store, 1)
    block = graph.source.load_rows(0, graph.num_nodes)
    features, labels = graph.features.compute(), graph.labels.compute()
    split = np.full(graph.num_nodes, "none", object)
    for name, ids in graph.splits.items():
        split[ids] = name
    nodes = zip(
        range(graph.num_nodes),
        block.original_ids.tolist(),
        labels.tolist(),
        split,
        [row.tobytes() for row in features],
        strict=True,
    )
    target = np.repeat(np.arange(graph.num_nodes), block.degree)
    slot = np.arange(len(target)) - np.repeat(block.indptr[:-1], block.degree)
    weights = np.ones(len(target)) if block.weights is None else block.weights
    edges = (target, slot, block.indices, weights.astype(float))
    with sqlite3.connect(path) as database:
        database.executescript(TABLES)
        facts = {"features": graph.num_features, "classes": graph.num_classes}
        facts |= {"weighted": int(graph.weighted), "hash": graph.graph_hash}
        facts["bounds"] = graph.schema.cluster_bounds.tobytes()
        database.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
        database.executemany("INSERT INTO nodes VALUES (?, ?, ?, ?, ?)", nodes)
        rows = zip(*(column.tolist() for column in edges), strict=True)
        database.executemany("INSERT INTO edges VALUES (?, ?, ?, ?)", rows)
    database.close()
    return str(path)


class Rows(daskgnn.GraphSource):
    """A graph whose nodes and edges are in the tables of a SQLite file."""

    def __init__(self, file):
        self.file = file
        self._open = threading.local()  # a connection is for one thread

    def __reduce__(self):
        return type(self), (self.file,)

    def query(self, words, *given):
        if not hasattr(self._open, "database"):
            self._open.database = sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)
        return self._open.database.execute(words, given).fetchall()

    @cached_property
    def schema(self):
        facts = dict(self.query("SELECT name, value FROM facts"))
        splits = {
            name: np.array(self.query(f"{IDS} WHERE split = ? ORDER BY id", name))[:, 0]
            for name in ("train", "val", "test")
        }
        return daskgnn.GraphSchema(
            num_nodes=self.query("SELECT count(*) FROM nodes")[0][0],
            num_edges=self.query("SELECT count(*) FROM edges")[0][0],
            num_features=facts["features"],
            num_classes=facts["classes"],
            version=os.path.basename(self.file),
            graph_hash=facts["hash"],
            weighted=bool(facts["weighted"]),
            splits=splits,
            tables=("features", "labels", "original_ids"),
            cluster_bounds=np.frombuffer(facts["bounds"], np.int64),
            **self.more(),
        )

    def more(self):
        return {}

    def load_rows(self, start, stop):
        words = "SELECT target, source, weight FROM edges WHERE target >= ? AND target"
        found = self.query(f"{words} < ? ORDER BY target, slot", start, stop)
        target, source, weight = zip(*found, strict=True) if found else ((), (), ())
        counts = np.bincount(np.array(target, int) - start, minlength=stop - start)
        return daskgnn.AdjacencyBlock(
            start,
            np.concatenate([[0], np.cumsum(counts)]),
            np.array(source, np.int32),
            self.rows("original_ids", np.arange(start, stop)),
            np.array(weight, np.float32) if self.schema.weighted else None,
        )

    def rows(self, table, ids):
        column = {"labels": "label", "original_ids": "original"}.get(table, table)
        found = [
            self.query(f"SELECT {column} FROM nodes WHERE id = ?", int(v)) for v in ids
        ]
        if table != "features":
            return np.array([row[0][0] for row in found], np.int64)
        width = (len(ids), self.schema.num_features)
        content = b"".join(row[0][0] for row in found)
        return np.frombuffer(content, np.float32).reshape(width)


IDS = "SELECT id FROM nodes"


class PendingSample(Rows):
    """The same; entries are read when they are drawn, and none are held."""

    def more(self):
        return {"on_demand": True}

    def degrees(self, ids):
        words = "SELECT count(*) FROM edges WHERE target = ?"
        return np.array([self.query(words, int(v))[0][0] for v in ids], np.int64)

    def entries(self, ids, slots, columns=("source", "weight")):
        words = "SELECT source, weight FROM edges WHERE target = ? AND slot = ?"
        pairs = zip(ids.tolist(), slots.tolist(), strict=True)
        found = [self.query(words, *pair)[0] for pair in pairs]
        source, weight = zip(*found, strict=True) if found else ((), ())
        kinds = {"source": np.array(source, np.int32)}
        kinds["weight"] = np.array(weight, np.float32)
        return {name: kinds[name] for name in columns}


def trainer(graph, client=None, features="memory", parts=PARTS, **options):
    graph = daskgnn.open_graph(graph, parts, features)
    given = {"num_neighbors": [4, 3], "batch_size": 48, "window": 3, **options}
    return daskgnn.Trainer(small_sage(graph), graph, client=client, **given)


def fitted(*given, **options):
    run = trainer(*given, **options)
    run.fit(EPOCHS)
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("graph")


@pytest.fixture(scope="module")
def store(folder):
    return planted_graph().partition(16).save(folder / "g.zarr")


@pytest.fixture(scope="module")
def file(folder, store):
    return write_database(folder / "g.db", store)


@pytest.fixture(scope="module")
def stored(store):
    return fitted(store)


@pytest.fixture
def client(cluster):
    return cluster(2)


def test_it_opens_as_the_store_does(file, store):
    one, other = daskgnn.open_graph(Rows(file), 3), daskgnn.open_graph(store, 3)
    np.testing.assert_array_equal(one.partition_book, other.partition_book)
    for name in ("features", "labels", "original_ids"):
        found = getattr(one, name).compute()
        np.testing.assert_array_equal(found, getattr(other, name).compute())
    blocks = (dask.compute(*graph.adjacency.blocks.ravel()) for graph in (one, other))
    for found, expected in zip(*blocks, strict=True):
        for name in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert one.quality().to_dict() == other.quality().to_dict()
    assert one.path is None
    with pytest.raises(InputError, match="Rows has no to_data"):
        one.to_data()


HOW = [(where, kind) for where in ("memory", "disk") for kind in (Rows, PendingSample)]


@pytest.mark.parametrize(("features", "source"), mostly_slow(HOW, *HOW[::3]))
def test_it_gives_the_bits_of_the_store(file, stored, source, features):
    run = fitted(source(file), features=features)
    assert run.params_sha256 == stored.params_sha256
    assert run.evaluate("test") == stored.evaluate("test")
    predicted = run.predict().compute()
    np.testing.assert_array_equal(predicted, stored.predict().compute())


def test_a_part_on_demand_holds_no_entries(file):
    run = trainer(PendingSample(file))
    run.fit(1)
    for blocks in run.executor.result(run.deployment.preparation.blocks.keys):
        assert not len(blocks.adjacency.indices)
        assert len(blocks.whole_rows().indices) == blocks.adjacency.indptr[-1]


@pytest.mark.parametrize(
    "options",
    mostly_slow([{"sample_by": "degree"}, {"sampler": "labor"}], {"sampler": "labor"}),
)
def test_samplers_that_need_whole_rows_hold_them(file, store, options):
    run = fitted(PendingSample(file), **options)
    assert run.params_sha256 == fitted(store, **options).params_sha256
    (blocks, _) = run.executor.result(run.deployment.preparation.blocks.keys)
    assert len(blocks.adjacency.indices) == blocks.adjacency.indptr[-1]


@pytest.mark.parametrize("source", mostly_slow([Rows, PendingSample], PendingSample))
def test_weighted_edges_give_the_bits_of_the_store(tmp_path, source):
    store = hub_graph(edge_weight=hub_weights()).partition(8).save(tmp_path / "w.zarr")
    run = fitted(source(write_database(tmp_path / "w.db", store)))
    expected = fitted(store)
    assert run.params_sha256 == expected.params_sha256
    assert run.evaluate("val") == expected.evaluate("val")


@pytest.mark.parametrize("source", mostly_slow([Rows, PendingSample], PendingSample))
def test_two_workers_give_the_same_bits(file, stored, client, source):
    run = fitted(source(file), client, features="disk")
    assert run.params_sha256 == stored.params_sha256
    assert run.evaluate("test") == stored.evaluate("test")


@pytest.mark.slow
def test_one_worker_gives_the_same_bits(file, stored, cluster):
    assert fitted(Rows(file), cluster(1)).params_sha256 == stored.params_sha256


def test_a_worker_dies_and_the_bits_are_the_same(file, stored, killable):
    victim = min(killable.run(os.getpid).values())
    progress = AtStep(5, lambda: die(victim))
    run = fitted(PendingSample(file), killable, progress=progress)
    assert victim not in killable.run(os.getpid).values()
    assert run.params_sha256 == stored.params_sha256


def test_stopped_and_resumed_it_gives_the_same_bits(file, store, stored, tmp_path):
    given = {"out": tmp_path / "run", "checkpoint_every": 2}
    first = trainer(Rows(file), progress=AtStep(6, stop), **given)
    with pytest.raises(RuntimeError, match="stopped"):
        first.fit(EPOCHS)
    again = trainer(Rows(file), **given)
    again.fit(EPOCHS, resume=True)
    assert again.params_sha256 == stored.params_sha256
    # The content is the store's, so the store can go on where the tables stopped.
    other = trainer(store, **given)
    other.fit(EPOCHS + 1, resume=True)


class Elsewhere(Rows):
    """A file that only this process sees."""

    def __init__(self, file):
        super().__init__(file)
        self.home = os.getpid()

    def __reduce__(self):
        return _elsewhere, (self.file, self.home)


def _elsewhere(file, home):
    return Elsewhere(file if os.getpid() == home else "/nowhere.db")


def test_a_worker_that_cannot_open_it_is_named(file, client):
    with pytest.raises(ClusterError, match=r"worker tcp.* cannot open .* Elsewhere \("):
        trainer(Elsewhere(file), client)


class NoRows(daskgnn.GraphSource):
    schema = None


class OtherForm(Rows):
    def rows(self, ids):
        return ids


def changed(method, change):
    """Return a source whose method returns something else."""

    def other(self, *given):
        return change(getattr(Rows, method)(self, *given))

    return type("Changed", (Rows,), {method: other})


def block_with(**changes):
    def change(block):
        given = {**vars(block), **{n: f(getattr(block, n)) for n, f in changes.items()}}
        return daskgnn.AdjacencyBlock(**given)

    return changed("load_rows", change)


def schema_with(**changes):
    return type("Changed", (Rows,), {"more": lambda self: changes})


class Unpicklable(Rows):
    def __reduce__(self):
        raise TypeError("cannot pickle 'sqlite3.Connection' object")


class FewLabels(Rows):
    def rows(self, table, ids):
        found = super().rows(table, ids)
        return found[1:] if table == "labels" else found


class BadSplits(Rows):
    @cached_property
    def schema(self):
        found = super().schema
        found.splits["train"] = found.splits["train"][::-1]
        return found


REFUSED = {
    r"NoRows lacks load_rows\(self, start, stop\)": lambda file: NoRows(),
    r"OtherForm.rows is not of the form rows\(self, table, ids\)": OtherForm,
    "graph=Rows is a class": lambda file: Rows,
    "Rows.schema fails: OperationalError": lambda file: Rows("/nowhere.db"),
    r"load_rows returns 0 objects, expected a daskgnn.AdjacencyBlock": changed(
        "load_rows", lambda block: []
    ),
    r"block whose indices is int64 \[": block_with(indices=lambda a: a.astype(int)),
    "block whose indices is .* expected 0..399": block_with(indices=lambda a: a + 400),
    "block whose indices is unsorted": block_with(indices=lambda a: a[::-1].copy()),
    "block whose indptr is .* ascend from 0": block_with(indptr=lambda a: a + 1),
    "block whose weights is float32": block_with(
        weights=lambda a: np.ones(9, np.float32)
    ),
    r"rows returns float64 .* of 'features', expected float32 \[8, 12\]": changed(
        "rows", lambda found: found.astype(float) if found.ndim == 2 else found
    ),
    r"rows returns int64 \[7\] of 'labels', expected int64 \[8\]": FewLabels,
    "schema.splits.* expected ascending int64 storage ids": lambda file: BadSplits(
        file
    ),
    "schema.feature_dtype is 'half'": schema_with(feature_dtype="half"),
    "cannot be sent to workers .cannot pickle 'sqlite3": Unpicklable,
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_no_source_is_refused_in_one_line(file, said):
    with pytest.raises(InputError, match=said) as error:
        trainer(REFUSED[said](file))
    assert "\n" not in str(error.value)


def test_what_only_a_part_shows_is_refused_before_a_step(file):
    class Late(Rows):
        def load_part(self, start, stop):
            block = self.load_rows(start, stop)
            block.indices[50] = 400
            return block

    run = trainer(Late(file))
    with pytest.raises(InputError, match=r"Late\.load_rows returns a block whose ind"):
        run.fit(1)
