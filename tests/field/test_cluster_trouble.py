"""Every public call, with whatever may have happened to the cluster before it."""

import os
import signal
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import dask
import numpy as np
import pandas as pd
import pytest
from clusters import default_settings
from distributed import Client, LocalCluster, get_worker
from distributed.core import Status
from distributed.scheduler import NoWorkerError
from training import AT_ONCE, dask_processes, small_sage, trainer

import daskgnn
from daskgnn.cluster import ready
from daskgnn.cluster.clusters import OWN_CLUSTER, own_cluster
from daskgnn.dataflow import cluster as dataflow_cluster
from daskgnn.errors import ClusterError, DaskGNNError, TrainingError
from daskgnn.prepare.stages import prepare
from daskgnn.train import replacement
from daskgnn.train.compute.state import flatten

pytestmark = pytest.mark.timeout(120)
OPTIONS = {"batch_size": 100}
WAIT = 2.0
"""Seconds that are waited for workers and schedulers in these tests."""
SLACK = 15.0
"""Of a busy machine, which trains meanwhile; what waits too long waits for a minute:
see `long_defaults`."""


def lost(client):
    """Kill one worker."""
    os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)


def all_lost(client):
    """Kill all workers at once."""
    for pid in client.run(os.getpid).values():
        os.kill(pid, signal.SIGKILL)


def restarted(client):
    """Restart all workers: Dask forgets all tasks."""
    # Dask's own restart fails where tasks are on their way to the scheduler.
    client.who_has()
    client.processing()
    client.restart()


def scaled_to_zero(client):
    """End all workers in good order."""
    client.cluster.scale(0)
    while client.nthreads():
        time.sleep(0.05)


def closed(client):
    """Close the client."""
    client.close()


def asynchronous(client):
    """Do nothing: the client is what it is."""


def profiled(run, steps):
    """Profile some steps, one a window; return how many were measured, or passed over.

    On a cluster the first window does not count.
    """
    return run.profile(steps).steps + (run.executor.num_workers() > 0)


def written(run):
    """Write predictions to a file; return what is in it."""
    path = Path(f"{os.environ['OUT_OF_TEST']}-{uuid4().hex}.parquet")
    return pd.read_parquet(run.predict(out=path)).to_numpy()


def prepared(client):
    """Make a store of a file; return what identifies its content and order."""
    folder = Path(f"{os.environ['OUT_OF_TEST']}-{uuid4().hex}")
    folder.mkdir()
    edges = np.random.default_rng(0).integers(0, 60, (300, 2))
    np.savetxt(folder / "e.csv", edges, "%d", delimiter=",")
    prepare(folder / "e.csv", folder / "g.zarr", client=client)
    return daskgnn.open_graph(folder / "g.zarr").checksum


def saved(run):
    """Save the model; return the parameters in the file."""
    path = run.save(Path(os.environ["OUT_OF_TEST"]).with_suffix(".npz"))
    return flatten(list(daskgnn.load_model(path).parameters()))


OUTLIVED = [lost, all_lost, restarted]
"""After these the result is as if nothing had happened."""
FATAL = [closed, scaled_to_zero]
"""After these one line says why there is no result."""

ENTRIES = {
    "Trainer": lambda run, _: (
        trainer(
            run.graph.path, 2, run.executor.client if run.options["client"] else None
        ).params_sha256
    ),
    "fit": lambda run, _: (run.fit(2), run.params_sha256)[1],
    "profile": lambda run, _: profiled(run, 2),
    "evaluate": lambda run, _: run.evaluate("test"),
    "summary": lambda run, _: run.summary()["test_accuracy"],
    "predict": lambda run, _: run.predict().compute(),
    "predict to a file": lambda run, _: written(run),
    "embeddings": lambda run, _: run.embeddings().compute(),
    "save": lambda run, _: saved(run),
    "compute": lambda run, lazy: lazy.compute(),
    "compute of what was made of it": lambda run, lazy: lazy.argmax(axis=1).compute(),
    "prepare": lambda run, _: prepared(run.options["client"]),
    "write_profile": lambda run, _: len(run.write_profile(os.environ["OUT_OF_TEST"])),
}
"""Public calls, given a trainer and predictions that are not computed yet."""
AT_HOME = {"save", "write_profile"}
"""Those that need no cluster."""
DERIVED = "compute of what was made of it"
WHEN = ["before fit", "after fit"]
CASES = [(entry, when) for entry in ENTRIES for when in WHEN]
CASES.remove(("write_profile", "before fit"))  # there is none to write
CASES.remove(("prepare", "after fit"))  # it is before all training


