"""Blocks, layers and models: gradients, prefixes, sampling, and what is refused."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from daskgnn.errors import ModelError
from daskgnn.kernels.aggregate import (
    Rows,
    Sources,
    aggregate_grouped,
    gcn_coefficients,
)
from daskgnn.nn import (
    GAT,
    GCN,
    Block,
    Dropout,
    GATConv,
    GCNConv,
    GraphSAGE,
    SAGEConv,
    check_model,
    ops,
    pure_step,
)
from daskgnn.nn.blockarrays import BlockArrays

N, F = 40, 6
MODELS = {
    "mean": lambda **o: GraphSAGE(F, 8, 3, **o),
    "max": lambda **o: GraphSAGE(F, 8, 3, aggr="max", **o),
    "sum": lambda **o: GraphSAGE(F, 8, 3, aggr="sum", **o),
    "gcn": lambda **o: GCN(F, 8, 3, **o),
    "gcn narrowing": lambda **o: GCN(F, 4, 3, **o),
    "gat": lambda **o: GAT(F, 4, 3, heads=2, **o),
}


@pytest.fixture(scope="module")
def graph():
    """CSR of a directed graph with weights; node 5 has no in-neighbours."""
    rng = np.random.default_rng(0)
    dense = rng.random((N, N)) < 0.15
    np.fill_diagonal(dense, False)
    dense[5] = False
    indptr = np.concatenate([[0], np.cumsum(dense.sum(1))])
    indices = np.nonzero(dense)[1].astype(np.int32)
    return indptr, indices, rng.random(len(indices)).astype(np.float32) + 0.1


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.standard_normal((N, F)).astype(np.float32))


def discover(graph, seeds, fan_outs, key=0):
    """Blocks of `seeds` in order of discovery: prefixes of one another.

    A fan-out takes a row's first neighbours, None all of them.
    """
    indptr, indices, weight = graph
    whole = Block.from_csr(indptr, indices, weight)
    nodes, sizes = list(seeds), [len(seeds)]
    for fan_out in fan_outs:
        for v in nodes[: sizes[-1]]:
            near = indices[indptr[v] : indptr[v + 1]][:fan_out].tolist()
            nodes += [u for u in dict.fromkeys(near) if u not in nodes]
        sizes.append(len(nodes))
    rows = [np.arange(indptr[v], indptr[v + 1]) for v in nodes[: sizes[-2]]]
    places = np.concatenate([*rows, np.empty(0, np.int64)])
    local = {v: i for i, v in enumerate(nodes)}
    numbers = np.array([local.get(u, 0) for u in indices[places]], np.int32)
    counts = np.array([len(row) for row in rows])
    starts = np.cumsum(counts) - counts
    blocks = []
    for hop, fan_out in enumerate(fan_outs):
        n = sizes[hop]
        kept = counts[:n] if fan_out is None else np.minimum(counts[:n], fan_out)
        arrays = BlockArrays(
            starts=starts[:n],
            ends=starts[:n] + kept,
            indices=numbers,
            ids=np.array(nodes),
            degree=counts,
            weighted_degree=whole.arrays.weighted_degree[nodes],
            weights=weight[places],
        )
        blocks.insert(0, Block(sizes[hop + 1], n, arrays, dropout_key=key))
    return nodes, blocks


# --- gradients -------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["kernels", "plain torch"])
def kernels(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(ops, "has_kernels", lambda x: False)
    return request.param


@pytest.fixture
def small():
    """A block whose rows are prefixes, one of them empty."""
    arrays = BlockArrays(
        starts=np.array([4, 0, 1]),
        ends=np.array([7, 2, 1]),
        indices=np.array([2, 4, 0, 3, 1, 4, 2, 0], np.int32),
        ids=np.array([7, 3, 9, 1, 0]),
        degree=np.array([5, 2, 0]),
        weighted_degree=np.array([3, 2, 0, 1, 4], np.float32),
        weights=np.linspace(0.5, 2, 8, dtype=np.float32),
    )
    return Block(num_src=5, num_dst=3, arrays=arrays)


def with_arrays(block, op=None, **arrays):
    """The block with other arrays."""
    arrays = replace(block.arrays, **arrays)
    return replace(block, arrays=arrays, aggregated_op=op)


def check(function, *shapes):
    torch.manual_seed(0)
    given = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    assert torch.autograd.gradcheck(function, given)


@pytest.mark.parametrize("op", ["mean", "sum", "max"])
def test_gradient_of_aggregation(small, kernels, op):
    check(lambda h: small.aggregate(h, op), (5, 3))


def test_gradient_of_gcn_propagation(small, kernels):
    check(small.propagate_gcn, (5, 3))


def test_gradient_of_attention_pieces(small, kernels):
    check(small.edge_add, (5, 2), (3, 2))
    check(small.edge_softmax, (5, 2))
    check(small.edge_softmax, (5,))
    check(small.weighted_sum, (5, 2, 3), (5, 2))
    check(small.weighted_sum, (5, 3), (5,))


@pytest.mark.parametrize(
    "conv",
    [SAGEConv(3, 2, normalize=True), GCNConv(3, 4), GCNConv(3, 2), GATConv(3, 2, 2)],
    ids=lambda conv: f"{type(conv).__name__}-{conv.out_channels}",
)
def test_gradient_of_layers(small, kernels, conv):
    check(lambda h: conv.double()(h, small), (5, 3))
    conv.float()


def test_kernels_and_plain_torch_agree(small, monkeypatch):
    h, scores = torch.randn(5, 3), torch.randn(5, 2)
    functions = [
        *(lambda op=op: small.aggregate(h, op) for op in ("mean", "sum", "max")),
        lambda: small.propagate_gcn(h),
        lambda: small.edge_softmax(scores),
        lambda: small.edge_add(scores, scores),
        lambda: small.weighted_sum(h, scores[:, 0]),
    ]
    fast = [f() for f in functions]
    monkeypatch.setattr(ops, "has_kernels", lambda x: False)
    for a, f in zip(fast, functions, strict=True):
        torch.testing.assert_close(a, f())


def test_rows_in_strides_are_made_contiguous(small):
    h = torch.randn(3, 5).T.requires_grad_()
    small.aggregate(h, "mean").T.sum().backward()
    assert small.aggregate(h, "mean").shape == (3, 3)
    assert h.grad is not None


def test_bfloat16_runs(small):
    conv = GATConv(3, 2, 2).to(torch.bfloat16)
    assert conv(torch.randn(5, 3, dtype=torch.bfloat16), small).shape == (3, 4)


# --- the block -------------------------------------------------------------------


def test_edges_of_prefix_rows_laid_end_to_end(small):
    assert small.indptr.tolist() == [0, 3, 5, 5]
    assert small.edge_index.tolist() == [[1, 4, 2, 2, 4], [0, 0, 0, 1, 1]]
    weights = small.arrays.weights[[4, 5, 6, 0, 1]]
    np.testing.assert_allclose(small.edge_weight, weights)
    assert small.edge_weight.dtype == torch.float32


def test_rows_that_are_compact_are_not_copied(graph):
    block = Block.from_csr(*graph)
    assert np.shares_memory(block.arrays.compact.indices, graph[1])
    assert Block.from_csr(*graph[:2]).edge_weight is None


def test_self_loops_come_last_and_once(small):
    looped = small.with_self_loops
    assert looped.edge_index.tolist() == [
        [1, 4, 2, 0, 2, 4, 1, 2],
        [0, 0, 0, 0, 1, 1, 1, 2],
    ]
    assert looped.edge_weight[[3, 6, 7]].tolist() == [1, 1, 1]
    again = looped.with_self_loops
    assert torch.equal(again.edge_index, looped.edge_index)


def test_a_block_is_pickled_without_what_it_computed(small):
    before = len(pickle.dumps(small))
    assert small.edge_index.shape == (2, 5)
    assert len(pickle.dumps(small)) == before
    copy = pickle.loads(pickle.dumps(small))
    assert torch.equal(copy.edge_index, small.edge_index)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("starts", np.zeros(2)),
        ("ids", np.zeros(4)),
        ("degree", np.zeros(2)),
        ("weighted_degree", np.zeros(4)),
        ("weights", np.zeros(3)),
        ("aggregated", np.zeros((2, 3))),
    ],
)
def test_lengths_that_contradict(small, field, value):
    with pytest.raises(ModelError, match=field):
        with_arrays(small, **{field: value})
    with pytest.raises(ModelError, match="num_dst"):
        replace(small, num_dst=6)


def test_what_a_block_cannot_aggregate(small):
    with pytest.raises(ModelError, match=r"'median'.*sum, mean, max"):
        small.aggregate(torch.zeros(5, 3), "median")
    with pytest.raises(ModelError, match="3 rows for 5 source nodes"):
        small.aggregate(torch.zeros(3, 3), "mean")
    zeros = {"aggregated": np.zeros((3, 3), np.float32)}
    with pytest.raises(ModelError, match=r"asked for 'sum'.*'mean'"):
        with_arrays(small, "mean", **zeros).aggregate(torch.zeros(3, 3), "sum")
    with pytest.raises(ModelError, match="set first_aggregation = None"):
        with_arrays(small, **zeros).aggregate(torch.zeros(3, 2), "sum")


def test_an_aggregate_done_ahead_may_be_read_only(small):
    array = np.arange(9, dtype=np.float32).reshape(3, 3)
    array.flags.writeable = False
    block = with_arrays(small, aggregated=array)
    np.testing.assert_array_equal(block.aggregate(torch.zeros(3, 3), "max"), array)
    np.testing.assert_array_equal(block.propagate_gcn(torch.zeros(3, 3)), array)


# --- sampling --------------------------------------------------------------------


def test_sampled_gcn_is_right_on_average(graph, x):
    indptr, indices, weight = graph
    whole = Block.from_csr(indptr, indices, weight)
    exact = whole.propagate_gcn(x)
    rng = np.random.default_rng(2)
    total, runs = torch.zeros_like(exact), 3000
    for _ in range(runs):
        keys = rng.random(len(indices)) + np.repeat(np.arange(N), np.diff(indptr))
        order = np.argsort(keys)
        sampled = with_arrays(
            whole,
            indices=indices[order],
            weights=weight[order],
            ends=indptr[:-1] + np.minimum(np.diff(indptr), 2),
        )
        total += sampled.propagate_gcn(x)
    split_rows = (exact.abs().mean() / runs**0.5).item()
    assert (total / runs - exact).abs().max().item() < 12 * split_rows


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", [{}, {"norm": "layer", "residual": True}], ids=str)
def test_blocks_of_all_neighbours_give_the_whole_graphs_rows(graph, x, name, options):
    torch.manual_seed(0)
    model = MODELS[name](num_layers=3, **options)
    whole = Block.from_csr(*graph)
    expected = model(x, [whole] * 3)
    seeds = [3, 17, 5, 30]
    nodes, blocks = discover(graph, seeds, [None] * 3)
    out = model(x[nodes], blocks)
    torch.testing.assert_close(out, expected[seeds], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_computed_for_a_node_is_the_same_in_another_batch(graph, x, name):
    """With dropout and unequal fan-outs: a seed's output does not see the batch."""
    torch.manual_seed(0)
    model = MODELS[name](dropout=0.5, input_dropout=0.2)
    outs = []
    for seeds in ([3, 17, 5, 30], [30, 1, 2, 3]):
        nodes, blocks = discover(graph, seeds, [2, 4], key=77)
        outs.append(dict(zip(seeds, model(x[nodes], blocks), strict=True)))
    for seed in (3, 30):
        torch.testing.assert_close(outs[0][seed], outs[1][seed], rtol=1e-5, atol=1e-6)


