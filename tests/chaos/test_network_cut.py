"""The network to a worker is cut, for a while or for ever: a namespace of its own."""

import os
import random
import subprocess
import time

import pytest
from distributed import Client
from faults import (
    EPOCHS,
    OPTIONS,
    PARTS,
    WINDOW,
    Disturber,
    Supervised,
    facts,
    records,
)
from training import trainer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

NAME = f"daskgnn{os.getpid() % 10_000}"
HERE, THERE = "10.211.77.1", "10.211.77.2"


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


@pytest.fixture
def link():
    """Return a function that raises or cuts the link to a namespace of its own."""
    end = f"{NAME}b"
    try:
        made = ip("netns", "add", NAME, check=False)
    except FileNotFoundError:
        pytest.skip("no command ip: network namespaces cannot be made")
    if made.returncode:
        pytest.skip(f"no privilege to make network namespaces: {made.stderr.strip()}")
    try:
        veth = ("type", "veth", "peer", "name", end, "netns", NAME)
        made = ip("link", "add", f"{NAME}a", *veth, check=False)
        if made.returncode:
            pytest.skip(f"no privilege to link namespaces: {made.stderr.strip()}")
        ip("addr", "add", f"{HERE}/24", "dev", f"{NAME}a")
        ip("link", "set", f"{NAME}a", "up")
        ip("-n", NAME, "addr", "add", f"{THERE}/24", "dev", end)
        ip("-n", NAME, "link", "set", "lo", "up")
        ip("-n", NAME, "link", "set", end, "up")
        yield lambda state: ip("-n", NAME, "link", "set", end, state)
    finally:
        ip("link", "del", f"{NAME}a", check=False)
        ip("netns", "del", NAME, check=False)


@pytest.fixture
def cluster(link):
    """A worker here, and one behind the link."""
    processes = Supervised(HERE)
    processes.start()
    processes.start_worker(THERE, "ip", "netns", "exec", NAME)
    yield processes
    link("up")
    processes.stop()


@pytest.mark.parametrize("seconds", [5, None])
@pytest.mark.parametrize("trial", range(5))
def test_bits_survive_a_cut(
    path, expected, tmp_path, link, cluster, told, seconds, trial
):
    told.name = f"network cut {f'for {seconds} s' if seconds else 'for ever'}"
    rng = random.Random(f"cut {seconds} {trial}")

    def cut(*_):
        link("down")
        if seconds:
            time.sleep(seconds)
            link("up")

    out = tmp_path / "run"
    with Client(cluster.address, timeout=30) as client:
        client.wait_for_workers(2, timeout=60)
        seen = Disturber(cut, client, rng, rng.randrange(30), rng.uniform(0, 0.05))
        steps = ["window", "tasks"][trial % 2]
        options = {"progress": seen, "steps": steps, "out": out, **OPTIONS}
        run = trainer(path, PARTS, client, **options)
        run.fit(EPOCHS)
        seen.thread.join()
        told.same = facts(run) == expected(EPOCHS)
    events = records(out)
    lost = [r["worker"] for r in events if r["event"] == "worker_lost"]
    redone = [r["steps_redone"] for r in events if r["event"] == "recovered"]
    told.redone = max(redone, default=0)
    told.seconds = min(stamp for stamp in seen.stamps if stamp > seen.when) - seen.when
    assert told.same
    assert told.redone <= WINDOW
    # No restart: the run has resumed nowhere, and begun no step twice.
    assert [THERE in address for address in lost] == [True] * (seconds is None)
    assert not [r for r in events if r["event"] in ("resume", "scheduler_lost")]
