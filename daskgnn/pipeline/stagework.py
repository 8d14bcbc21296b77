"""What a stage of a copy does in a step: F, B and W of its micro-batches.

Every layer has a graph of autograd of its own, so a layer computes the same whatever
stage it is in: bits do not depend on how a model is cut.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from daskgnn.dataflow.steps.gradients import PartGradient
from daskgnn.nn.device import CPU
from daskgnn.pipeline.backward import Pending, backward, split_backward
from daskgnn.pipeline.program import seeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.pipeline.layermodel import LayerModel, LoadedStages
    from daskgnn.pipeline.plan import MicroBatch, StepPlan

_ONE_AT_A_TIME = threading.RLock()
"""Torch's generator, and whether a model trains, belong to the process."""


@dataclass
class _Passed:
    """A micro-batch that has come through a stage forward."""

    source: np.ndarray | torch.Tensor
    """The stage's input."""
    pairs: list[tuple[torch.Tensor | None, torch.Tensor]] = field(default_factory=list)
    """Of each layer: the input as a leaf, if its gradient is needed, and the output."""
    ended: tuple[torch.Tensor, torch.Tensor] | None = None
    """Of the last stage: the output as a leaf, and the loss."""
    pending: list[Pending] = field(default_factory=list)
    """Of each layer, last one first: what W has to do."""