def troubled(path, client, entry, when, trouble):
    """Return a call that can be made now, after some trouble or none."""
    run = trainer(path, 2, client, **OPTIONS)
    if when == "after fit":
        run.fit(1)
    lazy = run.predict() if entry.startswith("compute") else None
    if trouble is not None:
        trouble(client)
    return partial(ENTRIES[entry], run, lazy)


def played(path, client, entry, when, trouble=None):
    """Return what a call gives after some trouble, or none."""
    return troubled(path, client, entry, when, trouble)()


def refused(path, client, entry, when, trouble, kind, seconds):
    """Return what a call says after some trouble, in one line and in time."""
    call = troubled(path, client, entry, when, trouble)
    with one_line(kind, seconds) as told:
        call()
    return str(told.value)


@contextmanager
def one_line(kind, seconds):
    """Make sure that a call ends in time with one line."""
    began = time.monotonic()
    with pytest.raises(kind) as told:
        yield told
    assert "\n" not in str(told.value)
    assert time.monotonic() - began < seconds + SLACK


@pytest.fixture(autouse=True)
def out(tmp_path, monkeypatch):
    """Where calls write, the beginning of a path."""
    monkeypatch.setenv("OUT_OF_TEST", str(tmp_path / "out"))


@pytest.fixture
def long_defaults(monkeypatch):
    """Make all waits that nothing configures far longer than the slack of these tests.

    A call that waited for them would pass for a slow one otherwise.
    """
    for module in (ready, replacement, dataflow_cluster):
        monkeypatch.setattr(module, "LIMIT", 60.0)


def of_default(name, *chosen):
    """Mark all cases but a few as trials of faults."""
    return [
        pytest.param(
            *([case] if isinstance(case, str) else case),
            marks=[] if case in chosen else pytest.mark.chaos,
        )
        for case in name
    ]


@pytest.mark.parametrize(
    ("entry", "when", "trouble"),
    of_default(
        [(*case, trouble) for case in CASES for trouble in OUTLIVED],
        ("fit", "before fit", restarted),
        ("fit", "after fit", restarted),
        ("compute", "after fit", restarted),
        ("evaluate", "after fit", all_lost),
    ),
)
def test_what_is_outlived(small_path, killable, entry, when, trouble):
    expected = played(small_path, None, entry, when)
    found = played(small_path, killable, entry, when, trouble)
    np.testing.assert_equal(found, expected)


@pytest.mark.parametrize(
    ("entry", "when"),
    of_default(CASES, ("fit", "before fit"), ("compute", "after fit")),
)
@pytest.mark.usefixtures("long_defaults")
def test_a_closed_client(small_path, cluster, entry, when):
    with Client(cluster(2).scheduler.address, set_as_default=False) as client:
        if entry in AT_HOME | {DERIVED}:  # computed in this process
            expected = played(small_path, None, entry, when)
            found = played(small_path, client, entry, when, closed)
            np.testing.assert_equal(found, expected)
            return
        told = refused(small_path, client, entry, when, closed, ClusterError, 0)
        assert "client" in told
        assert "closed" in told


def test_another_client_is_taken_where_any_may_be(small_path, cluster):
    """With client="auto", the one that is current then."""
    address = cluster(2).scheduler.address
    graph = daskgnn.open_graph(small_path, 2)
    with Client(address):
        options = {"num_neighbors": [4, 3], **AT_ONCE}
        run = daskgnn.Trainer(small_sage(graph), graph, **options)
        run.fit(1)
    with Client(address):
        run.fit(2)
        assert run.executor.num_workers() == 2
    alone = trainer(small_path, 2, None, batch_size=1024)
    alone.fit(2)
    assert run.params_sha256 == alone.params_sha256


@pytest.fixture(scope="module")
def own_workers():
    """A cluster of one worker, which may be scaled."""
    with own_cluster(1) as client:
        yield client


@pytest.mark.chaos
@pytest.mark.parametrize(("entry", "when"), CASES)
@pytest.mark.usefixtures("long_defaults")
def test_no_worker_is_left(small_path, own_workers, entry, when):
    if entry == DERIVED:
        pytest.skip("Dask waits: see the next test")
    with dask.config.set(OWN_CLUSTER), dask.config.set({ready.NO_WORKERS: f"{WAIT}s"}):
        own_workers.cluster.scale(1)
        own_workers.wait_for_workers(1)
        if entry in AT_HOME:
            expected = played(small_path, None, entry, when)
            found = played(small_path, own_workers, entry, when, scaled_to_zero)
            np.testing.assert_equal(found, expected)
            return
        case = small_path, own_workers, entry, when, scaled_to_zero
        assert "no worker" in refused(*case, TrainingError, 2 * WAIT)


