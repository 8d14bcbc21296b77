"""The live page and the metrics of a cluster, as they are fetched over HTTP."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from urllib.request import urlopen

import dask
import pytest

import daskgnn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.monitor import plugin, publisher
from daskgnn.monitor.plugin import page_link
from daskgnn.nn import GraphSAGE


def trainer_of(client, path, **options):
    import torch

    torch.manual_seed(0)
    graph = daskgnn.open_graph(path, num_parts=2)
    model = GraphSAGE(graph.num_features, 8, graph.num_classes)
    options = {"num_neighbors": [5, 5], "batch_size": 64, "progress": None} | options
    return daskgnn.Trainer(model, graph, client=client, **options)


def fetched(client, name):
    link = client.dashboard_link.rsplit("/", 1)[0]
    with urlopen(f"{link}/{name}") as answer:
        return answer.read().decode()


def series(text):
    """Return the values of our series by name and labels."""
    lines = [line for line in text.splitlines() if line.startswith("daskgnn_")]
    found = dict(line.rsplit(" ", 1) for line in lines)
    assert len(found) == len(lines), "a series is there twice"
    return {name: float(value) for name, value in found.items()}


def names(text):
    return {name.partition("{")[0] for name in series(text)}


NAMES = {
    *("daskgnn_steps_total", "daskgnn_step_duration_seconds_bucket"),
    *("daskgnn_seeds_total", "daskgnn_remote_bytes_total"),
    *("daskgnn_halo_cache_hits_total", "daskgnn_loss", "daskgnn_score"),
    *("daskgnn_recoveries_total", "daskgnn_checkpoint_duration_seconds_sum"),
    "daskgnn_window_wait_seconds_count",
}


def test_page_and_metrics_tell_the_run_and_no_path(cluster, path, tmp_path):
    pytest.importorskip("prometheus_client", reason="no prometheus_client")
    client, out = cluster(2), tmp_path / "secret-folder"
    trainer = trainer_of(client, path, out=out)
    history = trainer.fit(epochs=3)
    page = fetched(client, "gnn")
    assert "<title>daskgnn</title>" in page
    text = fetched(client, "metrics")
    assert names(text) >= NAMES
    name = publisher.run_name(trainer.graph.name, str(out))
    mine = {key: value for key, value in series(text).items() if name in key}
    steps = len(history.steps)
    assert mine[f'daskgnn_steps_total{{run="{name}"}}'] == steps
    assert mine[f'daskgnn_step_duration_seconds_count{{run="{name}"}}'] == steps
    assert mine[f'daskgnn_seeds_total{{run="{name}"}}'] == trainer.run_state.total.seeds
    score = f'daskgnn_score{{metric="accuracy",run="{name}",split="val"}}'
    assert mine[score] == trainer.recorder.last_summary["val_accuracy"]
    received, sent = (
        sum(v for k, v in mine.items() if "remote_bytes" in k and way in k)
        for way in ('"received"', '"sent"')
    )
    assert received == sent == trainer.run_state.total.remote_bytes
    events = json.dumps(client.get_events(plugin.TOPIC))
    for told in (page, text, events):
        assert "secret-folder" not in told
        assert str(path) not in told
    assert f'<a href="{page_link(client)}"' in trainer._repr_html_()


def test_workers_have_metrics_of_their_own(cluster, path):
    pytest.importorskip("prometheus_client", reason="no prometheus_client")
    client = cluster(2)
    trainer_of(client, path).fit(epochs=1)
    ports = client.run(lambda dask_worker: dask_worker.http_server.port)
    for port in ports.values():
        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            found = series(answer.read().decode())
        assert found["daskgnn_worker_gradients_total"] > 0
        assert found['daskgnn_worker_busy_seconds_total{phase="forward"}'] > 0


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool: apt-get install prometheus"
)
def test_names_follow_the_conventions(cluster, path):
    pytest.importorskip("prometheus_client", reason="no prometheus_client")
    client = cluster(2)
    trainer_of(client, path).fit(epochs=1)
    text = fetched(client, "metrics").splitlines(keepends=True)
    mine = "".join(line for line in text if "daskgnn_" in line)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=mine, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.strip() == ""


def test_watching_changes_no_bit(cluster, path):
    client, hashes = cluster(2), set()
    for watched in (True, False):
        with dask.config.set({"gnn.monitor": watched}):
            trainer = trainer_of(client, path)
            trainer.fit(epochs=2)
            hashes.add(trainer.params_sha256)
    assert len(hashes) == 1


def test_at_most_one_message_a_window(cluster, path):
    client = cluster(2)

    def messages():
        return len(client.get_events(plugin.TOPIC) or ())

    trainer_of(client, path).fit(epochs=1)
    before = messages()
    heard = []

    class Windows(daskgnn.Callback):
        def window(self, record):
            heard.append(record)

    trainer_of(client, path, callbacks=[Windows()]).fit(epochs=6)
    # One more tells that it began, one that it is over.
    assert messages() - before <= len(heard) + 2


def test_a_scheduler_that_refuses_is_told_once_and_training_goes_on(
    cluster, path, monkeypatch
):
    def refuse(_client):
        raise ModuleNotFoundError("No module named 'daskgnn'")

    monkeypatch.setattr(plugin, "install", refuse)
    with pytest.warns(UserWarning, match="no live page .* training goes on") as told:
        trainer_of(cluster(2), path).fit(epochs=2)
    assert len([one for one in told if "live page" in str(one.message)]) == 1


def test_a_page_that_fails_stops_itself_alone(cluster, path):
    client = cluster(2)
    trainer = trainer_of(client, path)
    trainer.fit(epochs=1)
    client.log_event(plugin.TOPIC, {"run": "broken", "items": [("nonsense", {}, 0)]})
    trainer.fit(epochs=2)
    assert "<title>daskgnn</title>" in fetched(client, "gnn")
    client.run_on_scheduler(_mend)


def _mend(dask_scheduler):
    dask_scheduler.plugins[plugin.PLUGIN]._failed = False


DRIVER = """
import sys
from daskgnn.cli import main
main(["train", "karate", "--workers", "2", "--epochs", "2", "--out", sys.argv[1]])
"""


@pytest.mark.slow
def test_a_pipe_is_told_the_address_at_once(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as process:
        first = process.stdout.readline()
        rest = process.stdout.read()
    assert process.returncode == 0
    assert first.startswith("live page: http://127.0.0.1:")
    assert first.endswith("/gnn\n")
    assert "epoch 2/2" in rest


@pytest.mark.slow
def test_totals_never_fall_while_workers_are_killed(killable, path):
    pytest.importorskip("prometheus_client", reason="no prometheus_client")
    totals = []
    kills = iter([3, 9])
    due = [next(kills)]

    class Killer(daskgnn.Callback):
        """Ends a worker now and then; looks at the totals after each window."""

        def window(self, record):
            found = series(fetched(killable, "metrics"))
            totals.append({k: v for k, v in found.items() if "_total{" in k})
            if due[0] is not None and record["step"] >= due[0]:
                due[0] = next(kills, None)
                pids = killable.run(os.getpid, on_error="ignore")
                os.kill(pids[record["parts"][0][0]], signal.SIGKILL)
                time.sleep(0.5)

    trainer = trainer_of(killable, path, window=1, callbacks=[Killer()], batch_size=32)
    history = trainer.fit(epochs=4)
    found = series(fetched(killable, "metrics"))
    totals.append({k: v for k, v in found.items() if "_total{" in k})
    for before, after in pairwise(totals):
        assert all(after[name] >= value for name, value in before.items())
    (steps,) = (
        value
        for name, value in totals[-1].items()
        if name.startswith("daskgnn_steps_total") and value == len(history.steps)
    )
    assert steps == trainer.run_state.state.step
    lost = sum(v for k, v in totals[-1].items() if "workers_lost" in k)
    assert lost >= 2


@pytest.mark.slow
def test_a_new_scheduler_goes_on_from_the_steps_done(path):
    pytest.importorskip("prometheus_client", reason="no prometheus_client")

    class Killer(daskgnn.Callback):
        """Ends the scheduler once."""

        done = False

        def window(self, record):
            if record["step"] >= 4 and not self.done:
                self.done = True
                os.kill(client.run_on_scheduler(os.getpid), signal.SIGKILL)

    with own_cluster(2) as client:
        trainer = trainer_of(client, path, window=2, callbacks=[Killer()])
        history = trainer.fit(epochs=6)
        now = trainer.executor.client
        assert now is not client
        found = series(fetched(now, "metrics"))
    (steps,) = (v for name, v in found.items() if "daskgnn_steps_total" in name)
    (seeds,) = (v for name, v in found.items() if "daskgnn_seeds_total" in name)
    assert steps == len(history.steps)
    assert seeds == trainer.run_state.total.seeds
