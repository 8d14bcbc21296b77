"""Models in files, predictions of some nodes, hidden rows; no pickle anywhere."""

import json
import pickletools
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from training import planted_graph, small_sage

import daskgnn
from daskgnn.errors import InputError, ModelError
from daskgnn.train.finetune import take_weights

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses torch.jit.script when imported
    from torch_geometric import nn as pyg

MODELS = {
    "sage": lambda *w: daskgnn.nn.GraphSAGE(*w, aggr="max", norm="layer"),
    "gcn": lambda *w: daskgnn.nn.GCN(*w, residual=True, dropout=0.3),
    "gat": lambda *w: daskgnn.nn.GAT(*w, heads=2, out_heads=3, dropout=0.1),
}


@pytest.fixture(scope="module")
def data():
    return planted_graph(200)


def trained(data, model=small_sage, epochs=1, **options):
    graph = daskgnn.open_graph(data.partition(8), num_parts=2)
    given = {"num_neighbors": [4, 3], "batch_size": 48, "client": None, **options}
    trainer = daskgnn.Trainer(model(graph), graph, **given)
    trainer.fit(epochs)
    return trainer


@pytest.fixture(scope="module")
def trainer(data):
    return trained(data, epochs=3)


def on_whole_graph(model, data):
    """Outputs of a model on one block of the whole graph."""
    block = daskgnn.nn.Block.from_csr(data.indptr, data.indices)
    with torch.no_grad():
        return model.eval()(torch.tensor(data.features), [block] * model.num_layers)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_and_predicts_the_same(name, suffix, data, tmp_path):
    def model(graph):
        torch.manual_seed(1)
        return MODELS[name](graph.num_features, 16, graph.num_classes)

    trainer = trained(data, model, normalize_features=False)
    path = trainer.save(tmp_path / f"model.{suffix}")
    again = daskgnn.load_model(path)
    assert type(again) is type(trainer.model)
    assert repr(again) == repr(trainer.model)
    torch.testing.assert_close(
        on_whole_graph(again, data),
        torch.from_numpy(trainer.predict().compute()),
        rtol=1e-4,
        atol=1e-5,
    )
    said = again.trained
    assert said["graph"]["name"] == "planted"
    assert said["training"]["num_neighbors"] == [4, 3]


class Own(torch.nn.Module):
    """A model of a user's own, with a buffer."""

    num_layers = 1

    def __init__(self, width, classes):
        super().__init__()
        self.linear = torch.nn.Linear(width, classes)
        self.register_buffer("offset", torch.arange(classes))

    def forward(self, x, blocks):
        near = blocks[0].aggregate(x, "mean")
        return self.linear(near + blocks[0].dst(x)) + self.offset


def test_a_class_of_ones_own_is_passed(data, tmp_path):
    trainer = trained(data, lambda g: Own(12, 4), num_neighbors=[4])
    path = trainer.save(tmp_path / "own.npz")
    with pytest.raises(ModelError, match=r"load_model\(path, model=Own\(...\)\)"):
        daskgnn.load_model(path)
    again = daskgnn.load_model(path, model=Own(12, 4))
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    with pytest.raises(ModelError, match=r"offset \[4\], the Own has offset \[5\]"):
        daskgnn.load_model(path, model=Own(12, 5))
    with pytest.raises(ModelError, match="has no weight"):
        daskgnn.load_model(path, model=torch.nn.Linear(2, 2))
    with pytest.raises(ModelError, match="one layer: its input"):
        trained(
            data, lambda g: MODELS["sage"](12, 4, 4, 1), num_neighbors=[4]
        ).embeddings()


def test_the_files_hold_numbers_and_json_alone(trainer, tmp_path):
    path = trainer.save(tmp_path / "model.npz")
    with np.load(path, allow_pickle=False) as stored:
        arrays = {n: stored[n] for n in stored.files if n != "model.json"}
    for name, tensor in trainer.model.state_dict().items():
        np.testing.assert_array_equal(arrays[name], tensor.numpy())
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("model.json"))["model"] == "GraphSAGE"
        for name in archive.namelist():
            with pytest.raises(ValueError, match=r"opcode|unknown|pickle"):
                list(pickletools.genops(archive.read(name)))


