"""Training on half-precision features: same bits on every way, scores as before."""

import json
import shutil

import dask
import numpy as np
import pytest
import torch
from training import mostly_slow, planted_graph, small_sage, stored, trainer

import daskgnn
from daskgnn import nn
from daskgnn.dataflow.memory import estimate_blocks
from daskgnn.errors import CheckpointError, InputError
from daskgnn.graph.datasets.generate import planted_partition
from daskgnn.graph.opening import open_graph
from daskgnn.kernels.half import TABLE_DTYPES
from daskgnn.train.persist.checkpoint import newest_checkpoint

HALVES = ("float16", "bfloat16")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """The same graph stored in each dtype."""
    folder, graph = tmp_path_factory.mktemp("graphs"), planted_graph()
    partitioned = graph.partition(num_clusters=16)
    names = ("float32", *HALVES)
    return {n: partitioned.save(folder / f"{n}.zarr", feature_dtype=n) for n in names}


MODELS = {
    "sage": small_sage,
    "sage of max": lambda g: small_sage(g, aggr="max"),
    "gcn": lambda g: seeded(nn.GCN, 12, 16, 4, 2),
    "gat": lambda g: seeded(nn.GAT, 12, 8, 4, 2, heads=2),
}


def seeded(make, *args, **options):
    torch.manual_seed(0)
    return make(*args, dropout=0.3, **options)


def fitted(path, num_parts=2, model=small_sage, epochs=1, **options):
    run = trainer(path, num_parts, None, model=model, **options)
    run.fit(epochs)
    return run


HALVED = [(name, model) for name in HALVES for model in MODELS]
QUICK = [("float16", "gat"), ("bfloat16", "sage")]


@pytest.mark.parametrize(("name", "model"), mostly_slow(HALVED, *QUICK))
def test_it_does_not_matter_where_features_were_rounded(paths, name, model):
    make = MODELS[model]
    from_half = fitted(paths[name], model=make)
    asked = fitted(paths["float32"], model=make, feature_dtype=name)
    assert from_half.params_sha256 == asked.params_sha256
    widened = fitted(paths[name], model=make, feature_dtype="float32")
    assert widened.params_sha256 == asked.params_sha256
    exact = fitted(paths["float32"], model=make)
    assert exact.params_sha256 != asked.params_sha256
    for split in ("val", "test"):
        mine, theirs = (run.evaluate(split) for run in (from_half, asked))
        assert mine == theirs
        assert mine["accuracy"] == widened.evaluate(split)["accuracy"]
        assert mine["accuracy"] == pytest.approx(
            exact.evaluate(split)["accuracy"], abs=0.05
        )
    outputs = from_half.predict().compute()
    assert outputs.dtype == np.float32
    np.testing.assert_array_equal(outputs, widened.predict().compute())


@pytest.mark.parametrize("name", mostly_slow(HALVES, "bfloat16"))
def test_losses_do_not_depend_on_parts(paths, name):
    losses = []
    for num_parts in (1, 2, 4):
        run = fitted(paths[name], num_parts)
        losses.append([step["loss"] for step in run.recorder.history.steps])
    for other in losses[1:]:
        np.testing.assert_allclose(other, losses[0], rtol=1e-4)


@pytest.mark.parametrize("name", mostly_slow(HALVES, "float16"))
def test_rows_are_divided_by_their_sums_before_they_are_rounded(paths, name):
    asked = fitted(paths["float32"], feature_dtype=name, normalize_features=True)
    plain = fitted(paths["float32"], feature_dtype=name)
    assert asked.params_sha256 != plain.params_sha256


def test_the_same_rows_cross_and_half_the_bytes_are_planned_for(paths):
    # Whether a sum takes fewer bytes than its rows depends on the rows' dtype.
    with dask.config.set({"gnn.remote-aggregation": "off"}):
        runs = [fitted(paths["float32"], feature_dtype=n) for n in (None, *HALVES)]
    rows = {run.run_state.total.halo_rows for run in runs}
    assert len(rows) == 1
    assert rows.pop() > 0
    graph = open_graph(paths["float32"], 2)
    full, half = estimate_blocks(graph), estimate_blocks(graph, "bfloat16")
    assert full - half == graph.num_nodes // 2 * 12 * 2 * 2


def test_blocks_are_not_widened_when_they_are_loaded(paths, monkeypatch):
    def refuse(*args):
        raise AssertionError("the whole block was read as float32")

    # Of this small graph, the rows that are looked at first are more than a part's.
    monkeypatch.setattr("daskgnn.train.fit.warn_of_large_features", lambda *_: None)
    monkeypatch.setattr("daskgnn.graph.sources.rows.widen", refuse)
    fitted(paths["bfloat16"], epochs=1)


