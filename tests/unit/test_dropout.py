"""Dropout masks belong to (step, layer, node, channel), and are fair."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from daskgnn.errors import ModelError
from daskgnn.kernels import dropout as kernels
from daskgnn.nn import Block, Dropout, GraphSAGE, number_dropouts, ops


def make_block(ids, key=11):
    ids = np.asarray(ids, np.int64)
    return Block.from_csr(np.zeros(len(ids) + 1), [], ids=ids, dropout_key=key)


def dropped(ids, channels=8, p=0.5, key=11, number=0):
    layer = Dropout(p)
    layer.number = number
    return layer(torch.ones(len(ids), channels), make_block(ids, key))


def test_the_mask_follows_the_node():
    ids = np.arange(1000, 1300)
    order = np.random.default_rng(0).permutation(300)
    whole = dropped(ids)
    assert torch.equal(dropped(ids[order]), whole[torch.from_numpy(order)])
    assert torch.equal(dropped(ids[:10]), whole[:10])
    assert torch.equal(dropped(ids), whole)


def test_rows_beyond_those_given_do_not_matter():
    layer, block = Dropout(0.5), make_block(np.arange(50))
    h = torch.ones(50, 6)
    assert torch.equal(layer(h[:20], block), layer(h, block)[:20])


def test_channels_do_not_depend_on_the_width():
    ids = np.arange(100)
    wide = dropped(ids, 11)
    for channels in (1, 3, 4, 6, 8):
        assert torch.equal(dropped(ids, channels), wide[:, :channels])


@pytest.mark.parametrize(
    "other", [{"key": 12}, {"number": 1}, {"key": 2**64 - 1}], ids=str
)
def test_another_step_or_layer_has_another_mask(other):
    ids = np.arange(2000)
    a, b = dropped(ids) > 0, dropped(ids, **other) > 0
    equal = (a == b).float().mean().item()
    assert equal == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.6, 0.95])
def test_channels_are_kept_as_often_as_asked(p):
    mask = dropped(np.arange(20_000), 8, p) > 0
    keep = 1 - kernels.threshold_of(p) / 65536
    counts = mask.sum(0).numpy()
    expected = len(mask) * keep
    chi2 = ((counts - expected) ** 2 / (expected * (1 - keep))).sum()
    assert stats.chi2.sf(chi2, len(counts)) > 1e-4


def test_channels_are_independent():
    mask = (dropped(np.arange(20_000), 8, 0.5) > 0).numpy()
    for a in range(8):
        for b in range(a):
            table = np.histogram2d(mask[:, a], mask[:, b], 2)[0]
            assert stats.chi2_contingency(table).pvalue > 1e-5


def test_the_mean_stays():
    out = dropped(np.arange(50_000), 8, 0.3)
    assert out.mean().item() == pytest.approx(1, abs=0.005)
    assert out.max().item() == pytest.approx(kernels.scale_of(0.3))


def test_gradient():
    layer, block = Dropout(0.4), make_block(np.arange(6))
    h = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x, block), (h,))


def test_off_in_evaluation_and_at_zero():
    block, h = make_block([1, 2]), torch.randn(2, 3)
    assert Dropout(0.5).eval()(h, block) is h
    assert Dropout(0.0)(h, block) is h
    assert Dropout(0.0).edges(h, block) is h


def test_all_is_dropped_at_one():
    layer, block = Dropout(1.0), make_block([1, 2])
    h = torch.full((2, 3), torch.inf, requires_grad=True)
    out = layer(h, block)
    out.sum().backward()
    assert not out.detach().any()
    assert not h.grad.any()


def test_heads_and_channels_of_a_node_together():
    layer, block = Dropout(0.5), make_block(np.arange(30))
    out = layer(torch.ones(30, 2, 5), block)
    assert torch.equal(out.flatten(1), layer(torch.ones(30, 10), block))


def test_a_vector_is_one_channel():
    layer, block = Dropout(0.5), make_block(np.arange(30))
    column = layer(torch.ones(30, 1), block)
    assert torch.equal(layer(torch.ones(30), block), column[:, 0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_mask_is_the_same_in_other_types(dtype):
    layer, block = Dropout(0.5), make_block(np.arange(30))
    h = torch.ones(30, 9)
    assert torch.equal(layer(h.to(dtype), block).float(), layer(h, block))


def test_plain_torch_gives_the_same(monkeypatch):
    layer, block = Dropout(0.3), make_block(np.arange(30))
    h = torch.randn(30, 9)
    fast = layer(h, block)
    monkeypatch.setattr("daskgnn.nn.dropout.has_kernels", lambda x: False)
    assert torch.equal(layer(h, block), fast)


def edge_masks(block, heads):
    """Mask of each edge, by the original ids of its ends."""
    layer = Dropout(0.5)
    mask = layer.edges(torch.ones(block.edge_index.shape[1], heads), block)
    ends = block.n_id[block.edge_index]
    return {
        tuple(e): tuple(m) for e, m in zip(ends.T.tolist(), mask.tolist(), strict=True)
    }


def test_edge_masks_follow_the_ids_of_both_ends():
    rng = np.random.default_rng(0)
    n = 40
    adjacency = rng.random((n, n)) < 0.3
    order = rng.permutation(n)
    blocks = []
    for matrix, ids in (
        (adjacency, np.arange(n)),
        (adjacency[order][:, order], order),
    ):
        indptr = np.concatenate([[0], np.cumsum(matrix.sum(1))])
        indices = np.nonzero(matrix)[1]
        blocks.append(Block.from_csr(indptr, indices, ids=ids, dropout_key=3))
    masks = [edge_masks(block, 5) for block in blocks]
    assert masks[0] == masks[1]
    values = np.array(list(masks[0].values()))
    assert (values > 0).mean() == pytest.approx(0.5, abs=0.05)
    forward = [masks[0][e] for e in masks[0] if (e[1], e[0]) in masks[0]]
    backward = [masks[0][e[1], e[0]] for e in masks[0] if (e[1], e[0]) in masks[0]]
    assert forward != backward


def test_edge_mask_of_prefix_rows():
    whole = Block.from_csr([0, 3, 5], [1, 2, 3, 0, 3], num_src=4, dropout_key=9)
    ends = whole.arrays.starts + np.array([2, 1])
    part = replace(whole, arrays=replace(whole.arrays, ends=ends))
    layer = Dropout(0.5)
    all_edges = layer.edges(torch.ones(5, 64), whole)
    assert torch.equal(layer.edges(torch.ones(3, 64), part), all_edges[[0, 1, 3]])
    assert layer.edges(torch.ones(3), part).shape == (3,)


def test_numbers_follow_the_order_of_modules():
    model = GraphSAGE(4, 8, 2, num_layers=3, dropout=0.5)
    assert number_dropouts(model) == 3
    numbers = [m.number for m in model.modules() if isinstance(m, Dropout)]
    assert numbers == [0, 1, 2]


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_no_probability(p):
    with pytest.raises(ModelError, match="expected 0 to 1"):
        Dropout(p)


def test_more_rows_than_nodes():
    with pytest.raises(ModelError, match="3 rows for a block of 2 nodes"):
        Dropout(0.5)(torch.ones(3, 2), make_block([1, 2]))


def test_torch_generator_is_not_touched():
    before = torch.get_rng_state()
    dropped(np.arange(10))
    assert torch.equal(before, torch.get_rng_state())
    assert ops.has_kernels(torch.ones(1))
