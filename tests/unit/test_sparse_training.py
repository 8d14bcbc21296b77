"""Training on features that stay sparse: as on dense rows, the same bits anywhere."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from training import hub_graph, mostly_slow, planted_graph, stored, trainer

import daskgnn
from daskgnn import nn
from daskgnn.dataflow.memory import stays_sparse
from daskgnn.errors import CheckpointError, InputError, ModelError
from daskgnn.nn import SparseRows

F = 300
SGD = {"optimizer": "sgd", "lr": 0.05}


def words(binary=False, num_nodes=400):
    """Return bags of words that tell of the planted labels, with odd rows."""
    rng = np.random.default_rng(2)
    labels = planted_graph().labels
    dense = np.where(rng.random((num_nodes, F)) < 0.02, rng.normal(1, 1, F), 0)
    dense[np.arange(num_nodes), labels] = 3
    dense[5], dense[9] = 0, rng.standard_normal(F)
    return (dense != 0).astype(np.float32) if binary else dense.astype(np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    return stored(planted_graph(features=words()), folder / "words.zarr")


def sage(aggr="mean", kind=nn.GraphSAGE, **options):
    def model(graph):
        torch.manual_seed(0)
        given = {"aggr": aggr} if kind is nn.GraphSAGE else {}
        return kind(graph.num_features, 16, graph.num_classes, **given, **options)

    return model


def losses(run):
    return [record["loss"] for record in run.recorder.history.steps]


MODELS = {
    "mean": sage(),
    "max": sage("max"),
    "gcn": sage(kind=nn.GCN),
    "gat": sage(kind=nn.GAT, heads=2),
    "input dropout": sage(input_dropout=0.3, dropout=0.3),
}


@pytest.mark.parametrize("name", mostly_slow(MODELS, "mean", "gat"))
def test_a_run_is_that_on_dense_rows(path, name):
    runs = []
    for sparse in (True, False):
        run = trainer(path, 2, None, MODELS[name], sparse_features=sparse, **SGD)
        run.fit(3)
        runs.append(run)
    mine, theirs = runs
    np.testing.assert_allclose(losses(mine), losses(theirs), rtol=1e-4)
    found, wanted = (r.best_parameters for r in runs)
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert mine.summary()["sparse_features"] is True
    for split in ("val", "test"):
        found, wanted = (r.evaluate(split) for r in runs)
        assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
    found, wanted = (r.predict().compute() for r in runs)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    few = mine.predict(nodes=[3, 5, 9])
    np.testing.assert_allclose(few, wanted[[3, 5, 9]], atol=1e-4)


def test_fifty_steps_in_float64_are_those_on_dense_rows(path):
    graph = daskgnn.open_graph(path, 2)
    torch.manual_seed(0)
    models = [sage()(graph).double() for _ in range(2)]
    steps = [torch.optim.Adam(m.parameters(), lr=0.01) for m in models]
    done = 0
    for epoch in range(10):
        for batch in graph.minibatches([4, 3], batch_size=40, seed=epoch):
            rows = sp.csr_array(batch.x.numpy())
            given = rows.indptr, rows.indices, rows.data
            both = SparseRows.from_csr(*given, num_columns=F), batch.x.double()
            found = []
            for model, step, x in zip(models, steps, both, strict=True):
                loss = torch.nn.functional.cross_entropy(
                    model(x, batch.blocks), batch.labels
                )
                step.zero_grad()
                loss.backward()
                step.step()
                found.append((loss, *(p.grad for p in model.parameters())))
            for mine, theirs in zip(*found, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
            done += 1
    assert done == 50


@pytest.mark.filterwarnings("ignore:batch_size=48 is ignored")
@pytest.mark.parametrize("sampler", ["labor", "ladies:size=64", "cluster", "shadow"])
def test_every_sampler_has_sparse_rows(path, sampler):
    found = []
    for sparse in (True, False):
        options = {"sampler": sampler, "num_neighbors": None, "sparse_features": sparse}
        if sampler == "labor":
            options["num_neighbors"] = [4, 3]
        run = trainer(path, 2, None, sage(), **options, **SGD)
        run.fit(1)
        found.append((losses(run), run.evaluate("test")["loss"]))
    (mine, score), (theirs, wanted) = found
    np.testing.assert_allclose(mine, theirs, rtol=1e-4)
    assert score == pytest.approx(wanted, rel=1e-4)


FORMS = [(1, "window"), (2, "window"), (2, "tasks"), (3, "window")]


@pytest.mark.parametrize(("workers", "steps"), mostly_slow(FORMS, (2, "window")))
def test_workers_and_forms_do_not_change_a_bit(path, cluster, workers, steps):
    runs = []
    for client in (None, cluster(workers)):
        run = trainer(path, 2, client, sage(dropout=0.4), steps=steps, window=3)
        run.fit(2)
        runs.append((run.params_sha256, losses(run), run.evaluate("test")))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("policy", ["static", "lru"])
def test_remote_rows_travel_as_csr_and_caches_count_them(path, policy):
    options = {"sparse_features": True, "window": 2}
    plain = trainer(path, 3, None, sage(), **options)
    plain.fit(2)
    cached = trainer(
        path, 3, None, sage(), halo_cache="40 kB", halo_cache_policy=policy, **options
    )
    cached.fit(2)
    assert cached.params_sha256 == plain.params_sha256
    before, after = plain.summary(), cached.summary()
    hits = after["cache_hits"]
    assert 0 < hits == before["halo_rows"] - after["cache_misses"]
    # A row has about 7 entries of 8 bytes; dense, it would take 1,200.
    assert 40 < after["cache_saved_bytes"] / hits < 240


def test_halves_and_ones(tmp_path, path):
    wanted = trainer(path, 2, None, sage(), sparse_features=True)
    wanted.fit(1)
    for dtype in ("float16", "bfloat16"):
        run = trainer(path, 2, None, sage(), sparse_features=True, feature_dtype=dtype)
        run.fit(1)
        np.testing.assert_allclose(losses(run), losses(wanted), rtol=0.02)
        assert losses(run) != losses(wanted)
    ones = stored(planted_graph(features=words(binary=True)), tmp_path / "ones.zarr")
    found = []
    for sparse in (True, False):
        run = trainer(ones, 2, None, sage(), sparse_features=sparse, **SGD)
        run.fit(1)
        found.append(losses(run))
        if sparse:
            (key,) = run.deployment.preparation.blocks.keys[:1]
            table = run.executor.result([key])[0].features
            assert len(table.data) == 0 < len(table.indices)
    np.testing.assert_allclose(*found, rtol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_train(path, precision):
    exact = trainer(path, 2, None, sage(), sparse_features=True)
    exact.fit(2)
    run = trainer(path, 2, None, sage(), sparse_features=True, precision=precision)
    run.fit(2)
    np.testing.assert_allclose(losses(run), losses(exact), rtol=0.05)


def test_vertex_cuts_have_sparse_rows(tmp_path):
    graph = hub_graph(features=words())
    place = stored(graph, tmp_path / "cut.zarr", method="hdrf")
    found = []
    for sparse in (True, False):
        run = trainer(place, 3, None, sage(), sparse_features=sparse, **SGD)
        run.fit(1)
        found.append(losses(run))
    np.testing.assert_allclose(*found, rtol=1e-4)


def graph_of(columns, entries):
    dense = np.zeros((60, columns), np.float32)
    dense[:, :entries] = 1
    edges = np.stack([np.arange(60), np.roll(np.arange(60), 1)])
    given = daskgnn.from_edge_index(edges, features=dense, labels=np.arange(60) % 2)
    return daskgnn.open_graph(given.partition())


@pytest.mark.parametrize(
    ("columns", "entries", "wanted"),
    [(256, 16, True), (256, 17, False), (200, 1, False), (1600, 100, True)],
)
def test_rows_stay_sparse_by_width_and_density(columns, entries, wanted):
    assert stays_sparse(graph_of(columns, entries)) is wanted


def test_dense_features_are_not_made_sparse(small_path):
    assert trainer(small_path, 2, None).options["sparse_features"] is False
    with pytest.raises(InputError, match="is stored with dense features"):
        trainer(small_path, 2, None, sparse_features=True)


class Own(torch.nn.Module):
    """A model that does what tensors can."""

    num_layers = 2
    knows = False

    def __init__(self, graph):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.SAGEConv(graph.num_features, 16)
        self.second = nn.SAGEConv(16, graph.num_classes)

    def forward(self, x, blocks):
        x = self.prepared(x)
        return self.second(self.first(x, blocks[0]).relu(), blocks[1])

    def prepared(self, x):
        return x * 0.5


class Informed(Own):
    def prepared(self, x):
        return x.to_dense() * 0.5 if isinstance(x, SparseRows) else x * 0.5


class Willing(Own):
    def prepared(self, x):
        return x


def test_own_models_are_given_sparse_rows_if_they_take_them(path):
    with pytest.raises(ModelError, match=r"SparseRows has no .*x\.to_dense\(\)"):
        trainer(path, 2, None, Own, sparse_features=True)
    with pytest.warns(UserWarning, match=r"to_dense\(\).*; rows are made dense now"):
        dense = trainer(path, 2, None, Own)
    assert dense.options["sparse_features"] is False
    before = trainer(path, 2, None, Own, sparse_features=False)
    informed = trainer(path, 2, None, Informed, **SGD)
    willing, plain = (
        trainer(path, 2, None, Willing, sparse_features=s, **SGD) for s in (None, False)
    )
    runs = [dense, before, informed, willing, plain]
    for run in runs:
        run.fit(1)
    assert dense.params_sha256 == before.params_sha256
    assert informed.options["sparse_features"] is willing.options["sparse_features"]
    np.testing.assert_allclose(losses(willing), losses(plain), rtol=1e-4)
    wanted = willing.predict().compute()
    np.testing.assert_allclose(wanted, plain.predict().compute(), atol=1e-4)


def test_a_run_goes_on_as_it_began(path, tmp_path):
    out = str(tmp_path / "run")
    whole = trainer(path, 2, None, sage())
    whole.fit(3)
    trainer(path, 2, None, sage(), out=out).fit(1)
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert settings["sparse_features"] is True
    other = trainer(path, 2, None, sage(), out=out, sparse_features=False)
    with pytest.raises(CheckpointError, match="sparse_features=True, this run has"):
        other.fit(3, resume=True)
    again = trainer(path, 2, None, sage(), out=out)
    again.fit(3, resume=True)
    assert again.params_sha256 == whole.params_sha256


def test_a_run_of_before_stays_dense(path, tmp_path, monkeypatch):
    out = str(tmp_path / "run")
    whole = trainer(path, 2, None, sage(), sparse_features=False)
    whole.fit(2)
    run = trainer(path, 2, None, sage(), out=out, sparse_features=False)
    del run._facts["sparse_features"]  # as checkpoints of before
    run.fit(1)
    again = trainer(path, 2, None, sage(), out=out)
    again.fit(2, resume=True)
    assert again.options["sparse_features"] is False
    assert again.params_sha256 == whole.params_sha256


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused(bad):
    rows = sp.csr_array(words())
    rows.data[7] = bad
    with pytest.raises(InputError, match="features"):
        planted_graph(features=rows).partition()
