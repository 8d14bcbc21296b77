"""A graph is written as a whole or not at all, and read back as it was."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from stored_graphs import assert_same_graph, make_graph
from training import run_forked

from daskgnn.errors import PartitionError, StoreError
from daskgnn.graph.opening import open_graph
from daskgnn.graph.readers.memory import from_edge_index
from daskgnn.graph.sources.stored import ZarrSource
from daskgnn.graph.store import store as stores
from daskgnn.graph.store import writer
from daskgnn.graph.store.store import open_store
from daskgnn.graph.validate import validate


@pytest.fixture
def small_chunks(monkeypatch):
    """Make chunks so small that every array has several."""
    monkeypatch.setattr(writer, "CHUNK_BYTES", 256)


def weighted(**options):
    """A graph with weights and edge attributes."""
    graph = make_graph(**options)
    rng = np.random.default_rng(5)
    rows = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    return from_edge_index(
        np.stack([graph.indices, rows]),
        num_nodes=graph.num_nodes,
        edge_weight=rng.random(graph.num_edges).astype(np.float32),
        edge_attr={"kind": rng.integers(0, 9, (graph.num_edges, 2))},
        directed=True,
    )


def bags(num_nodes=60, columns=40, share=0.05, seed=0):
    """Features that are mostly zero."""
    found = sp.random_array(
        (num_nodes, columns), density=share, rng=seed, dtype=np.float32
    )
    return sp.csr_array(found)


GRAPHS = {
    "plain": make_graph,
    "weighted": weighted,
    "sparse": lambda: make_graph(features=bags()),
    "directed": lambda: make_graph(directed=True),
    "bare": lambda: make_graph(
        features=None, labels=None, num_classes=0, train=None, val=None, test=None
    ),
    "yes/no": lambda: make_graph(
        labels=np.random.default_rng(1).integers(0, 2, (60, 4)).astype(np.float32),
        num_classes=4,
        metric="rocauc",
    ),
    "not given": lambda: make_graph(
        labels=np.r_[np.full(30, -1), np.zeros(30, np.int64)],
        num_classes=1,
        train=np.arange(30, 40),
        val=None,
        test=None,
    ),
}


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("method", ["hash", "metis"])
def test_reads_back_as_it_was(kind, method, tmp_path, small_chunks):
    graph = GRAPHS[kind]()
    path = graph.partition(8, method=method).save(tmp_path / "g.zarr")
    assert path == str(tmp_path / "g.zarr")
    assert_same_graph(open_graph(path, num_parts=3).to_data(), graph)
    report = validate(path, num_parts=4)
    assert report.num_edges == graph.num_edges
    assert str(graph.num_edges) in str(report)


def test_is_a_plain_zarr_group(tmp_path, small_chunks):
    graph = make_graph(features=bags())
    path = graph.partition(8).save(tmp_path / "g.zarr")
    group = zarr.open_group(path, mode="r")
    assert group.attrs["format"] == "daskgnn"
    assert group.attrs["format_version"] == 1
    assert group.attrs["num_nodes"] == 60
    assert group.attrs["partitioner"]["method"] == "metis"
    names = {"indptr", "indices", "original_ids", "labels", "splits", "features_data"}
    assert names <= set(group)
    assert "features" not in group
    for name in ("indices", "features_data", "labels", "splits/train"):
        array = group[name]
        codecs = [codec.to_dict()["name"] for codec in array.compressors]
        assert codecs[-1] == "crc32c", name
    assert group["indices"].nchunks > 1


def test_every_chunk_is_a_file_even_of_zeros(tmp_path, small_chunks):
    graph = make_graph(labels=np.zeros(60, np.int64), num_classes=1)
    path = graph.partition(4).save(tmp_path / "g.zarr")
    array = zarr.open_array(path, path="labels", mode="r")
    assert len(list(Path(path, "labels", "c").iterdir())) == array.nchunks > 1


def test_chunks_are_regular_and_bounded():
    rows = writer.chunk_rows((10_000_000, 100), 4)
    assert 14 << 20 < rows * 400 <= 17 << 20
    assert writer.chunk_rows((5,), 8) == 5
    assert writer.chunk_rows((0,), 8) == 1
    assert writer.chunk_rows((3, 1 << 28), 4) == 1
    # Equal chunks: hardly any padding in the last one.
    count = (writer.CHUNK_BYTES // 8) + 1
    assert writer.chunk_rows((count,), 8) * 2 - count <= 1


def test_dense_features_are_not_compressed_and_read_in_place(tmp_path):
    graph = make_graph()
    partitioned = graph.partition(4)
    path = partitioned.save(tmp_path / "g.zarr")
    found = np.fromfile(Path(path, "features", "c", "0", "0"), np.float32)
    expected = graph.features[partitioned.original_ids]
    np.testing.assert_array_equal(found[:-1].reshape(60, 5), expected)


def test_rows_read_alone_equal_the_whole(tmp_path, small_chunks):
    graph = make_graph(features=bags())
    partitioned = graph.partition(8)
    path = partitioned.save(tmp_path / "g.zarr")
    order = partitioned.original_ids
    features = graph.features.toarray()[order]
    for start, stop in [(0, 60), (0, 1), (59, 60), (17, 43), (20, 20)]:
        block = ZarrSource(path).load_rows(start, stop)
        assert (block.start, block.num_rows) == (start, stop - start)
        assert block.indptr.dtype == np.int64
        assert block.indices.dtype == np.int32
        np.testing.assert_array_equal(block.original_ids, order[start:stop])
        for row, node in enumerate(order[start:stop]):
            found = block.indices[block.indptr[row] : block.indptr[row + 1]]
            own = graph.indices[graph.indptr[node] : graph.indptr[node + 1]]
            # Slot j of a node is the same neighbour under every partition.
            np.testing.assert_array_equal(order[found], own)
        found = ZarrSource(path).load_features(start, stop)
        assert found.shape == (stop - start, 40)
        np.testing.assert_array_equal(found.todense(), features[start:stop])
        found = ZarrSource(path).load_table("labels", start, stop)
        np.testing.assert_array_equal(found, graph.labels[order[start:stop]])
        found = ZarrSource(path).load_table("original_ids", start, stop)
        np.testing.assert_array_equal(found, order[start:stop])
    np.testing.assert_array_equal(
        ZarrSource(path).degrees(np.arange(60)), np.diff(graph.indptr)[order]
    )


def test_a_run_of_rows_reads_its_chunks_only(tmp_path, small_chunks):
    path = make_graph().partition(8).save(tmp_path / "g.zarr")
    rows = zarr.open_array(path, path="features", mode="r").chunks[0]
    Path(path, "features", "c", "1", "0").unlink()
    assert ZarrSource(path).load_features(0, rows).shape == (rows, 5)
    with pytest.raises(StoreError, match="'c/1/0' of array 'features' is missing"):
        ZarrSource(path).load_features(0, rows + 1)


def test_opening_is_kept_while_the_store_stays(tmp_path):
    path = make_graph().partition(8).save(tmp_path / "g.zarr")
    first = open_store(path)
    assert open_store(path) is first
    make_graph(seed=1).partition(8).save(path, overwrite=True)
    assert open_store(path).checksum != first.checksum
    with pytest.raises(StoreError, match="was replaced since it was opened"):
        ZarrSource(path, first.checksum).load_rows(0, 5)


def test_what_was_not_stored_is_named(tmp_path):
    path = GRAPHS["bare"]().partition(4).save(tmp_path / "g.zarr")
    with pytest.raises(StoreError, match="has no features"):
        ZarrSource(path).load_features(0, 5)
    with pytest.raises(StoreError, match="has no labels"):
        ZarrSource(path).load_table("labels", 0, 5)
    with pytest.raises(StoreError, match=r"rows 50:61 of array 'original_ids'"):
        ZarrSource(path).load_table("original_ids", 50, 61)
    graph = open_graph(path)
    assert graph.features is None
    assert graph.labels is None
    assert graph.splits == {}


def test_hash_names_the_graph_not_its_partition(tmp_path):
    def hash_of(graph, *args):
        path = graph.partition(*args).save(tmp_path / "g.zarr", overwrite=True)
        return open_graph(path).graph_hash

    base = make_graph(features=bags())
    expected = hash_of(base, 8, "metis")
    assert hash_of(base, 5, "hash") == expected
    assert hash_of(base, 1) == expected
    assert hash_of(make_graph(features=bags().toarray()), 8) == expected
    others = [
        make_graph(features=bags(seed=1)),
        make_graph(seed=1, features=bags()),
        make_graph(features=bags(), labels=np.zeros(60, np.int64)),
        make_graph(features=bags(), val=None),
        weighted(),
    ]
    hashes = {hash_of(graph, 8) for graph in others}
    assert len(hashes) == len(others)
    assert expected not in hashes


def test_same_graph_gives_the_same_store(tmp_path):
    one = make_graph().partition(8).save(tmp_path / "a.zarr")
    two = make_graph().partition(8).save(tmp_path / "b.zarr")
    assert open_store(one).checksum == open_store(two).checksum
    other = make_graph().partition(8, "hash").save(tmp_path / "c.zarr")
    assert open_store(other).checksum != open_store(one).checksum


@pytest.mark.parametrize("what", ["store", "file", "folder", "other group"])
def test_nothing_is_overwritten_by_chance(what, tmp_path):
    target = tmp_path / "g.zarr"
    if what == "store":
        make_graph(seed=3).partition(2).save(target)
    elif what == "file":
        target.write_text("mine")
    elif what == "folder":
        target.mkdir()
        (target / "mine").write_text("mine")
    else:
        zarr.create_group(target)
    partitioned = make_graph().partition(4)
    before = snapshot(tmp_path)
    with pytest.raises(StoreError, match="exists already"):
        partitioned.save(target)
    if what != "store":
        with pytest.raises(StoreError, match="not a store of daskgnn"):
            partitioned.save(target, overwrite=True)
        assert snapshot(tmp_path) == before
    else:
        assert snapshot(tmp_path) == before
        partitioned.save(target, overwrite=True)
        assert_same_graph(open_graph(target).to_data(), make_graph())
    assert [p.name for p in tmp_path.iterdir()] == ["g.zarr"]


def snapshot(folder):
    """The files below a folder with their content."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p): p.read_bytes() for p in files}


