"""A standby goes on for a lost worker with what it holds already."""

import os

import pytest
from faults import EPOCHS, OPTIONS, PARTS, Disturber, facts, kill, undisturbed
from training import planted_graph, stored, trainer

from daskgnn.train.cluster import own_cluster

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


def test_recovery_needs_no_load(tmp_path):
    """The store is away from the kill to the next step: nothing can be loaded."""
    path = stored(planted_graph(), tmp_path / "g.zarr")
    away = str(tmp_path / "away.zarr")
    expected = undisturbed(path)

    class Hider(Disturber):
        def event(self, record):
            super().event(record)
            if record["event"] == "recovered":
                os.rename(away, path)

    def kill_a_holder(client, _):
        os.rename(path, away)
        pids = client.run(os.getpid)
        kill([pids[run.executor.worker_of(1)]])

    with own_cluster(3) as client:
        seen = Hider(kill_a_holder, client, None, EPOCHS * 4, 0.0)
        run = trainer(
            path, PARTS, client, steps="window", standby=1, progress=seen, **OPTIONS
        )
        # While it trains, two of the three hold parts.
        assert len({run.executor.worker_of(part) for part in range(PARTS)}) == 2
        before = run.executor.worker_of(1)
        run.fit(EPOCHS)
        assert facts(run) == expected
        assert os.path.exists(path)
        assert run.executor.worker_of(1) != before
    assert len(seen.named("worker_lost")) == 1
    (recovered,) = seen.named("recovered")
    assert recovered["steps_redone"] <= OPTIONS["window"]
    assert run.course.forms.keys() == {"window"}
