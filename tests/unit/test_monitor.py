"""What is remembered of a run, published of it, and done with it by callbacks."""

import json
import logging
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import daskgnn
from daskgnn.errors import InputError
from daskgnn.monitor.callback import HOOKS, Optional, Watchers
from daskgnn.monitor.history import BUCKETS, MOST_RUNS, RunHistory
from daskgnn.monitor.logs import LOGGER, RunLog, configure
from daskgnn.monitor.publisher import run_name
from daskgnn.monitor.teller import published
from daskgnn.nn import GraphSAGE

ROOT = Path(__file__).parents[2]


def window(step, size=2, **more):
    """Return the record of a window that ends with so many steps done."""
    return {
        "step": step,
        "epoch": 0,
        "losses": [1.0 / (step - size + i + 1) for i in range(size)],
        "seconds": [0.02] * size,
        "seeds": 10 * size,
        "form": "window",
        "lines": {"forward": 0.01 * size, "batches": 0.005},
        "ahead": {"sample": 0.001, "gather": 0.002},
        "wait": 0.005,
        "parts": [("tcp://a:1", 0.01), ("tcp://b:1", 0.02)],
        "pairs": [("tcp://a:1", "tcp://b:1", 100 * size, size)],
        "sums": [("tcp://a:1", 0.0, 0.001, 64)],
        "gradient_bytes": 64 * size,
        "halo_cache_hits": 3 * size,
        "halo_cache_misses": size,
        "in_flight": 2,
        "staleness": 0,
        **more,
    }


def told(*items):
    """Return the history that has heard of these (kind, record)."""
    history = RunHistory()
    for kind, record in items:
        history.take({"run": "r", "items": [(kind, record, 1.0)]})
    return history


def test_steps_that_are_done_again_count_once():
    history = told(
        ("started", {"total_steps": 8, "first_step": 0}),
        ("window", window(2)),
        ("window", window(4)),
        ("started", {"total_steps": 8, "first_step": 1}),  # from an older checkpoint
        ("window", window(3)),
        ("window", window(5)),
    )
    run = history.newest
    assert (run.steps, run.counts["seeds"]) == (5, 50)
    assert run.received == {("tcp://a:1", "tcp://b:1"): [500, 5]}
    assert sum(run.step_seconds.counts) == 5
    assert [step for step, _ in run.loss] == [0, 1, 2, 3, 4]


def test_a_resumed_run_begins_at_its_checkpoint():
    info = {"total_steps": 8, "first_step": 4, "first_seeds": 40}
    run = told(("started", info), ("window", window(6))).newest
    assert (run.steps, run.counts["seeds"]) == (6, 60)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), max_size=30))
def test_totals_never_fall(windows):
    history, before = RunHistory(), None
    for start, size in windows:
        record = window(start + size, size)
        history.take({"run": "r", "items": [("window", record, 1.0)]})
        run = history.newest
        counts = [run.steps, sum(run.step_seconds.counts), *run.counts.values()]
        if before is not None:
            assert all(a <= b for a, b in zip(before, counts, strict=True))
        before = counts
        assert sum(run.step_seconds.counts) <= run.steps


def test_history_is_bounded():
    history = RunHistory()
    for number in range(3 * MOST_RUNS):
        items = [("started", {"total_steps": 9}, 1.0), ("window", window(2), 1.0)]
        history.take({"run": f"r{number}", "items": items})
    assert len(history.runs) == MOST_RUNS
    run = history.newest
    for number in range(3000):
        run.take("window", window(2 * number + 4), float(number))
        run.take("event", {"event": "checkpoint", "step": 1, "seconds": 0.1}, 1.0)
    assert len(run.loss) == 2000
    assert len(run.windows) == 400
    assert len(run.events) == 300


def test_moves_scores_and_ends():
    moved = window(4, parts=[("tcp://b:1", 0.01), ("tcp://b:1", 0.02)])
    history = told(
        ("started", {"total_steps": 8, "first_step": 0}),
        ("window", window(2)),
        ("window", moved),
        ("epoch", {"epoch": 0, "loss": 1.0, "val_accuracy": 0.5, "val_loss": 2.0}),
        ("event", {"event": "recovered", "seconds": 1.0}),
    )
    run = history.newest
    assert [part["moves"] for part in run.parts] == [1, 0]
    assert {name: list(p) for name, p in run.scores.items()} == {
        "val_accuracy": [(0, 0.5)]
    }
    assert run.counts["recoveries"] == 1
    history.lost("tcp://b:1")
    history.lost("tcp://c:1")  # had no part
    assert [event["kind"] for event in run.events] == ["recovered", "lost"]
    assert not run.ended
    run.take("stopped", {}, 2.0)
    assert run.ended == "stopped"


