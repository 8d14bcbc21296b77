"""Runs over images on workers: the bits of one process, and batches read by tasks."""

from urllib.request import urlopen

import pytest

from daskgnn.monitor.publisher import run_name
from daskgnn.train.compute.state import weights_of
from daskgnn.vision import evaluate, train
from daskgnn.vision.data.batches import Batches, BatchPlan
from daskgnn.vision.data.datasets import load_images
from daskgnn.vision.evaluation import Trained, score_split
from daskgnn.vision.feed import Feed
from daskgnn.vision.modelspec import ModelSpec

SMALL = {
    "data": "digits",
    "channels": 8,
    "depth": 2,
    "batch_size": 256,
    "epochs": 1,
    "micro_batches": 2,
    "copies": 2,
    "drop_path": 0.3,
}


@pytest.fixture(scope="module")
def client(lasting_clusters):
    return lasting_clusters(2)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Return the summary of the run in this process."""
    out = tmp_path_factory.mktemp("here") / "run"
    return train({**SMALL, "workers": 0, "out": str(out)})


@pytest.mark.parametrize(
    "how",
    [
        {"stages": 2, "schedule": "zero-bubble"},
        {"stages": 3, "form": "operations"},
    ],
)
def test_workers_train_to_the_same_bits(client, here, tmp_path, how):
    out = str(tmp_path / "run")
    where = {"scheduler": client.scheduler.address, "out": out}
    there = train({**SMALL, **how, **where}, profile=True)
    same = ("params_sha256", "train_loss", "val_accuracy", "test_accuracy", "test_loss")
    assert {n: there[n] for n in same} == {n: here[n] for n in same}
    assert there["num_workers"] == 2
    assert len(there["cut"]) == how["stages"]
    assert (tmp_path / "run" / there["schedule_picture"]).read_bytes()[1:4] == b"PNG"
    assert 0 <= there["bubble_share"] < 1
    found = evaluate(out, scheduler=client.scheduler.address, workers=None)
    assert found["accuracy"] == here["test_accuracy"]
    pytest.importorskip("prometheus_client", reason="no prometheus_client")
    with urlopen(client.dashboard_link.rsplit("/", 1)[0] + "/metrics") as answer:
        metrics = answer.read().decode().splitlines()
    labels = f'{{run="{run_name("digits", out)}"}}'
    assert f"daskgnn_steps_total{labels} {float(there['steps'])}" in metrics
    assert f"daskgnn_seeds_total{labels} {float(there['num_images'])}" in metrics


def test_batches_are_read_by_tasks_in_order(client):
    images = load_images("digits")
    batches = Batches(images, BatchPlan(images.splits["train"], 128, 2, 0))
    places = [(0, step) for step in range(9)] + [(1, step) for step in range(9)]
    found = list(Feed(batches, client, "run").read(places))
    assert [place for place, _ in found] == places
    for place, micro in found[::6]:
        for ours, theirs in zip(micro, batches.read(*place), strict=True):
            assert (ours.x == theirs.x).all()
            assert (ours.ids == theirs.ids).all()
    known = client.run_on_scheduler(
        lambda dask_scheduler: list(dask_scheduler.task_prefixes)
    )
    assert "images-run" in known


def test_workers_score_as_this_process_does(client):
    images = load_images("digits")
    sizes = {"in_channels": 1, "num_classes": 10, "image_size": 8, "k": 2}
    spec = ModelSpec.of("vig-mini", {**sizes, "channels": 8, "depth": 1, "stride": 2})
    trained = Trained(spec, weights_of(spec.make(0)))
    here, there = (score_split(trained, images, "val", c) for c in (None, client))
    parts = [[(s.loss, s.right, s.count) for s in scores] for scores in (here, there)]
    assert parts[0] == parts[1]
    assert sum(count for *_, count in parts[0]) == 359
