"""Workers come and go; parts follow them, and no bit changes."""

import pytest
from training import planted_graph, stored, trainer

from daskgnn.train.cluster import own_cluster

EPOCHS, STEPS, PARTS = 8, 10, 4

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(), tmp_path_factory.mktemp("graph") / "g.zarr")


@pytest.fixture(scope="module")
def undisturbed(path):
    run = trainer(path, PARTS, None, **OPTIONS)
    run.fit(EPOCHS)
    return facts(run)


OPTIONS = {"batch_size": 20, "window": 2}


def facts(run):
    losses = [record["loss"] for record in run.recorder.history.steps]
    assert len(losses) == EPOCHS * STEPS
    return run.params_sha256, losses, run.summary()["test_accuracy"]


class At:
    """A progress that calls functions at steps, and keeps what it is told."""

    def __init__(self, calls):
        self.calls, self.events, self.places = calls, [], []

    def step(self, record):
        if record["step"] in self.calls:
            self.calls[record["step"]]()

    def event(self, record):
        self.events.append(record)

    def started(self, info):
        pass

    epoch = finished = started

    def named(self, name):
        return [record for record in self.events if record["event"] == name]


def holders(run):
    """Return where the adjacency blocks of the parts really lie, and are meant to."""
    executor = run.executor
    futures = [executor._kept[key] for key in run._preparation.blocks.adjacency]
    held = executor.client.who_has(futures)
    lie = [set(held[future.key]) for future in futures]
    return lie, [executor.worker_of(part) for part in range(PARTS)]


def scaled(cluster, client, workers):
    """Return a function that has so many workers before it returns."""

    def scale():
        cluster.scale(workers)
        client.wait_for_workers(workers)

    return scale


@pytest.mark.parametrize("steps", ["tasks", "window"])
def test_one_to_four_to_two_workers(path, undisturbed, steps):
    with own_cluster(1) as client:
        cluster = client.cluster

        def retire():
            names = sorted(client.scheduler_info(n_workers=-1)["workers"])
            client.retire_workers(names[:2])

        seen = At({15: scaled(cluster, client, 4), 50: retire})
        run = trainer(path, PARTS, client, steps=steps, progress=seen, **OPTIONS)
        run.fit(EPOCHS)
        assert facts(run) == undisturbed
        lie, meant = holders(run)
        assert len(set(meant)) == 2
        assert all(place in found for place, found in zip(meant, lie, strict=True))
    assert len(seen.named("worker_joined")) == 3
    assert len(seen.named("worker_left")) == 2
    assert not seen.named("worker_lost")
    moved = seen.named("rebalanced")
    assert len(moved[0]["parts"]) == 3
    assert len(set(moved[0]["to"])) == 3
