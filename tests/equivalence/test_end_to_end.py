"""The trainer, end to end, against PyTorch Geometric on the whole graph."""

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from training import mostly_slow, stored

import daskgnn
from daskgnn import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses torch.jit.script when imported
    from torch_geometric import nn as pyg

NODES, EDGES, ISOLATED = 150, 600, 5
INSIDE, HIDDEN, CLASSES, HEADS = 12, 8, 4, 2


@dataclass(frozen=True)
class Case:
    """A graph as PyG takes it, and where it is stored."""

    edge_index: np.ndarray
    weight: np.ndarray | None
    features: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    path: str


def both_ways(edge_index, weight):
    """Return the edges of an undirected graph in both directions."""
    edge_index = np.concatenate([edge_index, edge_index[::-1]], axis=1)
    return edge_index, None if weight is None else np.tile(weight, 2)


def make_case(path, *, directed, weighted, sparse):
    """Draw a simple graph whose last nodes have no edge, and store it."""
    rng = np.random.default_rng(7)
    connected = NODES - ISOLATED
    pairs = np.stack(np.triu_indices(connected, 1))
    pairs = pairs[:, rng.choice(pairs.shape[1], EDGES, replace=False)]
    turned = rng.random(EDGES) < 0.5
    pairs[:, turned] = pairs[::-1, turned]
    weight = rng.random(EDGES).astype(np.float32) + 0.1 if weighted else None
    features = rng.normal(size=(NODES, INSIDE)).astype(np.float32)
    if sparse:
        features *= rng.random((NODES, INSIDE)) < 0.1
    labels = rng.integers(0, CLASSES, NODES)
    # Two isolated nodes are trained on.
    train = np.union1d(rng.permutation(connected)[:70], [NODES - 1, NODES - 3])
    graph = daskgnn.from_edge_index(
        pairs,
        num_nodes=NODES,
        features=sp.csr_array(features) if sparse else features,
        labels=labels,
        edge_weight=weight,
        train=train,
        test=np.setdiff1d(np.arange(NODES), train),
        directed=directed,
    )
    if not directed:
        pairs, weight = both_ways(pairs, weight)
    stored(graph, path, num_clusters=8)
    assert (path / "features_indptr").exists() == sparse
    return Case(pairs, weight, features, labels, train, str(path))


KINDS = {
    "directed": {"directed": True},
    "undirected": {},
    "weighted": {"weighted": True},
    "directed-weighted": {"directed": True, "weighted": True},
    "sparse": {"sparse": True},
    "sparse-directed": {"sparse": True, "directed": True},
}


QUICK = ("undirected", "directed-weighted", "sparse")


@pytest.fixture(scope="module", params=mostly_slow(KINDS, *QUICK))
def case(request, tmp_path_factory):
    options = {"directed": False, "weighted": False, "sparse": False}
    options.update(KINDS[request.param])
    return make_case(tmp_path_factory.mktemp("case") / "g.zarr", **options)


def our_model(kind):
    torch.manual_seed(1)
    if kind == "gcn":
        return nn.GCN(INSIDE, HIDDEN, CLASSES, 2)
    if kind == "gat":
        return nn.GAT(INSIDE, HIDDEN, CLASSES, 2, heads=HEADS)
    return nn.GraphSAGE(INSIDE, HIDDEN, CLASSES, 2, aggr=kind)


class Reference(torch.nn.Module):
    """The same two layers of PyTorch Geometric, over the whole graph."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.convs = torch.nn.ModuleList(
            [self.conv(INSIDE, HIDDEN), self.conv(HIDDEN, CLASSES, last=True)]
        )

    def conv(self, inside, outside, *, last=False):
        if self.kind == "gcn":
            return pyg.GCNConv(inside, outside)
        if self.kind != "gat":
            return pyg.SAGEConv(inside, outside, aggr=self.kind)
        if last:
            return pyg.GATConv(HEADS * inside, outside, 1, concat=False)
        return pyg.GATConv(inside, outside, HEADS)

    def forward(self, case):
        more = (torch.from_numpy(case.edge_index.copy()),)
        if self.kind == "gcn" and case.weight is not None:
            more += (torch.from_numpy(case.weight),)
        act = torch.nn.functional.elu if self.kind == "gat" else torch.relu
        h = act(self.convs[0](torch.from_numpy(case.features), *more))
        return self.convs[1](h, *more)


def reference_of(kind, model):
    """Return the reference with the model's weights."""
    reference = Reference(kind)
    reference.load_state_dict(model.state_dict(), strict=True)
    return reference


@pytest.mark.parametrize("kind", ["mean", "max", "sum", "gcn", "gat"])
def test_outputs_and_gradient_equal_pyg(case, kind):
    model = our_model(kind)
    reference = reference_of(kind, model)
    names = [name for name, _ in model.named_parameters()]
    trainer = daskgnn.Trainer(
        model,
        daskgnn.open_graph(case.path, 3),
        num_neighbors=[-1, -1],
        batch_size=10 * NODES,
        optimizer="sgd",
        lr=1.0,
        warmup_steps=0,
        client=None,
    )
    outputs = reference(case)
    predicted = trainer.predict().compute()
    np.testing.assert_allclose(predicted, outputs.detach().numpy(), atol=1e-5)
    loss = torch.nn.functional.cross_entropy(
        outputs[case.train], torch.from_numpy(case.labels[case.train])
    )
    theirs = dict(reference.named_parameters())
    gradient = torch.autograd.grad(loss, [theirs[name] for name in names])
    before = trainer.run_state.state.parameters.copy()
    trainer.fit(1)
    step = before - trainer.run_state.state.parameters
    flat = torch.cat([g.reshape(-1) for g in gradient]).numpy()
    assert np.abs(flat).max() > 1e-3
    np.testing.assert_allclose(step, flat, atol=1e-5)
    (record,) = trainer.recorder.history.steps
    assert record["loss"] == pytest.approx(loss.item(), abs=1e-5)
