"""Small graphs and trainers that several test files use."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import daskgnn
from daskgnn import nn
from daskgnn.cli import gnn, main
from daskgnn.cluster.prefork import METHOD, start_importing
from daskgnn.train.persist.recorder import Silent

ROOT = Path(__file__).parents[1]


def planted_graph(num_nodes=400, seed=0, **options):
    """Return a random graph with features and labels that a model can learn."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, num_nodes)
    source = rng.integers(0, num_nodes, 5 * num_nodes)
    same = [rng.choice(np.flatnonzero(labels == labels[s])) for s in source]
    anyone = rng.integers(0, num_nodes, len(source))
    target = np.where(rng.random(len(source)) < 0.7, same, anyone)
    given = {"name": "planted", **options}
    return _learnable(rng, np.stack([source, target]), labels, given)


def hub_graph(num_nodes=400, seed=0, **options):
    """Return a graph in which some nodes have ten times as many neighbours as most."""
    rng = np.random.default_rng(seed)
    rank = (num_nodes * rng.random((2, 8 * num_nodes)) ** [[1], [3]]).astype(int)
    edges = rng.permutation(num_nodes)[rank]
    labels = rng.integers(0, 4, num_nodes)
    return _learnable(rng, edges, labels, {"name": "hubs", **options})


def _learnable(rng, edges, labels, options):
    """Return a graph with features that tell of the labels, and with splits."""
    num_nodes = len(labels)
    features = rng.normal(size=(num_nodes, 12)) + np.eye(4, 12)[labels]
    split = rng.permutation(num_nodes)
    given = {
        "features": features.astype(np.float32),
        "labels": labels,
        "train": np.sort(split[: num_nodes // 2]),
        "val": np.sort(split[num_nodes // 2 : 3 * num_nodes // 4]),
        "test": np.sort(split[3 * num_nodes // 4 :]),
        "num_nodes": num_nodes,
    }
    return daskgnn.from_edge_index(edges, **{**given, **options})


def hub_weights(num_nodes=400):
    """Return a weight for each of the edges that `hub_graph` is made of."""
    return np.random.default_rng(1).random(8 * num_nodes).astype(np.float32) + 0.1


def stored(graph, path, method="metis", num_clusters=16):
    """Store a graph and return the path."""
    graph.partition(num_clusters=num_clusters, method=method).save(path)
    return str(path)


def small_sage(graph, seed=0, **options):
    """Return a two-layer GraphSAGE, initialised from `seed`."""
    options = {"dropout": 0.4, **options}
    torch.manual_seed(seed)
    return nn.GraphSAGE(graph.num_features, 16, graph.num_classes, 2, **options)


class Scaled(nn.GraphSAGE):
    """A model with a parameter of no dimension, and one that is not trained."""

    def __init__(self, *args):
        super().__init__(*args)
        self.scale = torch.nn.Parameter(torch.tensor(1.5))
        next(p for p in self.parameters() if p.dim() == 2).requires_grad_(False)

    def forward(self, x, blocks):
        return super().forward(x, blocks) * self.scale


def scaled_sage(graph):
    """Return a two-layer model of that kind, whose moments are no single vector."""
    torch.manual_seed(0)
    return Scaled(graph.num_features, 16, graph.num_classes, 2)


AT_ONCE = {"warmup_steps": 0, "ramp_steps": 0}
"""As plain torch trains."""


def trainer(path, num_parts, client, model=small_sage, **options):
    """Return a trainer on a stored graph, which trains at full rate at once."""
    graph = daskgnn.open_graph(path, num_parts)
    options = {"num_neighbors": [4, 3], "batch_size": 48, **AT_ONCE, **options}
    return daskgnn.Trainer(model(graph), graph, client=client, **options)


def mostly_slow(cases, *quick):
    """Return parameters for cases of one behaviour: `make test` runs only `quick`."""
    found = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        marks = [] if case in quick else pytest.mark.slow
        found.append(pytest.param(*values, marks=marks))
    assert sum(not case.marks for case in found) == len(quick)
    return found


class AtStep(Silent):
    """A progress that does something when a step is reported."""

    def __init__(self, step, action):
        self.at, self.action = step, action

    def step(self, record):
        if record["step"] == self.at:
            self.action()


def stop():
    """End a run, as whatever may be raised in it."""
    raise RuntimeError("stopped")


def die(pid=None):
    """Kill a process: this one, if none is named."""
    os.kill(pid or os.getpid(), signal.SIGKILL)


def command(folder, *words):
    """Run the command line as a shell does, in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "daskgnn", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def invoked(*words):
    """Run a command in this process, which saves seconds of imports."""
    result = CliRunner().invoke(gnn, list(words), prog_name="daskgnn")
    return subprocess.CompletedProcess(
        words, result.exit_code, result.stdout, result.stderr
    )


def inside(*words):
    """Run a command in this process; return what it prints."""
    done = invoked(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def forking():
    """Return what starts processes that have imported all, and computed nothing."""
    start_importing()
    return multiprocessing.get_context(METHOD)


def run_forked(code, *words, folder="."):
    """Run Python code in a process forked from one that has imported all.

    It is as a script with arguments; return its exit status and what it said.
    """
    with TemporaryDirectory() as place:
        files = [Path(place, name) for name in ("stdout", "stderr")]
        given = (code, list(map(str, words)), str(folder), files)
        process = forking().Process(target=_code, args=given)
        process.start()
        process.join()
        said = [file.read_text() for file in files]
    return subprocess.CompletedProcess(words, process.exitcode, *said)


def _code(code, words, folder, files):
    """Be the process of some code."""
    os.chdir(folder)
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["-c", *words]
    exec(code, {"__name__": "__main__"})


class Forked:
    """A command in a process of its own, forked from one that has imported all.

    It saves the seconds of imports; signals and exit statuses are those of a process.

    Parameters
    ----------
    folder : str or Path
        Where it runs.
    words : tuple of str
        After ``daskgnn``.
    largest_file : int, optional
        What the operating system refuses to let files grow above, in bytes.
    terminal : Connection, optional
        What its output goes to, as if it was a terminal's; else it is dropped.
    """

    def __init__(self, folder, *words, largest_file=None, terminal=None):
        context = forking()
        self._errors, theirs = context.Pipe(duplex=False)
        given = (theirs, terminal, str(folder), words, largest_file)
        self.process = context.Process(target=_command, args=given)
        self.process.start()
        theirs.close()

    def end(self):
        """Wait for its end; return its exit status and what it said on stderr."""
        with os.fdopen(os.dup(self._errors.fileno()), "r") as stream:
            said = stream.read()
        self._errors.close()
        self.process.join()
        return subprocess.CompletedProcess((), self.process.exitcode, "", said)


def _command(errors, terminal, folder, words, largest_file):
    """Be the process of a command."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.chdir(folder)
    os.environ.update(TERM="xterm", COLUMNS="100")
    output = terminal.fileno() if terminal else os.open(os.devnull, os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(errors.fileno(), 2)
    errors.close()
    if largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    main(list(words))


@contextmanager
def dask_processes():
    """Yield a function that starts processes of Dask's command line in a folder.

    They are forked as well; what they log is in the file ``log`` there. At the end
    they are killed: a worker that is told to end may hang in its last moments.
    """
    started = []

    def start(folder, command, *words):
        given = (folder, command, words)
        process = forking().Process(target=_dask_command, args=given, daemon=True)
        process.start()
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.join()


def _dask_command(folder, command, words):
    """Be a process of Dask's."""
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import_module(f"distributed.cli.dask_{command}").main(list(words))
