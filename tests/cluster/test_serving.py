"""`daskgnn scheduler` and `daskgnn worker`: processes with the settings of training."""

import json
import os
import re
import subprocess
import sys

import dask
import pytest
from distributed import Client
from training import ROOT, inside, invoked, trainer

from daskgnn.cluster.serving import environment_of, parsed
from daskgnn.cluster.settings import recommended_config
from daskgnn.train.doctor import HERE

NAMES = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
NAMES += ("THP_MEM_ALLOC_ENABLE", "OMP_NUM_THREADS")


def served(*words):
    """Start a process of the command line."""
    kept = {n: v for n, v in os.environ.items() if n not in NAMES}
    return subprocess.Popen(
        [sys.executable, "-m", "daskgnn", *words],
        env=kept | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def client():
    """Of a scheduler and a worker that the commands have started."""
    place = ("--host", "127.0.0.1", "--no-dashboard")
    processes = [served("scheduler", "--port", "0", *place)]
    try:
        found = None
        while not found:
            line = processes[0].stderr.readline()
            assert line, "the scheduler has ended"
            found = re.search(r"Scheduler at:\s+(tcp://\S+)", line)
        processes.append(served("worker", found[1], *place))
        with Client(found[1], timeout=60) as client:
            client.wait_for_workers(1, timeout=120)
            yield client
    finally:
        for process in reversed(processes):
            process.terminate()
            process.communicate(timeout=60)


def test_a_worker_has_threads_memory_and_settings(client):
    (found,) = client.run(lambda: dict(os.environ)).values()
    assert {n: found[n] for n in NAMES} == {n: environment_of()[n] for n in NAMES}
    (threads,) = client.nthreads().values()
    assert threads == 2
    wanted = recommended_config()
    (there,) = client.run(lambda: [dask.config.get(n) for n in wanted]).values()
    assert there == list(wanted.values())


@pytest.mark.slow
def test_nobody_warns_of_settings_and_bits_are_the_same(client, path):
    """Warnings are errors in tests: the scheduler has what a trainer asks for."""
    here = trainer(path, 2, None)
    here.fit(1)
    there = trainer(path, 2, client)
    there.fit(1)
    assert there.params_sha256 == here.params_sha256


def test_a_doctor_finds_nothing_to_fix(client, path):
    address = client.scheduler.address
    told = json.loads(inside("doctor", "--scheduler", address, "--json"))
    assert told["wrong"] == []
    assert told["machines"].keys() == {HERE, *client.nthreads()}
    done = invoked("doctor", "--scheduler", address, "--store", f"{path}-nowhere")
    assert done.returncode == 1
    assert done.stdout.endswith("under the same path\n")
    assert "does not see" in done.stdout
    assert done.stderr == "daskgnn: 1 thing to fix\n"


def test_what_a_user_has_set_stays():
    with dask.config.set({"distributed.scheduler.worker-ttl": "7s"}):
        found = environment_of(encrypted=True)
    assert "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL" not in found
    assert found["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] == "10"
    assert found["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "True"
    with dask.config.set({"gnn.keep-freed-memory": False}):
        assert "MALLOC_ARENA_MAX" not in environment_of()


def test_what_is_given_comes_after_the_defaults():
    found = parsed("worker", ["--nthreads", "2", "tcp://a:1", "--nthreads=3"])
    assert found["scheduler"] == "tcp://a:1"
    assert found["nthreads"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["worker", "tcp://a:1", "--nthread", "3"], "did you mean --nthreads?"),
        (["worker", "a:b:c"], "is not an address"),
        (
            ["worker", "tcp://127.0.0.1:1", "--death-timeout", "0"],
            "nothing listens at tcp://127.0.0.1:1",
        ),
        (["worker", "tcp://a:1", "--nthreads", "x"], "x"),
        (["worker", "tls://a:1", "--tls-cert", "x"], "--tls-ca-file, --tls-key"),
        (["scheduler", "--prot", "80"], "did you mean --port?"),
        (["scheduler", "--tls-cert", "x", "--host", "a"], "not given"),
    ],
)
def test_wrong_words_get_one_line(words, said):
    done = invoked(*words)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert not done.stdout