def test_safetensors_own_library_reads_and_writes_them(trainer, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    path = trainer.save(tmp_path / "model.safetensors")
    found = safetensors.load_file(path)
    state = trainer.model.state_dict()
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    safetensors.save_file(found, tmp_path / "b.safetensors", header["__metadata__"])
    again = daskgnn.load_model(tmp_path / "b.safetensors")
    assert torch.equal(again.convs[0].lin_l.weight, state["convs.0.lin_l.weight"])


def test_a_saved_model_goes_into_pygs_own(data, trainer, tmp_path):
    """The line of docs/models.md, and what it says of GAT."""
    theirs = pyg.GraphSAGE(12, 16, num_layers=2, out_channels=4)
    agree(data, trainer, theirs, tmp_path)
    heads = {"heads": 2, "out_heads": 2}
    gat = trained(data, lambda g: daskgnn.nn.GAT(12, 8, 4, **heads))
    theirs = pyg.GAT(12, 16, num_layers=2, out_channels=4, heads=2, act="elu")
    agree(data, gat, theirs, tmp_path)


def agree(data, trainer, theirs, tmp_path):
    """Compare a trained model with PyG's of the same parameters."""
    model = daskgnn.load_model(trainer.save(tmp_path / "model.npz"))
    theirs.load_state_dict(model.state_dict())
    rows = np.repeat(np.arange(200), np.diff(data.indptr))
    edge_index = torch.tensor(np.stack([data.indices, rows]), dtype=torch.long)
    with torch.no_grad():
        found = theirs.eval()(torch.tensor(data.features), edge_index)
    expected = torch.from_numpy(trainer.predict().compute())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_damaged_files(trainer, tmp_path, suffix, cut):
    path = trainer.save(tmp_path / f"model.{suffix}")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="is damaged or no model of daskgnn") as error:
        daskgnn.load_model(path)
    assert "\n" not in str(error.value)


def test_files_that_are_none(trainer, tmp_path):
    with pytest.raises(InputError, match=r"expected .npz or .safetensors"):
        trainer.save(tmp_path / "model.pt")
    with pytest.raises(InputError, match="no file"):
        daskgnn.load_model(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="no model of daskgnn"):
        daskgnn.load_model(tmp_path / "other.npz")


# --- predictions of some nodes ---------------------------------------------------


def test_predictions_of_some_nodes_are_their_rows(data, trainer, tmp_path):
    whole = trainer.predict().compute()
    nodes = [7, 199, 0, 7]
    np.testing.assert_array_equal(trainer.predict(nodes=nodes).compute(), whole[nodes])
    val = data.splits["val"]
    np.testing.assert_array_equal(trainer.predict(nodes="val").compute(), whole[val])
    mask = np.zeros(200, bool)
    mask[[3, 4]] = True
    np.testing.assert_array_equal(trainer.predict(nodes=mask).compute(), whole[3:5])
    with pytest.raises(InputError, match=r"holds 200, .*0\.\.199"):
        trainer.predict(nodes=[200])


def test_a_few_nodes_are_computed_from_their_neighbourhoods(data, tmp_path):
    """On a ring, two hops of a node are five nodes, wherever parts are cut."""
    ends = np.arange(1000)
    features = np.random.default_rng(0).normal(size=(1000, 12))
    ring = daskgnn.from_edge_index(
        [ends, (ends + 1) % 1000], features=features, labels=ends % 4, train=ends[::3]
    )
    trainer = trained(ring)
    trainer.deployment.evaluator._as_array = None  # not by way of the whole graph
    nodes = [0, 999, 3, 500, 3]
    found = trainer.predict(nodes).compute()
    expected = on_whole_graph(trainer.model, ring)[nodes]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_predictions_go_to_a_file(data, trainer, tmp_path):
    whole = trainer.predict().compute()
    path = trainer.predict(out=tmp_path / "p.parquet")
    table = pd.read_parquet(path)
    np.testing.assert_array_equal(table["prediction"], whole.argmax(axis=1))
    table = pd.read_parquet(trainer.predict([9, 2], out=tmp_path / "q.parquet"))
    np.testing.assert_array_equal(table["prediction"], whole[[9, 2]].argmax(axis=1))
    assert table.iloc[:, 0].tolist() == [9, 2]
    with pytest.raises(InputError, match="already there"):
        trainer.predict(out=path)


