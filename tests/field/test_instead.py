"""What other libraries have is answered by what there is instead, in one line."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from training import invoked, planted_graph, small_sage

import daskgnn
from daskgnn.errors import DaskGNNError, GraphFormatError, InputError, ModelError


@pytest.fixture(scope="module")
def graph():
    return daskgnn.open_graph(planted_graph(120).partition(4))


def refused(function, kind=DaskGNNError):
    with pytest.raises(kind) as error:
        function()
    assert "\n" not in str(error.value)
    return str(error.value)


OPTIONS = {
    "device": "computes on CPUs",
    "num_workers": "client=Client(n_workers=2)",
    "pin_memory": "client=Client(n_workers=2)",
    "epochs": "trainer.fit(epochs=20)",
    "edge_dim": "edge_weight",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_a_trainer(graph, name):
    given = {"num_neighbors": [3, 3], "client": None, name: "cuda"}
    model = small_sage(graph)
    said = refused(lambda: daskgnn.Trainer(model, graph, **given), InputError)
    assert said.startswith(f"Trainer has no {name!r}: ")
    assert OPTIONS[name] in said
    assert "did you mean" not in said


def test_other_unknown_options_have_their_nearest(graph):
    given = {"num_neighbors": [3, 3], "batchsize": 3}
    said = refused(lambda: daskgnn.Trainer(small_sage(graph), graph, **given))
    assert "did you mean 'batch_size'?" in said


def test_options_of_commands_and_files(tmp_path):
    for word, said in (("--device", "on CPUs"), ("--num-workers", "--workers 2")):
        done = invoked("train", "karate", word, "1", "--out", str(tmp_path / "r"))
        assert done.returncode == 2
        assert said in done.stderr
        assert "Client" not in done.stderr
        assert done.stderr.count("\n") == 1
    (tmp_path / "c.yaml").write_text("device: cuda\n")
    done = invoked("train", "karate", "--config", str(tmp_path / "c.yaml"))
    assert done.returncode == 2
    assert "'device' is not a setting, daskgnn computes on CPUs" in done.stderr


def test_a_model_that_is_not_on_the_cpu(graph):
    model = small_sage(graph).to("meta")
    given = {"num_neighbors": [3, 3], "client": None}
    said = refused(lambda: daskgnn.Trainer(model, graph, **given), ModelError)
    assert said.endswith("is on meta, and daskgnn computes on CPUs: call model.cpu()")


class ReadsEdgeFeatures(torch.nn.Module):
    num_layers = 1

    def __init__(self, width, classes):
        super().__init__()
        self.linear = torch.nn.Linear(width, classes)

    def forward(self, x, blocks):
        (block,) = blocks
        return self.linear(block.dst(x)) + block.edge_attr.sum()


def test_a_model_that_reads_edge_features(graph):
    model = ReadsEdgeFeatures(graph.num_features, graph.num_classes)
    given = {"num_neighbors": [3], "client": None}
    said = refused(lambda: daskgnn.Trainer(model, graph, **given), ModelError)
    assert "edge attributes are stored, but not sampled" in said
    block = daskgnn.nn.Block.from_csr([0, 1], [0])
    assert not hasattr(block, "edge_attr")
    assert not hasattr(block, "anything")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_graphs_of_several_types(graph):
    from torch_geometric.data import Data, HeteroData

    typed, plain = HeteroData(), Data(edge_index=torch.tensor([[0], [1]]))
    said = refused(lambda: daskgnn.from_pyg(typed), GraphFormatError)
    assert "graphs of one type: pass data.to_homogeneous()" in said
    model = small_sage(graph)
    for data, said in ((typed, "data.to_homogeneous()"), (plain, "from_pyg(data)")):
        assert said in refused(lambda data=data: daskgnn.Trainer(model, data))
    assert "partition()" in refused(
        lambda: daskgnn.Trainer(model, SimpleNamespace(nodes=3))
    )


def test_numbers_to_predict():
    edges = [[0, 1], [1, 2]]
    said = refused(lambda: daskgnn.from_edge_index(edges, labels=np.array([0.5, 1, 2])))
    assert "values of a task of your own: docs/limits.md" in said
