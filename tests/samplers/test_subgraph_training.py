"""Training on subgraphs: nothing is sent, counts are stored and read, links refused."""

import json
import warnings

import numpy as np
import pytest
from training import AT_ONCE, invoked, planted_graph, small_sage, trainer

import daskgnn
from daskgnn.errors import InputError
from daskgnn.train.persist.recorder import Silent

WALK = "saint:kind=walk,roots=40,length=2,coverage=5"


def run(path, sampler, num_parts=2, client=None, **options):
    given = {"num_neighbors": None, "batch_size": 1024, **AT_ONCE, **options}
    return trainer(path, num_parts, client, sampler=sampler, **given)


class Heard(Silent):
    """Remembers events."""

    def __init__(self):
        self.events = []

    def event(self, record):
        self.events.append(record)

    def of(self, name):
        return [record for record in self.events if record["event"] == name]


def test_clusters_of_own_parts_send_nothing(small_path, cluster):
    for sampler, halo in (("cluster", False), ("cluster:subgraphs=1", True)):
        for client in (None, cluster(2)):
            history = run(small_path, sampler, client=client).fit(2)
            for epoch in history.epochs:
                assert bool(epoch["halo_rows"]) == halo
                assert bool(epoch["remote_bytes"]) == (halo and client is not None)


@pytest.mark.parametrize("sampler", ["cluster", WALK])
def test_a_batch_size_that_is_ignored_is_said_in_one_line(small_path, sampler):
    with pytest.warns(UserWarning, match="batch_size=32 is ignored: .* ch") as said:
        run(small_path, sampler, batch_size=32).fit(1)
    assert len(said) == 1
    assert "\n" not in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(small_path, sampler).fit(1)


def test_a_command_says_it_of_what_was_given_alone(tmp_path):
    words = ["digits", "--workers", "0", "--epochs", "1", "--sampler", "cluster"]
    size, outs = ["--batch-size", "32"], [str(tmp_path / name) for name in "ab"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = invoked("train", *words, "--out", outs[0], *size)
        (line,) = done.stderr.splitlines()
        assert "--batch-size 32 is ignored: ClusterSampler chooses" in line
        done = invoked("train", *words, "--out", outs[1])
    assert (done.returncode, done.stderr) == (0, "")


def test_every_cluster_is_trained_on_each_epoch(small_path):
    made = run(small_path, "cluster:clusters=6")
    history = made.fit(2)
    assert len(history.steps) == 2 * 3  # 16 clusters
    assert made.plan.steps_per_epoch == 3


def test_an_epoch_of_saint_is_known_before_the_first_step(small_path):
    heard = Heard()
    made = run(small_path, WALK, progress=heard)
    history = made.fit(2)
    (told,) = heard.of("presampled")
    windows = heard.of("presampling")
    assert windows[-1]["drawn"] == told["drawn"] >= windows[-1]["of"] == 500
    mean = told["drawn"] / told["steps"]
    assert len(history.steps) == 2 * round(100 / mean)


def test_counts_are_stored_and_read_or_made_again(small_path, tmp_path):
    expected = run(small_path, WALK)
    expected.fit(3)
    for name, kept in (("read", True), ("made", False), ("damaged", None)):
        out = str(tmp_path / name)
        first = run(small_path, WALK, out=out)
        first.fit(1)
        folder = tmp_path / name / "presampling"
        stored = sorted(path.name for path in folder.iterdir())
        assert stored == ["facts.json", "part-0.npz", "part-1.npz"]
        if kept is False:
            (folder / "facts.json").unlink()
        if kept is None:
            (folder / "part-1.npz").write_bytes(b"torn")
        heard = Heard()
        again = run(small_path, WALK, out=out, progress=heard)
        again.fit(3, resume=True)
        assert again.params_sha256 == expected.params_sha256
        assert len(heard.of("presampled")) == (0 if kept else 1)


def test_counts_of_another_run_are_not_used(small_path, tmp_path):
    first = run(small_path, WALK, out=str(tmp_path / "run"))
    first.fit(1)
    facts = tmp_path / "run" / "presampling" / "facts.json"
    before = json.loads(facts.read_text())
    other = run(small_path, WALK, out=str(tmp_path / "other"), seed=1)
    other.fit(1)
    told = json.loads((tmp_path / "other" / "presampling" / "facts.json").read_text())
    assert told["name"] != before["name"]
    facts.write_text(json.dumps({**told, "steps": 1}))
    again = run(small_path, WALK, out=str(tmp_path / "run"))
    again.fit(2, resume=True)
    expected = run(small_path, WALK)
    expected.fit(2)
    assert again.params_sha256 == expected.params_sha256


def test_a_trainer_that_was_asked_before_trains_the_same(small_path):
    expected = run(small_path, WALK)
    expected.fit(2)
    asked = run(small_path, WALK)
    asked.evaluate("val")
    asked.profile(steps=2)
    asked.fit(2)
    assert asked.params_sha256 == expected.params_sha256
    assert np.array_equal(asked.predict().compute(), expected.predict().compute())


def test_a_resumed_run_must_draw_the_same(small_path, tmp_path):
    out = str(tmp_path / "run")
    run(small_path, WALK, out=out).fit(1)
    other = run(small_path, f"{WALK},subgraphs=1", out=out)
    with pytest.raises(daskgnn.errors.CheckpointError, match="subgraphs=None"):
        other.fit(2, resume=True)


def test_saint_in_memory_on_a_cluster(cluster):
    partitioned = planted_graph(200).partition(num_clusters=16, method="metis")
    found = set()
    for client in (None, cluster(2)):
        graph = daskgnn.open_graph(partitioned, 2)
        made = daskgnn.Trainer(
            small_sage(graph), graph, client=client, sampler=WALK, **AT_ONCE
        )
        made.fit(2)
        found.add(made.params_sha256)
    assert len(found) == 1


@pytest.mark.parametrize("sampler", ["cluster", WALK])
def test_tasks_with_other_targets_are_refused(small_path, sampler):
    class Halves(daskgnn.tasks.NodeClassification):
        def targets(self, graph, split):
            return super().targets(graph, split).take(slice(0, 20))

    with pytest.raises(InputError, match="the graph's training split"):
        run(small_path, sampler, task=Halves())
