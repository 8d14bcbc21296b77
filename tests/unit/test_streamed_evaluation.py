"""Exact evaluation of features on the disk reads them a piece at a time."""

import numpy as np
import pytest
import torch
from training import hub_graph, hub_weights, planted_graph, small_sage, stored

import daskgnn
from daskgnn.graph.sources.rows import SourceRows
from daskgnn.kernels import halo
from daskgnn.nn import GAT, GCN

MOST = 40
"""Rows that a piece may have."""


def sage(graph):
    return small_sage(graph)


def with_max(graph):
    return small_sage(graph, aggr="max")


def gcn(graph):
    return GCN(graph.num_features, 16, graph.num_classes, num_layers=2)


def gat(graph):
    return GAT(graph.num_features, 8, graph.num_classes, num_layers=2, heads=2)


@pytest.fixture
def read(monkeypatch):
    """Rows of each read."""
    counts = []
    real = SourceRows.take

    def take(self, rows):
        counts.append(len(rows))
        return real(self, rows)

    monkeypatch.setattr(SourceRows, "take", take)
    return counts


CASES = [(sage, "float32"), (sage, "bfloat16"), (with_max, "float32")]
CASES += [(gcn, "float32"), (gat, "float32")]


@pytest.mark.parametrize(("model", "dtype"), CASES)
def test_outputs_are_those_of_features_in_memory(
    tmp_path, model, dtype, read, monkeypatch
):
    data = planted_graph(300)
    path = data.partition(16, "metis").save(tmp_path / "g.zarr", feature_dtype=dtype)
    found = {}
    for where in ("memory", "disk"):
        graph = daskgnn.open_graph(path, 3, features=where)
        monkeypatch.setattr(halo, "PIECE_BYTES", MOST * 4 * graph.num_features)
        torch.manual_seed(0)
        run = daskgnn.Trainer(model(graph), graph, num_neighbors=[4, 3], batch_size=64)
        found[where] = run.predict().compute(), run.evaluate("test")
    np.testing.assert_allclose(
        found["disk"][0], found["memory"][0], rtol=1e-4, atol=1e-5
    )
    assert found["disk"][1]["accuracy"] == found["memory"][1]["accuracy"]
    widest = int(np.diff(data.indptr).max()) + 1
    # Two passes over three parts, each in several pieces.
    assert len(read) >= 2 * 300 // MOST
    assert max(read) <= max(MOST, widest)
    assert min(read) > 0


def test_a_part_without_neighbours_elsewhere(tmp_path, read):
    path = stored(planted_graph(60), tmp_path / "g.zarr")
    graph = daskgnn.open_graph(path, 1, features="disk")
    run = daskgnn.Trainer(small_sage(graph), graph, num_neighbors=[4, 3], batch_size=64)
    assert run.predict().compute().shape == (60, graph.num_classes)
    assert read == [60]


def test_a_row_that_is_wider_than_a_piece_is_read_alone(tmp_path, read, monkeypatch):
    hub = np.zeros(50, np.int64)
    edges = np.stack([hub[1:], np.arange(1, 50)])
    rng = np.random.default_rng(0)
    graph = daskgnn.from_edge_index(
        edges,
        features=rng.random((50, 6)),
        labels=np.arange(50) % 2,
        train=np.arange(10),
        test=np.arange(10, 50),
    )
    path = graph.partition(4, "range").save(tmp_path / "g.zarr")
    opened = daskgnn.open_graph(path, 1, features="disk")
    monkeypatch.setattr(halo, "PIECE_BYTES", 8 * 4 * 6)
    run = daskgnn.Trainer(small_sage(opened), opened, num_neighbors=[2, 2])
    run.evaluate("test")
    assert sorted(read)[-1] == 50
    assert sorted(read)[-2] <= 8


def test_weighted_rows_of_a_vertex_cut_are_read_in_pieces_too(
    tmp_path, read, monkeypatch
):
    data = hub_graph(directed=True, edge_weight=hub_weights())
    paths = [data.partition(8, m).save(tmp_path / m) for m in ("hdrf", "hash")]
    outputs = []
    for path, where in zip(paths, ("disk", "memory"), strict=True):
        graph = daskgnn.open_graph(path, 3, features=where)
        monkeypatch.setattr(halo, "PIECE_BYTES", MOST * 4 * graph.num_features)
        torch.manual_seed(0)
        options = {"num_neighbors": [4, 3], "client": None}
        run = daskgnn.Trainer(gcn(graph), graph, **options)
        outputs.append(run.predict().compute())
    assert len(read) > 3
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-5)
