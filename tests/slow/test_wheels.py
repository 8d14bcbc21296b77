"""A wheel, built from an sdist, trains in an environment that has nothing else."""

import json
import os
import subprocess
import sys

import pytest
import torch
from training import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


def test_a_clean_environment_trains_digits(tmp_path):
    version = ".".join(torch.__version__.split(".")[:2])
    words = ["--python", sys.executable, "--torch", version]
    file = tmp_path / "rows.json"
    environment = {**os.environ}
    if folder := os.environ.get("DASKGNN_WHEELS"):
        environment |= {"PIP_FIND_LINKS": folder, "PIP_NO_INDEX": "1"}
    script = str(ROOT / "benchmarks" / "torch_versions.py")
    subprocess.run(
        [sys.executable, script, *words, "--json", str(file)],
        env=environment,
        check=True,
    )
    (row,) = json.loads(file.read_text())
    assert row["trained"] == "yes", row["why"]