def ahead(block, x, op):
    """The block with its first aggregation done, by the kernel."""
    weight, arrays = None, block.arrays
    rows = Rows(arrays.starts, arrays.ends, arrays.indices)
    if op == "gcn":
        known = arrays.weights, arrays.degree, arrays.weighted_degree
        weight = gcn_coefficients(rows, *known)
    table, out = x.numpy(), np.empty((block.num_dst, F), np.float32)
    sources = Sources.in_table(table, np.arange(len(x)))
    aggregate_grouped(rows, sources, op, out, weight)
    if op == "gcn":
        out += table[: block.num_dst] / (
            arrays.weighted_degree[: block.num_dst, None] + 1
        )
    return with_arrays(block, op, aggregated=out)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("residual", [False, True])
def test_the_declared_first_aggregation_is_true(graph, x, name, residual):
    model = MODELS[name](residual=residual)
    expected = {"gat": None, "gcn narrowing": None}.get(name, name)
    assert model.first_aggregation == expected
    if expected is None:
        return
    nodes, blocks = discover(graph, [3, 17, 5, 30], [3, 2])
    rows = x[nodes]
    plain = model(rows, blocks)
    first = ahead(blocks[0], rows, expected)
    done = model(rows[: first.num_dst], [first, *blocks[1:]])
    torch.testing.assert_close(done, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_no_first_aggregation_of_what_dropout_changes(name):
    assert MODELS[name](input_dropout=0.1).first_aggregation is None


# --- models ----------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_forward_is_the_loop_over_layers(graph, x, name):
    model = MODELS[name](dropout=0.3, norm="layer")
    block = Block.from_csr(*graph, dropout_key=5)
    h = x
    for i in range(model.num_layers):
        h = model.layer(i, h, block)
    assert torch.equal(h, model(x, [block, block]))
    with torch.inference_mode():
        assert model.eval()(x, [block, block]).shape == (N, 3)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_bits(graph, x, name):
    block = Block.from_csr(*graph, dropout_key=5)
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        model = MODELS[name](dropout=0.5)
        loss = model(x, [block, block]).square().sum()
        grads = torch.autograd.grad(loss, list(model.parameters()))
        results.append([g.numpy().tobytes() for g in grads])
    assert results[0] == results[1]


def test_one_layer_is_enough(graph, x):
    block = Block.from_csr(*graph)
    for model in (GraphSAGE(F, 8, 3, 1), GCN(F, 8, 3, 1), GAT(F, 8, 3, 1)):
        assert model(x, [block]).shape == (N, 3)


def test_a_user_model_recombines_layers(graph, x):
    class Mine(nn.Module):
        num_layers = 2

        def __init__(self):
            super().__init__()
            self.attend, self.gather = GATConv(F, 4, 2), SAGEConv(8, 3, "max")
            self.dropout = Dropout(0.5)

        def forward(self, x, blocks):
            h = self.dropout(self.attend(x, blocks[0]).relu(), blocks[0])
            return self.gather(h, blocks[1])

    nodes, blocks = discover(graph, [3, 17], [3, 2])
    model = Mine()
    check_model(model)
    model(x[nodes], blocks).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_nodes_without_edges(x):
    block = Block.from_csr(np.zeros(N + 1), [])
    for name, make in MODELS.items():
        out = make()(x, [block, block])
        assert torch.isfinite(out).all(), name


@pytest.mark.parametrize("name", MODELS)
def test_an_empty_batch(graph, x, name):
    nodes, blocks = discover(graph, [], [3, 2])
    model = MODELS[name](dropout=0.5)
    out = model(x[nodes], blocks)
    out.sum().backward()
    assert out.shape == (0, 3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GraphSAGE(F, 8, 3, aggr="median"), "'median'.*sum, mean, max"),
        (lambda: GraphSAGE(0, 8, 3), "in_channels is 0"),
        (lambda: GCN(F, 8, 3, num_layers=0), "num_layers is 0"),
        (lambda: GCN(F, 8.5, 3), "hidden_channels is 8.5"),
        (lambda: GAT(F, 8, 3, heads=0), "heads are 0"),
        (lambda: GCN(F, 8, 3, norm="batch"), "'batch', expected None or 'layer'"),
        (lambda: GCN(F, 8, 3, dropout=2), "dropout is 2"),
        (lambda: GCN(F, 8, 3)(torch.zeros(1, F), []), "0 blocks for 2 layers"),
    ],
)
def test_what_models_refuse(make, said):
    with pytest.raises(ModelError, match=said):
        make()


