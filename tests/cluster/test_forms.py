"""Steps as tasks, steps as windows, no cluster: the same bits."""

import functools
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
import torch
from distributed import get_worker
from training import mostly_slow, scaled_sage, trainer

from daskgnn import nn
from daskgnn.dataflow.cluster import ClusterExecutor
from daskgnn.dataflow.steps.gang import PLUGIN, LeftState
from daskgnn.dataflow.steps.sums import SLICED_BYTES
from daskgnn.errors import TrainingError
from daskgnn.train import loop

EPOCHS = 2
SHAPES = {1: [3], 2: [3], 3: [5, 8]}
"""Numbers of parts by number of workers."""

WAYS = [
    {"accumulate": 2, "clip_norm": 0.1},
    {"compress": "topk:0.1", "gradients": "async", "staleness": 1, "ramp_steps": 2},
    {"gradients": "ring", "checksum_every": 2},
    {"local_steps": 2, "checksum_every": 2},
    {"local_steps": 4, "gradients": "ring"},
    {"gradients": "async", "staleness": 2, "compensation": "dc-asgd"},
    {"compress": "powersgd:2", "checksum_every": 2},
]
FORM_SECONDS, IMPATIENT_SECONDS = 0.5, 15
"""That gangs are waited for, and that it takes at most to give them up."""
NOBODY = ("tcp://127.0.0.1:9", ())
"""A member without parts, at an address where nothing listens."""


@pytest.fixture(autouse=True)
def _windows_of_all_steps_allowed(monkeypatch):
    """What crosses depends on windows' sizes, and these on measured times."""
    monkeypatch.setattr(loop, "WINDOW_SECONDS", 1e6)


@pytest.fixture
def path(small_path):
    return small_path


@pytest.fixture(scope="module")
def alone(small_path):
    """Return a function that trains in this process, once for each number of parts."""
    return functools.cache(lambda num_parts: fitted(small_path, num_parts, None))


@pytest.fixture(params=mostly_slow(SHAPES, 2))
def workers(request, cluster):
    """Number of workers, and their client."""
    return request.param, cluster(request.param)


def new_run(path, num_parts, client, steps="auto", **options):
    options = {"batch_size": 24, "window": 3, "eval_every": EPOCHS, **options}
    return trainer(path, num_parts, client, steps=steps, **options)


def fitted(path, num_parts, client, steps="auto", **options):
    run = new_run(path, num_parts, client, steps, **options)
    run.fit(EPOCHS)
    return run


def facts(run):
    """Return what must not depend on where a run ran, nor in which form."""
    losses = [record["loss"] for record in run.recorder.history.steps]
    return run.params_sha256, losses, run.summary()["test_accuracy"]


def form(run):
    return run.summary()["steps_form"]


def crossed(run):
    """Return what crossed between workers."""
    summary = run.summary()
    return [summary[k] for k in ("halo_rows", "remote_rows", "remote_bytes")]


def large(graph):
    """Return a model whose gradient three members sum in slices."""
    torch.manual_seed(0)
    return nn.GraphSAGE(graph.num_features, 512, graph.num_classes, 3)


@pytest.mark.slow
def test_sums_in_slices_give_the_same_bits(path, cluster):
    """Two members would have nothing to slice."""
    options = {"num_neighbors": [3, 2, 2], "window": 2, "model": large, "lr": 1e-4}
    runs = [
        trainer(path, 3, where, steps=steps, **options)
        for where, steps in ((None, "auto"), (cluster(3), "window"))
    ]
    for run in runs:
        run.fit(1)
    nbytes = runs[0].run_state.state.parameters.nbytes
    assert nbytes / 3 > SLICED_BYTES
    assert runs[1].run_state.forms.keys() == {"window"}
    assert runs[0].params_sha256 == runs[1].params_sha256


def test_forms_give_the_same_bits(path, alone, workers):
    count, client = workers
    for num_parts in SHAPES[count]:
        tasks = fitted(path, num_parts, client, "tasks")
        windows = fitted(path, num_parts, client, "window")
        assert facts(tasks) == facts(windows) == facts(alone(num_parts))
        assert form(alone(num_parts)) == form(tasks) == "tasks"
        assert form(windows) == "window"
        assert tasks.run_state.forms.keys() == {"tasks"}
        assert windows.run_state.forms.keys() == {"window"}
        assert crossed(tasks) == crossed(windows)


@pytest.mark.parametrize("workers", [2], indirect=True)
@pytest.mark.parametrize("way", mostly_slow(WAYS, WAYS[1]))
def test_ways_of_using_gradients_give_the_same_bits(path, alone, workers, way):
    _, client = workers
    expected = fitted(path, 3, None, **way)
    assert facts(expected) != facts(alone(3))
    for steps in ("tasks", "window"):
        run = fitted(path, 3, client, steps, **way)
        assert run.run_state.forms.keys() == {steps}
        assert facts(run) == facts(expected)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2], indirect=True)
def test_moments_of_single_parameters_are_the_same_everywhere(path, workers):
    _, client = workers
    options = {"local_steps": 2, "model": scaled_sage}
    alone = fitted(path, 3, None, **options)
    # The parameter of no dimension is the first; the second is not trained.
    moments = alone.run_state.state.optimizer
    assert {"exp_avg.0", "exp_avg.2"} < moments.keys()
    assert "exp_avg.1" not in moments
    for steps in ("tasks", "window"):
        run = fitted(path, 3, client, steps, **options)
        assert run.run_state.forms.keys() == {steps}
        assert facts(run) == facts(alone)


