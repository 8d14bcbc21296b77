"""Layers of large parts are computed a run of rows at a time."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from training import hub_graph, planted_graph, small_sage

import daskgnn
from daskgnn.kernels.halo import find_halo
from daskgnn.kernels.pieces import pieces
from daskgnn.nn import GAT, GCN
from daskgnn.train.compute import exact


def with_max(graph):
    return small_sage(graph, aggr="max")


def gcn(graph):
    return GCN(graph.num_features, 16, graph.num_classes, num_layers=2)


def gat(graph):
    return GAT(graph.num_features, 8, graph.num_classes, num_layers=2, heads=2)


def as_csr(data):
    """Return a graph whose features are CSR, and stay so."""
    wide = np.zeros((data.num_nodes, 300), np.float32)
    wide[:, : data.num_features] = data.features
    columns = np.arange(data.num_nodes) % 300
    kept = np.isin(np.arange(300), [0, 1]) | (np.arange(300) == columns[:, None])
    return replace(data, features=sp.csr_array(wide * kept))


@pytest.mark.parametrize("model", [small_sage, with_max, gcn, gat])
@pytest.mark.parametrize("kind", ["dense", "sparse", "weighted"])
def test_outputs_are_those_of_all_rows_at_once(model, kind, monkeypatch):
    data = hub_graph() if kind == "weighted" else planted_graph(200)
    data = as_csr(data) if kind == "sparse" else data
    graph = daskgnn.open_graph(data.partition(8, "hash"), num_parts=2)
    torch.manual_seed(0)
    run = daskgnn.Trainer(
        model(graph), graph, num_neighbors=[3, 3], client=None, progress=None
    )
    at_once = run.predict().compute()
    monkeypatch.setattr(exact, "MOST_ROWS", 10)
    monkeypatch.setattr(exact, "HELD_BYTES", 40 * 4 * graph.num_features)
    in_runs = run.predict().compute()
    np.testing.assert_allclose(in_runs, at_once, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("most", [1, 7, 50, 10**6])
def test_pieces_are_the_rows(most):
    data = hub_graph()
    graph = daskgnn.open_graph(data.partition(8, "hash"), num_parts=2)
    block = graph.source.load_part(*map(int, graph.partition_book[:2]))
    halo = find_halo(block)
    columns = np.concatenate([np.arange(block.num_rows), -1 - halo.ids])
    rows = []
    for piece in pieces(block, halo, most):
        own = np.arange(piece.first, piece.last)
        np.testing.assert_array_equal(piece.sources[: len(own)], own)
        assert len(np.unique(piece.sources)) == len(piece.sources)
        neighbours = columns[piece.sources[piece.indices]]
        rows += np.split(neighbours, piece.indptr[1:-1])
    whole = np.split(columns[halo.indices], block.indptr[1:-1])
    assert len(rows) == block.num_rows
    for found, expected in zip(rows, whole, strict=True):
        np.testing.assert_array_equal(found, expected)
