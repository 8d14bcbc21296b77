"""``daskgnn train ... | head -1``: the output ends, training does not."""

import json
import os
import subprocess
import sys

from training import ROOT

COMMAND = [sys.executable, "-m", "daskgnn"]
TRAIN = ["train", "karate", "--workers", "0", "--epochs", "40", "--out", "run"]


def piped(folder, words, both=False):
    """Run a command whose output is read no further than its first line."""
    script = '{ "$@"; echo "$?" > status; }' + " 2>&1" * both + " | head -1"
    done = subprocess.run(
        ["sh", "-c", script, "sh", *COMMAND, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return int((folder / "status").read_text()), done.stdout, done.stderr


def test_training_goes_on_when_its_pipe_is_closed(tmp_path):
    status, out, err = piped(tmp_path, TRAIN)
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["epochs"] == 40
    # And a command that prints more than a pipe holds.
    status, out, err = piped(tmp_path, ["datasets"], both=True)
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 1