@pytest.mark.chaos
@pytest.mark.parametrize("trouble", [scaled_to_zero, restarted])
def test_dask_waits_for_what_is_made_of_predictions(small_path, trouble):
    """As long as the scheduler's own setting says; it is set in every own cluster."""
    with own_cluster(1, {ready.NO_WORKERS: f"{WAIT}s"}) as client:
        run = trainer(small_path, 2, client, **OPTIONS)
        lazy = run.predict().argmax(axis=1)
        expected = lazy.compute()
        trouble(client)
        if trouble is restarted:
            np.testing.assert_array_equal(lazy.compute(), expected)
            return
        with one_line(NoWorkerError, WAIT) as told:
            lazy.compute()
    assert "without any running workers" in str(told.value)


class ByHand:
    """A scheduler and a worker without a nanny, in processes of their own."""

    def __init__(self, folder):
        self.folder, self.processes, self._ends = folder, [], ExitStack()

    def __enter__(self):
        self._started = self._ends.enter_context(dask_processes())
        file = self.folder / "scheduler.json"
        place = ("--host=127.0.0.1", "--port=0", "--no-dashboard")
        self.start("scheduler", *place, f"--scheduler-file={file}")
        while not file.exists():
            time.sleep(0.05)
        words = (f"--scheduler-file={file}", "--no-nanny", "--nthreads=2")
        self.start("worker", *words, "--no-dashboard", "--host=127.0.0.1")
        self.client = self._ends.enter_context(
            Client(scheduler_file=str(file), set_as_default=False)
        )
        self.client.wait_for_workers(1)
        return self

    def start(self, command, *words):
        folder = self.folder / command
        folder.mkdir()
        self.processes.append(self._started(folder, command, *words))

    def kill(self, which):
        self.processes[which].kill()
        self.processes[which].join()

    def __exit__(self, *_):
        self._ends.close()


@pytest.mark.parametrize(
    ("entry", "when", "who"),
    of_default(
        [(*case, who) for case in CASES for who in (0, 1)],
        ("fit", "before fit", 0),
    ),
    ids=lambda value: {0: "scheduler", 1: "only worker"}.get(value, value),
)
@pytest.mark.usefixtures("long_defaults")
@pytest.mark.filterwarnings("ignore:the scheduler's settings")
def test_nobody_comes_back(small_path, tmp_path, entry, when, who):
    """What others started is gone, and nobody starts it again."""
    if entry == DERIVED:
        pytest.skip("Dask waits by its own rules")
    limits = {ready.NO_WORKERS: f"{WAIT}s", "gnn.reconnect-timeout": f"{WAIT}s"}
    with dask.config.set(limits), ByHand(tmp_path) as there:

        def trouble(_):
            there.kill(who)

        if entry in AT_HOME:
            expected = played(small_path, None, entry, when)
            found = played(small_path, there.client, entry, when, trouble)
            np.testing.assert_equal(found, expected)
            return
        case = small_path, there.client, entry, when, trouble
        told = refused(*case, DaskGNNError, 2 * WAIT)
    assert ("scheduler" if who == 0 else "no worker") in told


class Ending(daskgnn.nn.GraphSAGE):
    """A model whose evaluation ends its worker, of this process, when it is told to."""

    def layer(self, i, h, block):
        if not self.training and Path(os.environ["OUT_OF_TEST"], "now").exists():
            worker = get_worker()
            worker.loop.add_callback(worker.close, executor_wait=False)
            while worker.status != Status.closed:
                time.sleep(0.01)
        return super().layer(i, h, block)


@pytest.mark.parametrize(
    "entry", of_default(["predict", "predict to a file", "evaluate"], "predict")
)
@pytest.mark.usefixtures("long_defaults")
@pytest.mark.filterwarnings("ignore:the scheduler's settings")
def test_all_workers_end_while_it_is_computed(small_path, entry):
    place = {"processes": False, "dashboard_address": ":0", "n_workers": 1}
    with (
        dask.config.set({ready.NO_WORKERS: f"{WAIT}s"}),
        LocalCluster(**place) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):

        def model(graph):
            return Ending(graph.num_features, 8, graph.num_classes)

        run = trainer(small_path, 2, client, model, eval_every=9, **OPTIONS)
        run.fit(1)
        Path(os.environ["OUT_OF_TEST"], "now").mkdir(parents=True)
        with one_line(TrainingError, WAIT) as told:
            ENTRIES[entry](run, None)
    assert "no worker came" in str(told.value)


@pytest.mark.chaos
@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.filterwarnings("ignore:the scheduler's settings")
def test_ten_seconds_where_nothing_is_configured(small_path, tmp_path, who):
    with default_settings(), ByHand(tmp_path) as there:
        run = trainer(small_path, 2, there.client, **OPTIONS)
        there.kill(who)
        with one_line(DaskGNNError, ready.LIMIT):
            run.fit(1)
