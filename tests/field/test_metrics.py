"""The scores that are asked for, against scikit-learn on what is predicted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from training import inside, planted_graph, small_sage

import daskgnn
from daskgnn.errors import CheckpointError, InputError


def trained(data, metric, **options):
    graph = daskgnn.open_graph(data.partition(8), num_parts=2)
    given = {"num_neighbors": [4, 3], "batch_size": 48, "client": None, **options}
    trainer = daskgnn.Trainer(small_sage(graph), graph, metric=metric, **given)
    trainer.fit(2)
    return trainer


def probabilities(trainer, ids):
    outputs = trainer.predict().compute()[ids].astype(np.float64)
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_several_metrics_of_four_classes():
    data = planted_graph(200)
    names = ["f1_macro", "roc_auc", "average_precision", "f1_micro"]
    trainer = trained(data, names)
    found, ids = trainer.evaluate("test"), data.splits["test"]
    truth, shares = data.labels[ids], probabilities(trainer, data.splits["test"])
    chosen = shares.argmax(axis=1)
    expected = {
        "f1_macro": f1_score(truth, chosen, average="macro"),
        "f1_micro": f1_score(truth, chosen, average="micro"),
        "roc_auc": roc_auc_score(truth, shares, multi_class="ovr"),
        "average_precision": average_precision_score(truth, shares),
        "accuracy": (truth == chosen).mean(),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    epochs = trainer.fit(3).epochs
    best = max(record["val_metric"] for record in epochs)
    assert trainer.run_state.best.score == best
    assert epochs[-1]["val_roc_auc"] > 0.5
    assert trainer.summary()["metric"] == "f1_macro"


def test_a_model_is_scored_by_other_metrics_than_it_was_trained_by():
    data = planted_graph(200)
    trainer = trained(data, None)
    before = trainer.evaluate("test")
    found = trainer.evaluate("test", metric=["roc_auc", "f1_macro"])
    shares = probabilities(trainer, data.splits["test"])
    truth = data.labels[data.splits["test"]]
    expected = f1_score(truth, shares.argmax(axis=1), average="macro")
    assert found["f1_macro"] == pytest.approx(expected)
    assert found["accuracy"] == before["accuracy"]
    assert trainer.evaluate("test") == before
    with pytest.raises(InputError, match="'auc' is unknown"):
        trainer.evaluate("test", metric="auc")


def test_two_classes_are_ranked_by_the_second():
    data = planted_graph(200)
    data = replace(data, labels=data.labels // 2, num_classes=2)
    trainer = trained(data, "roc_auc")
    ids = data.splits["test"]
    second = probabilities(trainer, ids)[:, 1]
    expected = roc_auc_score(data.labels[ids], second)
    assert trainer.evaluate("test")["roc_auc"] == pytest.approx(expected, abs=1e-5)


def test_metrics_on_the_command_line(tmp_path, monkeypatch):
    """With commas or one by one; the first is named like the others."""
    monkeypatch.chdir(tmp_path)
    ways = [("--metric=roc_auc,f1_macro",), ("--metric=roc_auc", "--metric=f1_macro")]
    for number, words in enumerate(ways):
        out = f"run{number}"
        told = inside(
            "train", "karate", *words, f"--out={out}", "--workers=0", "--epochs=1"
        )
        assert "val_roc_auc" in told
        assert "test roc_auc" in told
        assert "metric " not in told
        (record,) = daskgnn.History.read(out).epochs
        assert record["val_metric"] == record["val_roc_auc"]
        summary = json.loads(Path(out, "summary.json").read_text())
        assert summary["test_metric"] == summary["test_roc_auc"]
        assert {"val_f1_macro", "val_accuracy"} <= record.keys() & summary.keys()
        scores = json.loads(inside("evaluate", out, *words))
        assert {"roc_auc", "f1_macro"} <= scores.keys()


def test_another_metric_is_another_run(tmp_path):
    data = planted_graph(200)
    trained(data, "f1_macro", out=tmp_path / "run")
    graph = daskgnn.open_graph(data.partition(8), num_parts=2)
    given = {"num_neighbors": [4, 3], "batch_size": 48, "client": None}
    other = daskgnn.Trainer(small_sage(graph), graph, out=tmp_path / "run", **given)
    with pytest.raises(CheckpointError, match=r"metric=\['f1_macro'\]"):
        other.fit(3, resume=True)


@pytest.mark.parametrize("metric", ["bleu", "auc", ["accuracy", "bleu"]])
def test_unknown_metrics(metric):
    with pytest.raises(InputError, match="is unknown, expected accuracy, f1_micro"):
        trained(planted_graph(200), metric)
