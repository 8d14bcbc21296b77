"""Products and reductions of sparse rows against dense float64 tensors."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.nn import functional

from daskgnn.errors import ModelError
from daskgnn.kernels import sparse
from daskgnn.kernels.features import SparseInput, SparseTable
from daskgnn.nn import GAT, GCN, Block, Dropout, GraphSAGE, SparseRows, number_dropouts
from daskgnn.nn.sparse import model_input

N, F = 50, 37


def matrix(kind):
    """Return CSR features [N, F] of a kind."""
    rng = np.random.default_rng(3)
    dense = np.where(rng.random((N, F)) < 0.15, rng.standard_normal((N, F)), 0)
    dense[7] = 0
    dense[11] = rng.standard_normal(F)
    if kind == "binary":
        dense = (dense != 0).astype(float)
    if kind == "one column":
        dense = dense[:, :1]
    rows = sp.csr_array(dense.astype(np.float32))
    if kind == "explicit zeros":
        rows.data[::3] = 0
    if kind == "empty":
        rows = sp.csr_array(np.zeros((N, F), np.float32))
    return rows


KINDS = ["numbers", "binary", "one column", "explicit zeros", "empty"]


def rows_of(given, dtype="float32"):
    """Return the rows of a matrix, last first, and the same as a dense tensor."""
    table = SparseTable.of(given, dtype)
    order = np.arange(N, dtype=np.int32)[::-1].copy()
    x = model_input(SparseInput(table, order))
    return x, x.to_dense().double()


def block_of(num_src=N, num_dst=20, **options):
    """Return a block of which two rows have no neighbours."""
    rng = np.random.default_rng(4)
    near = [rng.integers(0, num_src, rng.integers(1, 6)) for _ in range(num_dst)]
    near[3] = near[-1] = near[3][:0]
    indptr = np.cumsum([0, *map(len, near)])
    weight = rng.random(indptr[-1]).astype(np.float32) + 0.1
    return Block.from_csr(indptr, np.concatenate(near), weight, num_src, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_dense_rows_are_those_of_the_matrix(kind):
    given = matrix(kind)
    x, dense = rows_of(given)
    np.testing.assert_array_equal(dense.numpy(), given.toarray()[::-1])
    assert x.shape == dense.shape
    assert x.dense_nbytes == 4 * dense.numel()
    assert len(x.table.data) == (0 if kind in ("binary", "empty") else given.nnz)


@pytest.mark.parametrize("width", [1, 8, 29, 64, 77, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_a_product_and_its_gradient_are_those_of_dense_rows(kind, width):
    x, dense = rows_of(matrix(kind))
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        torch.manual_seed(0)
        weight = torch.randn(width, dense.shape[1], dtype=dtype, requires_grad=True)
        bias = torch.randn(width, dtype=dtype, requires_grad=True)
        by = torch.randn(N, width, dtype=dtype)
        found = functional.linear(x, weight, bias)
        wanted = functional.linear(dense.to(dtype), weight, bias)
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
        mine, theirs = (
            torch.autograd.grad((out * by).sum(), (weight, bias))
            for out in (found, wanted)
        )
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_entries_may_be_of_half_precision(dtype):
    x, dense = rows_of(matrix("numbers"), dtype)
    rounded = torch.from_numpy(matrix("numbers").toarray()[::-1].copy())
    rounded = rounded.to(getattr(torch, dtype)).double()
    assert torch.equal(dense, rounded)
    weight = torch.randn(16, F, dtype=torch.float64)
    torch.testing.assert_close(x @ weight.t(), dense @ weight.t())


def test_blocks_and_threads_do_not_change_a_bit(monkeypatch):
    x, _ = rows_of(matrix("numbers"))
    block, weight, root = block_of(), torch.randn(300, F), torch.randn(300, F)

    def results(threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        given = [w.clone().requires_grad_() for w in (weight, root)]
        out = block.sage(x, "mean", given[0], None, given[1], relu=True)
        found = [out, *torch.autograd.grad(out.sin().sum(), given)]
        torch.set_num_threads(before)
        return found

    first = results(1)
    assert all(map(torch.equal, first, results(3)))
    monkeypatch.setattr(sparse, "BLOCK_BYTES", 1)
    assert sparse.block_width(F, 300, 4) == 64
    assert all(map(torch.equal, first, results(2)))


def models(columns):
    """Return models of all kinds, in float64."""
    torch.manual_seed(1)
    sizes = columns, 24, 5
    made = {
        "mean": GraphSAGE(*sizes),
        "sum": GraphSAGE(*sizes, aggr="sum"),
        "max": GraphSAGE(*sizes, aggr="max"),
        "gcn": GCN(*sizes),
        "wide gcn": GCN(columns, 64, 5),
        "gat": GAT(*sizes, heads=2),
        "residual": GraphSAGE(*sizes, residual=True, norm="layer"),
        "same width": GraphSAGE(columns, columns, 5, residual=True),
        "dropout": GraphSAGE(*sizes, input_dropout=0.4, dropout=0.2),
    }
    for model in made.values():
        number_dropouts(model)
    return {name: model.double() for name, model in made.items()}


@pytest.mark.parametrize("name", models(2))
@pytest.mark.parametrize("kind", ["numbers", "binary", "one column"])
def test_models_compute_what_they_do_with_dense_rows(kind, name):
    x, dense = rows_of(matrix(kind))
    model = models(dense.shape[1])[name]
    ids = np.random.default_rng(0).permutation(1000)[:N]
    blocks = [block_of(ids=ids, dropout_key=5), block_of(20, 6, ids=ids, dropout_key=5)]
    results = []
    for given in (x, dense):
        out = model(given, blocks)
        grads = torch.autograd.grad(out.sin().sum(), list(model.parameters()))
        results.append((out, *grads))
    tolerance = 1e-6 if name == "dropout" else 1e-7  # its scale is float32
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("op", ["sum", "mean", "max"])
def test_rows_reduced_over_neighbours_stay_sparse(op):
    x, dense = rows_of(matrix("numbers"))
    block = block_of()
    found = block.aggregate(x, op)
    assert isinstance(found, SparseRows)
    torch.testing.assert_close(found.to_dense().double(), block.aggregate(dense, op))
    assert block.dst(x).shape == (20, F)


def test_a_gcn_propagates_sparse_rows():
    x, dense = rows_of(matrix("binary"))
    block = block_of()
    found = block.propagate_gcn(x).to_dense().double()
    torch.testing.assert_close(found, block.propagate_gcn(dense), rtol=1e-6, atol=1e-6)


def test_dropped_entries_are_those_of_dense_rows():
    x, dense = rows_of(matrix("numbers"))
    block = Block.from_csr(np.zeros(N + 1), [], ids=np.arange(N) * 7, dropout_key=3)
    dropout = Dropout(0.5)
    dropped = dropout(x, block).to_dense()
    assert torch.equal(dropped, dropout(dense.float(), block))
    assert 0 < (dropped != 0).sum() < (dense != 0).sum()


class Slices(torch.nn.Module):
    """Asks for what sparse rows do not have."""

    def __init__(self, ask):
        super().__init__()
        self.ask = ask

    def forward(self, x):
        return self.ask(x)


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda x: x.relu(), "relu"),
        (torch.relu, "relu"),
        (lambda x: x * 2, "arithmetic but products"),
        (lambda x: torch.ones(N, 1) + x, "add"),
        (lambda x: torch.cat([x, x]), "cat"),
        (lambda x: x[0], "x\\[0\\]"),
        (lambda x: block_of().weighted_sum(x, torch.ones(1)), "unsqueeze"),
    ],
)
def test_what_needs_dense_rows_says_so_in_a_line(ask, named):
    x, _ = rows_of(matrix("numbers"))
    with pytest.raises(ModelError, match=f"SparseRows has no .*{named}") as raised:
        Slices(ask)(x)
    said = str(raised.value)
    assert "x.to_dense() (7.23 kiB for 50 rows)" in said
    assert "\n" not in said


def test_weights_of_another_width_are_refused():
    x, _ = rows_of(matrix("numbers"))
    with pytest.raises(ModelError, match=r"\(4, 36\) for features of 37 columns"):
        torch.nn.Linear(36, 4)(x)


def test_rows_can_be_chosen_and_made_of_arrays():
    x, dense = rows_of(matrix("numbers"))
    assert torch.equal(x[5:9].to_dense().double(), dense[5:9])
    assert torch.equal(x[torch.tensor([3, 1])].to_dense().double(), dense[[3, 1]])
    made = SparseRows.from_csr([0, 1, 1], [2], num_columns=4)
    assert torch.equal(made.to_dense(), torch.tensor([[0, 0, 1.0, 0], [0, 0, 0, 0]]))
    assert copy.copy(made).shape == made.size() == (2, 4)
    assert made.size(1) == 4
    assert made.dim() == made.ndim == 2


def test_a_million_columns_with_few_channels():
    rng = np.random.default_rng(0)
    columns = rng.choice(10**6, 300, replace=False)
    given = np.arange(0, 301, 10), columns, rng.standard_normal(300)
    x = SparseRows.from_csr(*given, num_columns=10**6)
    weight = torch.randn(8, 10**6, requires_grad=True)
    out = x @ weight.t()
    some = torch.from_numpy(columns)
    dense = torch.zeros(30, 300)
    dense[torch.arange(30).repeat_interleave(10), torch.arange(300)] = torch.from_numpy(
        given[2]
    ).float()
    torch.testing.assert_close(out, dense @ weight[:, some].t())
    (grad,) = torch.autograd.grad(out.sum(), weight)
    wanted = torch.zeros_like(weight)
    wanted[:, some] = dense.sum(0)
    torch.testing.assert_close(grad, wanted)
