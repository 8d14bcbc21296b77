"""``daskgnn chaos``: two runs, one disturbed, compared."""

import json
import subprocess
import sys

import pytest
from training import planted_graph, stored

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


def test_killed_workers_change_no_bit(tmp_path):
    path = stored(planted_graph(), tmp_path / "g.zarr")
    command = [sys.executable, "-m", "daskgnn", "chaos", path, "--json"]
    options = ["--kill-every", "1", "--epochs", "20", "--batch-size", "20"]
    done = subprocess.run(
        [*command, *options, "--out", str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["equal"]
    assert report["undisturbed"] == report["disturbed"]
    assert report["kills"] >= report["lost"] >= report["recovered"] >= 1
    for run in ("undisturbed", "disturbed"):
        summary = json.loads((tmp_path / "runs" / run / "summary.json").read_text())
        assert summary["params_sha256"] == report[run]
    lines = (tmp_path / "runs" / "disturbed" / "metrics.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events.count("worker_lost") == report["lost"]
