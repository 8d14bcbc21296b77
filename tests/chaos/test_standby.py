"""A standby goes on for a lost worker with what it holds already."""

import os
import shutil
import time

import pytest
from distributed import wait
from faults import EPOCHS, OPTIONS, PARTS, Disturber, facts, kill, records
from training import trainer

from daskgnn.cluster.clusters import own_cluster
from daskgnn.train import run as runs
from daskgnn.train.persist.recorder import Silent

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


def test_recovery_needs_no_load(path, expected, tmp_path):
    """The store is away from the kill to the next step: nothing can be loaded."""
    path = shutil.copytree(path, tmp_path / "g.zarr")
    away = tmp_path / "away.zarr"

    class Hider(Disturber):
        def step(self, record):
            self.stamps.append(time.time())
            if record["step"] == self.at:
                kill_a_holder()

        def event(self, record):
            super().event(record)
            if record["event"] == "recovered":
                os.rename(away, path)

    def kill_a_holder():
        copies = run.executor.placement.copies.values()
        wait([future for copy in copies for future in copy.futures.values()])
        os.rename(path, away)
        pids = client.run(os.getpid)
        kill([pids[run.executor.worker_of(1)]])

    with own_cluster(3) as client:
        seen = Hider(None, client, None, EPOCHS * 4, 0.0)
        options = {"steps": "window", "standby": 1, "progress": seen, **OPTIONS}
        run = trainer(path, PARTS, client, **options)
        # While it trains, two of the three hold parts.
        assert len({run.executor.worker_of(part) for part in range(PARTS)}) == 2
        before = run.executor.worker_of(1)
        run.fit(EPOCHS)
        assert facts(run) == expected(EPOCHS)
        assert os.path.exists(path)
        assert run.executor.worker_of(1) != before
    assert len(seen.named("worker_lost")) == 1
    (recovered,) = seen.named("recovered")
    assert recovered["steps_redone"] <= OPTIONS["window"]
    assert run.run_state.forms.keys() == {"window"}


class Interrupting(Silent):
    """A progress that stops the run as Ctrl-C does."""

    def step(self, record):
        if record["step"] == EPOCHS * 4:
            raise KeyboardInterrupt


def test_a_run_with_a_standby_resumes_without_workers(path, tmp_path):
    def config(name, **where):
        options = {"num_parts": 2, "epochs": EPOCHS, "batch_size": 20}
        return runs.RunOptions(graph=path, out=str(tmp_path / name), **options, **where)

    whole = runs.train(config("whole", workers=0))
    with pytest.raises(KeyboardInterrupt):
        runs.train(config("run", workers=1, standby=1), progress=Interrupting())
    summary = runs.resume(tmp_path / "run", workers=0)
    assert summary["params_sha256"] == whole["params_sha256"]
    (resumed,) = [r for r in records(tmp_path / "run") if r["event"] == "resume"]
    assert 0 < resumed["step"] <= EPOCHS * 4 + 1
