"""A small Vision GNN on Fashion-MNIST, in two stages on two workers."""

import pytest

from daskgnn.vision import evaluate, train

pytestmark = [pytest.mark.slow, pytest.mark.data]


@pytest.mark.timeout(5400)
def test_a_small_model_in_two_stages_is_right_nine_times_in_ten(data_dir, tmp_path):
    given = {"data": "fashion-mnist", "data_dir": str(data_dir)}
    run, alone = tmp_path / "run", tmp_path / "alone"
    summary = train({**given, "stages": 2, "workers": 2, "out": str(run)})
    assert summary["num_parameters"] <= 1_000_000
    assert summary["test_accuracy"] >= 0.90
    found = evaluate(run, data_dir=str(data_dir))
    assert found["accuracy"] == summary["test_accuracy"]
    sequential = train({**given, "stages": 1, "workers": 0, "out": str(alone)})
    same = "params_sha256", "train_loss", "test_accuracy", "test_loss"
    assert {n: summary[n] for n in same} == {n: sequential[n] for n in same}
