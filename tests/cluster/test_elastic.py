"""Workers come and go; parts follow them, and no bit changes."""

import fcntl
import os
import time

import dask
import pytest
import torch
from distributed import Client, LocalCluster
from training import trainer

from daskgnn import nn
from daskgnn.cluster import placement as placement
from daskgnn.cluster.clusters import own_cluster
from daskgnn.train import loop as loop_module
from daskgnn.train import run as runs

EPOCHS, STEPS, PARTS = 8, 10, 4
OPTIONS = {"batch_size": 20, "window": 2}
SLOW = "DASKGNN_TEST_SLOW"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def undisturbed(path):
    run = trainer(path, PARTS, None, **OPTIONS)
    run.fit(EPOCHS)
    return facts(run)


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
    futures = [executor._kept[key] for key in run.deployment.preparation.blocks.keys]
    held = executor.client.who_has(futures)
    lie = [set(held[future.key]) for future in futures]
    return lie, [executor.worker_of(part) for part in range(PARTS)]


def scaled(cluster, client, workers):
    """Return a function that has so many workers before it returns."""

    def scale():
        cluster.scale(workers)
        client.wait_for_workers(workers)

    return scale


@pytest.mark.chaos
@pytest.mark.parametrize("steps", ["tasks", "window"])
def test_one_to_four_to_two_workers(path, undisturbed, steps, monkeypatch):
    # A worker that a busy machine makes slow keeps its parts.
    monkeypatch.setattr(placement, "PERSISTENT", (10**9, 0.5))
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


@pytest.mark.chaos
def test_adapt_changes_no_bit(path, undisturbed):
    """Dask's own rules add workers and retire them."""
    with own_cluster(1) as client:

        def adapt(workers):
            client.cluster.adapt(
                minimum=workers, maximum=workers, interval="200ms", wait_count=1
            )
            client.wait_for_workers(workers)

        seen = At({10: lambda: adapt(3), 45: lambda: adapt(1)})
        run = trainer(path, PARTS, client, progress=seen, **OPTIONS)
        run.fit(EPOCHS)
        assert facts(run) == undisturbed
    assert len(seen.named("worker_joined")) == 2
    assert seen.named("rebalanced")


class Sleeper(nn.GraphSAGE):
    """A model whose steps take long on a worker that was told to be slow."""

    def forward(self, x, blocks):
        if self.training and os.environ.get(SLOW):
            time.sleep(0.05)
        return super().forward(x, blocks)


def sleeper(graph):
    torch.manual_seed(0)
    return Sleeper(graph.num_features, 16, graph.num_classes, 2, dropout=0.4)


def be_slow():
    os.environ[SLOW] = "1"


@pytest.mark.chaos
@pytest.mark.parametrize(
    "way", [{}, {"compress": "topk:0.05"}, {"local_steps": 3}], ids=str
)
def test_parts_leave_a_slow_worker(path, way, monkeypatch):
    """More parts than workers: the faster one gets more of them, and no bit changes."""
    monkeypatch.setattr(placement, "PERSISTENT", (3, 0.5))
    undisturbed = trainer(path, PARTS, None, **OPTIONS, **way)
    undisturbed.fit(EPOCHS)
    with own_cluster(2) as client:
        slow = min(client.scheduler_info(n_workers=-1)["workers"])
        client.run(be_slow, workers=[slow])
        seen = At({})
        run = trainer(path, PARTS, client, sleeper, progress=seen, **OPTIONS, **way)
        run.fit(EPOCHS)
        assert facts(run) == facts(undisturbed)
        _, meant = holders(run)
        assert meant.count(slow) < PARTS / 2
    moved = seen.named("rebalanced")
    assert moved[0]["slowness"][slow] == max(moved[0]["slowness"].values())
    assert slow not in moved[0]["to"]


class Crowded(nn.GraphSAGE):
    """A model whose parts run side by side until a file is there; then in turn."""

    def __init__(self, *args, crowd, **options):
        super().__init__(*args, **options)
        self.crowd = crowd

    def forward(self, x, blocks):
        if self.training:
            self.wait()
        return super().forward(x, blocks)

    def wait(self):
        if not os.path.exists(self.crowd):
            time.sleep(0.03)
            return
        with open(self.crowd) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            time.sleep(0.06)


@pytest.mark.chaos
def test_adapt_adds_workers_and_takes_them_away(path, tmp_path, monkeypatch):
    """One more while that helps; none of them once they are in each other's way."""
    config = runs.RunOptions(
        graph=path, out=str(tmp_path / "alone"), workers=0, num_parts=4, epochs=20
    )
    config |= {"batch_size": 20, "recipe": False}
    alone = runs.train(config)
    crowd = tmp_path / "crowd"

    def crowded(settings, graph):
        sizes = graph.num_features, settings["hidden_channels"], graph.num_classes
        torch.manual_seed(settings["seed"])
        options = {"dropout": settings["dropout"], "crowd": str(crowd)}
        return Crowded(*sizes, settings["num_layers"], **options)

    monkeypatch.setattr(runs, "build_model", crowded)
    monkeypatch.setattr(loop_module, "WINDOW_SECONDS", 0.2)
    seen = At({70: crowd.touch})
    there = {"out": str(tmp_path / "run"), "workers": 1, "adapt": [1, 2]}
    summary = runs.train({**config, **there}, progress=seen)
    assert summary["params_sha256"] == alone["params_sha256"]
    assert [record["best"] for record in seen.named("scaled")][:2] == [2, 1]
    assert seen.named("worker_joined")
    assert seen.named("worker_left")
    assert not seen.named("worker_lost")


def test_the_settings_of_others_are_warned_of(path):
    """In one line, of what a user has set in a scheduler of this process."""
    ttl = "distributed.scheduler.worker-ttl"
    with dask.config.set({ttl: "10 minutes"}):
        cluster = LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            dashboard_address="127.0.0.1:0",
            processes=False,
        )
        with cluster, Client(cluster) as client:
            with pytest.warns(UserWarning, match="worker-ttl") as told:
                trainer(path, PARTS, client, **OPTIONS)
            assert client.cluster.scheduler.worker_ttl == 600
    (said,) = (str(warning.message) for warning in told)
    assert "docs/failure.md" in said
    assert "stealing" not in said  # that can be set, and is
    assert len(said) < 160
