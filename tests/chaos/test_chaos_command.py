"""``daskgnn chaos``: two runs, one disturbed, compared."""

import json

import pytest
from faults import records
from training import command

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


def chaos(path, folder, *options):
    """Return the exit status, what was printed, and the events of the disturbed run."""
    common = ["--epochs", "40", "--batch-size", "20", "--out", str(folder / "runs")]
    done = command(folder, "chaos", path, *common, *options)
    events = [r["event"] for r in records(folder / "runs" / "disturbed")]
    return done, events


def check_hashes(folder, report):
    assert report["equal"]
    assert report["undisturbed"] == report["disturbed"]
    for run in ("undisturbed", "disturbed"):
        summary = json.loads((folder / "runs" / run / "summary.json").read_text())
        assert summary["params_sha256"] == report[run]


def test_killed_workers_change_no_bit(path, tmp_path):
    done, events = chaos(path, tmp_path, "--kill-every", "2", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    check_hashes(tmp_path, report)
    assert report["kills"] >= report["lost"] >= report["recovered"] >= 1
    assert report["scheduler_kills"] == report["schedulers_lost"] == 0
    assert events.count("worker_lost") == report["lost"]


def test_killed_schedulers_change_no_bit(path, tmp_path):
    words = ["--kill", "scheduler", "--kill-every", "4", "--json"]
    done, events = chaos(path, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    check_hashes(tmp_path, report)
    lost = report["schedulers_lost"]
    assert report["scheduler_kills"] >= lost >= report["schedulers_recovered"] >= 1
    assert report["kills"] == 0
    assert events.count("scheduler_lost") == lost


def test_both_are_killed_and_counted(path, tmp_path):
    done, _ = chaos(path, tmp_path, "--kill", "both", "--kill-every", "2")
    assert done.returncode == 0, done.stderr
    told = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[-7:])
    assert told["undisturbed"] == told["disturbed"]
    assert told["equal"] == "yes"
    assert "of workers" in told["kills"]
    assert not told["kills"].endswith(" 0 of schedulers")
    assert " schedulers, within " in told["recovered"]


def test_the_scheduler_of_others_is_left_alone(path, tmp_path):
    words = ["--kill", "both", "--scheduler", "tcp://127.0.0.1:1"]
    done, events = chaos(path, tmp_path, *words)
    assert done.returncode == 2
    assert "omit --scheduler" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not events
