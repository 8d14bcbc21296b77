"""From a model and a first micro-batch to a cut, a program and states."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.pipeline.cuts import Costs, cut_by_map, cut_evenly, described, time_costs
from daskgnn.pipeline.layermodel import initial_states
from daskgnn.pipeline.layers import Layers
from daskgnn.pipeline.measure import measure
from daskgnn.pipeline.program import TRIAL_ROWS, LayerState, examine, make_program
from daskgnn.train.compute.program import copied
from daskgnn.train.compute.state import named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.pipeline.cuts import Cut
    from daskgnn.pipeline.plan import MicroBatch
    from daskgnn.pipeline.program import PipelineProgram
    from daskgnn.pipeline.settings import PipelineSettings
    from daskgnn.train.persist.checkpoint import Checkpoint

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """What steps are carried out with."""

    cut: Cut
    program: PipelineProgram
    states: list[LayerState]
    """Of all layers, before the first step."""
    lines: list[str]
    """What each stage has, a line each."""


def build(
    layers: Layers,
    settings: PipelineSettings,
    loss: Any,
    optimizer: Any,
    batch: MicroBatch,
) -> Built:
    """Try a model's layers on a micro-batch, cut it, and pack it.

    Raises
    ------
    ModelError
        If its layers do not fit each other or the batch.
    """
    beside = [batch.beside.get(i, ()) for i in range(len(layers))]
    few = batch.x if batch.beside else batch.x[:TRIAL_ROWS]
    trial = Layers(copied(layers.model), settings.cut_at)
    facts = examine(trial, few, beside)
    how = settings.cut_at, loss, optimizer, settings.threads
    program = make_program(layers, facts, *how)
    counts = [float(sum(program.sizes(i))) for i in range(len(facts))]
    told = {"parameters": counts}
    costs = Costs(tuple(count + 1 for count in counts))
    if settings.balance == "time" and settings.device_map is None:
        seconds, sizes = measure(trial, batch.x, beside, settings.threads)
        costs, told["seconds"] = time_costs(seconds, sizes), seconds
    if settings.device_map is not None:
        cut = cut_by_map(layers.names, layers.own_names, settings.device_map)
    else:
        cut = cut_evenly(costs, settings.stages or 1)
    lines = described(cut, layers.names, told)
    for line in lines:
        _logger.info(line)
    return Built(cut, program, initial_states(layers, program), lines)


# -- checkpoints


def arrays_of(states: Sequence[LayerState]) -> dict[str, np.ndarray]:
    """Return the arrays of a checkpoint: of layers, so for any number of stages."""
    arrays = {"parameters": np.concatenate([s.parameters for s in states])}
    for i, state in enumerate(states):
        for name, array in state.optimizer.items():
            arrays[f"optimizer/{i}/{name}"] = array
        if state.statistics is not None:
            arrays[f"statistics/{i}"] = state.statistics
    return arrays


def states_in(checkpoint: Checkpoint, program: PipelineProgram) -> list[LayerState]:
    """Return the states of all layers in a checkpoint."""
    arrays, place, found = checkpoint.arrays, 0, []
    for i in range(len(program.layers)):
        size = sum(program.sizes(i))
        values = arrays["parameters"][place : place + size]
        optimizer = named(arrays, f"optimizer/{i}/")
        found.append(LayerState(values, optimizer, arrays.get(f"statistics/{i}")))
        place += size
    return found
