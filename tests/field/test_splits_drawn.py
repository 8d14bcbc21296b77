"""Training, validation and test nodes that are drawn: counted with numpy alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training import inside, invoked, planted_graph

import daskgnn
from daskgnn.errors import InputError
from daskgnn.graph.memory.splitting import parse_split


@pytest.fixture(scope="module")
def graph():
    """Classes of 40 to 200 nodes; 40 nodes without a label."""
    data = planted_graph(400)
    labels = np.repeat([0, 1, 2, -1], [200, 120, 40, 40])
    labels = np.random.default_rng(5).permutation(labels)
    return replace(data, labels=labels, num_classes=3, splits={})


def sizes(graph):
    return {name: len(ids) for name, ids in graph.splits.items()}


def test_shares_are_of_the_nodes_with_a_label(graph):
    found = graph.split(train=0.6, val=0.2, seed=3)
    assert sizes(found) == {"train": 216, "val": 72, "test": 72}
    together = np.concatenate(list(found.splits.values()))
    np.testing.assert_array_equal(np.sort(together), np.flatnonzero(graph.labels >= 0))


def test_by_label_every_class_has_its_share(graph):
    found = graph.split(train=0.6, val=0.2, by="label")
    for name, share in {"train": 0.6, "val": 0.2, "test": 0.2}.items():
        counts = np.bincount(found.labels[found.splits[name]], minlength=3)
        np.testing.assert_allclose(counts, share * np.array([200, 120, 40]), atol=1)


def test_by_chance_classes_have_about_their_share(graph):
    counts = np.zeros(3)
    for seed in range(100):
        found = graph.split(train=0.5, val=0.2, seed=seed)
        counts += np.bincount(found.labels[found.splits["train"]], minlength=3)
    np.testing.assert_allclose(counts / 100, [100, 60, 20], rtol=0.05)


def test_a_seed_says_it_all(graph):
    one, again = (graph.split(train=100, val=50, seed=4) for _ in range(2))
    other = graph.split(train=100, val=50, seed=5)
    assert sizes(one) == sizes(other) == {"train": 100, "val": 50, "test": 210}
    for name, ids in one.splits.items():
        np.testing.assert_array_equal(ids, again.splits[name])
        assert not np.array_equal(ids, other.splits[name])


def test_so_many_of_each_class(graph):
    """As Planetoid's splits: 20 of each class, then numbers of nodes."""
    found = graph.split(per_class=20, val=60, test=100)
    assert sizes(found) == {"train": 60, "val": 60, "test": 100}
    classes = found.labels[found.splits["train"]]
    assert np.bincount(classes).tolist() == [20, 20, 20]


def test_a_graph_that_was_split_trains(graph):
    store = graph.split(per_class=20, val=0.2).partition(8)
    opened = daskgnn.open_graph(store, num_parts=2)
    assert {name: len(ids) for name, ids in opened.splits.items()} == {
        "train": 60,
        "val": 72,
        "test": 228,
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, r"no size of train.*split\(train=0.6"),
        ({"train": 1.5}, "train=1.5, expected a share"),
        ({"train": 0}, "train=0, expected a share"),
        ({"train": True}, "train=True, expected a share"),
        ({"train": 0.8, "val": 0.4}, "shares add up to 1.2"),
        ({"train": 300, "val": 100}, "take 400 nodes of 360 with a label"),
        ({"train": 0.5, "by": "class"}, "by='class', expected \"label\""),
        ({"train": 0.5, "per_class": 3}, "leave train=0.5 out"),
        ({"per_class": 41}, "class 2 has 40 nodes: give per_class=40 or less"),
        ({"per_class": 20, "val": 320}, "of 300 with a label beside the training"),
        ({"train": 0.5, "seed": 0.5}, "seed=0.5, expected a whole number"),
    ],
)
def test_splits_that_cannot_be(graph, options, said):
    with pytest.raises(InputError, match=said) as error:
        graph.split(**options)
    assert "\n" not in str(error.value)


def test_classes_where_there_are_none(graph):
    several = np.zeros((400, 3), np.float32)
    for labels, classes, said in ((None, 0, "no labels"), (several, 3, "several")):
        other = replace(graph, labels=labels, num_classes=classes)
        assert sizes(other.split(train=0.5, val=0.1)) == {
            "train": 200,
            "val": 40,
            "test": 160,
        }
        with pytest.raises(InputError, match=said):
            other.split(train=0.5, by="label")


@pytest.mark.parametrize("text", ["60/20/20", "0.6/0.2/0.2", "60/20/20.0"])
def test_shares_as_text(text):
    assert parse_split(text) == pytest.approx({"train": 0.6, "val": 0.2, "test": 0.2})


@pytest.mark.parametrize("text", ["60", "60/20/30", "a/b/c", "120/-20/0", ""])
def test_text_that_says_no_shares(text):
    with pytest.raises(InputError, match="as in 60/20/20"):
        parse_split(text)


def test_an_opened_graph_says_where_splits_are_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    graph = daskgnn.open_graph(planted_graph(60).partition(2))
    for name in ("split", "partition", "save"):
        with pytest.raises(AttributeError, match=r"graph\.to_data\(\)\.") as caught:
            getattr(graph, name)
        _, call = str(caught.value).split("as in ")
        exec(call.replace("other", name), {"graph": graph})
        assert daskgnn.open_graph(f"{name}.zarr").num_nodes == 60
    assert not hasattr(graph, "nodes")


def test_splits_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    edges = rng.integers(0, 100, (300, 2))
    np.savetxt("e.csv", edges, "%d", delimiter=",")
    table = [f"{i},{i % 2},{rng.normal():.3f}" for i in range(100)]
    Path("n.csv").write_text("\n".join(["id,label,x", *table]))
    files = ("--nodes=n.csv", "--labels=label", "--features=x")
    inside("partition", "e.csv", "g.zarr", "--split=60/20/20", *files)
    found = daskgnn.open_graph("g.zarr").splits
    assert [len(found[name]) for name in ("train", "val", "test")] == [60, 20, 20]
    inside("partition", "e.csv", "h.zarr", "--per-class=10", *files)
    found = daskgnn.open_graph("h.zarr").splits
    assert [len(found[name]) for name in ("train", "val", "test")] == [20, 40, 40]
    words = ("--epochs=1", "--workers=0", "--out=run")
    inside("train", "karate", "--split=50/25/25", *words)
    assert len(daskgnn.open_graph("run/graph.zarr").splits["train"]) == 17
    for words, said in (
        (("train", "g.zarr", "--split=50/25/25"), "partitioned already, so split"),
        (("partition", "karate", "k", "--split=5/5", "--force"), "add up to 100"),
        (("partition", "e.csv", "k", "--split=60/40", "--out-of-core"), "in memory"),
        (
            ("train", "karate", "--split=60/20/20", "--per-class=3", "--out=r"),
            "contradict each other: give one",
        ),
    ):
        done = invoked(*words)
        assert done.returncode == 2
        assert said in done.stderr