def test_another_feature_dtype_is_another_run(paths, tmp_path):
    out = tmp_path / "run"
    fitted(paths["float32"], epochs=1, out=out, feature_dtype="float16")
    for other in ("bfloat16", None):
        run = trainer(paths["float32"], 2, None, out=out, feature_dtype=other)
        with pytest.raises(CheckpointError, match="feature_dtype=float16, this run"):
            run.fit(2, resume=True)
    again = trainer(paths["float32"], 2, None, out=out, feature_dtype="float16")
    again.fit(2, resume=True)
    whole = fitted(paths["float32"], epochs=2, feature_dtype="float16")
    assert again.params_sha256 == whole.params_sha256


def test_what_cannot_be_is_refused_before_any_work(paths, tmp_path):
    with pytest.raises(InputError, match="feature_dtype='half', expected one"):
        trainer(paths["float32"], 2, None, feature_dtype="half")
    bags = np.zeros((400, 40), np.float32)
    bags[:, 0] = 1
    sparse = stored(planted_graph(features=bags), tmp_path / "bags.zarr")
    with pytest.raises(InputError, match="mostly zeros"):
        trainer(sparse, 2, None, feature_dtype="bfloat16")
    assert fitted(sparse, epochs=1, feature_dtype="float32").params_sha256
    large = planted_graph()
    large.features[3, 2] = 1e6
    path = stored(large, tmp_path / "large.zarr")
    with pytest.raises(InputError, match=r"node 3, column 2\), too large"):
        fitted(path, epochs=1, feature_dtype="float16", out=tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_checkpoint_of_before_is_one_of_float32(paths, tmp_path):
    run = fitted(paths["float32"], epochs=1, out=tmp_path / "run")
    facts = newest_checkpoint(tmp_path / "run" / "checkpoints").facts
    assert facts["plan"]["feature_dtype"] == "float32"
    checkpoint = run.run_state.to_checkpoint(run._facts)
    del checkpoint.facts["plan"]["feature_dtype"]
    run.run_state.restore(checkpoint, run._facts)
    half = trainer(paths["float32"], 2, None, feature_dtype="bfloat16")
    with pytest.raises(CheckpointError, match="feature_dtype=float32"):
        half.run_state.restore(checkpoint, half._facts)


def test_the_command_line_trains_and_resumes(paths, tmp_path):
    from daskgnn.train import run

    config = run.RunOptions(
        graph=paths["float32"], out=str(tmp_path / "a"), workers=0, epochs=2
    )
    config["feature_dtype"] = "bfloat16"
    first = run.train(config)
    settings = json.loads((tmp_path / "a" / "run.json").read_text())
    assert settings["feature_dtype"] == "bfloat16"
    config |= {"graph": paths["bfloat16"], "out": str(tmp_path / "b")}
    config["feature_dtype"] = None
    second = run.train(config)
    assert first["params_sha256"] == second["params_sha256"]
    assert run.evaluate(tmp_path / "a") == run.evaluate(tmp_path / "b")
    # A directory of before --feature-dtype is still one of a run.
    del settings["feature_dtype"]
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    (tmp_path / "c" / "run.json").write_text(
        json.dumps({**settings, "store": paths["bfloat16"]})
    )
    assert run.evaluate(tmp_path / "c") == run.evaluate(tmp_path / "b")


def test_evaluation_keeps_half_precision_tables(paths):
    """What it holds between epochs takes no more than the blocks."""
    for name in HALVES:
        for model in ("sage", "gat"):
            run = fitted(paths[name], epochs=1, model=MODELS[model])
            held = run.executor.result(list(run.deployment.evaluator._whole.inputs))
            assert {whole.x.dtype for whole in held} == {np.dtype(TABLE_DTYPES[name])}


GRAPHS = {
    "digits": lambda: daskgnn.load_dataset("digits"),
    "communities": lambda: planted_partition(3000, 9000, 7),
}


@pytest.mark.parametrize("graph", mostly_slow(GRAPHS, "digits"))
def test_classes_are_told_apart_as_well(tmp_path, graph):
    path = stored(GRAPHS[graph](), tmp_path / "graph.zarr", num_clusters=8)
    scores = {}
    for name in ("float32", *HALVES):
        run = fitted(path, 1, epochs=10, batch_size=256, feature_dtype=name)
        scores[name] = run.evaluate("test")["accuracy"]
    assert scores["float32"] > 0.8
    for name in HALVES:
        assert abs(scores[name] - scores["float32"]) <= 0.01
