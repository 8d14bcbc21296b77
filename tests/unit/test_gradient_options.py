"""The ways to combine gradients as a user of the command line asks for them."""

import json
import shutil
from collections import Counter

import pytest
from click.testing import CliRunner
from training import inside, planted_graph, stored, trainer

from daskgnn.cli import gnn
from daskgnn.errors import CheckpointError

SHOWN = {
    "--gradients async --staleness 2": {"0": 1, "1": 1, "2": 10},
    "--gradients ring": {},
    # Two updates a step, and nobody to compete with.
    "--gradients server --staleness 1": {"0": 24},
    "--compress topk:0.01": {},
    "--accumulate 4": {},
    "--local-steps 2": {},
    "--clip-norm 1": {},
    "--precision bf16": {},
}
"""Words, and how many updates are how late by the records of epochs."""
TRAIN = ("--num-parts", "2", "--workers", "0", "--batch-size", "20", "--model", "gcn")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(120), tmp_path_factory.mktemp("graph") / "g.zarr")


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def staleness(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    counts = Counter()
    for record in map(json.loads, lines):
        if record["event"] == "epoch":
            counts.update(record.get("staleness", {}))
    return counts


def without_its_last_checkpoint(whole, again):
    """Copy a run as if it had been killed in its last epoch."""
    shutil.copytree(whole, again)
    shutil.rmtree(max((again / "checkpoints").iterdir()))
    (again / "summary.json").unlink()


@pytest.fixture
def undrawn(monkeypatch):
    """Leave out the pictures of runs, which take longer than the runs."""
    monkeypatch.setattr("daskgnn.cli.report._draw", lambda out: None)


@pytest.mark.parametrize("words", SHOWN)
def test_every_way_trains_and_resumes_from_the_shell(path, words, tmp_path, undrawn):
    whole, again = tmp_path / "whole", tmp_path / "again"
    given = (path, *TRAIN, "--ramp-steps", "0", *words.split())
    inside("train", *given, "--epochs", "4", "--out", str(whole))
    facts = summary(whole)
    assert facts["steps"] == 12
    assert staleness(whole) == SHOWN[words]
    sent = facts["sent_gradient_bytes"] / facts["gradient_bytes"]
    assert sent == pytest.approx(0.02, rel=0.1) or "topk" not in words
    settings = json.loads((whole / "run.json").read_text())
    name, value = words.split()[-2:]
    assert str(settings[name[2:].replace("-", "_")]) in (value, f"{value}.0")
    without_its_last_checkpoint(whole, again)
    inside("train", "--resume", str(again))
    assert summary(again)["params_sha256"] == facts["params_sha256"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--staleness 2", "--staleness 2 needs --gradients"),
        ("--gradients sync", "'sync' is not one of"),
        ("--gradients gloo", "'gloo' is not one of 'tree'"),
        ("--gradients async --accumulate 4", "--accumulate 4 and --staleness 1 cannot"),
        ("--gradients ring --compress topk:0.01", "cannot go together"),
        ("--gradients server --local-steps 4", "cannot go together"),
        ("--local-steps 4 --accumulate 4", "cannot go together"),
        ("--compress topk", "expected topk:SHARE"),
        ("--compress topk:7", "expected topk:SHARE"),
        ("--compensation linear", "give --staleness 1 or more"),
        ("--precision fp16 --compress int8", "cannot go together"),
        ("--clip-norm 0", "--clip-norm"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(path, words, said, tmp_path):
    out = str(tmp_path / "run")
    line = ["train", path, *TRAIN, *words.split(), "--out", out]
    result = CliRunner().invoke(gnn, line, prog_name="daskgnn")
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_run_that_was_begun_with_gloo_is_refused_in_one_line(path, tmp_path):
    inside("train", path, *TRAIN, "--epochs", "1", "--out", str(tmp_path))
    settings = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**settings, "gradients": "gloo"}))
    line = ["train", "--resume", str(tmp_path)]
    result = CliRunner().invoke(gnn, line, prog_name="daskgnn")
    assert result.exit_code == 2
    assert "--gradients gloo, expected one of 'tree'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_checkpoint_of_gloo_is_refused_in_one_line(path):
    run = trainer(path, 2, None)
    plan = run._facts
    old = {**plan, "gradients": {**plan["gradients"], "sums": "gloo"}}
    with pytest.raises(CheckpointError) as refused:
        run.run_state.restore(run.run_state.to_checkpoint(old), plan)
    assert "gradients={'sums': 'gloo'}" in str(refused.value)
    assert "gradients={'sums': 'tree'}" in str(refused.value)
    assert "\n" not in str(refused.value)
