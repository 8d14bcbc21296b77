"""Many steps of a pipeline, on record and resumable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError
from daskgnn.train.persist.recorder import Recorder, Silent
from daskgnn.train.persist.signals import Signals
from daskgnn.values import is_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from daskgnn.pipeline.pipeline import Pipeline
    from daskgnn.pipeline.plan import MicroBatch
    from daskgnn.train.persist.recorder import Progress


def fit(
    pipeline: Pipeline,
    batch_of: Callable[[int], tuple[Any, ...]],
    steps: int,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_every: int = 50,
    progress: Progress | None = None,
) -> list[float]:
    """Train until so many steps are done: see `Pipeline.fit`."""
    for name, value in (("steps", steps), ("checkpoint_every", checkpoint_every)):
        if not is_whole(value) or value < 1:
            raise InputError(f"{name}={value!r}, expected a whole number from 1")
    recorder = Recorder(out, progress or Silent())
    first = _begun(pipeline, recorder, resume=resume)
    losses: list[float] = []
    with Signals() as signals, recorder.written():
        try:
            source = _Source(pipeline, batch_of, steps)
            for step in range(first, steps):
                with signals.held():
                    losses.append(_step(pipeline, recorder, source, step))
                    if (step + 1) % checkpoint_every == 0:
                        recorder.save(pipeline.checkpoint())
        except (KeyboardInterrupt, SystemExit):
            if pipeline.steps_done > first:
                recorder.save(pipeline.checkpoint())
            raise
        if pipeline.steps_done > first:
            recorder.save(pipeline.checkpoint())
    digest = pipeline.params_sha256
    loss = losses[-1] if losses else None
    recorder.summary({"steps": steps, "train_loss": loss, "params_sha256": digest})
    return losses


def _begun(pipeline: Pipeline, recorder: Recorder, *, resume: bool) -> int:
    """Go on from the newest checkpoint where that is asked; return the next step."""
    if resume:
        found = recorder.newest()
        if found is None:
            raise InputError("resume=True needs out=DIR, the directory of the run")
        pipeline.restore(found)
        recorder.begin(None, found.step)
    else:
        recorder.refuse_other_run()
    return pipeline.steps_done


class _Source:
    """The micro-batches of steps, made once each."""

    def __init__(
        self, pipeline: Pipeline, batch_of: Callable[[int], tuple[Any, ...]], steps: int
    ) -> None:
        self._pipeline, self._batch_of, self._steps = pipeline, batch_of, steps
        self._made: dict[int, tuple[list[MicroBatch], float | None]] = {}

    def given(self, step: int) -> tuple[list[MicroBatch], float | None]:
        """Return what a step is given, and its learning rate."""
        if step not in self._made:
            x, y, *lr = self._batch_of(step)
            made = self._pipeline.cut_batch(x, y), lr[0] if lr else None
            self._made = {step - 1: self._made.get(step - 1, made), step: made}
        return self._made[step]

    def after(self, step: int) -> Callable[[], list[MicroBatch]] | None:
        """Return what makes the next step's, if there is one."""
        return None if step + 1 >= self._steps else lambda: self.given(step + 1)[0]


def _step(pipeline: Pipeline, recorder: Recorder, source: _Source, step: int) -> float:
    """Do a step and record it; return its loss."""
    result = pipeline.step_on(*source.given(step), following=source.after(step))
    if result.redone:
        recorder.event("recovered", step=result.step, steps_redone=result.redone)
    told = {"step": result.step, "loss": result.loss}
    recorder.step({**told, "seconds": round(result.seconds, 6)})
    recorder.flush()
    return result.loss
