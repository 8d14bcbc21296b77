"""Every sampler with every way to train: workers have the bits of one process."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from training import AT_ONCE, hub_graph, planted_graph, small_sage, stored

import daskgnn
from daskgnn import nn
from daskgnn.errors import InputError
from daskgnn.tasks import Targets, Task
from daskgnn.train.options.samplers import SAMPLERS, chooses_seeds

TEXTS = [
    "neighbor:replace=true",
    "labor",
    "labor:variant=*",
    "fastgcn:size=60",
    "ladies:size=60",
    "saint:kind=node,size=60",
    "saint:kind=edge,size=60",
    "saint:kind=walk,roots=40",
    "cluster:clusters=4",
    "shadow:fanout=3",
    "shadow:method=ppr,size=20",
    "shadow:fanout=3,readout=mean",
]
WHOLE_ROWS = ("labor", "saint", "cluster", "shadow")
"""Those that refuse vertex-cuts."""


class Distance(Task):
    """Predicts a number for each node, and weighs targets if the sampler does."""

    tables = ()
    uses_weights = True

    def num_outputs(self, graph):
        return 4

    def targets(self, graph, split):
        ids = graph.splits.get(split, np.empty(0, np.int64))
        keys = graph.original_ids_of(ids)
        return Targets(keys, ids[:, None], (keys % 7).astype(np.float32))

    def loss(self, h, batch):
        off = (h[batch.rows[:, 0]].sum(1) - batch.values) ** 2
        return off.sum() if batch.weights is None else off @ batch.weights

    def partial(self, h, batch):
        off = h[batch.rows[:, 0]].sum(1) - batch.values
        return {"n": len(off), "squares": float((off**2).sum())}

    def score(self, total):
        return {"accuracy": -total["squares"] / total["n"]}


class Pairs(Distance):
    """Predicts a number for each pair of nodes."""

    uses_weights = False

    def targets(self, graph, split):
        nodes = graph.splits.get(split, np.empty(0, np.int64))[:40].reshape(-1, 2)
        keys = graph.original_ids_of(nodes[:, 0])
        return Targets(keys, nodes, (keys % 7).astype(np.float32))


def smoothed(outputs, labels):
    """Return a loss that is the mean over nodes."""
    return cross_entropy(outputs, labels, label_smoothing=0.1)


def gcn(graph):
    torch.manual_seed(0)
    return nn.GCN(graph.num_features, 16, graph.num_classes, dropout=0.4)


def gat(graph):
    torch.manual_seed(0)
    return nn.GAT(graph.num_features, 4, graph.num_classes, heads=2)


WAYS = {
    "tree": {},
    "ring": {"gradients": "ring"},
    "async": {"gradients": "async"},
    "topk": {"compress": "topk:0.1"},
    "accumulate": {"accumulate": 2, "clip_norm": 0.5},
    "local": {"local_steps": 2},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "half features": {"feature_dtype": "float16"},
    "halo cache": {"halo_cache": "1 MB"},
    "lru cache": {"halo_cache": "1 MB", "halo_cache_policy": "lru"},
    "disk": {"features": "disk"},
    "max": {"model": lambda graph: small_sage(graph, aggr="max")},
    "gcn": {"model": gcn},
    "gat": {"model": gat},
    "mean loss": {"loss": smoothed},
    "several labels": {"graph": "labels"},
    "numbers": {"task": Distance()},
    "pairs": {"task": Pairs()},
    "weights": {"graph": "weights"},
    "vertex-cut": {"graph": "cut"},
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Return the paths of graphs of 200 nodes, by name."""
    folder = tmp_path_factory.mktemp("graphs")
    rng = np.random.default_rng(0)
    weights = rng.random(1600).astype(np.float32) * (rng.random(1600) < 0.8)
    labels = rng.integers(0, 2, (200, 4)).astype(np.float32)
    return {
        "plain": stored(planted_graph(200), folder / "plain.zarr"),
        "labels": stored(planted_graph(200, labels=labels), folder / "labels.zarr"),
        "weights": stored(hub_graph(200, edge_weight=weights), folder / "weights.zarr"),
        "cut": stored(hub_graph(200), folder / "cut.zarr", method="hdrf"),
    }


def made(paths, text, client, steps, *, graph="plain", features="memory", **given):
    opened = daskgnn.open_graph(paths[graph], 2, features)
    model = given.pop("model", small_sage)(opened)
    takes = SAMPLERS[text.partition(":")[0]].takes_fan_outs
    options = {"num_neighbors": [4, 3]} if takes else {}
    if not chooses_seeds(text):
        options["batch_size"] = 40
    options |= {"window": 2, "steps": steps, "client": client, **AT_ONCE, **given}
    return daskgnn.Trainer(model, opened, sampler=text, **options)


def refused(text, way):
    """Return what is said of a sampler and a way that do not go together."""
    name = text.partition(":")[0]
    if way == "vertex-cut" and name in WHOLE_ROWS:
        return "is a vertex-cut"
    if way == "pairs" and chooses_seeds(text):
        return "no single nodes|does not say that it multiplies"
    if way == "numbers" and chooses_seeds(text):
        return "values of their own"
    if way == "pairs" and "readout=mean" in text:
        return "use readout='seed'"
    return None


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", TEXTS)
def test_workers_have_the_bits_of_one_process(paths, cluster, text, way):
    said = refused(text, way)
    if said is not None:
        with pytest.raises(InputError, match=said) as caught:
            made(paths, text, None, "auto", **WAYS[way])
        assert "\n" not in str(caught.value)
        return
    found = set()
    for client, form in ((None, "auto"), (cluster(1), "tasks"), (cluster(2), "window")):
        run = made(paths, text, client, form, **WAYS[way])
        history = run.fit(1)
        assert all(np.isfinite(step["loss"]) for step in history.steps)
        found.add((run.params_sha256, run.evaluate("test")["accuracy"]))
    assert len(found) == 1


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_a_parameter_server_trains(paths, cluster, text):
    run = made(paths, text, cluster(2), "auto", gradients="server", lr=0.03)
    history = run.fit(6)
    assert history.epochs[-1]["loss"] < history.epochs[0]["loss"]