# --- what can be trained ---------------------------------------------------------


def with_module(module):
    model = GraphSAGE(F, 8, 3)
    model.add_module("extra", module)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_our_models_can_be_trained(name):
    check_model(MODELS[name](dropout=0.5, norm="layer"))


@pytest.mark.parametrize(
    "module",
    [
        nn.Dropout(0.5),
        nn.Dropout1d(0.5),
        nn.AlphaDropout(),
        nn.FeatureAlphaDropout(),
        nn.RReLU(),
        nn.MultiheadAttention(4, 2, dropout=0.1),
        nn.TransformerEncoderLayer(4, 2),
        nn.LSTM(4, 4, 2, dropout=0.1),
    ],
    ids=lambda module: type(module).__name__,
)
def test_torchs_generator_is_refused(module):
    with pytest.raises(ModelError, match=r"extra.*daskgnn\.nn\.Dropout") as caught:
        check_model(with_module(module))
    assert "\n" not in str(caught.value)
    check_model(with_module(module), deterministic=False)


@pytest.mark.parametrize(
    "module",
    [
        nn.BatchNorm1d(4, track_running_stats=False),
        nn.SyncBatchNorm(4),
        nn.InstanceNorm1d(4, track_running_stats=True),
    ],
    ids=str,
)
def test_statistics_of_the_batch_are_refused(module):
    with pytest.raises(ModelError, match=r"'extra'.*running_mean.*LayerNorm"):
        check_model(with_module(module))
    check_model(with_module(module), deterministic=False)