def test_embeddings_are_the_rows_before_the_last_layer(data, trainer):
    block = daskgnn.nn.Block.from_csr(data.indptr, data.indices)
    model = trainer.model.eval()
    with torch.no_grad():
        hidden = model.layer(0, torch.tensor(data.features), block)
        out = model.layer(1, hidden, block)
    found = trainer.embeddings()
    assert found.shape == (200, 16)
    np.testing.assert_allclose(found.compute(), hidden, rtol=1e-4, atol=1e-5)
    some = trainer.embeddings(nodes=[4, 1]).compute()
    np.testing.assert_array_equal(some, found.compute()[[4, 1]])
    np.testing.assert_allclose(trainer.predict().compute(), out, rtol=1e-4, atol=1e-4)


# --- running statistics, and a model that was changed since -----------------------


class Normalised(daskgnn.nn.GraphSAGE):
    """A model with running statistics."""

    def __init__(self, *widths):
        super().__init__(*widths)
        self.norm = torch.nn.BatchNorm1d(16)

    def layer(self, i, h, block):
        h = super().layer(i, h, block)
        return h if i else self.norm(h)

    def forward(self, x, blocks):
        for i, block in enumerate(blocks):
            x = self.layer(i, x, block)
        return x


def normalised(graph, seed=0):
    torch.manual_seed(seed)
    return Normalised(graph.num_features, 16, graph.num_classes, 2)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_running_statistics_are_saved(data, tmp_path, suffix):
    trainer = trained(data, normalised)
    expected = on_whole_graph(trainer.model, data)
    path = trainer.save(tmp_path / f"model.{suffix}")
    again = daskgnn.load_model(path, model=normalised(trainer.graph, seed=1))
    assert torch.equal(on_whole_graph(again, data), expected)
    assert int(again.norm.num_batches_tracked) > 0
    found = trainer.predict([5, 0]).compute()
    np.testing.assert_allclose(found, expected[[5, 0]], rtol=1e-4, atol=1e-5)
    scores = trainer.evaluate("test", metric=["f1_macro"], per_class=True)
    assert scores["accuracy"] == trainer.evaluate("test")["accuracy"]
    test = data.splits["test"]
    right = expected[test].argmax(1).numpy() == data.labels[test]
    assert scores["accuracy"] == pytest.approx(right.mean())
    block = daskgnn.nn.Block.from_csr(data.indptr, data.indices)
    with torch.no_grad():
        hidden = trainer.model.eval().layer(0, torch.tensor(data.features), block)
    found = trainer.embeddings().compute()
    np.testing.assert_allclose(found, hidden, rtol=1e-4, atol=1e-5)


def test_a_run_starts_from_the_running_statistics_of_another(data, tmp_path):
    out = str(tmp_path / "run")
    trainer = trained(data, normalised, out=out)
    model = normalised(trainer.graph, seed=1)
    assert take_weights(model, out) == trainer.run_state.best.step
    assert torch.equal(on_whole_graph(model, data), on_whole_graph(trainer.model, data))


def test_what_is_saved_is_the_model_as_it_is_now(data, tmp_path):
    trainer = trained(data, normalised)
    before = trainer.predict()
    rows = before.compute()
    trainer.model.load_state_dict(normalised(trainer.graph, seed=1).state_dict())
    trainer.model.norm.bias.requires_grad_(False)
    expected = on_whole_graph(trainer.model, data)
    again = daskgnn.load_model(
        trainer.save(tmp_path / "model.npz"), model=normalised(trainer.graph)
    )
    assert torch.equal(on_whole_graph(again, data), expected)
    assert trainer.embeddings().shape == (200, 16)
    found = trainer.predict().compute()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # Earlier predictions are of the model that it was, if they are lost, too.
    before.dask.layers[before.name]._on = None
    np.testing.assert_array_equal(before.compute(), rows)
