"""systemd's own check of the units in deploy/vm."""

import shutil
import subprocess
import sys

import pytest
from training import ROOT

FOLDER = ROOT / "deploy" / "vm"
UNITS = sorted(FOLDER.glob("*.service"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_takes_the_units(tmp_path):
    assert len(UNITS) == 2
    for unit in UNITS:
        # The program has to be there.
        text = unit.read_text().replace("/opt/daskgnn/bin/daskgnn", sys.executable)
        (tmp_path / unit.name).write_text(text)
    words = ["systemd-analyze", "verify", "--man=no", *tmp_path.glob("*.service")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "daskgnn" not in done.stderr


def test_variables_of_the_units_are_in_the_file_of_settings():
    named = set()
    for unit in UNITS:
        (start,) = [
            line for line in unit.read_text().splitlines() if "ExecStart" in line
        ]
        named |= {word[1:] for word in start.split() if word.startswith("$")}
    lines = (FOLDER / "daskgnn.env").read_text().splitlines()
    assert named == {line.partition("=")[0] for line in lines if line[:1].isupper()}
