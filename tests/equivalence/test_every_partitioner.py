"""Training from every partitioner sees the same neighbourhoods."""

import numpy as np
import pytest
import torch
from training import (
    hub_graph,
    hub_weights,
    mostly_slow,
    planted_graph,
    stored,
    trainer,
)

import daskgnn
from daskgnn import nn
from daskgnn.partition import PARTITIONERS
from daskgnn.partition.methods.vertexcut import VERTEX_CUTS


def losses(path, num_parts):
    run = trainer(path, num_parts, None)
    history = run.fit(2)
    return [epoch["loss"] for epoch in history.epochs]


@pytest.fixture(scope="module")
def graph():
    return planted_graph()


@pytest.fixture(scope="module")
def expected(graph, tmp_path_factory):
    path = stored(graph, tmp_path_factory.mktemp("graph") / "g.zarr", "hash")
    return losses(path, 1)


METHODS = [*PARTITIONERS, "assignment"]


@pytest.mark.parametrize("method", mostly_slow(METHODS, "metis", "assignment"))
def test_losses_do_not_depend_on_the_partitioner(method, graph, expected, tmp_path):
    chosen = np.arange(400) % 7 if method == "assignment" else method
    count = 7 if method == "assignment" else 16
    path = stored(graph, tmp_path / "g.zarr", chosen, count)
    # A wrong neighbour in one row changes losses in the second digit or third.
    np.testing.assert_allclose(losses(path, 3), expected, rtol=1e-5)


def gcn(graph):
    torch.manual_seed(0)
    return nn.GCN(graph.num_features, 16, graph.num_classes, 2)


SPLIT = [(n, weighted) for n in ([4, 3], [-1, 40]) for weighted in (False, True)]


@pytest.mark.parametrize(("num_neighbors", "weighted"), mostly_slow(SPLIT, SPLIT[1]))
def test_rows_may_be_split(weighted, num_neighbors, tmp_path):
    options = {"edge_weight": hub_weights(200)} if weighted else {}
    graph = hub_graph(200, directed=weighted, **options)
    found = {}
    for method in ("hash", *VERTEX_CUTS):
        path = stored(graph, tmp_path / f"{method}.zarr", method, 8)
        spread = "spread_rows" in daskgnn.open_graph(path).partitioner
        assert spread == (method != "hash")
        for num_parts in (2, 8) if spread else (1,):
            run = trainer(path, num_parts, None, num_neighbors=num_neighbors, model=gcn)
            run.fit(2)
            losses = [step["loss"] for step in run.recorder.history.steps]
            scores = run.evaluate("test")
            predicted = run.predict().compute()
            found[method, num_parts] = (losses, scores["loss"], predicted)
    for losses, score, predicted in found.values():
        expected = found["hash", 1]
        np.testing.assert_allclose(losses, expected[0], rtol=1e-5)
        np.testing.assert_allclose(score, expected[1], rtol=1e-5)
        np.testing.assert_allclose(predicted, expected[2], atol=1e-4)
