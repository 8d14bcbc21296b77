"""The course of a fit: windows, epochs, validation, checkpoints."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daskgnn.train.compute.gradients import staleness_counts
from daskgnn.train.plan import Position, windows
from daskgnn.train.runstate import Best, Course, Sums
from daskgnn.train.signals import Terminated
from daskgnn.train.summary import further_scores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.graph.graph import Graph
    from daskgnn.kernels.seeds import SeedPlan
    from daskgnn.train.evaluator import Evaluator
    from daskgnn.train.loop import TrainLoop, WindowResult
    from daskgnn.train.options.options import TrainOptions
    from daskgnn.train.persist.checkpoint import Checkpoint
    from daskgnn.train.persist.recorder import Recorder
    from daskgnn.train.signals import Signals


def tell_start(
    recorder: Recorder, plan: SeedPlan, course: Course, epochs: int, dashboard: Any
) -> None:
    """Tell a run's progress how much there is to do."""
    recorder.progress.started(
        {
            "total_steps": epochs * plan.steps_per_epoch,
            "first_step": course.state.step,
            "epochs": epochs,
            "steps_per_epoch": plan.steps_per_epoch,
            "out": recorder.place,
            "dashboard": dashboard,
        }
    )


@dataclass
class Fit:
    """Takes a run from where its course stands to its last epoch."""

    graph: Graph
    plan: SeedPlan
    course: Course
    recorder: Recorder
    loop: TrainLoop
    evaluator: Evaluator
    options: TrainOptions
    window: int
    """Most steps of one."""
    plan_facts: dict[str, Any]
    """What a checkpoint must agree with to be continued."""
    signals: Signals
    _snapshot: Checkpoint = field(init=False)
    """Where the run stood after the last window that was wholly accounted for."""
    _saved: int = field(init=False)
    """The step of the last checkpoint that was asked for."""
    _saved_at: float = field(init=False)

    def run(self, epochs: int) -> None:
        """Train until `epochs` epochs are done, or early stopping ends the run.

        A signal that stops it is raised again when a checkpoint is written. May be
        called again after a loss: the course says what is still to do.
        """
        self._snapshot = self.course.to_checkpoint(self.plan_facts)
        self._saved, self._saved_at = self._snapshot.step, time.monotonic()
        try:
            with self.signals.held():
                self._run(epochs)
        except (KeyboardInterrupt, Terminated) as stop:
            with self.signals.held():
                self._save_last(stop)
            raise

    def _run(self, epochs: int) -> None:
        course = self.course
        if course.epoch.seeds and course.position.step == 0:
            self._end_epoch(course.position.epoch - 1)
            if course.stopped:
                return
        plan = windows(
            self.plan,
            course.position,
            epochs,
            lambda: self.loop.window_size(self.window),
            self.options["checkpoint_every"],
        )
        results = self.loop.run(plan, course.state, course.schedule)
        while (result := self._next(results)) is not None:
            self._after_window(result)
            if result.window.last_of_epoch:
                self._end_epoch(result.window.epoch)
            else:
                self._snapshot = course.to_checkpoint(self.plan_facts)
                if self._checkpoint_due():
                    self._checkpoint()
            self.recorder.flush()
            if course.stopped:
                return

    def _next(self, results: Iterator[WindowResult]) -> WindowResult | None:
        """Wait for a window, or for a signal."""
        with self.signals.released():
            result = next(results, None)
            every = self.options["checkpoint_every"]
            if result is not None and every is not None:
                # No more than an interval is ever on record without a checkpoint.
                end = self.course.state.step + result.window.size
                self.recorder.wait_for(end - every)
            return result

    def _after_window(self, result: WindowResult) -> None:
        """Take the state, record the steps, add up."""
        window, course = result.window, self.course
        account = result.account
        course.forms[account.form] = course.forms.get(account.form, 0) + window.size
        before = account.began
        state = result.state
        for i, (loss, done, sent) in enumerate(
            zip(state.losses, state.finished, state.sent, strict=True)
        ):
            record = {
                "step": course.state.step + i,
                "epoch": window.epoch,
                "loss": loss,
                "seconds": round(max(done - before, 0.0), 6),
            }
            before = done
            seeds = self.plan.num_targets(window.first + i)
            for sums in (course.epoch, course.total):
                sums.loss += loss * seeds
                sums.seeds += seeds
                sums.seconds += record["seconds"]
                sums.gradient_bytes += sent[0]
                sums.sent_gradient_bytes += sent[1]
            self.recorder.step(record)
        for event in self.loop.take_events():
            facts = {name: value for name, value in event.items() if name != "event"}
            self.recorder.event(event["event"], **facts)
        for sums in (course.epoch, course.total):
            sums.count_staleness(state.late)
            for name, count in account.crossed.items():
                setattr(sums, name, getattr(sums, name) + count)
        course.state = state.cleared()
        course.position = Position(window.epoch, window.first + window.size)
        if window.last_of_epoch:
            course.position = Position(window.epoch + 1)

    def _end_epoch(self, epoch: int) -> None:
        self._after_epoch(epoch)
        self._snapshot = self.course.to_checkpoint(self.plan_facts)
        self._checkpoint()

    def _after_epoch(self, epoch: int) -> None:
        """Evaluate, record, advance the schedule, decide whether to stop."""
        course = self.course
        sums = course.epoch
        record: dict[str, Any] = {
            "epoch": epoch,
            "loss": sums.loss / sums.seeds,
            "seconds": round(sums.seconds, 6),
            "lr": course.schedule.options()[0].get("lr"),
            **sums.traffic(),
            "gradient_bytes": sums.gradient_bytes,
            "sent_gradient_bytes": sums.sent_gradient_bytes,
        }
        staleness = self.loop.method.staleness
        if staleness:
            first = epoch * self.plan.steps_per_epoch
            last = first + self.plan.steps_per_epoch
            record["staleness"] = staleness_counts(staleness, first, last)
        if sums.staleness:
            record["staleness"] = sums.staleness
        course.last_loss = record["loss"]
        score = self._validate(epoch, record)
        # Only now is the epoch over: what is lost before is done again.
        course.epoch = Sums()
        self.recorder.epoch(record)
        course.schedule.end_epoch(score, record["loss"])
        if score is None:
            return
        if course.best is None or score > course.best.score:
            state = course.state
            course.best = Best(epoch, score, state.parameters, state.step)
            course.evaluations_since_best = 0
            return
        course.evaluations_since_best += 1
        patience = self.options["patience"]
        if patience is not None:
            course.stopped = course.evaluations_since_best >= patience

    def _validate(self, epoch: int, record: dict[str, Any]) -> float | None:
        """Score the validation split when it is due."""
        targets = self.evaluator.targets
        if (epoch + 1) % self.options["eval_every"] or not targets.has("val"):
            return None
        began = time.time()
        with self.signals.released():
            scores = self.evaluator.scores(self.course.state.parameters, ["val"])["val"]
        for name in ("accuracy", "loss"):
            if name in scores:
                record[f"val_{name}"] = scores[name]
        record["eval_seconds"] = round(time.time() - began, 6)
        metric = targets.task.metric(self.graph)
        if metric != "accuracy":
            record["val_metric"] = scores[metric]
        record.update(further_scores("val", scores, metric))
        return float(scores[metric])

    def _checkpoint_due(self) -> bool:
        every, seconds = (
            self.options["checkpoint_every"],
            self.options["checkpoint_seconds"],
        )
        if every is not None and self.course.state.step % every == 0:
            return True
        return seconds is not None and time.monotonic() - self._saved_at >= seconds

    def _checkpoint(self) -> None:
        self.recorder.save(self._snapshot)
        self._saved, self._saved_at = self._snapshot.step, time.monotonic()

    def _save_last(self, stop: BaseException) -> None:
        """Write where the run stands; of a window under way nothing is kept."""
        name = "SIGTERM" if isinstance(stop, Terminated) else "SIGINT"
        step = self._snapshot.step
        self.course.restore(self._snapshot, self.plan_facts)
        self.recorder.forget_steps(step)
        if step > self._saved:
            self._checkpoint()
        self.recorder.event("stopped", signal=name, step=step)
        self.recorder.settle()
