"""Stores whose features are in half precision, and blocks loaded from them."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from click.testing import CliRunner
from stored_graphs import assert_same_graph, dense, make_graph

from daskgnn.cli import gnn
from daskgnn.errors import InputError, StoreError
from daskgnn.graph.opening import open_graph
from daskgnn.graph.sources.stored import ZarrSource
from daskgnn.graph.store import writer
from daskgnn.graph.store.store import open_store
from daskgnn.graph.validate import validate
from daskgnn.kernels.exchange import FeatureReply
from daskgnn.kernels.features import normalize_rows, some_rows
from daskgnn.kernels.half import TABLE_DTYPES, narrow, widen
from daskgnn.kernels.record import array_bytes
from daskgnn.train.options.options import RUN

HALVES = ("float16", "bfloat16")
ON_DISK = {"float16": np.float16, "bfloat16": np.uint16}


@pytest.fixture
def small_chunks(monkeypatch):
    """Make chunks so small that features have several."""
    monkeypatch.setattr(writer, "CHUNK_BYTES", 128)


def rounded(graph, name):
    """The graph as a store of a dtype has it."""
    return replace(graph, features=widen(narrow(graph.features, name)))


def save(graph, folder, name="float32", method="metis"):
    partitioned = graph.partition(8, method=method)
    return partitioned.save(folder / f"{name}-{method}.zarr", feature_dtype=name)


@pytest.mark.parametrize("name", TABLE_DTYPES)
@pytest.mark.parametrize("method", ["hash", "metis"])
def test_reads_back_rounded(name, method, tmp_path, small_chunks):
    data = make_graph()
    path = save(data, tmp_path, name, method)
    graph = open_graph(path, num_parts=3)
    assert graph.feature_dtype == name
    assert_same_graph(graph.to_data(), rounded(data, name))
    order = graph.original_ids.compute()
    features = graph.features.compute()
    assert features.dtype == graph.features.dtype == np.float32
    np.testing.assert_array_equal(features, rounded(data, name).features[order])
    assert validate(path).graph_hash == graph.graph_hash
    # The hash is that of the rounded graph, however it is stored.
    again = save(graph.to_data(), tmp_path / "again", "float32")
    assert open_graph(again).graph_hash == graph.graph_hash


@pytest.mark.parametrize("name", HALVES)
def test_half_the_bytes_are_stored(name, tmp_path):
    data = make_graph()
    full, half = save(data, tmp_path), save(data, tmp_path, name)
    group = zarr.open_group(half, mode="r")
    assert group["features"].dtype == ON_DISK[name]
    assert group.attrs["feature_dtype"] == name
    assert group.attrs["format_version"] == 2
    sizes = [Path(p, "features/c/0/0").stat().st_size - 4 for p in (full, half)]
    assert sizes == [60 * 5 * 4, 60 * 5 * 2]
    assert open_graph(half).quality(2).row_bytes == 10
    assert data.partition(8).quality(2, feature_dtype=name).row_bytes == 10


def test_float32_stores_are_of_the_first_format(tmp_path):
    attributes = open_store(save(make_graph(), tmp_path)).attributes
    assert attributes["format_version"] == 1
    assert "feature_dtype" not in attributes


def test_graphs_without_features_have_no_feature_dtype(tmp_path):
    path = save(make_graph(features=None), tmp_path, "float16")
    assert open_graph(path).feature_dtype is None
    assert open_store(path).attributes["format_version"] == 1


def test_sparse_features_are_refused(tmp_path):
    bags = sp.random_array((60, 40), density=0.05, rng=0, dtype=np.float32)
    data = make_graph(features=sp.csr_array(bags))
    with pytest.raises(InputError, match=r"'halves' are mostly zeros.*float32 CSR"):
        save(data, tmp_path, "bfloat16")
    assert list(tmp_path.iterdir()) == []
    assert open_graph(save(data, tmp_path)).feature_dtype == "float32"


def test_what_is_too_large_is_named_by_its_node(tmp_path):
    data = make_graph()
    data.features[17, 3] = -70000
    with pytest.raises(InputError, match=r"-70000.0 \(node 17, column 3\), too large"):
        save(data, tmp_path, "float16")
    assert list(tmp_path.iterdir()) == []
    path = save(data, tmp_path)
    with pytest.raises(InputError, match=r"node 17, column 3"):
        ZarrSource(path).load_features(0, 60, "float16")
    # Rows divided by their sums fit.
    assert ZarrSource(path).load_features(0, 60, "float16", True).shape == (60, 5)
    validate(save(data, tmp_path, "bfloat16"))


def test_an_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(InputError, match="feature_dtype is 'float8', expected one"):
        save(make_graph(), tmp_path, "float8")


def test_features_that_round_to_zeros_stay_valid(tmp_path):
    """Read back they are mostly zeros: CSR would now be the smaller form."""
    features = np.full((60, 40), 1e-12, np.float32)
    features[:, :2] = 1
    data = make_graph(features=features)
    path = save(data, tmp_path, "float16")
    assert not open_graph(path).sparse_features
    validate(path)
    again = save(open_graph(path).to_data(), tmp_path)
    assert open_graph(again).sparse_features
    assert open_graph(again).graph_hash == open_graph(path).graph_hash


@pytest.mark.parametrize("stored", TABLE_DTYPES)
@pytest.mark.parametrize("asked", HALVES)
def test_blocks_are_tables_of_what_was_asked(stored, asked, tmp_path, small_chunks):
    path = save(make_graph(), tmp_path, stored)
    whole = ZarrSource(path).load_features(0, 60)
    assert whole.dtype == np.float32
    for start, stop in [(0, 60), (17, 43), (20, 20), (59, 60)]:
        block = ZarrSource(path).load_features(start, stop, asked)
        assert block.dtype == TABLE_DTYPES[asked]
        np.testing.assert_array_equal(block, narrow(whole[start:stop], asked))
        block = ZarrSource(path).load_features(start, stop, asked, normalize=True)
        expected = narrow(normalize_rows(whole[start:stop]), asked)
        np.testing.assert_array_equal(block, expected)


@pytest.mark.parametrize("name", HALVES)
def test_half_of_a_half_store_is_read_as_it_is(name, tmp_path):
    data = make_graph()
    full, half = save(data, tmp_path), save(data, tmp_path, name)
    one = ZarrSource(full).load_features(0, 60, name)
    np.testing.assert_array_equal(one, ZarrSource(half).load_features(0, 60, name))


@pytest.mark.parametrize("name", TABLE_DTYPES)
def test_rows_of_a_table(name):
    values = np.random.default_rng(0).random((9, 4), dtype=np.float32)
    table = narrow(values, name)
    rows = np.array([3, 0, 3])
    picked = some_rows(table, rows)
    assert picked.dtype == table.dtype
    found = widen(picked)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, widen(table)[rows])
    scaled = normalize_rows(table)
    assert scaled.dtype == table.dtype
    expected = narrow(normalize_rows(widen(table)), name)
    np.testing.assert_array_equal(scaled, expected)


@pytest.mark.parametrize("name", TABLE_DTYPES)
def test_tables_weigh_what_they_hold_and_travel_uncopied(name):
    table = narrow(np.ones((1000, 50), np.float32), name)
    rows = FeatureReply(table, np.arange(1000), np.ones(1000, np.float32))
    size = 50_000 * table.itemsize + 1000 * 12
    assert rows.nbytes == size
    assert size <= array_bytes(rows) <= size + 200
    buffers = []
    content = pickle.dumps(rows, protocol=5, buffer_callback=buffers.append)
    assert len(content) < 1000
    assert sum(b.raw().nbytes for b in buffers) == size
    assert pickle.loads(content, buffers=buffers).values.dtype == table.dtype


@pytest.mark.parametrize("name", HALVES)
def test_damage_to_half_features_is_named(name, tmp_path, small_chunks):
    path = save(make_graph(), tmp_path, name)
    file = Path(path, "features/c/1/0")
    content = file.read_bytes()
    damaged = bytearray(content)
    damaged[7] ^= 1
    for wrong in (bytes(damaged), content[:-6], b""):
        file.write_bytes(wrong)
        for read in (validate, lambda p: ZarrSource(p).load_features(0, 60, name)):
            with pytest.raises(StoreError, match="'c/1/0' of array 'features'"):
                read(path)
    file.unlink()
    with pytest.raises(StoreError, match="'c/1/0' of array 'features' is missing"):
        open_graph(path)


def call(*args):
    result = CliRunner().invoke(gnn, list(args), prog_name="daskgnn")
    return result.exit_code, result.stdout, result.stderr


def test_the_command_line_stores_and_tells(tmp_path):
    assert tuple(TABLE_DTYPES) == RUN["feature_dtype"].words
    store = str(tmp_path / "digits.zarr")
    status, out, _ = call("partition", "digits", store, "--feature-dtype", "bfloat16")
    assert status == 0
    assert "remote rows a step" in out
    _, out, _ = call("info", store, "--validate")
    assert "feature dtype  bfloat16" in out
    _, out, _ = call("info", store, "--json")
    assert json.loads(out)["feature_dtype"] == "bfloat16"
    # A store of a store: rounded once, whatever is asked then.
    again = str(tmp_path / "again.zarr")
    assert call("partition", store, again)[0] == 0
    first, second = open_graph(store), open_graph(again)
    assert second.feature_dtype == "float32"
    assert second.graph_hash == first.graph_hash
    found = dense(second.features.compute())
    np.testing.assert_array_equal(found, first.features.compute())


def test_the_command_line_refuses_before_the_work(tmp_path, monkeypatch):
    bags = sp.random_array((60, 40), density=0.05, rng=0, dtype=np.float32)
    path = save(make_graph(features=sp.csr_array(bags)), tmp_path)
    out = str(tmp_path / "out.zarr")
    status, _, error = call("partition", path, out, "--feature-dtype", "float16")
    assert status == 2
    assert error.startswith("daskgnn: --feature-dtype float16")
    assert error.count("\n") == 1
    assert not Path(out).exists()