def test_time_left_is_that_of_the_steps_that_are_left():
    history = RunHistory()
    start = ("started", {"total_steps": 100, "first_step": 0}, 0.0)
    windows = [("window", window(2 * i + 2), float(i)) for i in range(10)]
    history.take({"run": "r", "items": [start, *windows]})
    assert history.newest.pace() == (20.0, 2.0)
    assert history.newest.seconds_left() == 40.0


def test_neither_paths_nor_words_are_published():
    record = {"event": "start_from", "run": "/data/runs/a", "step": 3, "why": "secret"}
    record |= {"parts": [1, 2], "tls_key": "/key.pem", "worker": "tcp://a:1"}
    found = published(record)
    assert found == {"event": "start_from", "step": 3, "worker": "tcp://a:1"}


def test_names_of_runs_show_no_directory():
    name = run_name("/home/me/cora.zarr", "s3://key:secret@bucket/runs/a")
    assert name.startswith("cora-zarr-")
    assert len(name) == len("cora-zarr-") + 8
    assert name == run_name("/home/me/cora.zarr", "s3://key:secret@bucket/runs/a")
    assert run_name("cora", None) != run_name("cora", None)


# -- callbacks


@pytest.fixture(scope="module")
def graph():
    return daskgnn.open_graph(daskgnn.load_dataset("karate").partition(), num_parts=2)


def trainer_of(graph, **options):
    model = GraphSAGE(graph.num_features, 8, graph.num_classes)
    options = {"num_neighbors": [5, 5], "client": None, "progress": None} | options
    return daskgnn.Trainer(model, graph, **options)


class Heard(daskgnn.Callback):
    """Remembers what it is told."""

    def __init__(self):
        self.calls = []


for _hook in HOOKS:
    setattr(
        Heard, _hook, lambda self, record, hook=_hook: self.calls.append((hook, record))
    )


def test_the_six_calls_come_in_order(graph):
    heard = Heard()
    trainer_of(graph, callbacks=[heard], batch_size=2).fit(epochs=2)
    hooks = [hook for hook, _ in heard.calls if hook != "event"]
    assert hooks[0] == "started"
    assert hooks.count("epoch") == 2
    assert hooks.count("step") == 4
    assert list(dict.fromkeys(hooks)) == ["started", "step", "window", "epoch"]
    windows = [record for hook, record in heard.calls if hook == "window"]
    assert sum(record["seeds"] for record in windows) == 8
    assert windows[-1]["step"] == 4


def test_a_run_with_a_directory_tells_its_end(graph, tmp_path):
    heard = Heard()
    trainer_of(graph, callbacks=[heard], out=tmp_path / "run").fit(epochs=1)
    assert heard.calls[-1][0] == "finished"
    assert "test_accuracy" in heard.calls[-1][1]


def test_callbacks_do_not_change_a_bit(graph):
    hashes = []
    for callbacks in ([], [Heard()]):
        import torch

        torch.manual_seed(0)
        trainer = trainer_of(graph, callbacks=callbacks)
        trainer.fit(epochs=2)
        hashes.append(trainer.params_sha256)
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("wrong", [["no"], [Heard], "loud", 3])
def test_what_is_no_callback_is_refused(graph, wrong):
    with pytest.raises(InputError, match=r"callbacks=.*expected a list of objects"):
        trainer_of(graph, callbacks=wrong)


def test_a_callback_that_fails_ends_the_run_and_an_optional_one_does_not(graph):
    class Fails(daskgnn.Callback):
        def epoch(self, record):
            raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        trainer_of(graph, callbacks=[Fails()]).fit(epochs=2)
    watchers = Watchers(Optional("the page", Fails()))
    with pytest.warns(UserWarning, match="the page stopped .*full.*goes on"):
        watchers.epoch({"epoch": 0})
    watchers.epoch({"epoch": 1})  # is not told any more


# -- logs


def lines_of(form, level, *calls):
    stream = StringIO()
    stop = configure(form, level, stream)
    log = RunLog("r-1")
    for hook, record in calls:
        getattr(log, hook)(record)
    stop()
    return stream.getvalue().splitlines()


CALLS = [
    ("started", {"first_step": 0, "out": "/data/run", "epochs": 2}),
    ("window", window(2)),
    ("event", {"event": "worker_lost", "worker": "tcp://a:1", "step": 1}),
    ("epoch", {"epoch": 0, "loss": 0.5}),
]


