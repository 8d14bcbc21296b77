"""One side of `golden.py`: run the cases with the daskgnn that this Python imports.

Takes nothing but the public face, so that it runs with any commit's package.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import inspect
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import scipy.sparse as sp
import torch
from distributed import Client, LocalCluster
from golden_cases import CASES, HERE, Case, Place
from golden_models import FUNCTIONS, MODELS
from report import machine

import daskgnn

if TYPE_CHECKING:
    from collections.abc import Callable

CLUSTERS = 16
STEP = 9
"""After which a run is stopped, or a worker killed: in the second epoch."""
CLUSTER = {
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.allowed-failures": 10,
    "distributed.comm.timeouts.connect": "8s",
}
AT_ONCE = {
    name: value
    for name, value in {
        "warmup_steps": 0,
        "ramp_steps": 0,
        "sparse_features": False,
    }.items()
    if name in inspect.signature(daskgnn.Trainer).parameters
}
"""Trains as versions did that had no gentle start, and made all features dense."""
PATIENCE = 150
"""Seconds that a command, or the start of a cluster, may take."""


class Watch:
    """A progress that keeps losses and scores, and does something at a step."""

    def __init__(self, action: Callable[[], None] | None = None) -> None:
        self.losses: dict[int, float] = {}
        self.epochs: dict[int, dict[str, Any]] = {}
        self.events: list[str] = []
        self._action = action

    def step(self, record: dict[str, Any]) -> None:
        self.losses[record["step"]] = record["loss"]
        if self._action is not None and record["step"] >= STEP:
            action, self._action = self._action, None
            action()

    def epoch(self, record: dict[str, Any]) -> None:
        self.epochs[record["epoch"]] = scores_of(record)

    def event(self, record: dict[str, Any]) -> None:
        self.events.append(record["event"])

    def started(self, info: dict[str, Any]) -> None:
        pass

    finished = started


class Stopped(Exception):
    """What ends a run in the middle."""


def stop() -> None:
    raise Stopped


def scores_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return what an epoch's record says that does not depend on time."""
    return {k: v for k, v in record.items() if k == "loss" or k.startswith("val_")}


