"""Training with samplers of layers: other parts, partitioners and kinds of rows."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from training import AT_ONCE, hub_graph, hub_weights, mostly_slow, small_sage, stored

import daskgnn
from daskgnn import nn

NAMES = ("fastgcn", "ladies")


@pytest.fixture(scope="module")
def graph():
    return hub_graph(150)


@pytest.fixture(scope="module")
def path(graph, tmp_path_factory):
    return stored(graph, tmp_path_factory.mktemp("graph") / "g.zarr", num_clusters=8)


class Plain(nn.GraphSAGE):
    """A model whose first layer aggregates in each step."""

    first_aggregation = None

    def __init__(self, graph):
        torch.manual_seed(0)
        super().__init__(graph.num_features, 16, graph.num_classes, 2, dropout=0.4)


def trained(given, sampler, num_parts=2, model=small_sage, **options):
    """Train for an epoch; return the run and the losses of its steps."""
    graph = daskgnn.open_graph(given, num_parts)
    how = {"batch_size": 25, "sampler": sampler, "client": None, **AT_ONCE, **options}
    run = daskgnn.Trainer(model(graph), graph, **how)
    run.fit(1)
    return run, [step["loss"] for step in run.recorder.history.steps]


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_the_same_for_other_parts_and_partitioners(
    graph, path, name, tmp_path
):
    _, expected = trained(path, f"{name}:size=30")
    others = [(path, 3)]
    for method in ("fennel", "hdrf"):  # a vertex-cut
        others.append((stored(graph, tmp_path / method, method, 4), 2))
    for place, num_parts in others:
        _, found = trained(place, f"{name}:size=30", num_parts)
        assert found == pytest.approx(expected, rel=1e-4)


class OnDemand(daskgnn.GraphSource):
    """Another source, of which only degrees are held."""

    def __init__(self, source):
        self.source = source
        self.schema = replace(source.schema, on_demand=True)

    def load_rows(self, start, stop):
        return self.source.load_rows(start, stop)

    def rows(self, table, ids):
        return self.source.rows(table, ids)


@pytest.mark.parametrize(
    ("name", "directed"),
    mostly_slow(list(product(NAMES, [False, True])), ("ladies", True)),
)
def test_rows_on_demand_give_the_same_bits(name, directed, tmp_path):
    given = {"directed": directed, "edge_weight": hub_weights(150)}
    path = stored(hub_graph(150, **given), tmp_path / "g.zarr", num_clusters=8)
    expected, _ = trained(path, f"{name}:size=30,skip=true", 3)
    lazy = OnDemand(daskgnn.open_graph(path, 1).source)
    found, _ = trained(lazy, f"{name}:size=30,skip=true", 3)
    assert found.params_sha256 == expected.params_sha256


@pytest.mark.parametrize("name", NAMES)
def test_first_aggregation_ahead_changes_no_more_than_roundings(path, name):
    _, expected = trained(path, f"{name}:size=30")
    _, found = trained(path, f"{name}:size=30", model=Plain)
    assert found == pytest.approx(expected, rel=1e-4)
