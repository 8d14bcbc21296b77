"""A real Prometheus scrapes a run and answers the queries of the Grafana dashboard."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

import daskgnn
from daskgnn.monitor.publisher import run_name
from daskgnn.nn import GraphSAGE

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose"
PANELS = COMPOSE / "grafana" / "dashboards" / "daskgnn.json"
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="no prometheus: apt-get install prometheus",
)


def expressions():
    """Return the queries of the dashboard, with Grafana's variables filled in."""
    panels = json.loads(PANELS.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel["targets"]]
    variables = {"$__rate_interval": "10s", "$run": ".*"}
    for name, value in variables.items():
        found = [expression.replace(name, value) for expression in found]
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def prometheus(folder, targets):
    """Start one that scrapes every second; yield what asks it."""
    settings = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    settings["global"]["scrape_interval"] = "1s"
    (job,) = settings["scrape_configs"]
    job["static_configs"] = [{"targets": targets}]
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(settings))
    address = f"127.0.0.1:{free_port()}"

    def ask(query):
        url = f"http://{address}/api/v1/query?{urlencode({'query': query})}"
        try:
            with urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except HTTPError as error:
            return json.load(error)

    command = ["prometheus", f"--config.file={config}"]
    command += [f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address={address}", "--log.level=warn"]
    log = folder / "prometheus.log"
    with log.open("w") as said, subprocess.Popen(command, stderr=said) as process:
        try:
            until(lambda: answers(ask), "Prometheus does not answer")
            yield ask
        finally:
            process.terminate()
            process.wait(30)
    # It warns of series that are there twice, and of a page that it cannot read.
    said = log.read_text().splitlines()
    assert [line for line in said if "SIGTERM" not in line] == []


def answers(ask):
    try:
        return ask("1")["status"] == "success"
    except OSError:
        return False


def until(true, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@pytest.mark.slow
@needs_prometheus
def test_totals_never_fall_for_prometheus_while_workers_are_killed(
    killable, path, tmp_path
):
    pytest.importorskip("prometheus_client", reason="no prometheus_client")
    scheduler = killable.dashboard_link.split("/")[2]
    due = [20, 60]

    class Killer(daskgnn.Callback):
        """Ends a worker now and then, and lets the run last many scrapes."""

        def window(self, record):
            time.sleep(0.2)
            if due and record["step"] >= due[0]:
                due.pop(0)
                pids = killable.run(os.getpid, on_error="ignore")
                os.kill(pids[record["parts"][0][0]], signal.SIGKILL)

    graph = daskgnn.open_graph(path, num_parts=2)
    options = {"num_neighbors": [5, 5], "batch_size": 32, "window": 2}
    options |= {"client": killable, "progress": None, "callbacks": [Killer()]}
    model = GraphSAGE(graph.num_features, 8, graph.num_classes)
    trainer = daskgnn.Trainer(model, graph, out=tmp_path / "run", **options)
    name = run_name(graph.name, str(tmp_path / "run"))
    steps = f'daskgnn_steps_total{{run="{name}"}}'
    with prometheus(tmp_path, [scheduler]) as ask:

        def values(query):
            found = ask(query)["data"]["result"]
            return [(each["metric"], float(each["value"][1])) for each in found]

        history = trainer.fit(epochs=30)
        done = len(history.steps)
        until(lambda: [v for _, v in values(steps)] == [done], "a step is missing")
        rising = '{__name__=~"daskgnn_.+_(total|count|sum|bucket)"}'
        found = values(f"count by (__name__) ({rising})")
        names = [metric["__name__"] for metric, _ in found]
        assert len(names) > 12
        for name in names:
            assert [v for _, v in values(f"resets({name}[1h])") if v] == [], name
        ((_, scrapes),) = values("count_over_time(up[1h])")
        assert scrapes >= 10
        ((_, lost),) = values(steps.replace("steps", "workers_lost"))
        assert lost >= 2


@pytest.mark.slow
@needs_prometheus
def test_prometheus_scrapes_a_run_and_answers(cluster, path, tmp_path):
    pytest.importorskip("prometheus_client", reason="no prometheus_client")
    client = cluster(2)
    scheduler = client.dashboard_link.split("/")[2]
    ports = client.run(lambda dask_worker: dask_worker.http_server.port)
    targets = [scheduler, *(f"127.0.0.1:{port}" for port in ports.values())]
    graph = daskgnn.open_graph(path, num_parts=2)
    out = tmp_path / "run"

    class Slowly(daskgnn.Callback):
        """Lets a run last some scrapes."""

        def window(self, record):
            time.sleep(0.1)

    options = {"num_neighbors": [5, 5], "batch_size": 32, "window": 2, "out": out}
    options |= {"client": client, "progress": None, "callbacks": [Slowly()]}
    model = GraphSAGE(graph.num_features, 8, graph.num_classes)
    trainer = daskgnn.Trainer(model, graph, **options)
    with prometheus(tmp_path, targets) as ask:
        history = trainer.fit(epochs=12)
        name = run_name(graph.name, str(out))

        def value(query):
            (found,) = ask(query)["data"]["result"] or [{"value": [0, "nan"]}]
            return float(found["value"][1])

        steps = f'daskgnn_steps_total{{run="{name}"}}'
        until(lambda: value(steps) == len(history.steps), "the last step is missing")
        assert value("sum(up)") == 3
        assert value(f"resets({steps}[1h])") == 0
        count = f'daskgnn_step_duration_seconds_count{{run="{name}"}}'
        assert value(count) == len(history.steps)
        for expression in expressions():
            answer = ask(expression)
            assert answer["status"] == "success", (expression, answer)
        seen = [e for e in expressions() if ask(e)["data"]["result"]]
        assert len(seen) >= len(expressions()) - 3, "too many queries find nothing"


def test_the_dashboard_names_metrics_that_exist():
    pytest.importorskip("prometheus_client", reason="no prometheus_client")
    import re

    from daskgnn.monitor.history import RunHistory
    from daskgnn.monitor.metrics import RunCollector, WorkerCollector

    history = RunHistory()
    found = [*RunCollector(history).collect(), *WorkerCollector().collect()]
    known = {family.name for family in found}
    for expression in expressions():
        for name in re.findall(r"\bdaskgnn_\w+", expression):
            short = re.sub(r"_(total|bucket|sum|count)$", "", name)
            assert short in known, name


def missing_of(part, whole, place="dashboard"):
    """Yield the places at which a JSON object has what another one has not."""
    if isinstance(part, dict):
        for name, value in part.items():
            if not isinstance(whole, dict) or name not in whole:
                yield f"{place}.{name}"
            else:
                yield from missing_of(value, whole[name], f"{place}.{name}")
    elif isinstance(part, list) and isinstance(whole, list):
        for number, pair in enumerate(zip(part, whole, strict=True)):
            yield from missing_of(*pair, f"{place}[{number}]")
    elif part != whole:
        yield place


def test_grafana_knows_all_that_the_dashboard_says():
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    said = json.loads(PANELS.read_text())
    read = JSONEncoder().encode(models.Dashboard.from_json(said))
    assert list(missing_of(said, json.loads(read))) == []


@needs_prometheus
def test_promtool_takes_the_configuration():
    done = subprocess.run(
        ["promtool", "check", "config", str(COMPOSE / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
