"""Trials of what a run has to outlive: real processes, real signals.

Tests run some of them; this file as a program runs series and prints a table:

    python tests/faults.py [--series NAME ...] [--trials N]
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from training import planted_graph, stored, trainer

from daskgnn.train.cluster import OWN_CLUSTER, own_cluster

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


def kill_scheduler(client, rng):
    kill([client.run_on_scheduler(os.getpid)])


def pids(client):
    return sorted(client.run(os.getpid).values())


FAULTS = {
    "kill -9 of one of 2": (kill_one, 2, {}),
    "kill -9 of one of 4": (kill_one, 4, {}),
    "two of 4 at once": (kill_two, 4, {}),
    "one of 3, another in recovery": (kill_in_recovery, 3, {}),
    "all of 2 at once": (kill_all, 2, {}),
    "SIGSTOP of one of 2, missed after 3 s": (stop_one, 2, IMPATIENT),
    "SIGSTOP of one of 2, missed after 30 s": (stop_one, 2, {}),
    "kill -9 of the scheduler": (kill_scheduler, 2, {}),
}
"""What is done, to how many workers, with which settings."""


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
            self.thread = threading.Thread(target=self.disturb)
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
        self.settings = {
            "DASK_" + name.upper().replace(".", "__").replace("-", "_"): str(value)
            for name, value in OWN_CLUSTER.items()
            if not name.endswith("multiprocessing-method")
        }
        self.processes = []
        self.scheduler = self.address = None
        self.port = 0

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
        return self._run("worker", self.address, *options, prefix=prefix)

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


@dataclass(frozen=True)
class Trial:
    """What came of a trial."""

    same: bool
    """Whether nothing changed."""
    seconds: float
    """From the fault to the next step that came home."""
    lost: int
    """Losses that the run has missed."""
    steps_redone: int
    form: str


def run_trial(path, expected, fault, workers, settings, seed, steps="auto", **more):
    """Disturb one run, at a random step; return what came of it."""
    rng = random.Random(seed)
    with own_cluster(workers, settings) as client:
        seen = Disturber(
            fault, client, rng, rng.randrange(EPOCHS * STEPS // 2), rng.uniform(0, 0.05)
        )
        options = {"steps": steps, "progress": seen, **OPTIONS, **more}
        run = trainer(path, PARTS, client, **options)
        run.fit(EPOCHS)
        seen.thread.join()
        same = facts(run) == expected
        form = run.course.main_form
    after = [stamp for stamp in seen.stamps if stamp > seen.when]
    lost = len(seen.named("worker_lost")) + len(seen.named("scheduler_lost"))
    redone = [record["steps_redone"] for record in seen.named("recovered")]
    return Trial(
        same,
        min(after) - seen.when if after else 0.0,
        lost,
        max(redone, default=0),
        form,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", nargs="*", default=list(FAULTS))
    parser.add_argument("--trials", type=int, default=10)
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        path = stored(planted_graph(), Path(folder) / "g.zarr")
        expected = undisturbed(path)
        print("| fault | trials | same bits | steps redone, at most | next step |")
        print("|---|---|---|---|---|", flush=True)
        for name in args.series:
            trials = [
                run_trial(path, expected, *FAULTS[name], f"{name} {i}")
                for i in range(args.trials)
            ]
            seconds = sorted(trial.seconds for trial in trials)
            print(
                f"| {name} | {len(trials)} | {sum(t.same for t in trials)} | "
                f"{max(t.steps_redone for t in trials)} | median "
                f"{seconds[len(seconds) // 2]:.1f} s, longest {seconds[-1]:.1f} s |",
                flush=True,
            )


if __name__ == "__main__":
    main()
