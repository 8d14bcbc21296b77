"""A disk that is full: one line, and the last checkpoint is intact.

On a file system of its own, of a few megabytes, where the machine lets one be mounted
(in a namespace of the test's own); else with a limit on the size of files, under which
the operating system refuses writes in the same way.
"""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from faults import records, trials
from training import Forked, inside

from daskgnn.train.persist.checkpoint import load_checkpoint

EPOCHS = 6
SETTINGS = (
    f"--epochs {EPOCHS} --batch-size 20 --num-parts 2 --num-neighbors 4,3 "
    "--hidden-channels 256 --checkpoint-every 4 --workers 0"
).split()

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(path, folder):
    inside("train", path, *SETTINGS, "--out", str(folder / "whole"))
    return summary_of(folder / "whole")["params_sha256"]


def summary_of(out):
    return json.loads((out / "summary.json").read_text())


def mounted(place, size):
    """Mount a small file system, or skip, saying so."""
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    done = subprocess.run(["mount", *options], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode()}")


@pytest.fixture
def small(folder, request):
    """A directory on a file system of its own."""
    place = folder / f"small-{request.node.callspec.params['trial']}"
    rng = random.Random(place.name)
    # A checkpoint has about 200 kB: there is room for two, not for a third.
    mounted(place, 400_000 + rng.randrange(200_000))
    yield place
    subprocess.run(["umount", str(place)], check=True)


def check_refused(done, out):
    """One line that names the disk's word and the way on; a whole checkpoint."""
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("daskgnn: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"--resume {out}" in done.stderr
    newest = max((out / "checkpoints").iterdir())
    assert ".tmp" not in newest.name
    found = load_checkpoint(newest)
    assert f"the checkpoint of step {found.step} is in" in done.stderr
    return found.step


@pytest.mark.parametrize("trial", trials(5))
def test_a_small_disk(path, folder, undisturbed, small, told, trial):
    told.name = "a full disk"
    out = small / "run"
    done = Forked(folder, "train", path, *SETTINGS, "--out", str(out)).end()
    step = check_refused(done, out)
    assert "No space left on device" in done.stderr
    assert "cannot be written" in done.stderr
    # Elsewhere, with room, it goes on as if nothing had been.
    moved = Path(shutil.copytree(out, folder / f"moved-{trial}"))
    inside("train", "--resume", str(moved), "--workers", "0")
    told.same = summary_of(moved)["params_sha256"] == undisturbed
    (resume,) = [r for r in records(moved) if r["event"] == "resume"]
    assert told.same
    assert resume["step"] == step


def test_no_room_for_a_checkpoint(path, folder, undisturbed):
    """Arrays above a limit on the size of files; smaller ones are written before."""
    out = folder / "limited"
    words = ["train", path, *SETTINGS, "--out", str(out)]
    # The checkpoint of step 0 has no optimizer yet.
    done = Forked(folder, *words, largest_file=100_000).end()
    assert check_refused(done, out) == 0
    assert "File too large" in done.stderr
    inside("train", "--resume", str(out), "--workers", "0")
    assert summary_of(out)["params_sha256"] == undisturbed


@pytest.mark.slow
def test_no_room_for_records(path, folder):
    """Records of steps are refused while checkpoints still fit."""
    out = folder / "records"
    words = ["train", path, *SETTINGS, "--out", str(out)]
    small = ["--hidden-channels", "2", "--epochs", "16"]
    done = Forked(folder, *words, *small, largest_file=12_000).end()
    check_refused(done, out)
    assert "metrics.jsonl cannot be written" in done.stderr
    # No line is left half written.
    text = (out / "metrics.jsonl").read_bytes()
    assert text.endswith(b"\n")
    assert all(json.loads(line) for line in text.splitlines())
    inside("train", "--resume", str(out), "--workers", "0")


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (2000, "checkpoint of step 0 cannot be written"),
        (100, "run.json cannot be written"),
    ],
)
def test_no_room_at_all(path, folder, size, said):
    """Nothing could be written: the line says so, and names no checkpoint."""
    out = folder / f"nothing-{size}"
    words = ["train", path, *SETTINGS, "--out", str(out)]
    done = Forked(folder, *words, largest_file=size).end()
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert said in done.stderr
    if "checkpoint" in said:
        assert "there is no checkpoint yet" in done.stderr
