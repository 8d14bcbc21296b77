"""Our layers against PyTorch Geometric's, weights copied, on full neighbourhoods."""

import warnings

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from daskgnn.nn import Block, GATConv, GCNConv, SAGEConv, SparseRows

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses torch.jit.script when imported
    from torch_geometric import nn as pyg

N, D_IN, D_OUT = 60, 12, 8


@pytest.fixture(scope="module")
def graph():
    rng = np.random.default_rng(0)
    dense = rng.random((N, N)) < 0.1
    np.fill_diagonal(dense, False)
    dense[7] = False  # no in-neighbours
    dst, src = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum(dense.sum(1))])
    weight = rng.random(len(src)).astype(np.float32) + 0.1
    x = torch.from_numpy(rng.standard_normal((N, D_IN)).astype(np.float32))
    return indptr, src, torch.from_numpy(np.stack([src, dst])), weight, x


def compare(ours, theirs, run_ours, run_theirs, x):
    """Outputs and all gradients agree to 1e-5."""
    results = []
    for layer, run in ((ours, run_ours), (theirs, run_theirs)):
        layer.zero_grad()
        h = x.clone().requires_grad_()
        out = run(layer, h)
        (out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum().backward()
        grads = {name: p.grad for name, p in layer.named_parameters()}
        results.append((out, h.grad, grads))
    (a, grad_a, params_a), (b, grad_b, params_b) = results
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grad_a, grad_b, rtol=1e-5, atol=1e-5)
    assert params_a.keys() == params_b.keys()
    for name, grad in params_a.items():
        torch.testing.assert_close(grad, params_b[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("aggr", ["mean", "max", "sum"])
@pytest.mark.parametrize("normalize", [False, True])
def test_sage(graph, aggr, normalize):
    indptr, src, edge_index, _, x = graph
    ours = SAGEConv(D_IN, D_OUT, aggr, normalize=normalize)
    theirs = pyg.SAGEConv(D_IN, D_OUT, aggr=aggr, normalize=normalize)
    theirs.load_state_dict(ours.state_dict())
    block = Block.from_csr(indptr, src)
    compare(ours, theirs, lambda m, h: m(h, block), lambda m, h: m(h, edge_index), x)


@pytest.mark.parametrize("aggregate_first", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_gcn(graph, aggregate_first, weighted):
    indptr, src, edge_index, weight, x = graph
    weight = weight if weighted else None
    ours = GCNConv(D_IN, D_OUT, aggregate_first=aggregate_first)
    torch.nn.init.normal_(ours.bias)
    theirs = pyg.GCNConv(D_IN, D_OUT)
    theirs.load_state_dict(ours.state_dict())
    block = Block.from_csr(indptr, src, weight)
    edge_weight = None if weight is None else torch.from_numpy(weight)
    compare(
        ours,
        theirs,
        lambda m, h: m(h, block),
        lambda m, h: m(h, edge_index, edge_weight),
        x,
    )


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("concat", [False, True])
@pytest.mark.parametrize("add_self_loops", [False, True])
def test_gat(graph, heads, concat, add_self_loops):
    indptr, src, edge_index, _, x = graph
    options = {"concat": concat, "add_self_loops": add_self_loops}
    ours = GATConv(D_IN, D_OUT, heads, negative_slope=0.3, **options)
    torch.nn.init.normal_(ours.bias)
    theirs = pyg.GATConv(D_IN, D_OUT, heads, negative_slope=0.3, **options)
    theirs.load_state_dict(ours.state_dict())
    block = Block.from_csr(indptr, src)
    compare(ours, theirs, lambda m, h: m(h, block), lambda m, h: m(h, edge_index), x)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SAGEConv(500, 400), pyg.SAGEConv(500, 400)),
        (GCNConv(500, 400), pyg.GCNConv(500, 400)),
        (GATConv(500, 50, 8), pyg.GATConv(500, 50, 8)),
    ],
)
def test_initialisation_has_the_same_spread(ours, theirs):
    theirs = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        other = theirs[name]
        assert parameter.shape == other.shape
        top = parameter.abs().max().item()
        assert top == pytest.approx(other.abs().max().item(), rel=0.05)


def test_a_pyg_layer_runs_on_a_block(graph):
    indptr, src, edge_index, _, x = graph
    layer = pyg.SAGEConv(D_IN, D_OUT)
    block = Block.from_csr(indptr, src)
    out = layer((x, block.dst(x)), block.edge_index)
    torch.testing.assert_close(out, layer(x, edge_index))


SPARSE = {
    "mean": (SAGEConv(D_IN, D_OUT), pyg.SAGEConv(D_IN, D_OUT)),
    "sum": (SAGEConv(D_IN, D_OUT, "sum"), pyg.SAGEConv(D_IN, D_OUT, aggr="sum")),
    "max": (SAGEConv(D_IN, D_OUT, "max"), pyg.SAGEConv(D_IN, D_OUT, aggr="max")),
    "gcn": (GCNConv(D_IN, D_OUT), pyg.GCNConv(D_IN, D_OUT)),
    "gat": (GATConv(D_IN, D_OUT, 3), pyg.GATConv(D_IN, D_OUT, 3)),
}


@pytest.mark.parametrize("name", SPARSE)
def test_layers_of_sparse_rows(graph, name):
    indptr, src, edge_index, _, x = graph
    x = torch.where(x.abs() > 1, x, 0)
    rows = csr_array(x.numpy())
    given = rows.indptr, rows.indices, rows.data
    sparse = SparseRows.from_csr(*given, num_columns=D_IN)
    ours, theirs = SPARSE[name]
    theirs.load_state_dict(ours.state_dict())
    block = Block.from_csr(indptr, src)
    results = []
    for layer, out in ((ours, ours(sparse, block)), (theirs, theirs(x, edge_index))):
        layer.zero_grad()
        out.sin().sum().backward()
        results.append([out, *(p.grad for p in layer.parameters())])
    for mine, others in zip(*results, strict=True):
        torch.testing.assert_close(mine, others, rtol=1e-5, atol=1e-5)
