"""Whether a run without a choice of workers needs a cluster."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

import daskgnn
from daskgnn.train.automatic import needs_no_cluster, seconds_here
from daskgnn.train.options.recipes import with_recipe
from daskgnn.train.run import train


def settings(**given):
    return with_recipe("a graph", given, use_recipe=False)


def of_size(num_nodes, degree, features, num_classes=10):
    """Return what is asked of a graph, without a graph."""
    return SimpleNamespace(
        num_nodes=num_nodes,
        num_edges=num_nodes * degree,
        num_features=features.shape[1],
        features=features,
        num_classes=num_classes,
        splits={},
    )


def test_a_small_graph_needs_none_and_a_large_one_does():
    small = of_size(3000, 4, np.empty((3000, 500), np.float32))
    large = of_size(2_000_000, 50, SimpleNamespace(shape=(2_000_000, 100)))
    assert needs_no_cluster(small, settings(epochs=50))
    assert not needs_no_cluster(large, settings(epochs=1))


def test_time_follows_the_work():
    graph = of_size(100_000, 10, SimpleNamespace(shape=(100_000, 128)))
    base = seconds_here(graph, settings(epochs=2))
    assert seconds_here(graph, settings(epochs=6)) == pytest.approx(3 * base)
    wider = seconds_here(graph, settings(epochs=2, hidden_channels=512))
    assert 2 * base < wider < 6 * base
    assert seconds_here(graph, settings(epochs=2, num_neighbors=[5, 5])) < base


def test_columns_without_entries_cost_nothing():
    rows = sp.random_array((5000, 20_000), density=0.001, format="csr", rng=0)
    dense = of_size(5000, 5, SimpleNamespace(shape=rows.shape))
    sparse = of_size(5000, 5, rows)
    run = settings(epochs=10)
    assert seconds_here(sparse, run) < seconds_here(dense, run) / 20


@pytest.mark.parametrize(
    "choice",
    [
        {"workers": 2},
        {"workers": 0},
        {"scheduler": "tcp://127.0.0.1:8786"},
        {"adapt": (1, 2)},
        {"standby": 1},
        {"memory_limit": "1 GiB"},
    ],
)
def test_who_has_chosen_is_obeyed(choice):
    assert not needs_no_cluster(daskgnn.load_dataset("karate"), settings(**choice))


@pytest.mark.parametrize("word", [None, "auto"])
def test_a_short_run_says_that_it_has_no_cluster(tmp_path, word):
    out = tmp_path / "run"
    summary = train({"graph": "karate", "out": out, "workers": word, "epochs": 2})
    assert (summary["num_workers"], summary["num_parts"]) == (0, 2)
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    assert [line for line in lines if line["event"] == "no_cluster"]
    assert json.loads((out / "run.json").read_text())["workers"] == 0
