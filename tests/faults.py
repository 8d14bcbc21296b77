"""Trials of what a run has to outlive: real processes, real signals.

The tests of this folder's chaos/ run them; ``pytest tests/chaos`` prints a table.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import psutil
import pytest
import torch
from training import small_sage, trainer

from daskgnn import nn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.cluster.settings import setting_variables

EPOCHS, STEPS, PARTS, WINDOW = 6, 10, 4, 4
"""STEPS are those of an epoch."""
OPTIONS = {"batch_size": 20, "window": WINDOW}
IMPATIENT = {"distributed.scheduler.worker-ttl": "3s"}


def facts(run, epochs=EPOCHS):
    """Return what no fault may change."""
    losses = [record["loss"] for record in run.recorder.history.steps]
    assert len(losses) == epochs * STEPS
    return run.params_sha256, losses, run.summary()["test_accuracy"]


def undisturbed(path, epochs=EPOCHS):
    """Return the facts of the run that nothing disturbs."""
    run = trainer(path, PARTS, None, **OPTIONS)
    run.fit(epochs)
    return facts(run, epochs)


def kill(pids, number=signal.SIGKILL):
    """Send a signal; who is gone already is gone."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def kill_one(client, rng):
    kill(rng.sample(pids(client), 1))


def kill_two(client, rng):
    kill(rng.sample(pids(client), 2))


def kill_all(client, rng):
    kill(pids(client))


def kill_in_recovery(client, rng):
    """Kill one, and another while its parts are taken up."""
    first, second = rng.sample(pids(client), 2)
    kill([first])
    time.sleep(rng.uniform(0, 1))
    kill([second])


def stop_one(client, rng):
    """Freeze a worker; it is killed with the cluster at the latest."""
    kill(rng.sample(pids(client), 1), signal.SIGSTOP)


def stop_one_for(seconds):
    """Return what freezes a worker for a while."""

    def stop(client, rng):
        (pid,) = rng.sample(pids(client), 1)
        kill([pid], signal.SIGSTOP)
        time.sleep(seconds)
        kill([pid], signal.SIGCONT)

    return stop


def suspend_all_for(seconds):
    """Return what freezes a run with all its processes, as a laptop's lid does."""

    def suspend(client, rng):
        tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
        found = [process.pid for process in tree]
        words = "import os, sys, time; [os.kill(int(p), {}) for p in sys.argv[1:]]"
        stop, go = (words.format(int(n)) for n in (signal.SIGSTOP, signal.SIGCONT))
        code = f"{stop}; time.sleep({seconds}); {go}"
        words = [sys.executable, "-c", code, *map(str, found)]
        subprocess.run(words, check=True, start_new_session=True)

    return suspend


def kill_for(seconds, every):
    """Return what kills random workers, at random times, for a while."""

    def kill_on(client, rng):
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            known = pids(client)
            kill(rng.sample(known, min(len(known), 1)))
            time.sleep(rng.expovariate(1 / every))

    return kill_on


def kill_scheduler(client, rng):
    kill([client.run_on_scheduler(os.getpid)])


def kill_two_schedulers(client, rng):
    """Kill the scheduler, and the next one as it starts or soon after."""
    first = schedulers()
    kill(first)
    for _ in range(3000):
        if second := schedulers() - first:
            time.sleep(rng.uniform(0, 1.5))
            return kill(second)
        time.sleep(0.01)
    raise AssertionError("no other scheduler was started")


def schedulers():
    """Return the schedulers of this process's own clusters."""
    children = multiprocessing.active_children()
    return {child.pid for child in children if child.name == "daskgnn-scheduler"}


def pids(client):
    return sorted(client.run(os.getpid, on_error="ignore").values())


def die_by_signal():
    os.kill(os.getpid(), signal.SIGKILL)


def die_of_a_segfault():
    """Read what is not this process's to read."""
    ctypes.string_at(0)


def die_of_memory():
    """Take memory, and be killed for it as the kernel does it: without a word."""
    taken = bytearray(300_000_000)
    taken[::4096] = bytes(len(taken[::4096]))
    os.kill(os.getpid(), signal.SIGKILL)


class Slow(nn.GraphSAGE):
    """A model whose steps take long, and give the same bits."""

    def forward(self, x, blocks):
        if self.training:
            time.sleep(0.05)
        return super().forward(x, blocks)


def slow_sage(graph):
    torch.manual_seed(0)
    return Slow(graph.num_features, 16, graph.num_classes, 2, dropout=0.4)


@dataclass(frozen=True)
class Fault:
    """What is done, to how many workers, and how often to be sure."""

    act: object
    workers: int = 2
    trials: int = 10
    settings: dict = field(default_factory=dict)
    epochs: int = EPOCHS
    model: object = small_sage