@pytest.mark.parametrize("step", ["_write_array", "_write_metadata", "_flush_tree"])
@pytest.mark.parametrize("replace", [False, True])
def test_a_failed_write_leaves_what_was_there(step, replace, tmp_path, monkeypatch):
    target = tmp_path / "g.zarr"
    if replace:
        make_graph(seed=3).partition(2).save(target)
    before = snapshot(tmp_path)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, step, fail)
    with pytest.raises(StoreError, match="No space left on device"):
        make_graph().partition(4).save(target, overwrite=replace)
    assert snapshot(tmp_path) == before


def test_a_failed_rename_brings_the_old_store_back(tmp_path, monkeypatch):
    target = tmp_path / "g.zarr"
    make_graph(seed=3).partition(2).save(target)
    before = snapshot(tmp_path)
    rename = os.rename

    def fail(source, to):
        if source.endswith(".tmp"):
            raise OSError(5, "Input/output error")
        rename(source, to)

    monkeypatch.setattr(writer.os, "rename", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        make_graph().partition(4).save(target, overwrite=True)
    assert snapshot(tmp_path) == before


DYING = """
import os, signal, sys
from daskgnn.graph.store import writer
from stored_graphs import make_graph

for step in sys.argv[1:]:
    # A process each, that need not import anything again.
    if not (child := os.fork()):
        setattr(writer, step, lambda *args: os.kill(os.getpid(), signal.SIGKILL))
        make_graph().partition(4).save(f"{step}.zarr")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, (step, status)
"""


def test_a_writer_that_dies_leaves_nothing_that_opens(tmp_path):
    steps = ["_write_metadata", "_flush_tree", "_put_in_place"]
    done = run_forked(DYING, *steps, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for step in steps:
        target = tmp_path / f"{step}.zarr"
        with pytest.raises(StoreError, match="does not exist"):
            open_graph(target)
        # What the dead writer left does not stand in the way.
        make_graph().partition(4).save(target)
        validate(target)


def test_parent_folders_are_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = make_graph().partition(4).save("some/where/g.zarr")
    assert path == str(tmp_path / "some" / "where" / "g.zarr")
    assert open_graph("some/where/g.zarr").path == path


def test_names_that_are_no_names_are_refused(tmp_path):
    graph = weighted()
    graph.edge_attr["../out"] = graph.edge_attr.pop("kind")
    with pytest.raises(StoreError, match="name of letters"):
        graph.partition(2).save(tmp_path / "g.zarr")
    assert list(tmp_path.iterdir()) == []


def test_paths_without_a_store_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    zarr.create_group(tmp_path / "group")
    for name, what in [
        ("absent", "does not exist"),
        ("file", "is a file"),
        ("folder", "holds no 'zarr.json'"),
        ("group", "not a graph of daskgnn"),
    ]:
        with pytest.raises(StoreError, match=what) as error:
            open_graph(tmp_path / name)
        assert "\n" not in str(error.value)
        assert str(tmp_path / name) in str(error.value)


def test_a_newer_format_is_refused(tmp_path):
    path = make_graph().partition(4).save(tmp_path / "g.zarr")
    file = Path(path, "zarr.json")
    document = json.loads(file.read_text())
    document["attributes"]["format_version"] = writer.FORMAT_VERSION + 1
    file.write_text(json.dumps(document))
    newer = rf"format version {writer.FORMAT_VERSION + 1}.*newer daskgnn"
    with pytest.raises(StoreError, match=newer):
        open_graph(path)


@pytest.mark.parametrize("num_parts", [0, -1, 1.5, True, "2", 9])
def test_parts_that_cannot_be_are_refused(num_parts, tmp_path):
    path = make_graph().partition(8, "hash").save(tmp_path / "g.zarr")
    with pytest.raises(PartitionError, match="num_parts="):
        open_graph(path, num_parts=num_parts)


def test_writing_takes_a_chunk_at_a_time(tmp_path, small_chunks):
    taken = []

    def rows(start, stop):
        taken.append(stop - start)
        return np.arange(start, stop)

    source = writer.ArraySource("a", (1000,), np.dtype(np.int64), rows)
    writer.write_store(tmp_path / "a.zarr", [source], {})
    assert sum(taken) == 1000
    assert max(taken) <= 256 // 8
    found = stores.open_store(tmp_path / "a.zarr").read("a", 100, 900)
    np.testing.assert_array_equal(found, np.arange(100, 900))
