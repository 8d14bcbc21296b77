"""Workers whose time is up, one after the other, as a batch system ends them."""

import time

import dask
import pytest
from distributed import Client
from faults import OPTIONS, PARTS, Supervised, undisturbed
from training import trainer

from daskgnn.train.persist.recorder import Silent

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

EPOCHS, STEP_SECONDS = 40, 0.1
LIFE = ("--lifetime", "20s", "--lifetime-stagger", "5s", "--lifetime-restart")


class Unhurried(Silent):
    """Makes a run last for some lives, and keeps its events."""

    def __init__(self):
        self.events = []

    def step(self, record):
        time.sleep(STEP_SECONDS)

    def event(self, record):
        self.events.append(record["event"])


def test_every_worker_is_retired_each_20_seconds(path):
    processes = Supervised()
    try:
        processes.more = LIFE
        processes.start()
        processes.start_worker(processes.host)
        patience = {"distributed.scheduler.no-workers-timeout": "2 minutes"}
        with dask.config.set(patience), Client(processes.address, timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            seen = Unhurried()
            run = trainer(path, PARTS, client, progress=seen, **OPTIONS)
            run.fit(EPOCHS)
            hash_found = run.params_sha256
    finally:
        processes.stop()
    assert hash_found == undisturbed(path, EPOCHS)[0]
    gone = [e for e in seen.events if e in ("worker_left", "worker_lost")]
    assert len(gone) >= 2