class StageWork:
    """A stage of a copy of the model, in one step."""

    def __init__(
        self, loaded: LoadedStages, plan: StepPlan, copy: int, stage: int
    ) -> None:
        self.loaded, self.plan, self.copy, self.stage = loaded, plan, copy, stage
        self.models: list[LayerModel] = [
            loaded.models[number] for number in plan.cut.layers(stage)
        ]
        self.is_first, self.is_last = stage == 0, stage == plan.cut.stages - 1
        self.passed: dict[int, _Passed] = {}
        self.loss = 0.0
        self.held = 0
        """The most micro-batches held at a time."""
        self._gradients: list[list[Any]] = [[None] * len(m.sizes) for m in self.models]
        self._added: list[list[bool]] = [[False] * len(m.sizes) for m in self.models]
        self._sums: list[Any] = [None] * len(self.models)

    # -- forward

    def forward(
        self, m: int, received: np.ndarray | None, batch: MicroBatch
    ) -> np.ndarray | None:
        """Pass a micro-batch on: return the output, None from the last stage.

        Parameters
        ----------
        m : int
        received : numpy.ndarray or None
            From the stage before; the first one takes the batch's rows.
        batch : MicroBatch
            What of it this stage needs.
        """
        with _ONE_AT_A_TIME:
            self.loaded.set_training(True)
            source = batch.x if received is None else received
            passed = _Passed(source)
            out, sums = self._through(m, passed, batch)
            for i, each in enumerate(sums):
                if each is not None:
                    before = self._sums[i]
                    self._sums[i] = each if before is None else before + each
            if self.is_last:
                leaf = out.detach().requires_grad_()
                target = _tensors(batch.y)
                share = self.plan.share(self.copy, m)
                loss = self.loaded.loss(leaf, target) * share
                self.loss += float(loss.detach())
                passed.ended = leaf, loss
            if self.plan.recompute:
                passed.pairs = []
            self.passed[m] = passed
            self.held = max(self.held, len(self.passed))
            return None if self.is_last else self._sent(out)

    def _through(
        self, m: int, passed: _Passed, batch: MicroBatch
    ) -> tuple[torch.Tensor, list[Any]]:
        """Compute all layers; return the output and what their rows add."""
        h = self._taken(passed.source)
        plan, sums = self.plan, []
        number = plan.number(self.copy, m)
        for i, model in enumerate(self.models):
            source = h.detach()
            wanted = not (self.is_first and i == 0) and source.is_floating_point()
            if wanted:
                source.requires_grad_()
            with seeded(plan.seed, plan.step, number, model.number):
                h, added = model.forward(source, batch.beside.get(model.number, ()))
            sums.append(added)
            passed.pairs.append((source if wanted else None, h))
        return h, sums

    def evaluate(self, received: np.ndarray | None, batch: MicroBatch) -> np.ndarray:
        """Return the output of a micro-batch in evaluation."""
        with _ONE_AT_A_TIME, torch.no_grad():
            self.loaded.set_training(False)
            h = self._taken(batch.x if received is None else received)
            for model in self.models:
                h = model.evaluated(h, batch.beside.get(model.number, ()))
            return CPU.array(h.contiguous()) if self.is_last else self._sent(h)

    # -- backward

    def backward(
        self, m: int, received: np.ndarray | None, batch: MicroBatch
    ) -> np.ndarray | None:
        """Pass a gradient back: return that by the input, None from the first stage.

        Parameters
        ----------
        received : numpy.ndarray or None
            The gradient by the output; the last stage takes that of the loss.
        batch : MicroBatch
            As for `forward`.
        """
        with _ONE_AT_A_TIME:
            passed = self.passed[m]
            if self.plan.recompute:
                # The same bits, as masks are drawn from the same numbers; what rows
                # add to statistics was counted the first time.
                self._through(m, passed, batch)
            if passed.ended is not None:
                leaf, loss = passed.ended
                (gradient,) = torch.autograd.grad(loss, leaf)
                passed.ended = None
            else:
                assert received is not None
                gradient = self._taken(received)
            for i in reversed(range(len(self.models))):
                gradient = self._back(passed, i, gradient)
            passed.pairs = []
            if not self.plan.shape.splits:
                del self.passed[m]
            return None if self.is_first else self._sent(gradient)

    def _back(self, passed: _Passed, i: int, gradient: Any) -> Any:
        """Return the gradient by a layer's input; add those by its parameters."""
        source, out = passed.pairs[i]
        parameters = self.models[i].parameters
        if self.plan.shape.splits:
            by_source, pending = split_backward(out, gradient, source, parameters)
            passed.pending.append(pending)
        else:
            by_source, found = backward(out, gradient, source, parameters)
            self._add(i, found)
        if by_source is None and source is not None:
            by_source = torch.zeros_like(source)
        return by_source

    def weights(self, m: int) -> None:
        """Add the gradients by parameters that `backward` has left."""
        with _ONE_AT_A_TIME:
            pending = self.passed.pop(m).pending
            for i, each in zip(reversed(range(len(self.models))), pending, strict=True):
                self._add(i, each.finish())

    def _add(self, i: int, found: Sequence[torch.Tensor | None]) -> None:
        """Add a micro-batch's gradients to those of the micro-batches before."""
        kept, added = self._gradients[i], self._added[i]
        for k, each in enumerate(found):
            if each is None:
                continue
            if kept[k] is None:
                kept[k] = each
            elif added[k]:
                kept[k].add_(each)
            else:
                # Not in place: autograd may have handed the tensor to others, too.
                kept[k], added[k] = kept[k] + each, True

    # -- the end of the step

    def share(self) -> PartGradient:
        """Return the gradient of all the copy's micro-batches, loss and sums."""
        flat = [
            np.zeros(size, self._dtype)
            if gradient is None
            else CPU.array(gradient.detach().reshape(-1))
            for model, gradients in zip(self.models, self._gradients, strict=True)
            for size, gradient in zip(model.sizes, gradients, strict=True)
        ]
        sums = [each for each in self._sums if each is not None]
        return PartGradient(
            np.concatenate(flat) if flat else np.empty(0, np.float32),
            self.loss,
            statistics=np.concatenate(sums) if sums else None,
        )

    def update(self, total: PartGradient) -> None:
        """Update all layers by the sum of all copies' shares."""
        place = row = 0
        with _ONE_AT_A_TIME:
            for model, sums in zip(self.models, self._sums, strict=True):
                end = place + sum(model.sizes)
                mine = None
                if sums is not None and total.statistics is not None:
                    mine = total.statistics[row : row + len(sums)]
                    row += len(sums)
                model.update(total.gradient[place:end], mine, self.plan.options)
                place = end

    # -- what goes between stages

    @property
    def _dtype(self) -> Any:
        return np.float64 if self.loaded.program.double else np.float32

    def _sent(self, x: torch.Tensor) -> np.ndarray:
        """Return what goes to another stage."""
        x = x.detach()
        return CPU.array((x.bfloat16() if self.plan.half else x).contiguous())

    def _taken(self, received: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Return the tensor that has come from another stage, or of a batch."""
        if isinstance(received, torch.Tensor):
            return received
        x = CPU.tensor(received)
        return x.to(self.loaded.program.dtype) if x.dtype == torch.bfloat16 else x


def _tensors(y: Any) -> Any:
    """Return targets as tensors."""
    if isinstance(y, tuple):
        return tuple(_tensors(each) for each in y)
    return CPU.tensor(y) if isinstance(y, np.ndarray) else y
