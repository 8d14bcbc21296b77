"""Vision GNN models against plain restatements, and the published counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torch.nn import functional

from daskgnn.errors import ModelError
from daskgnn.nn import Draws, DropPath, SampleDropout
from daskgnn.vision import PixelViG, PyramidViG, ViG, kneighbors, make_model
from daskgnn.vision.models.layers import (
    FFN,
    Downsample,
    Grapher,
    Stem,
    relative_channels,
)
from daskgnn.vision.models.pixels import around
from daskgnn.vision.models.position import relative_position


def counted(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vig-ti", 7_184_744),
        ("vig-s", 22_747_752),
        ("vig-b", 86_841_832),
        ("pvig-ti", 10_714_376),
        ("pvig-s", 27_251_912),
        ("pvig-m", 49_525_832),
        ("pvig-b", 92_980_328),
    ],
)
def test_published_models_have_the_published_number_of_parameters(name, parameters):
    with torch.device("meta"):
        assert counted(make_model(name)) == parameters


def test_the_pixel_model_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert counted(make_model("pixel-vig")) == 1_120_410
        assert counted(PixelViG(depth=1)) - counted(PixelViG(depth=0)) == 138_258


def test_neighbours_grow_over_the_blocks_and_spread_every_four():
    with torch.device("meta"):
        graphers = [m for m in make_model("vig-ti") if isinstance(m, Grapher)]
        pyramid = [m for m in make_model("pvig-ti") if isinstance(m, Grapher)]
    assert [g.k for g in graphers] == [9, 9, 10, 11, 12, 13, 13, 14, 15, 16, 17, 18]
    assert [g.dilation for g in graphers] == [1] * 4 + [2] * 4 + [3] * 4
    assert {g.k for g in pyramid} == {9}
    assert [g.dilation for g in pyramid] == [1] * 4 + [2] * 4 + [3] * 4
    assert [g.reduction for g in pyramid] == [4, 4, 2, 2, *[1] * 8]
    assert pyramid[0].near.shape == (3136, 196)


def rows(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.manual_seed(seed))


@pytest.mark.parametrize("dilation", [1, 3])
def test_neighbours_are_those_of_scikit_learn(dilation):
    x, y = rows(3, 40, 8), rows(3, 30, 8, seed=1)
    for starts, ends in ((x, x), (x, y)):
        found = kneighbors(
            starts, 5, None if ends is starts else ends, dilation=dilation
        )
        for b in range(3):
            tree = NearestNeighbors(n_neighbors=5 * dilation).fit(ends[b].numpy())
            expected = tree.kneighbors(starts[b].numpy(), return_distance=False)
            assert np.array_equal(found[b].numpy(), expected[:, ::dilation])


@pytest.mark.parametrize("nbytes", [1, 8 * 30 * 7, 8 * 30 * 40, 8 * 30 * 40 * 2])
def test_blocks_of_distances_change_nothing(nbytes):
    x, y, bias = rows(5, 40, 8), rows(5, 30, 8, seed=1), rows(40, 30, seed=2)
    whole = kneighbors(x, 4, y, bias=bias)
    assert torch.equal(kneighbors(x, 4, y, bias=bias, max_bytes=nbytes), whole)
    distance = torch.cdist(x, y) ** 2 + bias
    assert torch.equal(whole, distance.topk(4, largest=False).indices)


def test_memory_for_distances_is_bounded():
    sizes = []
    x = rows(64, 64, 4, dtype=torch.float32)

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                sizes.append(out.numel() * out.element_size())
            return out

    with Watch():
        kneighbors(x, 4, max_bytes=1 << 16)
    assert max(sizes) <= 64 * 64 * 4 * 8  # the answer, int64
    assert sorted(sizes)[-20] <= 1 << 16


def test_of_equal_distances_the_first_counts_as_smaller():
    x = torch.tensor([[[0.0], [1.0], [1.0], [0.0], [1.0]]])
    assert kneighbors(x, 4).tolist() == [
        [[0, 3, 1, 2], [1, 2, 4, 0], [1, 2, 4, 0], [0, 3, 1, 2], [1, 2, 4, 0]]
    ]


@pytest.mark.parametrize("k", [0, 4])
def test_more_neighbours_than_nodes_are_refused(k):
    with pytest.raises(ModelError, match=f"k={k} .*an image has 3"):
        kneighbors(rows(1, 3, 2), k)


def test_the_largest_difference_and_its_gradient_are_those_of_torch():
    x, y = rows(2, 6, 3).requires_grad_(), rows(2, 5, 3, seed=1).requires_grad_()
    index = torch.randint(0, 5, (2, 6, 4), generator=torch.manual_seed(2))
    grad = rows(2, 6, 6, seed=3)

    def plain(x, y):
        near = torch.stack([y[b][index[b]] for b in range(2)])
        most = (near - x.unsqueeze(2)).max(2).values
        return torch.stack([x, most], -1).reshape(2, 6, 6)

    assert torch.equal(relative_channels(x, y, index), plain(x, y))
    ours = torch.autograd.grad(relative_channels(x, y, index), (x, y), grad)
    theirs = torch.autograd.grad(plain(x, y), (x, y), grad)
    assert all(
        torch.allclose(a, b, atol=1e-12) for a, b in zip(ours, theirs, strict=True)
    )
    (ours,) = torch.autograd.grad(relative_channels(x, x, index), x, grad)
    (theirs,) = torch.autograd.grad(plain(x, x), x, grad)
    assert torch.allclose(ours, theirs, atol=1e-12)


def norm2d(norm, module):
    """Return a normalisation over [B, C, H, W] with a module's parameters."""
    width = len(module.weight)
    if norm == "batch":
        made = nn.BatchNorm2d(width)
    else:
        made = nn.GroupNorm(module.num_groups, width)
    made.load_state_dict(module.state_dict())
    return made


