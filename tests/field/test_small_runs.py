"""Commands on small graphs, and options that make no sense together."""

import json

import numpy as np
import pytest
from training import invoked, planted_graph, stored

import daskgnn
from daskgnn.errors import InputError
from daskgnn.train import run as runs


@pytest.fixture(scope="module")
def one_cluster(tmp_path_factory):
    """A store that can be opened as one part alone."""
    return stored(
        planted_graph(60), tmp_path_factory.mktemp("graph") / "g.zarr", "hash", 1
    )


def test_info_needs_no_parts(one_cluster):
    done = invoked("info", one_cluster, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_parts"] == 1
    assert invoked("info", one_cluster, "--workers", "4").returncode == 0
    asked = invoked("info", one_cluster, "--num-parts", "2")
    assert asked.returncode == 2
    assert "--num-parts 2" in asked.stderr


def test_a_run_has_no_more_parts_than_the_store_by_default(one_cluster, tmp_path):
    given = {"graph": one_cluster, "out": str(tmp_path / "run"), "epochs": 1}
    summary = runs.train({**given, "workers": 0, "adapt": None})
    assert summary["num_parts"] == 1
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert settings["num_parts"] == 1


@pytest.fixture(scope="module")
def finished(small_path, tmp_path_factory):
    """A run that was made with the default of two workers, as far as it says."""
    out = tmp_path_factory.mktemp("runs") / "run"
    runs.train(
        {
            "graph": small_path,
            "out": str(out),
            "workers": 0,
            "epochs": 1,
            "num_parts": 2,
        }
    )
    settings = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(
        json.dumps({**settings, "workers": None, "standby": 1})
    )
    return out


def test_small_graphs_need_no_cluster(finished, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a cluster was started")

    monkeypatch.setattr("daskgnn.cluster.clusters.own_cluster", refuse)
    scores = json.loads(invoked("evaluate", str(finished)).stdout)
    done = invoked("predict", str(finished), "--out", str(tmp_path / "x.zarr"))
    assert done.returncode == 0, done.stderr
    assert runs.resume(finished)["epochs"] == 1  # nothing is left to train
    for use in (
        lambda: runs.evaluate(finished, workers=1),
        lambda: runs.resume(finished, epochs=2),
    ):
        with pytest.raises(AssertionError, match="a cluster was started"):
            use()
    monkeypatch.setattr("daskgnn.train.automatic.SMALL_EDGES", 0)
    with pytest.raises(AssertionError, match="a cluster was started"):
        runs.evaluate(finished)
    assert scores == runs.evaluate(finished, workers=0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "karate", "--workers", "0", "--standby", "1"), "--standby 1 needs"),
        (("train", "karate", "--out", ""), "'--out': '' is not a path"),
        (("train", "karate", "--data-dir", " "), "' ' is not a path"),
        (("predict", "run", "--out", ""), "'' is not a path"),
        (("partition", "karate", ""), "'' is not a path"),
    ],
)
def test_what_makes_no_sense_is_refused(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoked(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


def test_python_refuses_the_same(small_path):
    graph = daskgnn.open_graph(small_path, 1)
    model = daskgnn.nn.GraphSAGE(graph.num_features, 8, graph.num_classes)
    options = {"num_neighbors": [3, 2], "client": None}
    with pytest.raises(InputError, match="standby=1 needs a cluster"):
        daskgnn.Trainer(model, graph, standby=1, **options)
    with pytest.raises(InputError, match="out=''"):
        daskgnn.Trainer(model, graph, out="", **options)


def test_metis_prints_nothing(capfd):
    """It complains on the terminal of clusters without nodes."""
    star = np.stack([np.zeros(9, int), np.arange(1, 10)])
    graph = daskgnn.from_edge_index(star, num_nodes=10)
    graph.partition(num_clusters=10, method="metis")
    assert capfd.readouterr() == ("", "")
