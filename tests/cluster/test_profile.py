"""Where time goes, on a cluster: all of it is told, and nothing else changes."""

import json

import dask
import pytest
from training import inside, trainer

from daskgnn.kernels.shared import memory_name


@pytest.fixture
def client(cluster):
    return cluster(2)


@pytest.fixture(scope="module")
def alone(path):
    run = trainer(path, 3, None, batch_size=24)
    run.fit(2)
    return run.params_sha256


BOTH = [(steps, shares) for shares in ("off", "on") for steps in ("window", "tasks")]


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "shares"), BOTH)
def test_lines_add_up_to_the_wall_time(path, client, alone, steps, shares):
    with dask.config.set({"gnn.share-memory": shares}):
        _check_lines(path, client, alone, steps, shared=shares == "on")


def _check_lines(path, client, alone, steps, *, shared):
    run = trainer(path, 3, client, batch_size=24, steps=steps)
    run.fit(1)
    step_profile = run.profile(steps=40)
    figures = step_profile.to_dict()
    assert figures["forms"].keys() == {steps}
    assert 0 < figures["steps"] < 40
    assert figures["sum_ms"] == pytest.approx(figures["wall_ms"], rel=0.05)
    assert len(figures["workers"]) == 2
    for worker in figures["workers"]:
        column = [line["by_worker"][worker] for line in figures["lines"].values()]
        assert min(column) >= 0
        assert sum(column) == pytest.approx(figures["wall_ms"], rel=0.05)
    for name in ("forward", "backward", "update", "dask", "driver"):
        assert figures["lines"][name]["ms"] > 0
    for name in ("sample", "gather"):
        assert len(figures["ahead"]["lines"][name]["by_part"]) == 3
    assert figures["halo"]["remote_bytes"] > 0
    fetched = figures["halo"]["fetched"]
    if shared and memory_name() is not None:
        assert "send" not in fetched
    else:  # in bundles: three parts on two workers
        assert fetched["send"]["bytes"] > 0
    assert ("grad" in fetched) == (steps == "tasks")
    assert bool(figures["gradients"]["bytes"]) == (steps == "window")
    assert (figures["communication_share"] is None) == (steps == "tasks")
    run.fit(2)
    assert run.params_sha256 == alone
    whole = run.step_profile.to_dict()
    assert whole["sum_ms"] == pytest.approx(whole["wall_ms"], rel=0.05)


def test_the_command_prints_and_writes_a_profile(path, client, tmp_path):
    given = "--num-parts 2 --batch-size 20 --num-neighbors 4,3 --hidden-channels 16"
    settings = ["train", path, *given.split(), "--epochs", "2", "--out"]
    out = str(tmp_path / "a")
    inside(*settings, str(tmp_path / "plain"), "--workers", "0")
    address = client.scheduler.address
    text = inside(*settings, out, "--profile", "--scheduler", address)
    summaries = [
        json.loads((tmp_path / name / "summary.json").read_text())
        for name in ("plain", "a")
    ]
    assert summaries[0]["params_sha256"] == summaries[1]["params_sha256"]
    figures = json.loads((tmp_path / "a" / "profile.json").read_text())
    assert figures["sum_ms"] == pytest.approx(figures["wall_ms"], rel=0.05)
    assert figures["lines"]["outside"]["ms"] > 0
    picture = tmp_path / "a" / "profile.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    for word in ("forward", "Dask (remainder)", "sum", "a/profile.png"):
        assert word in text
    assert not (tmp_path / "plain" / "profile.json").exists()
    # Nothing is left to do: the profile that is there stays.
    text = inside("train", "--resume", out, "--profile", "--workers", "0")
    assert "profile.png" not in text
    assert json.loads((tmp_path / "a" / "profile.json").read_text()) == figures