class Side:
    """The cases of one side, its stores and its clusters."""

    def __init__(self, work: Path, arrays: Path, old: Path | None) -> None:
        self.work, self.arrays, self.old = work, arrays, old

    # -- stores

    def store(self, case: Case) -> Path:
        """Return the path of the case's store; write it on first need."""
        path = self.work / f"{case.graph}-{case.method}-{case.stored_as}.zarr"
        if not path.exists():
            with np.load(self.arrays / f"{case.graph}.npz") as file:
                given = {k: v if v.ndim else v.item() for k, v in file.items()}
            if case.graph == "sparse":
                given["features"] = sp.csr_array(given["features"])
            graph = daskgnn.from_edge_index(**given, name=case.graph)
            partitioned = graph.partition(CLUSTERS, case.method)
            partitioned.save(str(path), feature_dtype=case.stored_as)
        return path

    # -- trainings

    def trainer(
        self, case: Case, place: Place, client: Any, store: Path, **given: Any
    ) -> daskgnn.Trainer:
        graph = daskgnn.open_graph(str(store), case.num_parts, case.features)
        torch.manual_seed(0)
        model = MODELS[case.model](graph.num_features, graph.num_classes)
        options = {
            "num_neighbors": [4, 3],
            "batch_size": 48,
            "window": 4,
            **AT_ONCE,
            **{k: FUNCTIONS.get(str(v), v) for k, v in case.options.items()},
            "steps": place.steps,
            **given,
        }
        return daskgnn.Trainer(model, graph, client=client, **options)

    def fit(self, case: Case, place: Place, client: Any) -> dict[str, Any]:
        """Train as the case and the place say; return what came out."""
        store = self.store(case)
        if place.event in ("stop", "old"):
            trainer, watch = self._resumed(case, place, client, store)
        else:
            killer = kill_one(client) if place.event == "kill" else None
            watch = Watch(killer)
            trainer = self.trainer(case, place, client, store, progress=watch)
            trainer.fit(case.epochs)
            if killer is not None and "worker_lost" not in watch.events:
                raise AssertionError("the worker's death was not noticed")
        splits = ("val", "test")
        outputs = np.ascontiguousarray(trainer.predict().compute(), "<f4")
        return {
            "params_sha256": trainer.params_sha256,
            "losses": watch.losses,
            "epochs": watch.epochs,
            "scores": {split: trainer.evaluate(split) for split in splits},
            "predictions": hashlib.sha256(outputs.tobytes()).hexdigest(),
        }

    def _resumed(
        self, case: Case, place: Place, client: Any, store: Path
    ) -> tuple[daskgnn.Trainer, Watch]:
        """Stop a run, or take one that the base stopped, and go on in a new trainer."""
        out = self.work / "runs" / slug(case, place)
        first, second = Watch(stop), Watch()
        if place.event == "stop":
            given = {"out": str(out), "checkpoint_every": 3}
            run = self.trainer(case, place, client, store, progress=first, **given)
            try:
                run.fit(case.epochs)
            except Stopped:
                shutil.copytree(out, stopped_copy(out))
            else:
                raise AssertionError(f"the run ended before step {STEP}")
        else:
            assert self.old is not None
            store = self.old / store.name
            left = self.old / "runs" / slug(case, replace(place, event="stop"))
            shutil.copytree(stopped_copy(left), out)
        given = {"out": str(out), "checkpoint_every": 3, "progress": second}
        trainer = self.trainer(case, place, client, store, **given)
        trainer.fit(case.epochs, resume=True)
        second.losses = {**first.losses, **second.losses}
        second.epochs = {**first.epochs, **second.epochs}
        return trainer, second

    # -- the command line

    def command(self, case: Case, place: Place) -> dict[str, Any]:
        """Train by the command line; return what its files say."""
        out = self.work / "runs" / slug(case, place)
        resume = ["--resume", str(out), "--workers", str(place.workers)]
        if place.event == "old":
            assert self.old is not None
            left = self.old / "runs" / slug(case, replace(place, event="stop"))
            shutil.copytree(stopped_copy(left), out)
            train(resume)
        else:
            graph = case.graph if case.graph == "digits" else str(self.store(case))
            words = [graph, *case.command.split(), "--epochs", str(case.epochs)]
            words += ["--out", str(out), "--workers", str(place.workers)]
            for name, value in AT_ONCE.items():
                flag = name.replace("_", "-")
                words += (
                    [f"--no-{flag}"] if value is False else [f"--{flag}", str(value)]
                )
            train(words, out if place.event == "stop" else None)
            if place.event == "stop":
                shutil.copytree(out, stopped_copy(out))
                train(resume)
        lines = (out / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        summary = json.loads((out / "summary.json").read_text())
        names = ("train_loss", "best_epoch", "val_accuracy", "test_accuracy", "steps")
        epochs = [r for r in records if r["event"] == "epoch"]
        return {
            "params_sha256": summary["params_sha256"],
            "losses": {r["step"]: r["loss"] for r in records if r["event"] == "step"},
            "epochs": {r["epoch"]: scores_of(r) for r in epochs},
            "scores": {"summary": {name: summary[name] for name in names}},
        }

    def run(self, case: Case, place: Place, client: Any) -> dict[str, Any]:
        """Return what a run gave, or the error that ended it."""
        began = time.perf_counter()
        config = {f"gnn.{name}": value for name, value in case.config.items()}
        try:
            with dask.config.set(config):
                if case.command:
                    found = self.command(case, place)
                else:
                    found = self.fit(case, place, client)
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        seconds = round(time.perf_counter() - began, 1)
        return {"case": case.name, "place": str(place), **found, "seconds": seconds}


def slug(case: Case, place: Place) -> str:
    """Return the name of a run's folder."""
    return f"{case.name} {place}".replace(",", "").replace(" ", "-")


def stopped_copy(out: Path) -> Path:
    """Return where a run is kept as it was when it was stopped."""
    return out.with_name(f"{out.name}-stopped")


def train(words: list[str], until_epoch: Path | None = None) -> None:
    """Run ``daskgnn train``; stop it by a signal once an epoch is on record."""
    command = [sys.executable, "-m", "daskgnn", "train", *words]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if until_epoch is not None:
        metrics = until_epoch / "metrics.jsonl"
        ends = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < ends:
            if metrics.exists() and '"epoch", "epoch"' in metrics.read_text():
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.02)
    _, said = process.communicate(timeout=PATIENCE)
    if process.returncode and until_epoch is None:
        raise RuntimeError(said.strip().splitlines()[-1])


