"""Three hosts with a network between them: namespaces, a switch, cables of a rate."""

import json
import os
import signal
import sys
import time

import psutil
import pytest
from training import ROOT, inside

sys.path.append(str(ROOT / "benchmarks"))
from namespaces import Hosts, NoNamespacesError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OPTIONS = ["--num-parts", "2", "--batch-size", "48", "--num-neighbors", "4,3"]
OPTIONS += ["--hidden-channels", "16", "--epochs", "40", "--no-recipe"]
OPTIONS += ["--window", "4", "--eval-every", "40"]


@pytest.fixture
def hosts():
    """A scheduler and two workers, joined by 100 Mbit/s."""
    try:
        with Hosts(3, mbit=100) as made:
            made.address = made.start_cluster()
            yield made
    except NoNamespacesError as error:
        pytest.skip(f"no privilege to make network namespaces: {error}")


@pytest.fixture(scope="module")
def alone(path, tmp_path_factory):
    """What one process makes of the same run."""
    out = tmp_path_factory.mktemp("alone") / "run"
    inside("train", path, *OPTIONS, "--workers", "0", "--out", str(out))
    return json.loads((out / "summary.json").read_text())


def events(out):
    """Return the records of a run so far, whole lines alone."""
    file = out / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wait_for_step(out, step):
    for _ in range(3600):
        if any(e["event"] == "step" and e["step"] >= step for e in events(out)):
            return
        time.sleep(0.05)
    raise AssertionError("the run does not begin")


def summary(out):
    return json.loads((out / "summary.json").read_text())


def test_bytes_on_the_cables_and_the_same_bits(hosts, path, alone, tmp_path):
    told = json.loads(
        hosts.run(0, "doctor", "--scheduler", hosts.address, "--json", check=False)
    )
    (link,) = told["links"]
    # 100 Mbit/s are 12.5 MB/s.
    assert 4e6 < link["bandwidth"] < 14e6
    assert [w for w in told["wrong"] if "links are slow" in w]
    before, out = hosts.carried(), tmp_path / "run"
    given = ["--scheduler", hosts.address, "--out", str(out)]
    hosts.run(0, "train", path, *OPTIONS, *given)
    carried, found = hosts.carried() - before, summary(out)
    assert found["params_sha256"] == alone["params_sha256"]
    # Nothing is read in place, and what is counted did cross, at both its ends.
    assert found["messages"] > 0
    assert carried > 2 * found["remote_bytes"] > 0


@pytest.mark.parametrize("dies", ["a worker", "a host"])
def test_a_kill_changes_no_bit(hosts, path, alone, tmp_path, dies):
    out = tmp_path / "run"
    given = ["--scheduler", hosts.address, "--out", str(out), "--steps", "window"]
    driver = hosts.start(0, "train", path, *OPTIONS, *given, stdout=-3)
    wait_for_step(out, 10)
    nanny = psutil.Process(hosts.processes[2].pid)
    below = nanny.children(recursive=True)
    for process in [*below, nanny] if dies == "a host" else below:
        os.kill(process.pid, signal.SIGKILL)
    assert driver.wait(200) == 0
    assert [e for e in events(out) if e["event"] == "worker_lost"]
    assert summary(out)["params_sha256"] == alone["params_sha256"]
