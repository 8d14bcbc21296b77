"""A scheduler where something is not installed: what is said, and what goes on."""

import os
import re
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client
from training import ROOT

pytestmark = pytest.mark.slow


@contextmanager
def cluster_without(folder, names, path):
    """Start a scheduler that lacks packages, and a worker; yield its address."""
    packages = folder / "packages"
    packages.mkdir()
    for place in Path(sysconfig.get_path("purelib")).iterdir():
        if not place.name.startswith((*names, "daskgnn", "__editable__")):
            (packages / place.name).symlink_to(place)
    place = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0"]
    scheduler = subprocess.Popen(
        [sys.executable, "-S", "-m", "distributed.cli.dask_scheduler", *place],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(packages), *path])},
        stderr=subprocess.PIPE,
        text=True,
    )
    processes, found = [scheduler], None
    try:
        while not found:
            line = scheduler.stderr.readline()
            assert line, "the scheduler has ended"
            found = re.search(r"Scheduler at:\s+(tcp://\S+)", line)
        processes.append(daskgnn("worker", found[1], "--no-dashboard"))
        with Client(found[1], timeout=60) as client:
            client.wait_for_workers(1, timeout=60)
        yield found[1]
    finally:
        for process in reversed(processes):
            process.terminate()
            process.communicate(timeout=60)


def daskgnn(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "daskgnn", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def trained(address, out):
    """Train on a cluster; return the status and the lines of standard error."""
    words = ("train", "karate", "--scheduler", address, "--epochs", "2")
    process = daskgnn(*words, "--out", str(out))
    _, said = process.communicate(timeout=200)
    return process.returncode, said.splitlines()


def test_without_daskgnn_one_line_says_so(tmp_path):
    with cluster_without(tmp_path, (), ()) as address:
        status, lines = trained(address, tmp_path / "run")
    assert status == 2, lines
    line = lines[-1]
    assert "cannot read daskgnn's tasks (No module named 'daskgnn')" in line
    assert "pip install daskgnn where it runs" in line


def test_without_page_and_metrics_training_goes_on(tmp_path):
    names = ("bokeh", "prometheus_client")
    with cluster_without(tmp_path, names, [str(ROOT)]) as address:
        status, lines = trained(address, tmp_path / "run")
    assert status == 0, lines
    (line,) = [line for line in lines if "no live page" in line]
    assert "No module named 'bokeh'" in line
    assert "training goes on" in line
