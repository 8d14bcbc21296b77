"""The image and the services of deploy/compose, started by podman."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training import ROOT, inside

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

COMPOSE = ROOT / "deploy" / "compose"
PROGRAMS = ("podman", "podman-compose", "runc", "debootstrap")
BASE, IMAGE, PROJECT = "localhost/daskgnn-base", "localhost/daskgnn", "daskgnn-test"
SERVICES = ("scheduler", "worker-1", "worker-2", "driver")
SETTINGS = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""
"""What also works inside a virtual machine or another container."""


class Podman:
    """Runs podman, and fails with what it said."""

    def __init__(self, folder):
        file = folder / "containers.conf"
        file.write_text(SETTINGS)
        more = {"CONTAINERS_CONF": str(file), "DASHBOARD_PORT": "18787"}
        self.environment = os.environ | more

    def __call__(self, *words, program="podman", check=True):
        done = subprocess.run(
            [program, *map(str, words)],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr
        return done.stdout.strip() if check else not done.returncode


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    """Podman with a base image; skip, saying so, where containers cannot run."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing or os.getuid():
        pytest.skip(f"no containers: needs root and {', '.join(PROGRAMS)}")
    folder = tmp_path_factory.mktemp("podman")
    found = Podman(folder)
    if not found("image", "exists", BASE, check=False):
        made = ("--variant=minbase", "--include=python3,python3-venv", "bookworm")
        try:
            found(*made, folder / "root", program="debootstrap")
        except AssertionError as error:
            pytest.skip(f"no base image can be made: {str(error)[-200:]}")
        archive = folder / "root.tar"
        found("-C", folder / "root", "-cf", archive, ".", program="tar")
        found("import", archive, BASE)
    if not found("run", "--rm", BASE, "true", check=False):
        pytest.skip("podman cannot run a container here")
    return found


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Wheels of all that daskgnn needs: no package index is asked from an image."""
    if folder := os.environ.get("DASKGNN_WHEELS"):
        return folder
    folder = tmp_path_factory.mktemp("wheels")
    words = ["-m", "pip", "wheel", "-q", "-c", "constraints.txt", "-w", str(folder)]
    subprocess.run(
        [sys.executable, *words, ".[datasets]", "setuptools"], cwd=ROOT, check=True
    )
    return folder


@pytest.fixture(scope="module")
def image(podman, wheels):
    podman(
        *("build", "--isolation=chroot", "-f", COMPOSE / "Dockerfile", "-t", IMAGE),
        *("--volume", f"{wheels}:/wheels:ro", "--build-arg", f"BASE={BASE}"),
        *("--build-arg", "PIP_FIND_LINKS=/wheels", "--build-arg", "PIP_NO_INDEX=1"),
        ROOT,
    )
    return IMAGE


def test_an_image_is_nobodys_root(podman, image):
    run = ("run", "--rm", "--entrypoint")
    assert podman(*run, "id", image, "-u") == "1000"
    assert podman("run", "--rm", image, "--version").startswith("daskgnn ")
    assert not podman(*run, "gcc", image, "--version", check=False)


def test_services_train_digits(podman, image, tmp_path):
    files = ("-p", PROJECT, "-f", COMPOSE / "compose.yaml")
    compose = {"program": "podman-compose"}
    try:
        podman(*files, "up", "-d", "--no-build", *SERVICES, **compose)
        told = podman("volume", "inspect", f"{PROJECT}_runs")
        summary = Path(json.loads(told)[0]["Mountpoint"], "digits", "summary.json")
        for _ in range(600):
            if summary.exists():
                break
            time.sleep(1)
        said = podman("logs", f"{PROJECT}_driver_1")
        assert summary.exists(), said
        found = json.loads(summary.read_text())
    finally:
        podman(*files, "down", "-v", "-t", "5", check=False, **compose)
        podman("volume", "rm", "-f", f"{PROJECT}_runs", check=False)
    assert found["num_workers"] == 2
    given = ["--epochs", "300", "--workers", "0", "--num-parts", "2"]
    given += ["--out", str(tmp_path / "run")]
    inside("train", "digits", *given)
    alone = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert found["params_sha256"] == alone["params_sha256"]