def conv1x1(linear):
    """Return a 1 x 1 convolution with a linear map's parameters."""
    made = nn.Conv2d(linear.in_features, linear.out_features, 1)
    made.weight.data = linear.weight.data[:, :, None, None]
    made.bias.data = linear.bias.data
    return made


class PlainFFN(nn.Module):
    def __init__(self, ffn, norm):
        super().__init__()
        first = conv1x1(ffn.fc1.linear), norm2d(norm, ffn.fc1.norm)
        second = conv1x1(ffn.fc2.linear), norm2d(norm, ffn.fc2.norm)
        self.layers = nn.Sequential(*first, nn.GELU(), *second)

    def forward(self, x):
        return self.layers(x) + x


class PlainGrapher(nn.Module):
    """The published block, over [B, C, H, W], written with plain torch."""

    def __init__(self, grapher, norm):
        super().__init__()
        self.g = [grapher]
        self.fc1 = nn.Sequential(
            conv1x1(grapher.fc1.linear), norm2d(norm, grapher.fc1.norm)
        )
        groups, width, _ = grapher.conv.weight.shape
        conv = nn.Conv2d(groups * width, groups * width, 1, groups=groups)
        weight = grapher.conv.weight.data.transpose(1, 2)
        conv.weight.data = weight.reshape(groups * width, width, 1, 1)
        conv.bias.data = grapher.conv.bias.data
        self.conv = nn.Sequential(conv, norm2d(norm, grapher.conv.norm), nn.GELU())
        self.fc2 = nn.Sequential(
            conv1x1(grapher.fc2.linear), norm2d(norm, grapher.fc2.norm)
        )

    def forward(self, x):
        (g,) = self.g
        h = self.fc1(x)
        batch, channels, height, width = h.shape
        y = functional.avg_pool2d(h, g.reduction) if g.reduction > 1 else h
        starts = functional.normalize(h.flatten(2), dim=1)
        ends = functional.normalize(y.flatten(2), dim=1)
        with torch.no_grad():
            distance = (starts[:, :, :, None] - ends[:, :, None, :]).square().sum(1)
            if g.near is not None:
                distance = distance + g.near
            order = distance.argsort(-1)[..., : g.k * g.dilation : g.dilation]
        near = torch.stack([y[b].flatten(1)[:, order[b]] for b in range(batch)])
        own = h.flatten(2)
        most = (near - own.unsqueeze(-1)).max(-1).values
        both = torch.stack([own, most], 2).reshape(batch, 2 * channels, height, width)
        return self.fc2(self.conv(both)) + x