class Damaging(torch.optim.SGD):
    """An optimizer that spoils a number on one of the workers."""

    def step(self, closure=None):
        super().step(closure)
        with suppress(ValueError):
            if get_worker().address == FAULTY["address"]:
                self.param_groups[0]["params"][0].data.view(-1)[3] += 1e-6


FAULTY = {"address": None}


@pytest.mark.parametrize("workers", [2], indirect=True)
def test_a_worker_with_other_parameters_is_named(path, workers):
    _, client = workers
    address = max(client.scheduler_info(n_workers=-1)["workers"])
    FAULTY["address"] = address
    run = trainer(
        path,
        3,
        client,
        optimizer=lambda parameters: Damaging(parameters, lr=0.1),
        batch_size=24,
        steps="window",
        checksum_every=5,
    )
    with pytest.raises(TrainingError, match=rf"after step 5 .*{address}"):
        run.fit(EPOCHS)


@pytest.mark.parametrize("workers", [2], indirect=True)
def test_short_steps_run_as_windows_by_themselves(path, alone, workers):
    count, client = workers
    run = fitted(path, SHAPES[count][0], client)
    assert form(run) == "window"
    assert facts(run) == facts(alone(SHAPES[count][0]))


def forget_state(dask_worker):
    """Make a worker lack the state that the last window has left on it."""
    dask_worker.plugins[PLUGIN].left = "", None


@pytest.mark.parametrize("workers", [2], indirect=True)
def test_a_state_is_sent_to_workers_that_lack_it_alone(
    path, alone, workers, monkeypatch
):
    _, client = workers
    some = min(client.scheduler_info(n_workers=-1)["workers"])
    sent, run_gang = [], ClusterExecutor._run_gang

    def noted(self, gang, steps):
        if len(sent) == 2:
            client.run(forget_state, workers=[some])
        sent.append(not isinstance(steps.state, LeftState))
        return run_gang(self, gang, steps)

    monkeypatch.setattr(ClusterExecutor, "_run_gang", noted)
    run = fitted(path, 3, client, "window")
    assert facts(run) == facts(alone(3))
    assert form(run) == "window"
    # The first window's; the third one's, when it was found missing.
    assert sent[:4] == [True, False, False, True]
    assert not any(sent[4:])


def forget_unused_state(dask_worker):
    """Look twice for a state that nothing has come for; return what is left."""
    plugin = dask_worker.plugins[PLUGIN]
    plugin._forget_old()
    plugin._forget_old()
    return plugin.left


@pytest.mark.parametrize("workers", [2], indirect=True)
def test_a_state_that_nothing_comes_for_is_forgotten(path, alone, workers):
    _, client = workers
    run = new_run(path, 3, client, "window")
    run.fit(EPOCHS - 1)
    assert set(client.run(forget_unused_state).values()) == {("", None)}
    run.fit(EPOCHS)
    assert facts(run) == facts(alone(3))


@pytest.fixture
def gangs(monkeypatch):
    """Return the list of (seconds, whether it went through) of the gangs tried."""
    tried = []
    run_in_order = ClusterExecutor.run_in_order

    def timed(self, *args):
        began = time.monotonic()
        outcomes = run_in_order(self, *args)
        tried.append((time.monotonic() - began, bool(outcomes)))
        return outcomes

    monkeypatch.setattr(ClusterExecutor, "run_in_order", timed)
    return tried


@contextmanager
def impatient(members=()):
    """Have gangs wait for a moment only, maybe for more members than there are."""
    new_gang = ClusterExecutor._new_gang

    def impatient(self):
        gang = new_gang(self)
        members_of_all = (*gang.members, *members)
        return replace(gang, members=members_of_all, form_seconds=FORM_SECONDS)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClusterExecutor, "_new_gang", impatient)
        yield


def check_that_all_went_through_tasks(run, alone, gangs):
    assert facts(run) == facts(alone(3))
    assert form(run) == "tasks"
    assert gangs
    for seconds, went_through in gangs:
        assert not went_through
        assert seconds < IMPATIENT_SECONDS


@pytest.mark.parametrize("workers", [2], indirect=True)
def test_a_member_that_is_not_there(path, alone, workers, gangs):
    _, client = workers
    with impatient([NOBODY]):
        run = fitted(path, 3, client, "window")
    check_that_all_went_through_tasks(run, alone, gangs)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2], indirect=True)
def test_a_worker_without_the_plugin(path, alone, workers, gangs):
    _, client = workers
    fitted(path, 3, client, "window")
    address = max(client.scheduler_info(n_workers=-1)["workers"])
    assert client.run(remove_plugin, workers=[address])[address]
    gangs.clear()
    try:
        with impatient():
            run = fitted(path, 3, client, "window")
    finally:
        client.run(restore_plugin, workers=[address])
    check_that_all_went_through_tasks(run, alone, gangs)
    assert form(fitted(path, 3, client, "window")) == "window"


def remove_plugin(dask_worker):
    """Make a worker as one that has never heard of gangs."""
    dask_worker.removed = dask_worker.plugins.pop(PLUGIN)
    dask_worker.handlers.pop("gnn_listen")
    dask_worker.stream_handlers.pop("gnn_lost")
    return True


def restore_plugin(dask_worker):
    """Give it back what it had."""
    dask_worker.plugins[PLUGIN] = plugin = dask_worker.removed
    dask_worker.handlers["gnn_listen"] = plugin.listen
    dask_worker.stream_handlers["gnn_lost"] = plugin.lost


def test_a_second_fit_on_the_same_workers(path, alone, workers):
    """Its windows have the numbers of the first one's, and other seeds."""
    run = trainer(path, 2, workers[1], window=3)
    run.fit(1)
    run.fit(2)
    whole = trainer(path, 2, None)
    whole.fit(2)
    assert run.params_sha256 == whole.params_sha256
