"""Kernels are compiled before the first step, once, and the run says so."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from training import planted_graph, run_forked, small_sage, stored, trainer

from daskgnn.kernels import compiling
from daskgnn.train import deployment, warmup
from daskgnn.train.persist.recorder import Silent

RUN = """
import gc, json, sys
from numba.core import event
from numba.core.dispatcher import Dispatcher
import torch
import daskgnn
from daskgnn.train import deployment, warmup

gc.unfreeze()  # what a forked process inherits would not be found
# Reading kernels takes long where a machine has much to do: that is not the subject.
warmup._PATIENCE = 600.0

def loaded():
    found = [d for d in gc.get_objects() if isinstance(d, Dispatcher)]
    own = [d for d in found if d.py_func.__module__.startswith("daskgnn")]
    return sum(len(d.overloads) for d in own)

class Told:
    events = []
    def event(self, record):
        self.events.append(record["event"])
    def __getattr__(self, name):
        return lambda record: None

path, options = sys.argv[1], json.loads(sys.argv[2])
with event.install_recorder("numba:compile") as seen:
    graph = daskgnn.open_graph(path, num_parts=2)
    sizes = (graph.num_features, 8, graph.num_classes, 2)
    model = daskgnn.nn.GraphSAGE(*sizes, dropout=0.5)
    torch.manual_seed(0)
    run = daskgnn.Trainer(
        model, graph, num_neighbors=[3, 2], client=None, progress=Told(), **options
    )
    real, counts = deployment.warm_up_everywhere, []
    def watched(*args):
        real(*args)
        counts.append((len(seen.buffer), loaded()))
    deployment.warm_up_everywhere = watched
    run.fit(2)
    run.evaluate("test")
counts.append((len(seen.buffer), loaded()))
compiled, ready = zip(*counts)
print(json.dumps({"events": Told.events, "compiled": compiled, "loaded": ready}))
"""


def run(path, cache: Path | None = None, **options) -> dict:
    """Train in a process of its own, maybe with its own cache of compiled kernels."""
    package = str(Path(warmup.__file__).parents[2])
    search = os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])
    own = {} if cache is None else {"NUMBA_CACHE_DIR": str(cache)}
    out = subprocess.run(
        [sys.executable, "-c", RUN, path, json.dumps(options)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **own, "PYTHONPATH": search},
    ).stdout
    return json.loads(out.splitlines()[-1])


def test_kernels_are_loaded_before_the_first_step(path):
    done = run_forked(RUN, path, "{}")
    assert done.returncode == 0, done.stderr
    after_warm_up, in_all = json.loads(done.stdout.splitlines()[-1])["loaded"]
    assert after_warm_up > 20
    assert in_all == after_warm_up


@pytest.mark.slow
def test_kernels_are_compiled_before_the_first_step_and_once(tmp_path):
    path = stored(planted_graph(), tmp_path / "graph.zarr")
    first = run(path, tmp_path / "cache")
    assert first["events"][:2] == [warmup.COMPILING, warmup.READY]
    after_warm_up, in_all = first["compiled"]
    assert in_all == after_warm_up < 10  # helpers have compiled the others
    # Another process finds them; weighted draws need none of their own.
    again = run(path, tmp_path / "cache", sample_by="degree")
    assert warmup.COMPILING not in again["events"]
    assert again["compiled"] == [0, 0]


class Told(Silent):
    """A progress that keeps the names of events."""

    def __init__(self):
        self.events = []

    def event(self, record):
        self.events.append(record["event"])


def test_notice_is_given_once_and_only_where_something_is_compiled(monkeypatch):
    told = Told()
    notice = warmup.CompileNotice(told)
    monkeypatch.setattr(warmup, "compiled", lambda: True)
    notice.compile_first()
    with notice.given_if_long():
        pass
    assert told.events == []
    monkeypatch.setattr(warmup, "compiled", lambda: False)
    monkeypatch.setattr(compiling, "_recorded", lambda: {"no.such.kernel": [[]]})
    notice.compile_first()  # what cannot be compiled ahead stops nothing
    notice.give()
    assert told.events == [warmup.COMPILING]


@pytest.mark.parametrize("name", list(compiling._recorded()))
def test_recorded_types_are_read_as_they_were_written(name):
    calls = compiling._recorded()[name]
    assert calls
    for given in calls:
        assert [compiling.written_type(compiling.read_type(t)) for t in given] == given


def test_what_helpers_are_told_to_compile_is_there():
    for name in compiling._recorded():
        module, _, function = name.rpartition(".")
        assert hasattr(getattr(import_module(module), function), "overloads"), name


def test_a_rehearsal_leaves_no_trace(tmp_path, monkeypatch):
    path = stored(planted_graph(100), tmp_path / "graph.zarr", num_clusters=4)
    shas = []
    for skip in (False, True):
        with monkeypatch.context() as patch:
            if skip:
                patch.setattr(deployment, "warm_up_everywhere", lambda *_: None)
            own = trainer(path, 2, None, batch_size=25)
            own.fit(1)
            shas.append(own.params_sha256)
            assert not [key for key in own.executor._kept if key[0] == "warm_up"]
    assert shas[0] == shas[1]


def test_what_fails_in_rehearsal_fails_in_the_first_step(tmp_path, monkeypatch):
    path = stored(planted_graph(100), tmp_path / "graph.zarr", num_clusters=4)

    def loss(outputs, labels):
        # As it is tried: when the trainer is made, and with 4 and 8 seeds before a fit.
        if "TRAINER_IS_MADE" not in os.environ or len(labels) in (4, 8):
            return outputs.sum()
        raise ValueError(f"no loss for {len(labels)} seeds")

    own = trainer(path, 2, None, model=small_sage, batch_size=50, loss=loss)
    monkeypatch.setenv("TRAINER_IS_MADE", "1")
    with pytest.raises(ValueError, match="no loss for 25 seeds"):
        own.fit(1)
