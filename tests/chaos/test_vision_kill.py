"""Runs over images outlive their workers, Ctrl-C and a killed driver."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest
from faults import Disturber, kill_one, records

from daskgnn.vision import train

SMALL = {
    "data": "digits",
    "channels": 16,
    "depth": 2,
    "batch_size": 64,
    "epochs": 3,
    "micro_batches": 4,
    "drop_path": 0.2,
    "stages": 2,
}
COMMAND = [sys.executable, "-m", "daskgnn", "vision", "train"]

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    return facts(train({**SMALL, "stages": 1, "workers": 0, "out": str(out)}))


def facts(summary):
    names = "params_sha256", "train_loss", "val_accuracy", "test_accuracy", "steps"
    return {name: summary[name] for name in names}


@pytest.mark.parametrize("trial", range(4))
def test_a_killed_worker_changes_no_bit(killable, undisturbed, tmp_path, trial, told):
    rng, out = random.Random(trial), tmp_path / "run"
    seen = Disturber(kill_one, killable, rng, rng.randrange(40), rng.uniform(0, 0.1))
    form = ["workers", "operations"][trial % 2]
    where = {"scheduler": killable.scheduler.address, "out": str(out), "form": form}
    summary = train({**SMALL, **where}, progress=seen)
    seen.thread.join()
    told.form, told.same = form, facts(summary) == undisturbed
    told.redone = summary["steps_redone"]
    told.seconds = min(s for s in seen.stamps if s > seen.when) - seen.when
    assert told.same
    assert told.redone <= 1


def started(out, *words):
    """Start the command, and wait until it has done some steps."""
    options = [f"--{n.replace('_', '-')}={v}" for n, v in SMALL.items() if n != "data"]
    process = subprocess.Popen(
        [*COMMAND, "digits", *options, f"--out={out}", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    while len(records(out)) < 10:
        assert process.poll() is None
        time.sleep(0.05)
    return process


def resumed(out):
    subprocess.run([*COMMAND, "--resume", str(out)], check=True, capture_output=True)
    return summary_of(out)


def summary_of(out):
    return facts(json.loads((out / "summary.json").read_text()))


def test_a_worker_of_the_command_is_killed(killable, undisturbed, tmp_path):
    out = tmp_path / "run"
    process = started(out, f"--scheduler={killable.scheduler.address}")
    kill_one(killable, random.Random(1))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert summary_of(out) == undisturbed
    assert [r for r in records(out) if r["event"] == "recovered"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_is_resumed_to_the_same_bits(undisturbed, tmp_path, number):
    out = tmp_path / "run"
    process = started(out)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert "--resume" in said.splitlines()[-1]
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert resumed(out) == undisturbed


def test_a_killed_command_is_resumed_to_the_same_bits(undisturbed, tmp_path):
    out = tmp_path / "run"
    process = started(out, "--checkpoint-every=5")
    process.kill()
    process.communicate(timeout=60)
    assert resumed(out) == undisturbed
