"""Full neighbourhoods, no dropout: the gradient of plain torch on the whole graph."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from training import planted_graph, stored

import daskgnn
from daskgnn import nn


def dense_mean(graph):
    matrix = sp.csr_array(
        (np.ones(graph.num_edges), graph.indices, graph.indptr),
        shape=(graph.num_nodes,) * 2,
    ).toarray()
    return torch.tensor(matrix / np.maximum(matrix.sum(1, keepdims=True), 1))


def dense_gcn(graph):
    matrix = sp.csr_array(
        (np.ones(graph.num_edges), graph.indices, graph.indptr),
        shape=(graph.num_nodes,) * 2,
    ).toarray() + np.eye(graph.num_nodes)
    scale = 1 / np.sqrt(matrix.sum(1))
    return torch.tensor(matrix * scale[:, None] * scale[None, :])


EVERYTHING = [
    {"num_neighbors": [-1, -1]},
    {"sampler": "fastgcn:size=10000"},
    {"sampler": "ladies:size=10000"},
    {"sampler": "cluster:clusters=8,subgraphs=1"},
]


@pytest.mark.parametrize("sampling", EVERYTHING)
@pytest.mark.parametrize("kind", ["sage", "gcn"])
@pytest.mark.parametrize("num_parts", [1, 3])
def test_gradient_equals_plain_torch(tmp_path, kind, num_parts, sampling):
    graph = planted_graph(num_nodes=150)
    path = stored(graph, tmp_path / "g.zarr", num_clusters=8)
    opened = daskgnn.open_graph(path, num_parts)
    torch.manual_seed(0)
    cls = nn.GraphSAGE if kind == "sage" else nn.GCN
    model = cls(12, 16, 4, 2)
    before = [p.detach().double().clone() for p in model.parameters()]
    rate = 1.0
    trainer = daskgnn.Trainer(
        model,
        opened,
        optimizer="sgd",
        lr=rate,
        warmup_steps=0,
        client=None,
        **sampling,
    )
    names = [name for name, _ in model.named_parameters()]
    trainer.fit(1)
    after = trainer.run_state.state.parameters
    x = torch.tensor(graph.features, dtype=torch.float64)
    weights = [p.requires_grad_() for p in before]
    logits = dense_forward(kind, names, weights, x, graph)
    train = graph.splits["train"]
    loss = torch.nn.functional.cross_entropy(
        logits[train], torch.tensor(graph.labels[train])
    )
    gradient = torch.autograd.grad(loss, weights)
    flat = torch.cat([g.reshape(-1) for g in gradient]).numpy()
    start = torch.cat([p.detach().reshape(-1) for p in before]).numpy()
    np.testing.assert_allclose((start - after) / rate, flat, atol=1e-5)
    assert trainer.recorder.history.steps[0]["loss"] == pytest.approx(
        loss.item(), abs=1e-5
    )


def dense_forward(kind, names, weights, x, graph):
    """Compute both layers with dense matrices, from the named parameters."""
    propagate = dense_mean(graph) if kind == "sage" else dense_gcn(graph)
    named = dict(zip(names, weights, strict=True))
    h = x
    for i in range(2):
        layer = {k: v for k, v in named.items() if f".{i}." in k}
        bias = next(v for v in layer.values() if v.dim() == 1)
        matrices = {k: v for k, v in layer.items() if v.dim() == 2}
        if kind == "gcn":
            (weight,) = matrices.values()
            h = propagate @ (h @ weight.T) + bias
        else:
            own = next(v for k, v in matrices.items() if "lin_r" in k or "self" in k)
            other = next(v for v in matrices.values() if v is not own)
            h = h @ own.T + (propagate @ h) @ other.T + bias
        h = torch.relu(h) if i == 0 else h
    return h
