"""`RunState`: how far a run has come, the content of a checkpoint."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from daskgnn.train.compute.state import TrainState, Weights, named
from daskgnn.train.fingerprint import check_same
from daskgnn.train.persist.checkpoint import Checkpoint
from daskgnn.train.plan import Position
from daskgnn.train.profile.windowprofile import CROSSED
from daskgnn.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from daskgnn.train.compute.schedule import Schedule


EVALUATED = ("graph_hash", "model", "parameters")
"""Facts that an evaluation must agree with."""


@dataclass
class Sums:
    """Sums over the steps of an epoch, or of the whole run."""

    loss: float = 0.0
    """Sum over seeds."""
    seeds: int = 0
    seconds: float = 0.0
    """Of training, with the preparation of minibatches."""
    eval_seconds: float = 0.0
    """Of evaluations at the ends of epochs."""
    halo_rows: int = 0
    """Rows that crossed between parts."""
    remote_rows: int = 0
    """Rows that crossed between workers."""
    remote_bytes: int = 0
    messages: int = 0
    cache_hits: int = 0
    """Rows that a halo cache held, wherever their owners are."""
    cache_misses: int = 0
    """Rows that it did not hold; 0 without a cache."""
    cache_saved_bytes: int = 0
    gradient_bytes: int = 0
    """Of all parts' gradients, as they were."""
    sent_gradient_bytes: int = 0
    """Of what was sent of them."""
    staleness: dict[str, int] = field(default_factory=dict)
    """Updates by their staleness, where gradients are applied as they come."""

    def count_staleness(self, late: Sequence[int]) -> None:
        """Count updates of some staleness."""
        counts = Counter({int(name): n for name, n in self.staleness.items()})
        counts.update(late)
        self.staleness = {str(name): counts[name] for name in sorted(counts)}

    def traffic(self) -> dict[str, Any]:
        """Return what crossed, as records hold it."""
        names = (*CROSSED, "gradient_bytes", "sent_gradient_bytes")
        late = {"staleness": self.staleness} if self.staleness else {}
        return {name: getattr(self, name) for name in names} | late


@dataclass
class RunClock:
    """Wall time of a run's fits, and what of it went before the first step."""

    start: float = 0.0
    """Seconds of loading the graph and compiling."""
    _before: float = 0.0
    _since: float | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time inside."""
        self._since = time.perf_counter()
        try:
            yield
        finally:
            self._before, self._since = self.wall, None

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Count the time inside as that of the start."""
        began = time.perf_counter()
        yield
        self.start += time.perf_counter() - began

    @property
    def wall(self) -> float:
        """Seconds of all fits so far."""
        now = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._before + now

    def set(self, wall: float, start: float) -> None:
        """Go on from these seconds."""
        self.start, self._before = start, wall
        if self._since is not None:
            self._since = time.perf_counter()


@dataclass
class Best:
    """The best epoch so far, by the validation score."""

    epoch: int
    score: float
    parameters: np.ndarray
    step: int | None = None
    """Steps done at that epoch's end."""
    statistics: np.ndarray | None = None
    """float64 [b], the running statistics of batch normalisations."""


