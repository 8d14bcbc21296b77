"""What a model reads of a block: torch, in one order, named as PyG names it."""

import inspect
import pickle
import warnings

import numpy as np
import pytest
import torch
from training import planted_graph

import daskgnn
from daskgnn.nn import Block
from daskgnn.nn.blockarrays import BlockArrays

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses torch.jit.script when imported
    from torch_geometric.nn import GraphConv

WEIGHTS = np.random.default_rng(3).random(1000).astype(np.float32) + 0.1


class WeightedNet(torch.nn.Module):
    """PyG's GraphConv on what a block shows, without a word about orders."""

    num_layers = 2

    def __init__(self, in_channels, hidden, out_channels):
        super().__init__()
        self.convs = torch.nn.ModuleList(
            [GraphConv(in_channels, hidden), GraphConv(hidden, out_channels)]
        )

    def forward(self, x, blocks):
        for i, block in enumerate(blocks):
            x = self.convs[i](x, block.edge_index, block.edge_weight)
            x = block.dst(x.relu() if i == 0 else x)
        return x

    def on_whole_graph(self, x, edge_index, edge_weight):
        """The same with torch_geometric alone."""
        h = self.convs[0](x, edge_index, edge_weight).relu()
        return self.convs[1](h, edge_index, edge_weight)


@pytest.fixture(scope="module")
def weighted():
    return planted_graph(200, edge_weight=WEIGHTS)


def test_graph_conv_on_sampled_blocks_learns_and_predicts_as_pyg_does(weighted):
    """Layers share one CSR of draws, of which the inner one uses a prefix a row."""
    graph = daskgnn.open_graph(weighted.partition(8), num_parts=2)
    torch.manual_seed(0)
    model = WeightedNet(graph.num_features, 16, graph.num_classes)
    options = {"num_neighbors": [3, 5], "batch_size": 40, "client": None}
    trainer = daskgnn.Trainer(model, graph, **options)
    trainer.fit(epochs=2)
    rows = np.repeat(np.arange(200), np.diff(weighted.indptr))
    edge_index = torch.tensor(np.stack([weighted.indices, rows]), dtype=torch.long)
    with torch.no_grad():
        x = torch.from_numpy(weighted.features)
        expected = model.on_whole_graph(
            x, edge_index, torch.from_numpy(weighted.edge_weight)
        )
    torch.testing.assert_close(
        torch.from_numpy(trainer.predict().compute()), expected, rtol=1e-4, atol=1e-4
    )


def block_with_gaps():
    """Rows in no order, with elements between them that are no edges."""
    arrays = BlockArrays(
        starts=np.array([4, 0, 1]),
        ends=np.array([7, 2, 1]),
        indices=np.array([2, 4, 0, 3, 1, 4, 2, 0], np.int32),
        ids=np.array([7, 3, 9, 1, 0]),
        degree=np.array([5, 2, 0]),
        weighted_degree=np.array([3, 2, 0, 1, 4], np.float32),
        weights=np.arange(8, dtype=np.float32),
    )
    return Block(num_src=5, num_dst=3, arrays=arrays)


def test_weights_go_with_their_edges_where_rows_have_gaps():
    block = block_with_gaps()
    assert block.edge_index.tolist() == [[1, 4, 2, 2, 4], [0, 0, 0, 1, 1]]
    assert block.edge_weight.tolist() == [4, 5, 6, 0, 1]
    dense = torch.zeros(3, 5)
    dense[block.edge_index[1], block.edge_index[0]] = block.edge_weight
    h = torch.randn(5, 4)
    torch.testing.assert_close(block.weighted_sum(h, block.edge_weight), dense @ h)
    loops = block.with_self_loops
    assert loops.edge_index.shape[1] == len(loops.edge_weight) == 8


def test_gcn_weights_go_with_their_edges():
    block = block_with_gaps()
    h = torch.randn(5, 4)
    loops = h[:3] / (block.weighted_degree[:3, None] + 1)
    expected = block.weighted_sum(h, block.gcn_weight) + loops
    torch.testing.assert_close(block.propagate_gcn(h), expected)


def test_everything_a_model_reads_is_torch_and_no_array():
    block = pickle.loads(pickle.dumps(block_with_gaps()))
    names = [
        name for name, _ in inspect.getmembers(type(block)) if not name.startswith("_")
    ]
    shown = {
        name: getattr(block, name)
        for name in {*names, *vars(block)}
        if not name.startswith("_")
    }
    arrays = [n for n, value in shown.items() if isinstance(value, np.ndarray)]
    assert not arrays
    num_edges = block.edge_index.shape[1]
    for name in ("edge_weight", "gcn_weight"):
        assert shown[name].shape == (num_edges,)
        assert shown[name].dtype == torch.float32
    assert block.n_id.tolist() == [7, 3, 9, 1, 0]
    assert block.degree.tolist() == [5, 2, 0]
    assert block.indptr.tolist() == [0, 3, 5, 5]
