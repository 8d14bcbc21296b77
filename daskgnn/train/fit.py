"""The fit loop: windows, epochs, validation, checkpoints."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from daskgnn.train.compute.gradients import staleness_counts
from daskgnn.train.firstlosses import FirstLosses, warn_of_large_features
from daskgnn.train.options.options import TRAINER
from daskgnn.train.persist.signals import Terminated, name_of
from daskgnn.train.plan import Position, windows
from daskgnn.train.runstate import Best, RunState, Sums
from daskgnn.train.summary import further_scores
from daskgnn.train.windowrecord import window_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.kernels.seeds import SeedPlan
    from daskgnn.train.evaluator import Evaluator
    from daskgnn.train.loop import TrainLoop, WindowResult
    from daskgnn.train.options.options import TrainOptions
    from daskgnn.train.persist.checkpoint import Checkpoint
    from daskgnn.train.persist.recorder import Recorder
    from daskgnn.train.persist.signals import Signals
    from daskgnn.train.trainer import Trainer


def tell_start(trainer: Trainer, epochs: int, *, resume: bool) -> None:
    """Tell a run's progress how much there is to do; say so if it is nothing.

    A program that has trained and calls `fit` again is warned. A run that is resumed
    may be done: that is an event. A batch size that counts for nothing is warned of.
    """
    recorder, plan, run_state = trainer.recorder, trainer.plan, trainer.run_state
    recorder.progress.started(
        {
            "total_steps": epochs * plan.steps_per_epoch,
            "first_step": run_state.state.step,
            "epochs": epochs,
            "steps_per_epoch": plan.steps_per_epoch,
            "first_seeds": run_state.total.seeds,
            "planned_bytes": trainer.deployment.memory_plan(trainer.window).peak,
            "out": recorder.place,
            "dashboard": trainer.executor.dashboard(),
            "page": trainer.executor.page(),
        }
    )
    size = trainer.options["batch_size"]
    began = resume or run_state.state.step > 0
    if plan.chosen is not None and size != TRAINER["batch_size"].default and not began:
        sampler = type(trainer.deployment.sampler).__name__
        warnings.warn(
            f"batch_size={size} is ignored: {sampler} chooses the nodes of "
            'each step by its own options, see "daskgnn samplers"',
            stacklevel=4,
        )
    if not began:
        warn_of_large_features(trainer.graph, trainer.options)
    patience = trainer.options["patience"]
    if patience is not None and not began and not trainer.deployment.targets.has("val"):
        warnings.warn(
            f"patience={patience} has no effect: graph {trainer.graph.name!r} has no "
            "validation split, so the run trains all its epochs",
            stacklevel=4,
        )
    why = run_state.why_done(epochs, patience)
    if why is not None and resume:
        recorder.event("nothing_to_train", why=why)
    elif why is not None:
        warnings.warn(f"nothing to train: {why}", stacklevel=4)


def shared_seconds(began: float, finished: list[float], seconds: float) -> list[float]:
    """Return what each step of a window took, which adds up to `seconds`.

    What was not computing a step, preparing the window for instance, is shared equally.

    Parameters
    ----------
    began, finished
        When the first step began and each one ended, on the clock of who computed them.
    seconds
        On the clock of this process, from the end of the window before.
    """
    own = [max(end - start, 0.0) for start, end in pairwise([began, *finished])]
    computed = sum(own)
    if computed > seconds:  # clocks of machines differ
        return [took * seconds / computed for took in own]
    rest = (seconds - computed) / len(own)
    return [took + rest for took in own]


@dataclass
class Fit:
    """Trains a run from its current state to its last epoch."""

    plan: SeedPlan
    run_state: RunState
    recorder: Recorder
    loop: TrainLoop
    evaluator: Evaluator
    options: TrainOptions
    window: int
    """Most steps of one."""
    plan_fingerprint: dict[str, Any]
    """What a checkpoint must agree with to be continued."""
    signals: Signals
    _snapshot: Checkpoint = field(init=False)
    """Where the run stood after the last window that was wholly accounted for."""
    _saved: int = field(init=False)
    """The step of the last checkpoint that was asked for."""
    _saved_at: float = field(init=False)
    _since: float = field(init=False)
    """Up to when the time is in records, on the clock of this process."""
    _first_losses: FirstLosses = field(init=False)

    def __post_init__(self) -> None:
        self._first_losses = FirstLosses(self.evaluator.graph, self.options)

    def run(self, epochs: int) -> None:
        """Train until `epochs` epochs are done, or early stopping ends the run.

        A signal that stops it is raised again when a checkpoint is written. May be
        called again after a loss: the course says what is still to do.
        """
        self._snapshot = self.run_state.to_checkpoint(self.plan_fingerprint)
        self._saved, self._saved_at = self._snapshot.step, time.monotonic()
        self._since = time.perf_counter()
        try:
            with self.signals.held():
                self._run(epochs)
        except (KeyboardInterrupt, Terminated) as stop:
            with self.signals.held():
                self._save_last(stop)
            raise

    def _run(self, epochs: int) -> None:
        run_state = self.run_state
        if run_state.epoch.seeds and run_state.position.step == 0:
            self._end_epoch(run_state.position.epoch - 1)
            if run_state.stopped:
                return
        plan = windows(
            self.plan,
            run_state.position,
            epochs,
            lambda: self.loop.window_size(self.window),
            self.options["checkpoint_every"],
            self.loop.gradients.steps_alike,
        )
        results = self.loop.run(plan, run_state.state, run_state.schedule)
        while (result := self._next(results)) is not None:
            self._after_window(result)
            if result.window.last_of_epoch:
                self._end_epoch(result.window.epoch)
            else:
                self._snapshot = run_state.to_checkpoint(self.plan_fingerprint)
                if self._checkpoint_due():
                    self._checkpoint()
            self.recorder.flush()
            if run_state.stopped:
                return

    def _next(self, results: Iterator[WindowResult]) -> WindowResult | None:
        """Wait for a window, or for a signal."""
        with self.signals.released():
            result = next(results, None)
            every = self.options["checkpoint_every"]
            if result is not None and every is not None:
                # At most one interval of steps is recorded without a checkpoint.
                end = self.run_state.state.step + result.window.size
                self.recorder.wait_for(end - every)
            return result

    def _after_window(self, result: WindowResult) -> None:
        """Take the state, record the steps, add up."""
        window, run_state = result.window, self.run_state
        profile = result.window_profile
        ran, seeds_before = run_state.forms.get(profile.form, 0), run_state.total.seeds
        run_state.forms[profile.form] = ran + window.size
        state = result.state
        now = time.perf_counter()
        finished = [told.finished for told in state.reports]
        whole = now - self._since
        seconds = shared_seconds(profile.began, finished, whole)
        self._since = now
        for i, (told, took) in enumerate(zip(state.reports, seconds, strict=True)):
            record = {
                "step": run_state.state.step + i,
                "epoch": window.epoch,
                "loss": told.loss,
                "seconds": round(took, 6),
            }
            seeds = self.plan.num_targets(window.epoch, window.first + i)
            for sums in (run_state.epoch, run_state.total):
                sums.loss += told.loss * seeds
                sums.seeds += seeds
                sums.seconds += took
                sums.gradient_bytes += told.dense_bytes
                sums.sent_gradient_bytes += told.sent_bytes
            self.recorder.step(record)
            self._first_losses.look(run_state.state.step + i, told.loss)
        record = window_record(result, run_state.state.step, seconds, whole)
        record["seeds"] = run_state.total.seeds - seeds_before
        record["in_flight"] = self.loop.lookahead.in_flight
        self.recorder.window(record)
        for event in self.loop.take_events():
            facts = {name: value for name, value in event.items() if name != "event"}
            self.recorder.event(event["event"], **facts)
        for sums in (run_state.epoch, run_state.total):
            sums.count_staleness(state.late)
            for name, count in profile.crossed.items():
                setattr(sums, name, getattr(sums, name) + count)
        run_state.state = state.cleared()
        run_state.position = Position(window.epoch, window.first + window.size)
        if window.last_of_epoch:
            run_state.position = Position(window.epoch + 1)

    def _end_epoch(self, epoch: int) -> None:
        self._after_epoch(epoch)
        self._snapshot = self.run_state.to_checkpoint(self.plan_fingerprint)
        self._checkpoint()

    def _rate(self, epoch: int) -> float | None:
        """Return the learning rate that an epoch's last update was scaled by."""
        rate = self.run_state.schedule.options()[0].get("lr")
        last = (epoch + 1) * self.plan.steps_per_epoch - 1
        return rate and rate * self.loop.lookahead.planner.warmth(last)

    def _after_epoch(self, epoch: int) -> None:
        """Evaluate, record, advance the schedule, decide whether to stop."""
        run_state = self.run_state
        sums = run_state.epoch
        record: dict[str, Any] = {
            "epoch": epoch,
            "loss": sums.loss / sums.seeds,
            "seconds": round(sums.seconds, 6),
            "lr": self._rate(epoch),
            "seeds": sums.seeds,
            "worker_bytes": self.loop.executor.memory_used(),
            **sums.traffic(),
        }
        gradients = self.loop.gradients
        if gradients.staleness:
            first = epoch * self.plan.steps_per_epoch
            last = first + self.plan.steps_per_epoch
            record["staleness"] = staleness_counts(gradients, first, last)
        run_state.last_loss = record["loss"]
        score = self._validate(epoch, record)
        # The epoch ends here: what is lost before is computed again.
        run_state.epoch = Sums()
        self.recorder.epoch(record)
        run_state.schedule.end_epoch(score, record["loss"])
        if score is None:
            return
        if run_state.best is None or score > run_state.best.score:
            state = run_state.state
            found = state.parameters, state.step, state.statistics
            run_state.best = Best(epoch, score, *found)
            run_state.evaluations_since_best = 0
            return
        if run_state.state.step <= (self.options["warmup_steps"] or 0):
            return  # a score of the warm-up says little
        run_state.evaluations_since_best += 1
        patience = self.options["patience"]
        if patience is not None and run_state.evaluations_since_best >= patience:
            run_state.stopped = True
            best = run_state.best.epoch
            told = {"epoch": epoch, "patience": patience, "best_epoch": best}
            self.recorder.event("stopped_early", **told)

    def _validate(self, epoch: int, record: dict[str, Any]) -> float | None:
        """Score the validation split every `eval_every` epochs."""
        targets = self.evaluator.targets
        if (epoch + 1) % self.options["eval_every"] or not targets.has("val"):
            return None
        began = time.perf_counter()
        with self.signals.released():
            weights = self.run_state.state.weights
            scores = self.evaluator.scores(weights, ["val"])["val"]
        for name in ("accuracy", "loss"):
            if name in scores:
                record[f"val_{name}"] = scores[name]
        took = time.perf_counter() - began
        self._since += took
        self.run_state.total.eval_seconds += took
        self.loop.step_profile.evaluated(took)
        record["eval_seconds"] = round(took, 6)
        metric = targets.task.metric(self.evaluator.graph)
        if metric != "accuracy":
            record["val_metric"] = scores[metric]
        record.update(further_scores("val", scores))
        return float(scores[metric])

    def _checkpoint_due(self) -> bool:
        every = self.options["checkpoint_every"]
        seconds = self.options["checkpoint_seconds"]
        if every is not None and self.run_state.state.step % every == 0:
            return True
        return seconds is not None and time.monotonic() - self._saved_at >= seconds

    def _checkpoint(self) -> None:
        self.recorder.save(self._snapshot)
        self._saved, self._saved_at = self._snapshot.step, time.monotonic()

    def _save_last(self, stop: BaseException) -> None:
        """Write where the run stands; of a window under way nothing is kept."""
        step = self._snapshot.step
        self.run_state.restore(self._snapshot, self.plan_fingerprint)
        self.recorder.forget_steps(step)
        if step > self._saved:
            self._checkpoint()
        self.recorder.event("stopped", signal=name_of(stop), step=step)
        self.recorder.wait_until_written()