def kill_one(client: Client) -> Callable[[], None]:
    """Return a function that kills the first of the cluster's workers."""

    def kill() -> None:
        pids = client.run(os.getpid)
        os.kill(pids[min(pids)], signal.SIGKILL)

    return kill


class Clusters:
    """One cluster at a time, for as many runs as want so many workers."""

    def __init__(self) -> None:
        self._workers = 0
        self._held = ExitStack()
        self._client: Client | None = None

    def client_for(self, place: Place) -> Client | None:
        """Return a client of a cluster for a run; None for the process itself."""
        if place.workers != self._workers or place.event == "kill":
            self.close()
            self._start(place.workers)
        return self._client

    def _start(self, workers: int) -> None:
        self._workers = workers
        if not workers:
            return
        self._held.enter_context(dask.config.set(CLUSTER))
        started = LocalCluster(
            n_workers=workers,
            threads_per_worker=2,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
        self._held.enter_context(started)
        self._client = self._held.enter_context(Client(started))
        self._client.wait_for_workers(workers, timeout=PATIENCE)

    def close(self) -> None:
        """Let the cluster go: after a kill, too."""
        self._held.close()
        self._workers, self._client = 0, None


def planned(old: bool, names: set[str]) -> list[tuple[Case, Place]]:
    """Return the runs, those of few workers first."""
    runs = []
    for case in CASES:
        if case.name not in names:
            continue
        runs += [(case, place) for place in case.places or (HERE,)]
        if old:
            stops = [place for place in case.places if place.event == "stop"]
            runs += [(case, Place(p.workers, p.steps, "old")) for p in stops]

    def order(run: tuple[Case, Place]) -> tuple[bool, int, bool]:
        case, place = run
        return bool(case.command), place.workers, place.event == "kill"

    return sorted(runs, key=order)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", required=True, help="where daskgnn must come from")
    parser.add_argument("--work", required=True, help="folder of stores and runs")
    parser.add_argument("--arrays", required=True, help="folder of the graphs")
    parser.add_argument("--old", help="folder of stores and runs of the base")
    parser.add_argument("--cases", required=True, help="a JSON list of names")
    args = parser.parse_args()
    home = Path(daskgnn.__file__).resolve()
    if not home.is_relative_to(Path(args.tree).resolve()):
        raise SystemExit(f"daskgnn is of {home.parent}, expected of {args.tree}")
    warnings.simplefilter("ignore")
    print(json.dumps({"machine": machine()}), flush=True)
    old = Path(args.old) if args.old else None
    side = Side(Path(args.work), Path(args.arrays), old)
    runs = planned(old is not None, set(json.loads(args.cases)))
    clusters = Clusters()
    for case, place in runs:
        # A run that hangs ends the side, and says where.
        faulthandler.dump_traceback_later(4 * PATIENCE, exit=True)
        client = None if case.command else clusters.client_for(place)
        print(json.dumps(side.run(case, place, client)), flush=True)
        if place.event == "kill":
            clusters.close()
    faulthandler.cancel_dump_traceback_later()
    clusters.close()


if __name__ == "__main__":
    main()
