"""``daskgnn train ... | head -1``, ``>&-``: the output ends, training does not."""

import json
import os
from multiprocessing.connection import Connection

import pytest
from training import Forked, forking, run_forked

TRAIN = ["train", "karate", "--workers", "0", "--epochs", "40", "--out", "run"]


def test_training_goes_on_when_its_pipe_is_closed(tmp_path):
    reader, writer = forking().Pipe(duplex=False)
    run = Forked(tmp_path, *TRAIN, terminal=writer)
    writer.close()
    assert os.read(reader.fileno(), 1) == b"4"  # of "40 epochs, ..."
    reader.close()
    done = run.end()
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["epochs"] == 40
    assert (tmp_path / "run" / "curves.png").exists()


def test_a_pipe_that_is_closed_before_the_first_word(tmp_path):
    reader, writer = forking().Pipe(duplex=False)
    reader.close()
    run = Forked(tmp_path, "datasets", terminal=writer)
    writer.close()
    done = run.end()
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", [(1,), (1, 2)])
def test_streams_that_are_closed(tmp_path, closed):
    code = f"""
import os, sys
for number in {closed}:
    os.close(number)
    setattr(sys, {{1: "stdout", 2: "stderr"}}[number], None)
from daskgnn.cli import main
main(sys.argv[1:])
"""
    done = run_forked(code, *TRAIN, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["epochs"] == 40


def test_a_full_disk_is_said_once(tmp_path):
    full = Connection(os.open("/dev/full", os.O_WRONLY), readable=False)
    done = Forked(tmp_path, *TRAIN, terminal=full).end()
    full.close()
    said = "daskgnn: output is dropped from here on: No space left on device\n"
    assert (done.returncode, done.stderr) == (0, said)
    assert (tmp_path / "run" / "summary.json").exists()
