"""`Pipeline`: a model whose layers are on different workers."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from distributed import Client, get_client

from daskgnn.errors import CheckpointError, InputError
from daskgnn.pipeline.cluster import PipelineCluster
from daskgnn.pipeline.cuts import (
    Costs,
    Cut,
    check_stages,
    cut_by_map,
    cut_evenly,
    described,
    time_costs,
)
from daskgnn.pipeline.engine import ClusterEngine, Engine
from daskgnn.pipeline.layermodel import initial_states, write_states
from daskgnn.pipeline.layers import Layers
from daskgnn.pipeline.measure import measure
from daskgnn.pipeline.plan import MicroBatch, Span, as_array, in_micro_batches
from daskgnn.pipeline.program import (
    TRIAL_ROWS,
    LayerState,
    check_batch,
    examine,
    make_program,
)
from daskgnn.pipeline.settings import PipelineSettings
from daskgnn.train.compute.program import copied
from daskgnn.train.compute.schedule import optimizer_factory
from daskgnn.train.compute.state import flatten, hash_parameters, named
from daskgnn.train.persist.checkpoint import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from daskgnn.train.options.option import OptimizerFactory

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepResult:
    """What is told of a step.

    Examples
    --------
    >>> from daskgnn.pipeline import StepResult
    >>> StepResult(step=0, loss=2.3, seconds=0.1, redone=0, spans=(), held={}).loss
    2.3
    """

    step: int
    """Its number, from 0."""
    loss: float
    seconds: float
    """From the call to the answer."""
    redone: int
    """Steps that were done again, because a worker was lost."""
    spans: tuple[Span, ...]
    """Each operation: where and when."""
    held: dict[tuple[int, int], int]
    """By copy and stage, the most micro-batches held at a time."""


class Pipeline:
    """A model cut into stages, which Dask workers train in a pipeline.

    A batch is cut into micro-batches. While one worker has the first layers compute one
    of them, the next worker has the following layers compute the one before. The result
    is that of the model trained in this process with the same micro-batches, bit for
    bit: whatever the schedule, the form and the number of workers.

    Parameters
    ----------
    module : torch.nn.Module
        A `torch.nn.Sequential`; or a module with ``num_layers`` and ``layer(i, x)``; or
        any other, with `cut_at`. It is left as it is.
    loss : callable
        ``loss(output, target)``, a mean over rows.
    stages : int, optional
        How many stages to cut the model into; 1 by default.
    device_map : dict, optional
        Instead: the device of each layer, as ``{"layer.0": 0, "layer.1": 1}``. Devices
        are workers, numbered from 0.
    balance : {"parameters", "time"}, default "parameters"
        What stages are to have equally much of. "time" measures each layer at the first
        batch.
    cut_at : sequence of str
        Names of modules that layers begin with, where the module is no `Sequential`.
    micro_batches : int, default 1
        Of each copy. Rows that are left over go to the first ones.
    schedule : {"1f1b", "gpipe", "interleaved", "zero-bubble"}
        See ``docs/pipelines.md``.
    copies : int, default 1
        Copies of the model, which train on other micro-batches of the same batch.
    optimizer : str or callable, default "adam"
        A name from `torch.optim`, or a function of a list of parameters. Each layer has
        one of its own.
    lr, weight_decay : float
    seed : int, default 0
        Of what layers draw in training.
    form : {"auto", "workers", "operations"}
        One task a worker and step, or one task an operation. "auto" is the first.
    recompute : bool, default False
        Whether stages keep the input of a micro-batch alone and compute activations
        again for the backward pass.
    boundary : {"float32", "bf16"}
        What goes between stages.
    threads : int, default 1
        Of an operation.
    client : distributed.Client, "auto" or None
        None trains in this process; "auto" takes the current client, if there is one.

    Raises
    ------
    InputError, ModelError
        In one line, if the model cannot be cut so.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from daskgnn.pipeline import Pipeline
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 3))
    >>> loss = torch.nn.functional.cross_entropy
    >>> how = {"micro_batches": 4, "lr": 0.05, "client": None}
    >>> pipeline = Pipeline(model, loss, stages=2, **how)
    >>> rows, classes = np.eye(16, 4, dtype=np.float32), np.arange(16) % 3
    >>> first, *_, last = [pipeline.step(rows, classes).loss for _ in range(20)]
    >>> last < first
    True
    >>> pipeline.predict(rows).shape
    (16, 3)
    """

    def __init__(
        self,
        module: torch.nn.Module,
        loss: Callable[..., torch.Tensor],
        *,
        stages: int | None = None,
        device_map: dict[str, int] | None = None,
        balance: str = "parameters",
        cut_at: Sequence[str] = (),
        micro_batches: int = 1,
        schedule: str = "1f1b",
        copies: int = 1,
        optimizer: str | OptimizerFactory = "adam",
        lr: float = 0.001,
        weight_decay: float = 0.0,
        seed: int = 0,
        form: str = "auto",
        recompute: bool = False,
        boundary: str = "float32",
        threads: int = 1,
        client: Any = "auto",
    ) -> None:
        how = stages, device_map, balance, tuple(cut_at), micro_batches, schedule
        more = copies, seed, form, recompute, boundary, threads
        self.settings = PipelineSettings(*how, *more)
        self._model = copied(module)
        self._layers = Layers(self._model, self.settings.cut_at)
        if device_map is None:
            check_stages(stages or 1, len(self._layers))
        else:
            cut_by_map(self._layers.names, self._layers.own_names, device_map)
        self._loss = loss
        self._optimizer = optimizer_factory(optimizer, lr, weight_decay)
        self.run = uuid4().hex[:8]
        self._cluster = cluster_of(client, self.run)
        self._engine: Engine | None = None
        self._restored: Checkpoint | None = None
        self.spans: tuple[Span, ...] = ()
        """Each operation of the last step."""
        self.cut_lines: list[str] = []
        """What each stage has, a line each; known from the first batch on."""

    # -- training

    def step(self, x: Any, y: Any, lr: float | None = None) -> StepResult:
        """Train on one batch.

        Parameters
        ----------
        x : array or torch.Tensor
            [n, ...], the model's input.
        y : array, torch.Tensor or tuple of them
            [n, ...], what the loss is given as target.
        lr : float, optional
            The learning rate from now on.

        Returns
        -------
        StepResult

        Raises
        ------
        InputError
            If the batch has fewer rows than there are micro-batches.
        TrainingError
            If the loss is not finite, or workers are lost again and again. The state is
            then that before the step.
        """
        check_batch(x)
        count = self.settings.copies * self.settings.micro_batches
        return self.step_on(in_micro_batches(as_array(x), as_array(y), count), lr)

    def step_on(
        self, batches: Sequence[MicroBatch], lr: float | None = None
    ) -> StepResult:
        """Train on micro-batches that are cut already, those of one copy after another.

        Parameters
        ----------
        batches : sequence of MicroBatch
            As many as `micro_batches` times `copies`.
        lr : float, optional
            The learning rate from now on.

        Returns
        -------
        StepResult
        """
        how = self.settings
        if len(batches) != how.copies * how.micro_batches:
            raise InputError(
                f"{len(batches)} micro-batches, expected "
                f"{how.copies * how.micro_batches}: micro_batches={how.micro_batches} "
                f"of copies={how.copies}"
            )
        began = time.perf_counter()
        engine = self._ready(batches[0])
        outcomes, redone = engine.advance(list(batches), lr)
        self.spans = tuple(span for each in outcomes for span in each.spans)
        (loss, *_) = (each.loss for each in outcomes if each.loss is not None)
        held = {slot: n for each in outcomes for slot, n in each.held.items()}
        seconds = time.perf_counter() - began
        return StepResult(engine.done - 1, loss, seconds, redone, self.spans, held)

    def predict(self, x: Any, micro_batches: int | None = None) -> np.ndarray:
        """Return the model's outputs in evaluation, [n, ...].

        Parameters
        ----------
        x : array or torch.Tensor
            [n, ...]
        micro_batches : int, optional
            In how many pieces they go through the stages; as in training by default.
        """
        check_batch(x)
        count = micro_batches or self.settings.micro_batches
        batches = in_micro_batches(as_array(x), None, min(count, len(x)))
        return np.concatenate(self._ready(batches[0]).outputs(batches))

    # -- state

    @property
    def steps_done(self) -> int:
        """Steps done so far."""
        if self._engine is not None:
            return self._engine.done
        return 0 if self._restored is None else self._restored.step

    def module(self) -> torch.nn.Module:
        """Return the model with what was trained, a copy.

        Returns
        -------
        torch.nn.Module
            In evaluation.
        """
        return copied(self._written()).eval()

    @property
    def params_sha256(self) -> str:
        """SHA-256 of the float32 bytes of all parameters, in the model's order."""
        return hash_parameters(flatten(list(self._written().parameters())))

    def _written(self) -> torch.nn.Module:
        """Return this process's model, with the present state."""
        if self._engine is not None:
            program, states = self._engine.program, self._engine.states()
            write_states(self._layers, program, states)
        return self._model

    def checkpoint(self, **facts: Any) -> Checkpoint:
        """Return what `restore` goes on from.

        Parameters
        ----------
        facts
            What else is to be kept, as JSON has it.

        Raises
        ------
        CheckpointError
            Before the first step.
        """
        if self._engine is None:
            if self._restored is None:
                raise CheckpointError("nothing to keep before the first step")
            return self._restored
        states = self._engine.states()
        arrays = {"parameters": np.concatenate([s.parameters for s in states])}
        for i, state in enumerate(states):
            for name, array in state.optimizer.items():
                arrays[f"optimizer/{i}/{name}"] = array
            if state.statistics is not None:
                arrays[f"statistics/{i}"] = state.statistics
        mine = {"step": self._engine.done, "pipeline": self._facts(), **facts}
        return Checkpoint(arrays, mine)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint, whatever number of stages or workers it is of.

        Raises
        ------
        CheckpointError
            If it is of another model, or of a run with other results.
        """
        theirs = checkpoint.facts.get("pipeline")
        if not isinstance(theirs, dict):
            raise CheckpointError("the checkpoint is not one of a pipeline")
        for name, mine in self._facts().items():
            if theirs.get(name) != mine:
                raise CheckpointError(
                    f"the checkpoint is of a run with {name}={theirs.get(name)!r}, "
                    f"this one has {mine!r}"
                )
        self._restored = checkpoint
        if self._engine is not None:
            states = _states_in(checkpoint, self._engine)
            self._engine.restore(checkpoint.step, states)

    def _facts(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with."""
        shapes = [list(p.shape) for p in self._model.parameters()]
        return {**self.settings.facts(), "shapes": shapes}

    def close(self) -> None:
        """Free what workers hold of this pipeline."""
        if self._engine is not None:
            self._engine.states()
            self._engine.close()

    # -- the first batch

    @property
    def cut(self) -> Cut:
        """Which layers each stage has.

        Raises
        ------
        InputError
            Before the first batch.
        """
        if self._engine is None:
            raise InputError("where a model is cut is known from the first batch on")
        return self._engine.cut

    def _ready(self, batch: MicroBatch) -> Engine:
        """Return the engine, which is made for the first micro-batch."""
        if self._engine is not None:
            return self._engine
        beside = [batch.beside.get(i, ()) for i in range(len(self._layers))]
        few = batch.x if batch.beside else batch.x[:TRIAL_ROWS]
        trial = Layers(copied(self._model), self.settings.cut_at)
        facts = examine(trial, few, beside)
        program = make_program(
            self._layers,
            facts,
            self.settings.cut_at,
            self._loss,
            self._optimizer,
            self.settings.threads,
        )
        counts = [float(sum(program.sizes(i))) for i in range(len(facts))]
        told = {"parameters": counts}
        costs = Costs(tuple(count + 1 for count in counts))
        if self.settings.balance == "time" and self.settings.device_map is None:
            given = batch.x, beside, self.settings.threads
            seconds, sizes = measure(trial, *given)
            costs, told["seconds"] = time_costs(seconds, sizes), seconds
        cut = self._cut_by(costs)
        self.cut_lines = described(cut, self._layers.names, told)
        for line in self.cut_lines:
            _logger.info(line)
        states = initial_states(self._layers, program)
        given = self.settings, cut, program, self.run, states
        if self._cluster is None:
            self._engine = Engine(*given)
        else:
            self._engine = ClusterEngine(self._cluster, *given)
        if self._restored is not None:
            states = _states_in(self._restored, self._engine)
            self._engine.restore(self._restored.step, states)
        return self._engine

    def _cut_by(self, costs: Costs) -> Cut:
        how, layers = self.settings, self._layers
        if how.device_map is not None:
            return cut_by_map(layers.names, layers.own_names, how.device_map)
        return cut_evenly(costs, how.stages or 1)


def _states_in(checkpoint: Checkpoint, engine: Engine) -> list[LayerState]:
    """Return the states of all layers in a checkpoint."""
    arrays, place, found = checkpoint.arrays, 0, []
    for i in range(len(engine.program.layers)):
        size = sum(engine.program.sizes(i))
        found.append(
            LayerState(
                arrays["parameters"][place : place + size],
                named(arrays, f"optimizer/{i}/"),
                arrays.get(f"statistics/{i}"),
            )
        )
        place += size
    return found


def cluster_of(client: Any, run: str) -> PipelineCluster | None:
    """Return the cluster of a client, of the current one ("auto"), or none (None).

    Raises
    ------
    InputError
        If `client` is anything else.
    """
    if isinstance(client, str) and client == "auto":
        try:
            client = get_client()
        except ValueError:
            client = None
    if client is None:
        return None
    if not isinstance(client, Client):
        raise InputError(
            f"client={client!r} is not a Dask client: give distributed.Client(...), or "
            "None to train in this process"
        )
    return PipelineCluster(client, run)