FAULTS = {
    "kill -9 of one of 2": Fault(kill_one, 2, 20),
    "kill -9 of one of 4": Fault(kill_one, 4, 20),
    "two of 4 at once": Fault(kill_two, 4),
    "one of 3, another in recovery": Fault(kill_in_recovery, 3),
    "all of 2 at once": Fault(kill_all),
    "kill -9 of the scheduler": Fault(kill_scheduler),
    "kill -9 of two schedulers, one after the other": Fault(
        kill_two_schedulers, trials=5
    ),
    "SIGSTOP for 8 s, missed after 3 s": Fault(
        stop_one_for(8), 2, 2, IMPATIENT, 30, slow_sage
    ),
    "SIGSTOP for 60 s, missed after 30 s": Fault(stop_one_for(60), trials=5),
    "all is suspended for 8 s": Fault(suspend_all_for(8), 2, 3, IMPATIENT),
    "a kill every 4 s on average, for 3 minutes": Fault(
        kill_for(180, 4), 2, 1, epochs=90, model=slow_sage
    ),
}


def series(faults, quick=()):
    """Return parameters for every trial of faults; of `quick` ones one is no chaos."""
    return [
        pytest.param(name, trial, marks=_marks(trial == 0 and name in quick))
        for name, fault in faults.items()
        for trial in range(fault.trials)
    ]


def trials(count, quick=1):
    """Return numbers of trials, all but the first ones marked."""
    return [pytest.param(i, marks=_marks(i < quick)) for i in range(count)]


def _marks(quick):
    return [] if quick else [pytest.mark.chaos]


@dataclass
class Disturber:
    """A progress that does something a moment after a step; keeps times and events."""

    fault: object
    client: object
    rng: random.Random
    at: int
    after: float
    events: list = field(default_factory=list)
    stamps: list = field(default_factory=list)
    when: float = 0.0
    thread: threading.Thread | None = None

    def step(self, record):
        self.stamps.append(time.time())
        if record["step"] == self.at:
            self.thread = threading.Thread(target=self.disturb, daemon=True)
            self.thread.start()

    def disturb(self):
        time.sleep(self.after)
        self.when = time.time()
        self.fault(self.client, self.rng)

    def event(self, record):
        self.events.append(record)

    def started(self, info):
        pass

    epoch = finished = started

    def named(self, name):
        return [record for record in self.events if record["event"] == name]


class Supervised:
    """A scheduler and a worker, as a supervisor runs them."""

    def __init__(self, host="127.0.0.1"):
        self.host = host
        self.settings = setting_variables()
        self.processes = []
        self.scheduler = self.address = None
        self.port = 0
        self.more = ()
        """What workers are told besides."""

    def start(self):
        """Start both, at the same address again if they were started before."""
        arguments = ["--host", self.host, "--port", str(self.port), "--no-dashboard"]
        self.scheduler = self._run("scheduler", *arguments)
        for line in self.scheduler.stderr:
            found = re.search(r"Scheduler at:\s+(tcp://[\d.]+:(\d+))", line)
            if found:
                self.address, self.port = found[1], found[2]
                break
        self.start_worker(self.host)

    def start_worker(self, host, *prefix):
        """Start a worker that listens at `host`, by a command if one is given."""
        options = ["--nthreads", "2", "--no-dashboard", "--host", host]
        return self._run("worker", self.address, *options, *self.more, prefix=prefix)

    def _run(self, *words, prefix=()):
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "dask", *words],
            env={**os.environ, **self.settings},
            stderr=subprocess.PIPE if words[0] == "scheduler" else subprocess.DEVNULL,
            text=True,
        )
        self.processes.append(process)
        return process

    def stop(self):
        """End them all."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def run_trial(path, expected, fault, seed, out, told, **more):
    """Disturb one run, at a random step; check it, and fill in the table's row.

    `expected` are the facts of the same run without the fault, `told` the row.
    """
    rng = random.Random(seed)
    with own_cluster(fault.workers, fault.settings) as client:
        at = rng.randrange(EPOCHS * STEPS // 2)
        seen = Disturber(fault.act, client, rng, at, rng.uniform(0, 0.05))
        options = {"progress": seen, "out": out, **OPTIONS, **more}
        run = trainer(path, PARTS, client, fault.model, **options)
        run.fit(fault.epochs)
        seen.thread.join()
        told.same = facts(run, fault.epochs) == expected
        told.form = run.run_state.main_form
    after = [stamp for stamp in seen.stamps if stamp > seen.when]
    told.seconds = min(after) - seen.when if after else None
    told.redone = check_records(out, fault.epochs)
    assert told.same
    assert seen.named("worker_lost") or seen.named("scheduler_lost")
    return seen


def records(out):
    """Return what is on record of a run, but for a line that was cut short."""
    path = out / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def check_records(out, epochs):
    """Check that every step is on record once; return how many were redone at most.

    That is of one recovery: what was in flight then is one window.
    """
    found = records(out)
    steps = [record["step"] for record in found if record["event"] == "step"]
    assert steps == list(range(epochs * STEPS))
    recovered = [record for record in found if record["event"] == "recovered"]
    assert recovered
    redone = max(record["steps_redone"] for record in recovered)
    assert redone <= WINDOW
    return redone
