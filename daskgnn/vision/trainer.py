"""The loop of training over images: steps, epochs, validation, checkpoints."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.train.compute.state import hash_parameters
from daskgnn.train.persist.signals import Signals, Terminated, name_of
from daskgnn.train.runstate import versions
from daskgnn.vision.csvlog import TRAIN, VALIDATION
from daskgnn.vision.evaluation import Trained, score_split, total
from daskgnn.vision.watching import step_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.monitor.callback import Watchers
    from daskgnn.pipeline import MicroBatch, Span
    from daskgnn.train.persist.checkpoint import Checkpoint
    from daskgnn.train.persist.recorder import Recorder
    from daskgnn.vision.csvlog import BatchLog
    from daskgnn.vision.feed import Feed, Place
    from daskgnn.vision.modelspec import ModelSpec
    from daskgnn.vision.rates import Rates
    from daskgnn.vision.staged import StagedModel


@dataclass
class Reached:
    """How far a run has come: a part of its checkpoints."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Steps done of the next epoch."""
    steps: int = 0
    """Steps done of the run."""
    loss: float = 0.0
    """Sum over the images of the epoch under way."""
    images: int = 0
    """Of the epoch under way."""
    seconds: float = 0.0
    """Of the epoch under way."""
    total_seconds: float = 0.0
    """Of training."""
    total_images: int = 0
    eval_seconds: float = 0.0
    redone: int = 0
    """Steps done again after a worker was lost."""
    train_loss: float | None = None
    """Of the last whole epoch."""
    best_epoch: int | None = None
    best_score: float = -1.0
    best_step: int | None = None


class _Ahead:
    """Gives out batches in order; the next one can be had before its turn."""

    def __init__(self, batches: Iterator[list[MicroBatch]]) -> None:
        self._batches = batches
        self._following: list[MicroBatch] | None = None

    def take(self) -> list[MicroBatch]:
        """Return the next batch."""
        found, self._following = self.following(), None
        return found

    def following(self) -> list[MicroBatch]:
        """Return the batch that `take` is going to return."""
        if self._following is None:
            self._following = next(self._batches)
        return self._following


