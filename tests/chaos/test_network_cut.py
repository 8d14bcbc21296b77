"""The network to a worker is cut, for a while or for ever: a namespace of its own."""

import os
import subprocess
import time

import pytest
from distributed import Client
from faults import (
    EPOCHS,
    OPTIONS,
    PARTS,
    Disturber,
    Supervised,
    facts,
    undisturbed,
)
from training import planted_graph, stored, trainer

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
def test_bits_survive_a_cut(tmp_path, link, cluster, seconds):
    def cut(*_):
        link("down")
        if seconds:
            time.sleep(seconds)
            link("up")

    path = stored(planted_graph(), tmp_path / "g.zarr")
    expected = undisturbed(path)
    with Client(cluster.address, timeout=30) as client:
        client.wait_for_workers(2, timeout=60)
        seen = Disturber(cut, client, None, 20, 0.02)
        run = trainer(path, PARTS, client, progress=seen, **OPTIONS)
        run.fit(EPOCHS)
        seen.thread.join()
        assert facts(run) == expected
    lost = seen.named("worker_lost")
    redone = [record["steps_redone"] for record in seen.named("recovered")]
    after = min(stamp for stamp in seen.stamps if stamp > seen.when) - seen.when
    print(f"{seconds=} next step after {after:.1f} s, {lost=}, {redone=}")
    if seconds is None:
        assert [THERE in record["worker"] for record in lost] == [True]
        assert max(redone) <= OPTIONS["window"]
    else:
        assert not lost