def grid_of(x, side):
    return x.mT.reshape(len(x), -1, side, side)


def compare(ours, plain, x, side):
    """Compare results, and gradients by input and parameters."""
    x1, x2 = x.clone().requires_grad_(), grid_of(x, side).clone().requires_grad_()
    out, expected = ours(x1), plain(x2)
    assert torch.allclose(grid_of(out, side), expected, atol=1e-6)
    grad = rows(*out.shape, seed=9)
    out.backward(grad)
    expected.backward(grid_of(grad, side))
    assert torch.allclose(grid_of(x1.grad, side), x2.grad, atol=1e-6)
    sums = [sum(p.grad.square().sum() for p in m.parameters()) for m in (ours, plain)]
    assert torch.allclose(*sums, rtol=1e-6)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(("reduction", "position"), [(1, False), (1, True), (2, True)])
def test_a_grapher_is_the_published_block(norm, reduction, position):
    torch.manual_seed(0)
    how = {"reduction": reduction, "norm": norm, "position": position}
    ours = Grapher(16, 2, 2, 4, **how).double()
    compare(ours, PlainGrapher(ours, norm).double(), rows(3, 16, 16), 4)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_an_ffn_is_the_published_block(norm):
    torch.manual_seed(0)
    ours = FFN(16, norm).double()
    compare(ours, PlainFFN(ours, norm).double(), rows(3, 16, 16), 4)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_stem_is_convolutions_with_norms_and_gelu(norm):
    torch.manual_seed(0)
    ours = Stem(3, 16, 4, 4, norm).double()
    nn.init.normal_(ours.position)
    layers = []
    for i, (conv, scale) in enumerate(zip(ours.convs, ours.norms, strict=True)):
        layers += [*[nn.GELU()] * (i > 0), conv, norm2d(norm, scale)]
    plain = nn.Sequential(*layers).double()
    x = rows(2, 3, 15, 15)  # rows and columns that a stride does not divide
    expected = plain(x) + grid_of(ours.position, 4)
    assert torch.allclose(grid_of(ours(x), 4), expected, atol=1e-6)
    assert [c.stride[0] for c in ours.convs] == [2, 2, 1]
    assert [c.out_channels for c in ours.convs] == [8, 16, 16]


def test_a_pyramid_halves_the_grid_between_stages():
    torch.manual_seed(0)
    ours = Downsample(8, 12, 4, "batch").double()
    x = rows(2, 16, 8)
    plain = nn.Sequential(ours.convs[0], norm2d("batch", ours.norms[0])).double()
    assert torch.allclose(grid_of(ours(x), 2), plain(grid_of(x, 4)), atol=1e-6)