@dataclass
class VisionTrainer:
    """Trains a model over images."""

    staged: StagedModel
    feed: Feed
    rates: Rates
    spec: ModelSpec
    recorder: Recorder
    epochs: int
    log: BatchLog | None
    facts: dict[str, Any]
    """What a checkpoint must agree with to be continued."""
    checkpoint_every: int | None
    reached: Reached
    watchers: Watchers
    spans: tuple[Span, ...] | None = None
    """Each operation of the last step of a whole batch: where and when."""

    def fit(self) -> None:
        """Train to the last epoch; a signal that stops it is raised again.

        Before that, a checkpoint of the last whole step is written.
        """
        signals = Signals()
        with signals:
            try:
                with signals.held():
                    self._run(signals)
            except (KeyboardInterrupt, Terminated) as stop:
                step = self.reached.steps
                if step:
                    self.recorder.save(self.checkpoint())
                self.recorder.event("stopped", signal=name_of(stop), step=step)
                self.recorder.wait_until_written()
                raise

    def _run(self, signals: Signals) -> None:
        plan, reached = self.feed.batches.plan, self.reached
        steps = plan.steps_per_epoch
        first = reached.epoch * steps + reached.step
        places = [divmod(i, steps) for i in range(first, self.epochs * steps)]
        ahead = _Ahead(self.staged.given(m) for _, m in self.feed.read(places))
        began = time.perf_counter()
        for place in places:
            with signals.released():
                given = ahead.take()
            rate = self.rates.at(reached.steps)
            following = None if place == places[-1] else ahead.following
            loss, redone = self.staged.step(given, rate, following)
            count = sum(batch.rows for batch in given)
            if self.spans is None or count == plan.batch_size:
                self.spans = self.staged.spans
            now = time.perf_counter()
            self._after_step(place, count, loss, now - began)
            began = now
            if redone:
                reached.redone += redone
                self.recorder.event("recovered", steps_redone=redone)
            if reached.step == steps:
                self._end_epoch(place[0], signals)
                began = time.perf_counter()
            elif self.checkpoint_every and not reached.steps % self.checkpoint_every:
                self.recorder.save(self.checkpoint())

    def _after_step(
        self, place: Place, images: int, loss: float, seconds: float
    ) -> None:
        """Record a step."""
        epoch, step = place
        reached = self.reached
        record = {
            "step": reached.steps,
            "epoch": epoch,
            "loss": loss,
            "seconds": round(seconds, 6),
            "lr": self.rates.at(reached.steps),
        }
        reached.steps, reached.step = reached.steps + 1, step + 1
        reached.loss += loss * images
        reached.images += images
        reached.seconds += seconds
        reached.total_seconds += seconds
        reached.total_images += images
        self.recorder.step(record)
        self.recorder.window(step_record(record, images, self.staged))
        if self.log is not None:
            self.log.add(epoch, step, seconds, loss, TRAIN)
            self.log.flush()
        self.recorder.flush()

    def _end_epoch(self, epoch: int, signals: Signals) -> None:
        """Validate, record and write a checkpoint."""
        reached = self.reached
        record: dict[str, Any] = {
            "epoch": epoch,
            "loss": reached.loss / reached.images,
            "seconds": round(reached.seconds, 6),
            "images_per_second": round(reached.images / reached.seconds, 1),
        }
        reached.train_loss = record["loss"]
        if "val" in self.feed.batches.images.splits:
            with signals.released():
                record |= self._validate(epoch)
            if record["val_accuracy"] > reached.best_score:
                reached.best_epoch, reached.best_step = epoch, reached.steps
                reached.best_score = record["val_accuracy"]
        reached.epoch, reached.step = epoch + 1, 0
        reached.loss, reached.images, reached.seconds = 0.0, 0, 0.0
        self.recorder.epoch(record)
        self.recorder.save(self.checkpoint())
        self.recorder.flush()

    def _validate(self, epoch: int) -> dict[str, Any]:
        """Score the validation images."""
        began = time.perf_counter()
        trained = Trained(self.spec, self.staged.weights(), self.staged.threads)
        scores = score_split(trained, self.feed.batches.images, "val", self.feed.client)
        if self.log is not None:
            for number, each in enumerate(scores):
                loss = each.loss / each.count
                self.log.add(epoch, number, each.seconds, loss, VALIDATION)
            self.log.flush()
        took = time.perf_counter() - began
        self.reached.eval_seconds += took
        return {**total(scores).of("val"), "eval_seconds": round(took, 6)}

    def checkpoint(self) -> Checkpoint:
        """Return where the run stands."""
        reached = self.reached
        return self.staged.checkpoint(
            best_step=reached.best_step,
            reached=asdict(reached),
            versions=versions(),
            run=self.facts,
        )

    def close(self) -> None:
        """Tell that the run is over, free what workers hold, and close the log."""
        self.watchers.close()
        self.staged.close()
        if self.log is not None:
            self.log.close()

    def summary(self) -> dict[str, Any]:
        """Return what is known of the run itself, for ``summary.json``."""
        reached, parameters = self.reached, self.staged.weights().parameters
        seconds = reached.total_seconds
        return {
            "epochs": reached.epoch,
            "steps": reached.steps,
            "train_loss": reached.train_loss,
            "best_epoch": reached.best_epoch,
            "params_sha256": hash_parameters(np.asarray(parameters)),
            "num_parameters": len(parameters),
            "seconds": round(seconds, 3),
            "eval_seconds": round(reached.eval_seconds, 3),
            "images_per_second": seconds and round(reached.total_images / seconds, 1),
            "steps_redone": reached.redone,
        }
