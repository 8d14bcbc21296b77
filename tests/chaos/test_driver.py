"""Drivers that are killed or told to stop, with workers of their own."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults import records, trials
from training import Forked, planted_graph, stored

from daskgnn.train import run as runs

ROOT = Path(__file__).parents[2]
EPOCHS, STEPS, INTERVAL = 24, 10, 8
"""Steps of an epoch; steps between checkpoints."""
SETTINGS = (
    f"--epochs {EPOCHS} --batch-size 20 --num-parts 2 --num-neighbors 4,3 "
    "--hidden-channels 16 --dropout 0.4"
).split()

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    stored(planted_graph(), folder / "g.zarr")
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder):
    """The hash of a run that nothing disturbed."""
    words = dict(zip(SETTINGS[::2], SETTINGS[1::2], strict=True))
    config = runs.RunOptions(
        graph=str(folder / "g.zarr"),
        out=str(folder / "whole"),
        workers=0,
        epochs=EPOCHS,
        batch_size=int(words["--batch-size"]),
        num_parts=2,
        num_neighbors=[4, 3],
        hidden_channels=16,
        dropout=0.4,
    )
    return runs.train(config)["params_sha256"]


def started(folder, out):
    """Start a run as the leader of a session, to whose processes it is known by."""
    words = ["train", "g.zarr", *SETTINGS, "--workers", "2", "--out", out]
    words += ["--checkpoint-every", str(INTERVAL)]
    return subprocess.Popen(
        [sys.executable, "-m", "daskgnn", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_step(process, directory, step):
    """Wait until a step is on record."""
    while process.poll() is None:
        if steps(directory)[-1:] >= [step]:
            return
        time.sleep(0.005)
    raise AssertionError(f"the run ended before step {step}: {process.stderr.read()}")


def steps(directory):
    return [r["step"] for r in records(directory) if r["event"] == "step"]


def family(leader):
    """Return the processes of a session."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            if os.getsid(pid) == leader and not is_zombie(pid):
                found.append(pid)
        except (ProcessLookupError, FileNotFoundError):
            continue
    return found


def is_zombie(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def nobody_left(leader):
    """Return who of a session is left after 10 s at most: counted, not timed."""
    for _ in range(100):
        if not (left := family(leader)):
            return []
        time.sleep(0.1)
    return left


def check_resumed(directory, undisturbed, told):
    """Continue a run without workers, and fill in what came of it."""
    before = steps(directory)
    assert before == list(range(len(before)))
    summary = runs.resume(directory, workers=0)
    told.same = summary["params_sha256"] == undisturbed
    (resume,) = [r for r in records(directory) if r["event"] == "resume"]
    told.redone = len(before) - resume["step"]
    assert sorted(set(steps(directory))) == list(range(EPOCHS * STEPS))


STOPS = {
    "driver-SIGKILL": (os.kill, signal.SIGKILL, -signal.SIGKILL, INTERVAL),
    "group-SIGINT": (os.killpg, signal.SIGINT, 130, 0),
    "driver-SIGTERM": (os.kill, signal.SIGTERM, 143, 0),
    "group-SIGTERM": (os.killpg, signal.SIGTERM, 143, 0),
}
"""How the signal is sent, the exit status, and the steps that may be redone."""


@pytest.mark.chaos
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("trial", trials(10))
@pytest.mark.parametrize("stop", STOPS)
def test_a_driver_that_is_stopped(folder, undisturbed, told, stop, trial):
    told.name = stop.replace("-", ": ")
    send, number, status, redone = STOPS[stop]
    out = f"{stop}-{trial}"
    rng = random.Random(out)
    step, seconds = rng.randrange(EPOCHS * STEPS // 4), rng.uniform(0, 0.1)
    process = started(folder, out)
    try:
        wait_for_step(process, folder / out, step)
        time.sleep(seconds)
        assert process.poll() is None
        assert len(family(process.pid)) > 2
        send(process.pid, number)
        said = process.communicate()[1]
        assert process.returncode == status, said
        if status > 0:
            assert said.startswith("daskgnn: ")
            assert said.endswith(f"continue with daskgnn train --resume {out}\n")
            assert said.count("\n") == 1
        assert nobody_left(process.pid) == []
    finally:
        for pid in family(process.pid):
            os.kill(pid, signal.SIGKILL)
    check_resumed(folder / out, undisturbed, told)
    assert told.same
    # No starting over.
    assert told.redone <= redone


def test_a_driver_without_workers_is_terminated(folder, undisturbed, told):
    told.name = "driver without workers: SIGTERM"
    options = ("--workers", "0", "--checkpoint-every", str(INTERVAL))
    command = Forked(folder, "train", "g.zarr", *SETTINGS, *options, "--out", "alone")
    while not steps(folder / "alone"):
        assert command.process.is_alive()
        time.sleep(0.005)
    command.process.terminate()
    done = command.end()
    assert done.returncode == 143, done.stderr
    assert done.stderr.startswith("daskgnn: ")
    assert done.stderr.endswith("continue with daskgnn train --resume alone\n")
    assert done.stderr.count("\n") == 1
    check_resumed(folder / "alone", undisturbed, told)
    assert told.same
    assert told.redone == 0


@pytest.mark.chaos
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_driver_that_is_stopped_before_it_trains(folder):
    """While it imports or starts workers: one line, and nothing is left."""
    process = started(folder, "early")
    for _ in range(600):
        if len(family(process.pid)) > 2:
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130
    assert said.startswith("daskgnn: interrupted")
    assert said.count("\n") == 1
    assert nobody_left(process.pid) == []