@pytest.mark.parametrize(
    "module",
    [
        nn.Dropout(0.0),
        nn.BatchNorm1d(4),
        nn.InstanceNorm1d(4),
        nn.MultiheadAttention(4, 2),
        nn.LSTM(4, 4, 1),
        nn.LayerNorm(4),
    ],
    ids=lambda module: type(module).__name__,
)
def test_modules_without_randomness_pass(module):
    check_model(with_module(module))


def changed(**attributes):
    model = nn.Linear(2, 2)
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("GraphSAGE", "of type str, expected a torch.nn.Module"),
        (nn.Identity(), "Identity has no parameters"),
        (changed(num_layers=0), "num_layers of Linear is 0"),
        (changed(num_layers=1, first_aggregation="min"), "'min', expected None"),
        (GraphSAGE(2, 2, 2).double(), "torch.float64.*model.float()"),
        (changed(num_layers=1, extra=nn.LazyLinear(2)), "'extra.weight' has no shape"),
    ],
)
def test_what_is_no_model(model, said):
    with pytest.raises(ModelError, match=said):
        check_model(model, deterministic=False)


def test_a_step_that_draws_or_changes_buffers_is_found():
    model, h = nn.BatchNorm1d(3), torch.randn(4, 3)
    with pytest.raises(ModelError, match=r"daskgnn\.nn\.Dropout"), pure_step(model):
        nn.functional.dropout(torch.ones(3))
    with pytest.raises(ModelError, match="'running_mean'"), pure_step(model):
        model(h)
    with pure_step(model), torch.no_grad():
        model.eval()(h)
    with pure_step(model, deterministic=False):
        torch.rand(1)