def test_the_position_table_is_that_of_the_published_code():
    side, channels = 4, 8
    table = np.zeros((16, 16))
    for a in range(16):
        for b in range(16):
            total = 0.0
            for i in range(channels // 4):
                wave = 10000.0 ** (-i / (channels // 4))
                for move in (a // side - b // side, a % side - b % side):
                    total += np.cos(wave * move)  # sin sin + cos cos
            table[a, b] = -2 * total / channels
    assert np.allclose(relative_position(channels, side).numpy(), table, atol=1e-6)
    halved = relative_position(channels, side, 2)
    weights = np.array([-0.09375, 0.59375, 0.59375, -0.09375])  # at half a pixel
    expected = np.stack([table[:, 4 * j : 4 * j + 4] @ weights for j in range(4)], 1)
    assert np.allclose(halved.numpy(), expected, atol=1e-6)


def test_pixels_are_summed_with_those_around():
    h = rows(2, 25, 3)
    kernel = torch.ones(3, 1, 3, 3, dtype=h.dtype)
    kernel[:, :, 1, 1] = 0
    expected = functional.conv2d(grid_of(h, 5), kernel, padding=1, groups=3)
    assert torch.allclose(grid_of(around(h, 5), 5), expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # PyG
def test_the_pixel_model_is_graph_convolutions_over_a_grid():
    from torch_geometric.nn import GraphConv
    from torch_geometric.utils import grid, remove_self_loops

    torch.manual_seed(0)
    model = PixelViG(2, 3, image_size=4, depth=1).double()
    block = model[1]
    conv = GraphConv(256, 256).double()
    conv.lin_rel.load_state_dict(block.neighbors.state_dict())
    conv.lin_root.load_state_dict(block.root.state_dict())
    edges, _ = remove_self_loops(grid(4, 4)[0])
    h = rows(2, 16, 256)
    ours = block.neighbors(around(h, 4)) + block.root(h)
    assert torch.allclose(ours, torch.stack([conv(x, edges) for x in h]))
    assert model(rows(2, 2, 4, 4)).shape == (2, 3)


@pytest.mark.parametrize(
    ("model", "size", "options"),
    [
        (ViG, 28, {"channels": 16, "depth": 2, "drop_path": 0.2, "dropout": 0.1}),
        (PyramidViG, 96, {"channels": (8, 8, 8, 8), "blocks": (1, 1, 1, 1)}),
    ],
)
def test_layers_one_by_one_are_the_model(model, size, options):
    torch.manual_seed(0)
    made = model(1, 10, size, **options)
    x = torch.randn(4, 1, size, size)
    draws, h = Draws(5, np.arange(4)), x
    for i in range(made.num_layers):
        h = made[i](h, *made.beside(draws).get(i, ()))
        assert h.is_contiguous()
    assert torch.equal(made(x, draws), h)
    assert h.shape == (4, 10)
    h.sum().backward()
    assert all(p.grad is not None for p in made.parameters())


def test_draws_belong_to_images_and_steps():
    torch.manual_seed(0)
    model = ViG(1, 10, 8, channels=8, depth=2, k=4, norm="group", drop_path=0.6)
    x = torch.randn(8, 1, 8, 8)

    def outputs(key, ids):
        return model(x[list(ids)], Draws(key, np.array(ids)))

    whole = outputs(3, range(8))
    halves = torch.cat([outputs(3, range(4)), outputs(3, range(4, 8))])
    assert torch.allclose(whole, halves, atol=1e-5)
    assert not torch.allclose(whole, outputs(4, range(8)), atol=1e-3)
    numbers = [m.number for m in model.modules() if isinstance(m, SampleDropout)]
    assert numbers == list(range(len(numbers)))
    assert model.drawing == (3, 4)  # the first block drops nothing


def test_as_many_branches_are_dropped_as_asked():
    path = DropPath(0.25)
    kept = path(torch.ones(20_000, 1), Draws(1, np.arange(20_000))).squeeze(1)
    assert abs((kept == 0).float().mean() - 0.25) < 0.02
    assert torch.allclose(kept[kept > 0], torch.tensor(4 / 3), atol=1e-4)
    assert torch.equal(path.eval()(torch.ones(3, 1)), torch.ones(3, 1))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ViG(3, 10, 32, stride=16), "k=9 needs 9 nodes and an image has 4"),
        (lambda: ViG(3, 10, 32, stride=3), "stride=3, expected a power of 2"),
        (lambda: ViG(3, 10, 32, channels=6), "channels=6, expected a multiple of 4"),
        (lambda: ViG(3, 10, 32, norm="layer"), "norm='layer', expected 'batch' or"),
        (lambda: PyramidViG(3, 10, 32), "k=9 needs 9 nodes and an image has 4"),
        (lambda: PyramidViG(3, 10, 50), "image_size=50, expected a multiple of 32"),
        (lambda: PyramidViG(channels=(8, 8)), "one number of each for 4 stages"),
        (lambda: make_model("vig-t"), "model='vig-t' is unknown: did you mean 'vig-"),
        (lambda: make_model("pixel-vig", k=3), "model 'pixel-vig' takes no k: it has"),
        (lambda: ViG(1, 2, 8)(torch.zeros(2, 1, 9, 9)), "9 x 9 pixels give 81 nodes"),
        (
            lambda: DropPath(0.5)(torch.ones(2, 1)),
            "2 samples and was given the ids of 0",
        ),
        (lambda: SampleDropout(2), r"dropout is 2, expected 0 to 1"),
    ],
)
def test_what_cannot_be_used_gets_one_line(call, words):
    with pytest.raises(ModelError, match=words) as error:
        call()
    assert "\n" not in str(error.value)
