"""A scheduler that others run is lost: the next one there is used, if one comes."""

import signal
import time

import dask
import pytest
from distributed import Client
from faults import (
    EPOCHS,
    OPTIONS,
    PARTS,
    Disturber,
    Supervised,
    facts,
)
from training import trainer

from daskgnn.errors import TrainingError

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


@pytest.fixture
def supervised():
    processes = Supervised()
    processes.start()
    yield processes
    processes.stop()


def connected(supervised):
    client = Client(supervised.address, timeout=30)
    client.wait_for_workers(1, timeout=30)
    return client


def test_the_next_scheduler_at_the_address_is_used(path, expected, supervised):
    def replace(*_):
        supervised.scheduler.send_signal(signal.SIGKILL)
        supervised.scheduler.wait()
        time.sleep(1)
        supervised.start()

    client = connected(supervised)
    seen = Disturber(replace, client, None, 20, 0.0)
    run = trainer(path, PARTS, client, progress=seen, **OPTIONS)
    run.fit(EPOCHS)
    assert facts(run) == expected(EPOCHS)
    assert len(seen.named("scheduler_lost")) == 1
    (recovered,) = seen.named("recovered")
    assert recovered["steps_redone"] <= OPTIONS["window"]
    run.executor.client.close()


def test_no_worker_comes_back(path, expected, supervised, tmp_path):
    """The scheduler lives, its only worker is killed, and nobody starts another."""

    def end(*_):
        supervised.processes[-1].send_signal(signal.SIGKILL)

    patience = "distributed.scheduler.no-workers-timeout"
    supervised.stop()
    supervised.settings["DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT"] = "3s"
    supervised.start()
    client = connected(supervised)
    out = tmp_path / "run"
    seen = Disturber(end, client, None, 10, 0.0)
    run = trainer(path, PARTS, client, progress=seen, out=out, **OPTIONS)
    with (
        dask.config.set({patience: "3s"}),
        pytest.raises(TrainingError, match="worker") as told,
    ):
        run.fit(EPOCHS)
    assert f"daskgnn train --resume {out}" in str(told.value)
    client.close()
    again = trainer(path, PARTS, None, out=out, **OPTIONS)
    again.fit(EPOCHS, resume=True)
    assert again.params_sha256 == expected(EPOCHS)[0]


def test_nobody_comes(path, supervised, tmp_path):
    def end(*_):
        supervised.scheduler.send_signal(signal.SIGKILL)

    client = connected(supervised)
    out = tmp_path / "run"
    seen = Disturber(end, client, None, 10, 0.0)
    run = trainer(path, PARTS, client, progress=seen, out=out, **OPTIONS)
    with (
        dask.config.set({"gnn.reconnect-timeout": "2s"}),
        pytest.raises(TrainingError) as told,
    ):
        run.fit(EPOCHS)
    said = str(told.value)
    assert supervised.address in said
    assert f"daskgnn train --resume {out}" in said
    assert str(out / "checkpoints") in said