def sage_case(dtype, seed=0):
    """A block whose rows overlap and repeat, tensors for it, and its matrix."""
    rng = np.random.default_rng(seed)
    num_src, num_dst, width, out = 2600, 1500, 7, 5
    counts = rng.integers(0, 5, num_dst)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    indices = rng.integers(0, num_src, indptr[-1])
    block = Block.from_csr(indptr, indices, num_src=num_src)
    matrix = torch.zeros(num_dst, num_src, dtype=dtype)
    row = np.repeat(np.arange(num_dst), counts)
    matrix.index_put_(
        (torch.from_numpy(row), torch.from_numpy(indices)),
        torch.ones(len(row), dtype=dtype),
        accumulate=True,
    )
    torch.manual_seed(seed)
    h = torch.randn(num_src, width, dtype=dtype, requires_grad=True)
    weights = [
        torch.randn(shape, dtype=dtype, requires_grad=True)
        for shape in ((out, width), (out,), (out, width))
    ]
    return block, matrix, h, weights


@pytest.mark.parametrize("op", ["sum", "mean", "max"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("parts", ["all", "no root", "no bias"])
def test_fused_sage_is_plain_torch(op, relu, parts):
    block, matrix, h, (weight, bias, root) = sage_case(torch.float64)
    bias = None if parts == "no bias" else bias
    root = None if parts == "no root" else root
    out = block.sage(h, op, weight, bias, root, relu=relu)
    if op == "max":
        near = torch.stack(
            [
                h[row.nonzero()[:, 0]].amax(0) if row.any() else torch.zeros_like(h[0])
                for row in matrix
            ]
        )
    else:
        total = matrix.sum(1, keepdim=True).clamp(min=1) if op == "mean" else 1
        near = matrix @ h / total
    plain = near @ weight.T
    if root is not None:
        plain = plain + h[: block.num_dst] @ root.T
    if bias is not None:
        plain = plain + bias
    plain = plain.relu() if relu else plain
    torch.testing.assert_close(out, plain, rtol=1e-9, atol=1e-9)
    inputs = [t for t in (h, weight, bias, root) if t is not None]
    by_out = torch.randn_like(out)
    found = torch.autograd.grad(out, inputs, by_out)
    expected = torch.autograd.grad(plain, inputs, by_out)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("op", ["sum", "mean"])
@pytest.mark.parametrize("rooted", [False, True])
def test_fused_sage_where_neighbours_do_not_count_alike(op, rooted):
    block, _, h, (weight, bias, root) = sage_case(torch.float64)
    root = root if rooted else None
    means = np.random.default_rng(3).random(len(block.arrays.indices))
    block = with_arrays(block, mean_weights=means.astype(np.float32))
    matrix = torch.zeros(block.num_dst, block.num_src, dtype=torch.float64)
    target, source = block.edge_index[1], block.edge_index[0]
    counts = block.mean_weight.double()
    if op == "sum":
        counts = (counts * block.degree[target]).float().double()
    matrix.index_put_((target, source), counts, accumulate=True)
    out = block.sage(h, op, weight, bias, root, relu=True)
    plain = matrix @ h @ weight.T + bias
    if rooted:
        plain = plain + h[: block.num_dst] @ root.T
    plain = plain.relu()
    torch.testing.assert_close(out, plain, rtol=1e-9, atol=1e-9)
    inputs = [t for t in (h, weight, bias, root) if t is not None]
    by_out = torch.randn_like(out)
    found = torch.autograd.grad(out, inputs, by_out)
    expected = torch.autograd.grad(plain, inputs, by_out)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_fused_sage_takes_inputs_side_by_side_as_they_are():
    block, _, h, (weight, bias, root) = sage_case(torch.float32)
    with torch.no_grad():
        near = block.aggregate(h, "mean")
    both = torch.cat([near, h[: block.num_dst].detach()], dim=1).numpy()
    results = []
    for views in (both, both.copy(order="F")):
        ready = with_arrays(block, "mean", aggregated=views[:, :7])
        out = ready.sage(
            torch.from_numpy(views[:, 7:]), "mean", weight, bias, root, relu=True
        )
        grads = torch.autograd.grad(out.square().sum(), [weight, bias, root])
        results.append([out, *grads])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_fused_relu_keeps_what_is_not_a_number():
    block, _, h, (weight, bias, root) = sage_case(torch.float32)
    with torch.no_grad():
        h[3] = torch.nan
    assert block.sage(h, "sum", weight, bias, root, relu=True)[3].isnan().all()


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("alike", [False, True])
def test_fused_sage_in_bfloat16_is_near_float32(relu, alike):
    block, _, h, (weight, bias, root) = sage_case(torch.float32)
    if not alike:
        means = np.random.default_rng(3).random(len(block.arrays.indices)) / 2
        block = with_arrays(block, mean_weights=means.astype(np.float32))
    exact = block.sage(h, "mean", weight, bias, root, relu=relu)
    with torch.autocast("cpu", torch.bfloat16):
        first = block.sage(h, "mean", weight, bias, root, relu=relu)
        again = block.sage(h.bfloat16(), "mean", weight, bias, root, relu=relu)
    assert first.dtype == torch.bfloat16
    torch.testing.assert_close(first.float(), exact, rtol=0.02, atol=0.05)
    torch.testing.assert_close(again.float(), exact, rtol=0.03, atol=0.08)
    by_out = torch.randn_like(exact)
    inputs = [h, weight, bias, root]
    expected = torch.autograd.grad(exact, inputs, by_out)
    # What rounding moves across the zero of the ReLU changes wholly.
    bound = 0.15 if relu else 0.02
    for out in (first, again):
        found = torch.autograd.grad(out, inputs, by_out.bfloat16())
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == torch.float32
            assert (one - other).norm() < bound * other.norm()


@pytest.mark.parametrize("name", MODELS)
def test_models_under_autocast_are_near_float32(name, graph):
    torch.manual_seed(0)
    model = MODELS[name]()
    x = torch.randn(N, F)
    blocks = [Block.from_csr(*graph[:2]) for _ in range(2)]
    exact = model(x, blocks)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(x, blocks)
    assert (half.float() - exact).norm() < 0.03 * exact.norm()
    grads = [
        torch.autograd.grad(out.float().square().sum(), list(model.parameters()))
        for out in (half, exact)
    ]
    flat = [torch.cat([g.reshape(-1) for g in each]) for each in grads]
    assert (flat[0] - flat[1]).norm() < 0.05 * flat[1].norm()