@dataclass
class RunState:
    """The current state of a run."""

    state: TrainState
    schedule: Schedule
    position: Position = field(default_factory=Position)
    best: Best | None = None
    evaluations_since_best: int = 0
    stopped: bool = False
    """Whether early stopping has ended the run."""
    epoch: Sums = field(default_factory=Sums)
    """Of the steps done in the present epoch."""
    total: Sums = field(default_factory=Sums)
    last_loss: float | None = None
    """Of the last whole epoch."""
    forms: dict[str, int] = field(default_factory=dict)
    """Steps that ran as "tasks" and as "window"."""
    clock: RunClock = field(default_factory=lambda: RunClock())
    """Time of this run's fits."""

    @property
    def best_parameters(self) -> np.ndarray:
        """float32 [n], the best epoch's parameters, or the last without one."""
        return self.best_weights.parameters

    @property
    def best_weights(self) -> Weights:
        """The best epoch's parameters and running statistics, or the last ones."""
        if self.best is None:
            return self.state.weights
        return Weights(self.best.parameters, self.best.statistics)

    def begin_with(self, weights: Weights) -> None:
        """Go on from other weights; the best ones are sought anew."""
        self.state = self.state.begun_with(weights)
        self.best, self.evaluations_since_best, self.stopped = None, 0, False

    @property
    def main_form(self) -> str:
        """The form that most steps ran in."""
        return max(self.forms, key=self.forms.__getitem__, default="tasks")

    def why_done(self, epochs: int, patience: int | None) -> str | None:
        """Return why there is nothing to train, if so, and how there would be.

        A larger patience than that which ended the run lets it go on.
        """
        done, waited = self.position.epoch, self.evaluations_since_best
        self.stopped = self.stopped and _has_waited(waited, patience)
        if self.stopped and epochs > done:
            return (
                f"patience={patience} ended the run after {done} epochs: a larger one "
                "lets it go on"
            )
        if epochs <= done:
            return (
                f"{done} epochs are done, counted from the start of the run: "
                f"epochs={done + epochs} trains {epochs} more"
            )
        return None

    def to_checkpoint(self, plan: dict[str, Any]) -> Checkpoint:
        """Return a checkpoint; `plan` is what a resume must agree with."""
        arrays = {"parameters": self.state.parameters}
        for name, array in self.state.optimizer.items():
            arrays[f"optimizer/{name}"] = array
        for name, array in self.state.carried().items():
            arrays[f"gradients/{name}"] = array
        best = None
        if self.best is not None:
            arrays["best_parameters"] = self.best.parameters
            if self.best.statistics is not None:
                arrays["best_statistics"] = self.best.statistics
            best = [self.best.epoch, self.best.score]
        facts = {
            "step": self.state.step,
            "position": [self.position.epoch, self.position.step],
            "best": best,
            "best_step": None if self.best is None else self.best.step,
            "evaluations_since_best": self.evaluations_since_best,
            "stopped": self.stopped,
            "epoch_sums": asdict(self.epoch),
            "total_sums": asdict(self.total),
            "last_loss": self.last_loss,
            "forms": dict(self.forms),
            "schedule": self.schedule.state(),
            "wall_seconds": self.clock.wall,
            "start_seconds": self.clock.start,
            "plan": plan,
            "versions": versions(),
        }
        return Checkpoint(arrays, facts)

    def restore(
        self, checkpoint: Checkpoint, plan: dict[str, Any], *, training: bool = True
    ) -> None:
        """Stand where `checkpoint` was written; unless `training`, to evaluate only.

        Raises
        ------
        CheckpointError
            If its plan is another one; the difference is named.
        """
        facts, arrays = checkpoint.facts, checkpoint.arrays
        if not training:
            plan = {name: plan[name] for name in EVALUATED}
        check_same(facts["plan"], plan, checkpoint.step)
        _warn_of_other_versions(facts.get("versions", {}))
        state = TrainState(
            arrays["parameters"], named(arrays, "optimizer/"), checkpoint.step
        )
        self.state = state.with_carried(named(arrays, "gradients/"))
        self.position = Position(*facts["position"])
        self.best = None
        if facts["best"] is not None:
            epoch, score = facts["best"]
            best, step = best_weights(checkpoint), facts.get("best_step")
            self.best = Best(epoch, score, best.parameters, step, best.statistics)
        self.evaluations_since_best = facts["evaluations_since_best"]
        self.stopped = facts["stopped"]
        self.epoch = Sums(**facts["epoch_sums"])
        self.total = Sums(**facts["total_sums"])
        self.last_loss = facts["last_loss"]
        self.forms = dict(facts["forms"])
        self.clock.set(facts.get("wall_seconds", 0.0), facts.get("start_seconds", 0.0))
        if training:
            self.schedule.load(facts["schedule"])


def is_done(checkpoint: Checkpoint, epochs: int, patience: int | None) -> bool:
    """Return whether a run that stands at a checkpoint has nothing left to train."""
    facts = checkpoint.facts
    waited = _has_waited(facts["evaluations_since_best"], patience)
    return facts["position"][0] >= epochs or (facts["stopped"] and waited)


def _has_waited(evaluations: int, patience: int | None) -> bool:
    """Return whether so many evaluations since the best one end a run."""
    return patience is not None and evaluations >= patience


def best_weights(checkpoint: Checkpoint) -> Weights:
    """Return a checkpoint's best weights, or the last ones without any."""
    arrays = checkpoint.arrays
    if "best_parameters" in arrays:
        return Weights(arrays["best_parameters"], arrays.get("best_statistics"))
    return Weights(arrays["parameters"], arrays.get("gradients/statistics"))


def versions() -> dict[str, str]:
    """Return what bits may depend on, and who wrote them."""
    return {
        "daskgnn": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _warn_of_other_versions(theirs: dict[str, str]) -> None:
    """Warn where bits may differ from here on."""
    mine = versions()
    for name in ("torch", "cpu_capability"):
        if name in theirs and theirs[name] != mine[name]:
            warnings.warn(
                f"the checkpoint was written with {name} {theirs[name]}, this is "
                f"{mine[name]}: the steps from here on may differ by rounding",
                stacklevel=2,
            )