def test_json_records_have_the_fields():
    records = [json.loads(line) for line in lines_of("json", "debug", *CALLS)]
    events = [record["event"] for record in records]
    assert events == [
        *("started", "batch", "batch", "exchange", "sum"),
        *("update", "update", "worker_lost", "epoch"),
    ]
    assert all(record["run"] == "r-1" for record in records)
    exchange = records[3]
    assert exchange["worker"] == "tcp://a:1"
    assert (exchange["sender"], exchange["bytes"]) == ("tcp://b:1", 200)
    assert records[4]["milliseconds"] == 1.0
    assert records[4]["peers"] == []
    assert [records[i]["step"] for i in (5, 6)] == [0, 1]
    assert [records[i]["part"] for i in (1, 2)] == [0, 1]
    assert records[7]["level"] == "warning"
    assert "/data" not in json.dumps(records)


def test_levels_and_text():
    lines = lines_of("text", "warning", *CALLS)
    assert len(lines) == 1
    assert lines[0].endswith("warning worker_lost run=r-1 worker=tcp://a:1 step=1"), (
        lines
    )
    assert [line.split()[2] for line in lines_of("text", "info", *CALLS)] == [
        "started",
        "worker_lost",
        "epoch",
    ]


def test_logging_is_left_as_it_was():
    before = LOGGER.level, list(LOGGER.handlers), LOGGER.propagate
    configure("json", "debug", StringIO())()
    assert (LOGGER.level, list(LOGGER.handlers), LOGGER.propagate) == before
    assert not LOGGER.isEnabledFor(logging.DEBUG)


# -- metrics of a process


def test_buckets_add_up():
    pytest.importorskip("prometheus_client", reason="no prometheus_client")
    from prometheus_client import CollectorRegistry, generate_latest

    from daskgnn.monitor.metrics import RunCollector

    registry = CollectorRegistry()
    registry.register(RunCollector(told(("window", window(2)))))
    text = generate_latest(registry).decode()
    found = [
        line for line in text.splitlines() if "step_duration_seconds_bucket" in line
    ]
    counts = [float(line.split()[-1]) for line in found]
    assert len(counts) == len(BUCKETS) + 1
    assert counts == sorted(counts)
    assert counts[-1] == 2
    series = [line.rsplit(" ", 1)[0] for line in text.splitlines() if line[0] != "#"]
    assert len(series) == len(set(series))


def test_a_port_in_use_is_told_and_the_next_one_taken(graph):
    pytest.importorskip("prometheus_client", reason="no prometheus_client")
    import socket
    from urllib.request import urlopen

    from daskgnn.monitor.server import MetricsServer

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = MetricsServer(port, "r-1")
        with pytest.warns(UserWarning, match=f"metrics_port={port} is in use: .*http"):
            server.started({"total_steps": 4, "first_step": 0})
        server.window(window(2))
        assert server.port > port
        with urlopen(f"http://127.0.0.1:{server.port}/metrics") as page:
            text = page.read().decode()
    server.stop()
    assert 'daskgnn_steps_total{run="r-1"} 2.0' in text


# -- what is not installed


@pytest.mark.parametrize("word", ["tensorboard", "mlflow:x", "wandb"])
def test_a_tracker_that_is_not_installed_names_the_command(graph, word, monkeypatch):
    monkeypatch.setattr("daskgnn.monitor.trackers.find_spec", lambda _: None)
    name = word.partition(":")[0]
    command = rf"pip install 'daskgnn\[{name}\]'"
    with pytest.raises(InputError, match=f"track='{name}' needs .*{command}"):
        trainer_of(graph, track=word, out="somewhere")


def test_an_unknown_tracker_is_refused(graph):
    with pytest.raises(InputError, match="expected tensorboard, mlflow or wandb"):
        trainer_of(graph, track="aim")
    with pytest.raises(InputError, match="tensorboard:DIR"):
        trainer_of(graph, track="tensorboard")


@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.slow)])
def test_training_needs_no_bokeh_matplotlib_or_prometheus(tmp_path, workers):
    for name in ("bokeh", "matplotlib", "prometheus_client"):
        (tmp_path / name).mkdir()
        missing = f"raise ModuleNotFoundError('No module {name}', name='{name}')"
        (tmp_path / name / "__init__.py").write_text(missing)
    command = [sys.executable, "-m", "daskgnn", "train", "karate", "--epochs", "1"]
    command += ["--workers", workers, "--out", str(tmp_path / "run")]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no curves.png: a picture needs matplotlib" in done.stderr
    assert ("no live page" in done.stderr) == (workers != "0")
