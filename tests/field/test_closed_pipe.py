"""``daskgnn train ... | head -1``: the output ends, training does not."""

import json
import os

from training import Forked, forking

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
