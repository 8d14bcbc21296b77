"""A layer on a worker: its parameters, its optimizer and its statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from daskgnn.nn.batchnorm import BatchNorms
from daskgnn.nn.device import CPU
from daskgnn.pipeline.program import LayerState, norms_of, unpacked
from daskgnn.train.compute.optimizers import make_optimizer, take_step
from daskgnn.train.compute.state import export_optimizer, import_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from daskgnn.pipeline.layers import Layers
    from daskgnn.pipeline.plan import Options
    from daskgnn.pipeline.program import LayerFacts, PipelineProgram


class LoadedStages:
    """A program's model on a worker, with the parameters of some of its layers.

    Parameters
    ----------
    program : PipelineProgram
    states : mapping
        By number, of the layers that this worker has.
    """

    def __init__(
        self, program: PipelineProgram, states: Mapping[int, LayerState]
    ) -> None:
        self.program = program
        self.layers, self.loss, optimizer = unpacked(program)
        self.parameters = list(self.layers.model.parameters())
        self.norms = norms_of(self.layers.model)
        self.training = True
        self.models = {
            number: LayerModel(self, number, optimizer, state)
            for number, state in states.items()
        }

    def set_training(self, training: bool) -> None:
        """Have layers compute as in training, or as in evaluation."""
        if training != self.training:
            self.layers.model.train(training)
            self.training = training


class LayerModel:
    """One layer: computes, and is updated by a gradient."""

    def __init__(
        self,
        loaded: LoadedStages,
        number: int,
        optimizer: Callable[[list[Any]], torch.optim.Optimizer],
        state: LayerState,
    ) -> None:
        program = loaded.program
        self.facts: LayerFacts = program.layers[number]
        self.number, self.layers = number, loaded.layers
        self.sizes = program.sizes(number)
        self.parameters = [loaded.parameters[k] for k in self.facts.parameters]
        place = 0
        for p, k, size in zip(
            self.parameters, self.facts.parameters, self.sizes, strict=True
        ):
            values = state.parameters[place : place + size]
            p.data = CPU.copy(values).view(program.shapes[k])
            place += size
        self._copies = any(
            getattr(module, "inplace", False)
            for module in self.layers.scope(number).modules()
        )
        found = [loaded.norms[k] for k in self.facts.norms]
        self.norms = BatchNorms(torch.nn.ModuleList(found))
        self.norms.watch()
        self.norms.write(state.statistics)
        self._statistics = state.statistics
        self._optimizer: torch.optim.Optimizer | None = None
        if self.parameters:
            self._optimizer = make_optimizer(optimizer, self.parameters)
            import_optimizer(self._optimizer, self.parameters, state.optimizer)

    def forward(
        self, x: torch.Tensor, beside: Sequence[Any] = ()
    ) -> tuple[torch.Tensor, np.ndarray | None]:
        """Return the output, and what its rows add to the statistics."""
        if self._copies:
            x = x.clone()  # the layer may write to it
        if not self.facts.norms:
            return self.layers.run(self.number, x, *beside), None
        self.norms.begin()
        out = self.layers.run(self.number, x, *beside)
        return out, self.norms.take(self.facts.calls)

    def evaluated(self, x: torch.Tensor, beside: Sequence[Any] = ()) -> torch.Tensor:
        """Return the output in evaluation."""
        return self.layers.run(self.number, x.clone() if self._copies else x, *beside)

    def update(
        self, gradient: np.ndarray, sums: np.ndarray | None, options: Options
    ) -> None:
        """Take one optimizer step.

        Parameters
        ----------
        gradient : numpy.ndarray
            [n], of the whole batch.
        sums : numpy.ndarray or None
            What all rows add to the statistics.
        options : mapping or None
            Of the optimizer, from now on.
        """
        if self._statistics is not None and sums is not None:
            calls = self.facts.calls
            self._statistics = self.norms.pooled(self._statistics, sums, calls)
            self.norms.write(self._statistics)
        if self._optimizer is None:
            return
        place, flat = 0, CPU.tensor(gradient)
        for p, size in zip(self.parameters, self.sizes, strict=True):
            p.grad = flat[place : place + size].view(p.shape)
            place += size
        for group in self._optimizer.param_groups:
            group.update(options or {})
        take_step(self._optimizer)
        for p in self.parameters:
            p.grad = None

    def state(self) -> LayerState:
        """Return a copy of the state."""
        flat = [CPU.array(p.detach().reshape(-1)) for p in self.parameters]
        parameters = np.concatenate(flat) if flat else np.empty(0, np.float32)
        optimizer = {}
        if self._optimizer is not None:
            optimizer = export_optimizer(self._optimizer, self.parameters)
        return LayerState(parameters, optimizer, self._statistics)


def initial_states(layers: Layers, program: PipelineProgram) -> list[LayerState]:
    """Return the states of a model's layers before any step."""
    parameters = list(layers.model.parameters())
    norms = norms_of(layers.model)
    found = []
    for facts in program.layers:
        flat = [CPU.array(parameters[k].detach().reshape(-1)) for k in facts.parameters]
        values = np.concatenate(flat) if flat else np.empty(0, np.float32)
        mine = torch.nn.ModuleList(norms[k] for k in facts.norms)
        found.append(LayerState(values, {}, BatchNorms(mine).read()))
    return found


def write_states(
    layers: Layers, program: PipelineProgram, states: Sequence[LayerState]
) -> None:
    """Have a whole model compute with the states of its layers."""
    parameters = list(layers.model.parameters())
    norms = norms_of(layers.model)
    with torch.no_grad():
        for i, (facts, state) in enumerate(zip(program.layers, states, strict=True)):
            place = 0
            for k, size in zip(facts.parameters, program.sizes(i), strict=True):
                values = CPU.copy(state.parameters[place : place + size])
                parameters[k].copy_(values.view(parameters[k].shape))
                place += size
            mine = torch.nn.ModuleList(norms[k] for k in facts.norms)
            BatchNorms(mine).write(state.statistics)
