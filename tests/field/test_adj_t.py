"""PyG objects whose edges are a sparse matrix, adj_t, against those with edge_index."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import daskgnn
from daskgnn.errors import GraphFormatError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Sparse:UserWarning"),
]


class SparseTensor:
    """What is used of torch_sparse's class, which is not installed here."""

    def __init__(self, row, col, value, sizes):
        self.parts, self.sizes = (row, col, value), sizes

    def coo(self):
        return self.parts

    def sparse_sizes(self):
        return self.sizes


def pyg_data(weighted):
    from torch_geometric.data import Data

    rng = np.random.default_rng(2)
    pairs = np.unique(rng.integers(0, 30, (2, 90)), axis=1)
    weight = torch.tensor(rng.random(pairs.shape[1]), dtype=torch.float32)
    return Data(
        x=torch.rand(30, 4),
        y=torch.arange(30) % 3,
        edge_index=torch.tensor(pairs),
        edge_weight=weight if weighted else None,
        train_mask=torch.arange(30) < 9,
    )


def transformed(data, layout):
    """The object as PyG's own transform leaves it, in a layout of torch."""
    from torch_geometric.transforms import ToSparseTensor

    found = ToSparseTensor(layout=layout)(data.clone())
    assert found.edge_index is None
    return found


def by_hand(data):
    """The object with a SparseTensor."""
    found, (source, target) = data.clone(), data.edge_index
    del found.edge_index
    value = found.edge_weight
    found.edge_weight = None
    found.adj_t = SparseTensor(target, source, value, (30, 30))
    return found


def assert_same(found, expected):
    for name in ("indptr", "indices", "edge_weight", "features", "labels"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)
    assert found.splits["train"].tolist() == expected.splits["train"].tolist()


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("kind", [torch.sparse_csr, torch.sparse_coo, "SparseTensor"])
def test_adj_t_gives_the_graph_of_edge_index(kind, weighted, directed):
    data = pyg_data(weighted)
    if weighted and not directed:  # else the first of two weights would be another
        both = torch.cat([data.edge_index, data.edge_index.flip(0)], dim=1)
        data.edge_index = torch.unique(both, dim=1)
        low, high = data.edge_index.min(0).values, data.edge_index.max(0).values
        data.edge_weight = (low * 30 + high).float() / 900 + 0.1
    given = by_hand(data) if kind == "SparseTensor" else transformed(data, kind)
    expected = daskgnn.from_pyg(data, directed=directed)
    assert_same(daskgnn.from_pyg(given, directed=directed), expected)


def test_several_values_an_edge_are_attributes():
    data = SimpleNamespace(
        adj_t=SparseTensor(
            torch.tensor([1, 2]), torch.tensor([0, 1]), torch.rand(2, 3), (3, 3)
        )
    )
    graph = daskgnn.from_pyg(data, directed=True)
    assert graph.indices.tolist() == [0, 1]
    assert graph.edge_attr["edge_attr"].shape == (2, 3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"adj_t": np.eye(3)}, r"adj_t is ndarray.*to_edge_index\(adj_t\)"),
        ({"adj_t": torch.eye(3, 4).to_sparse()}, r"shape \(3, 4\)"),
        ({"x": torch.eye(3)}, "neither edge_index nor adj_t"),
        ({"edge_types": []}, r"graphs of one type.*to_homogeneous\(\)"),
    ],
)
def test_objects_without_edges(data, said):
    with pytest.raises(GraphFormatError, match=said) as error:
        daskgnn.from_pyg(SimpleNamespace(**data))
    assert "\n" not in str(error.value)
