"""Steps of training, one after another, in one process."""

from __future__ import annotations

import time
from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.dataflow.steps.clock import Clock, Work, here, together
from daskgnn.dataflow.steps.gradients import (
    NO_SEEDS,
    PartGradient,
    add_gradients,
    divided,
    either,
    opened,
)
from daskgnn.errors import TrainingError
from daskgnn.nn.device import CPU
from daskgnn.nn.sparse import model_input
from daskgnn.tasks.task import target_batch, weight_of
from daskgnn.train.compute.arithmetic import computing, half_precision
from daskgnn.train.compute.damping import Damping
from daskgnn.train.compute.gradients import clipped, delay_compensated
from daskgnn.train.compute.loaded import layer_blocks, load_model, seed_outputs
from daskgnn.train.compute.masking import decays, updating_only
from daskgnn.train.compute.optimizers import make_optimizer, take_step
from daskgnn.train.compute.scaling import LossScale
from daskgnn.train.compute.state import (
    StepReport,
    TrainState,
    Weights,
    export_optimizer,
    import_optimizer,
)

if TYPE_CHECKING:
    import torch

    from daskgnn.kernels.batch import PreparedWindow
    from daskgnn.train.compute.gradients import UpdateOptions
    from daskgnn.train.compute.program import Program


class TrainSession:
    """Steps of training one after another: a `daskgnn.dataflow.steps.method.Session`.

    The state stays in this thread's copy of the model between steps.
    """

    def __init__(self, program: Program, state: TrainState) -> None:
        self.program = program
        self.clock = Clock()
        self._before = state
        self._reports: list[StepReport] = []
        self._optimizer: torch.optim.Optimizer | None = None
        self._loaded = load_model(program)
        self._loaded.with_weights(state.weights)
        self._statistics = state.statistics
        self._accumulated, self._given = state.accumulated, state.given
        half = program.precision == "fp16"
        self._scale = LossScale.of(state.scaling) if half else None
        damps = program.gradients.damps
        self._damping = Damping.of(state.damping) if damps else None
        self._past = deque(state.past_weights(), maxlen=program.gradients.staleness)

    def gradient(
        self, batch: PreparedWindow, step: int, behind: int = 0
    ) -> PartGradient:
        """Return one part's share of the gradient and loss of a step.

        It is taken at the parameters of `behind` updates ago, or at the first.
        """
        behind = min(behind, len(self._past))
        if not behind:
            return self._gradient(batch, step)
        now = self._weights()
        self._loaded.with_weights(self._past[-behind])
        share = self._gradient(batch, step)
        self._loaded.with_weights(now)
        return share

    def _weights(self) -> Weights:
        """Return the present weights."""
        return Weights(CPU.array(self._loaded.flat).copy(), self._statistics)

    def _gradient(self, batch: PreparedWindow, step: int) -> PartGradient:
        loaded, prepared = self._loaded, batch.steps[step]
        nbytes = self._before.parameters.nbytes
        if not prepared.sizes[0]:
            nothing = np.zeros_like(self._before.parameters)
            return PartGradient(nothing, 0.0, {}, nbytes, nbytes, given=NO_SEEDS)
        model, clock = loaded.model.train(), self.clock
        with computing(self.program.threads, self.program.precision):
            with clock.phase("forward"):
                with half_precision(self.program.precision):
                    blocks = layer_blocks(prepared, model)
                    outputs, sums = loaded.outputs(model_input(prepared.x), blocks)
                task = loaded.task
                targets = target_batch(prepared, task.tables).as_tensors(CPU.tensor)
                outputs = seed_outputs(outputs, prepared)
                loss = task.loss(outputs, targets) / prepared.num_seeds
                weight = weight_of(task, targets)
            with clock.phase("backward"):
                gradient, given = self._gradient_of(loss)
        share = PartGradient(
            gradient,
            float(loss.detach()),
            {},
            nbytes,
            weight=None if weight is None else weight / prepared.num_seeds,
            statistics=sums,
            given=given,
        )
        return replace(share, sent_bytes=share.nbytes)

    def _gradient_of(self, loss: torch.Tensor) -> tuple[np.ndarray, np.ndarray | None]:
        if self._scale is None:
            return self._loaded.gradient(loss)
        scaled, given = self._loaded.gradient(loss * self._scale.factor)
        return self._scale.unscaled(scaled), given

    def update(
        self, left: PartGradient, right: PartGradient | None, options: UpdateOptions
    ) -> None:
        """Add the last two shares and take one optimizer step, if it is time for one.

        Raises
        ------
        TrainingError
            If the loss is not finite; or, in float16, the gradient at any scale.
        """
        clock, loaded = Clock(), self._loaded
        with clock.phase("reduce"):
            share = opened(left) if right is None else add_gradients(left, right)
            share = divided(share)
        if not np.isfinite(share.loss):
            raise TrainingError(
                f"the loss of step {self._before.step + len(self._reports)} is "
                f"{share.loss}: lower the learning rate or normalise the features"
            )
        with clock.phase("update"), computing(self.program.threads):
            gradient, given = self._with_accumulated(share, options.weight)
            if options.applies:
                self._apply(gradient, given, options, share.loss)
            else:
                self._accumulated, self._given = gradient, given
            self._statistics = loaded.pooled(self._statistics, share.statistics)
            loaded.norms.write(self._statistics)
        self.clock.include(clock.spent)
        work = together(share.work, {here(): Work(clock.spent)})
        sent = share.dense_bytes, share.sent_bytes
        self._reports.append(StepReport(share.loss, time.time(), work, *sent))

    def _with_accumulated(
        self, share: PartGradient, weight: float
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the gradient of the steps since the last update, and who has one."""
        gradient, given = share.gradient, share.given
        if given is not None and not len(given):
            given = self.program.given
        if weight != 1.0:
            gradient = gradient * np.float32(weight)
        if self._accumulated is not None:
            gradient = self._accumulated + gradient
            given = either(self._given, given)
            self._accumulated = self._given = None
        return gradient, given

    def _apply(
        self,
        gradient: np.ndarray,
        given: np.ndarray | None,
        options: UpdateOptions,
        loss: float,
    ) -> None:
        way, loaded = self.program.gradients, self._loaded
        if way.compensation == "dc-asgd" and options.late and way.staleness:
            now = CPU.array(loaded.flat)
            then = self._past[-options.late].parameters
            gradient = delay_compensated(gradient, now, then)
        if way.staleness:
            self._past.append(self._weights())
        if self._scale is not None:
            finite = bool(np.isfinite(gradient).all())
            step = self._before.step + len(self._reports)
            self._scale = self._scale.after(finite=finite).checked(step)
            if not finite:
                return
        optimizer = self._ready_optimizer()
        if self._damping is not None:
            self._damping = self._damping.after(loss, options.late, options.groups)
            options = options.slowed(options.groups, self._damping.rate(options.late))
        for group, values in zip(optimizer.param_groups, options.groups, strict=True):
            group.update(values)
        loaded.give_gradient(clipped(gradient, way.clip_norm), given)
        masked = gradient != 0, loaded.parameters, optimizer
        masks = way.masks(options.ramp) and not decays(optimizer)
        with updating_only(*masked) if masks else nullcontext():
            take_step(optimizer)

    def _ready_optimizer(self) -> torch.optim.Optimizer:
        if self._optimizer is None:
            parameters = self._loaded.parameters
            self._optimizer = make_optimizer(self._loaded.optimizer, parameters)
            import_optimizer(self._optimizer, parameters, self._before.optimizer)
        return self._optimizer

    def checksum(self) -> str:
        """Return the SHA-256 of the weights as they are now."""
        return self._weights().digest()

    def carried(self, part: int) -> dict[str, np.ndarray]:
        """Return what a part has kept for itself when these steps began."""
        return {name: array[part] for name, array in self._before.by_part.items()}

    def state(self) -> TrainState:
        """Return the state after the steps so far."""
        before, loaded = self._before, self._loaded
        if not self._reports:
            return before
        arrays = before.optimizer
        if self._optimizer is not None:
            loaded.give_gradient(None)
            arrays = export_optimizer(self._optimizer, loaded.parameters)
        return TrainState(
            CPU.array(loaded.flat).copy(),
            arrays,
            before.step + len(self._reports),
            accumulated=self._accumulated,
            given=self._given,
            statistics=self._statistics,
            scaling=None if self._scale is None else self._scale.to_array(),
            damping=None if self._damping is None else self._damping.to_array(),
            reports=(*before.reports, *self._reports),
        ).with_past(self._past)
