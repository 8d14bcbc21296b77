"""daskgnn's side of a comparison: run by `processes.run_side`.

A local cluster of one-core workers trains through `daskgnn.Trainer`. The clock runs
from the end of a window to the end of a later one: at both ends as many windows are
prepared ahead, so the span pays for all the work of its steps.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from processes import cores, cpu_seconds, forget_peak, give_result, peak_megabytes, pin
from processes import settings as read_settings

import daskgnn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.train.persist.recorder import Silent

NEVER = 10**9
"""Epochs between evaluations."""


class Enough(Exception):
    """The steps to be timed are done."""


class Clock(Silent):
    """Looks at the time when windows end, and stops the run.

    Parameters
    ----------
    warm_up, steps
        Least numbers of steps before and during the timed span.
    pids
        Processes of the workers.
    """

    def __init__(self, warm_up: int, steps: int, pids: list[int]) -> None:
        self.warm_up, self.steps, self.pids = warm_up, steps, pids
        self.trainer: Any = None
        self.ends: list[dict[str, Any]] = []
        """The timed span's two ends."""
        self.loading_peaks: list[float] = []
        self._window_ended: dict[str, Any] | None = None

    def step(self, record: dict[str, Any]) -> None:
        """Take note of a step; all steps of a window come at once, at its end."""
        if record["step"] != self.trainer.run_state.state.step:
            return
        before, self._window_ended = self._window_ended, self._look()
        # A window's steps are known when the next one has ended.
        if before is None:
            return
        before["steps"] = record["step"]
        before["traffic"] = self.trainer.run_state.total.traffic()
        if not self.ends:
            if before["steps"] >= self.warm_up:
                self.ends.append(before)
        elif before["steps"] - self.ends[0]["steps"] >= self.steps:
            self.ends.append(before)
            raise Enough

    def _look(self) -> dict[str, Any]:
        if not self.loading_peaks:
            self.loading_peaks = [peak_megabytes(pid) for pid in self.pids]
            for pid in self.pids:
                forget_peak(pid)
        return {
            "time": time.time(),
            "cpu": [cpu_seconds(pid) for pid in self.pids],
            "driver_cpu": cpu_seconds(os.getpid()),
        }


def seeds_between(first: int, last: int, num_train: int, batch_size: int) -> int:
    """Return the seeds of steps `first` to `last` - 1: an epoch's last is shorter."""
    per_epoch = -(-num_train // batch_size)
    lasts = last // per_epoch - first // per_epoch
    missing = per_epoch * batch_size - num_train
    return (last - first) * batch_size - lasts * missing


def measure(settings: dict[str, Any], client: Any) -> dict[str, Any]:
    """Train on a cluster that is there; return what was measured."""
    places = sorted(client.scheduler_info(n_workers=-1)["workers"])
    pids = [
        client.run(pin, cores()[i % len(cores())], workers=[place])[place]
        for i, place in enumerate(places)
    ]
    graph = daskgnn.open_graph(settings["store"], settings["num_parts"])
    torch.manual_seed(0)
    model = daskgnn.nn.GraphSAGE(
        graph.num_features,
        settings["hidden"],
        graph.num_classes,
        len(settings["fan_out"]),
    )
    clock = Clock(settings["warm_up"], settings["steps"], pids)
    trainer = daskgnn.Trainer(
        model,
        graph,
        num_neighbors=settings["fan_out"],
        batch_size=settings["batch_size"],
        lr=0.003,
        client=client,
        eval_every=NEVER,
        progress=clock,
        **settings["options"],
    )
    clock.trainer = trainer
    try:
        trainer.fit(NEVER)
    except Enough:
        result = report(settings, trainer, clock)
        if settings.get("profile_steps"):
            profile = trainer.profile(settings["profile_steps"])
            result["profile"] = profile.to_dict()
        return result
    raise RuntimeError("the run ended before its clock")


def report(settings: dict[str, Any], trainer: Any, clock: Clock) -> dict[str, Any]:
    """Return what happened between the clock's two ends."""
    begin, end = clock.ends
    steps = end["steps"] - begin["steps"]
    seconds = end["time"] - begin["time"]
    num_train = len(trainer.graph.splits["train"])
    seeds = seeds_between(
        begin["steps"], end["steps"], num_train, settings["batch_size"]
    )
    busy = [b - a for a, b in zip(begin["cpu"], end["cpu"], strict=True)]
    driver_busy = end["driver_cpu"] - begin["driver_cpu"]
    steady = [peak_megabytes(pid) for pid in clock.pids]
    return {
        "seeds_per_second": seeds / seconds,
        "ms_per_step": 1e3 * seconds / steps,
        "cpu_ms_per_step": 1e3 * (sum(busy) + driver_busy) / steps,
        "steps": steps,
        "seconds": seconds,
        "peak_mb": max(map(max, zip(clock.loading_peaks, steady, strict=True))),
        "steady_mb": max(steady),
        "driver_mb": peak_megabytes(os.getpid()),
        "busy": busy,
        "driver_busy": driver_busy,
        "per_step": {
            name: (value - begin["traffic"][name]) / steps
            for name, value in end["traffic"].items()
        },
        "window": trainer.window,
        "forms": trainer.run_state.forms,
        "malloc": malloc_of(clock.pids[0]),
        "versions": {"daskgnn": daskgnn.__version__},
    }


def malloc_of(pid: int) -> dict[str, str]:
    """Return the allocator's variables in a worker's environment."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    found = dict(pair.partition("=")[::2] for pair in pairs if pair)
    return {k: v for k, v in found.items() if k.startswith(("MALLOC_", "THP_"))}


def main() -> None:
    settings = read_settings()
    with own_cluster(settings["workers"]) as client:
        result = measure(settings, client)
    give_result(result)


if __name__ == "__main__":
    main()
