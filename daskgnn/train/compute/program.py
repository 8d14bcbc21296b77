"""The model, loss and optimizer that tasks compute with, sent by value."""

from __future__ import annotations

import copy
import hashlib
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import torch

from daskgnn.dataflow.sampling import PackedSampler
from daskgnn.dataflow.steps.clock import Clock, Work, here, together
from daskgnn.dataflow.steps.gradients import PartGradient, add_gradients, opened
from daskgnn.errors import InputError, ModelError, TrainingError
from daskgnn.nn.block import Block
from daskgnn.nn.blockarrays import BlockArrays
from daskgnn.nn.device import CPU
from daskgnn.tasks.task import target_batch
from daskgnn.train.compute.arithmetic import computing, half_precision
from daskgnn.train.compute.gradients import (
    SYNCHRONOUS,
    Gradients,
    clipped,
    delay_compensated,
)
from daskgnn.train.compute.scaling import LossScale
from daskgnn.train.compute.state import (
    StepReport,
    TrainState,
    export_optimizer,
    flatten,
    hash_parameters,
    import_optimizer,
)
from daskgnn.train.compute.usercode import user_code_by_value

if TYPE_CHECKING:
    from daskgnn.kernels.batch import PreparedStep, PreparedWindow
    from daskgnn.sampling import Sampler
    from daskgnn.tasks.task import Task
    from daskgnn.train.compute.gradients import UpdateOptions
    from daskgnn.train.options.option import OptimizerFactory


@dataclass(frozen=True)
class Program:
    """A model without its parameters, its task and its optimizer, as bytes."""

    payload: bytes
    """cloudpickle of (model with empty parameters, task, optimizer factory)."""
    shapes: tuple[tuple[int, ...], ...]
    threads: int
    """Threads of a numeric task: part of the plan, never the worker's cores."""
    precision: str = "float32"
    """Of the dense products in training: see `Trainer`."""
    gradients: Gradients = SYNCHRONOUS

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the payload."""
        return hashlib.sha256(self.payload).hexdigest()


def make_program(
    model: torch.nn.Module,
    task: Task,
    optimizer: OptimizerFactory,
    threads: int,
    precision: str = "float32",
    gradients: Gradients = SYNCHRONOUS,
) -> Program:
    """Pickle `model` by value, code of the user's own modules included.

    Raises
    ------
    ModelError
        If the model, task or optimizer factory cannot be pickled.
    """
    skeleton = copy.deepcopy(model)
    shapes = tuple(tuple(p.shape) for p in skeleton.parameters())
    for p in skeleton.parameters():
        p.data = torch.empty(0)
        p.grad = None
    whose = "the model, its loss or its optimizer"
    payload = _pickled((skeleton, task, optimizer), whose, "them", ModelError)
    return Program(payload, shapes, threads, precision, gradients)


def with_task(program: Program, task: Task) -> Program:
    """Return a program whose outputs another task scores."""
    model, _, optimizer = _unpickle(program.payload)
    payload = _pickled((model, task, optimizer), "the task", "it", InputError)
    return replace(program, payload=payload)


def packed_sampler(sampler: Sampler) -> PackedSampler:
    """Pickle a sampler by value, so that workers need no code of the user's.

    Raises
    ------
    InputError
        If it cannot be pickled.
    """
    return PackedSampler(_pickled(sampler, "the sampler", "it", InputError))


def _pickled(given: Any, whose: str, them: str, refusal: type[InputError]) -> bytes:
    """Pickle what workers have no code of, or say that it cannot be."""
    try:
        with user_code_by_value():
            return cloudpickle.dumps(given)
    except Exception as error:
        raise refusal(
            f"{whose} cannot be sent to workers ({type(error).__name__}: {error}): "
            f"keep open files, locks and clients out of {them}"
        ) from error


class _Loaded:
    """A model of this thread, whose parameters are views of one flat vector."""

    def __init__(self, program: Program) -> None:
        self.model, self.task, self.optimizer = _unpickle(program.payload)
        self.parameters = list(self.model.parameters())
        self.trained = [p for p in self.parameters if p.requires_grad]
        sizes = [int(np.prod(shape, dtype=np.int64)) for shape in program.shapes]
        self.flat = torch.zeros(sum(sizes))
        place = 0
        for p, shape, size in zip(self.parameters, program.shapes, sizes, strict=True):
            p.data = self.flat[place : place + size].view(shape)
            place += size

    def gradient(self, loss: torch.Tensor) -> np.ndarray:
        """Return the gradient of `loss` by all parameters, float32 [n]."""
        grads = torch.autograd.grad(loss, self.trained, allow_unused=True)
        found = dict(zip(map(id, self.trained), grads, strict=True))
        filled = [found.get(id(p)) for p in self.parameters]
        return flatten(
            [
                torch.zeros_like(p) if g is None else g
                for g, p in zip(filled, self.parameters, strict=True)
            ]
        )

    def give_gradient(self, gradient: np.ndarray | None) -> None:
        """Let the trained parameters' gradients be views of one, float32 [n]."""
        flat = None if gradient is None else CPU.tensor(gradient)
        place = 0
        for p in self.parameters:
            if p.requires_grad:
                views = None if flat is None else flat[place : place + p.numel()]
                p.grad = None if views is None else views.view(p.shape)
            place += p.numel()

    def with_parameters(self, parameters: np.ndarray) -> torch.nn.Module:
        """Return the model with the given parameters, float32 [n]."""
        np.copyto(CPU.array(self.flat), parameters)
        return self.model


_local = threading.local()


def load_model(program: Program) -> _Loaded:
    """Return this thread's copy of a program's model (unpickled once)."""
    cache = _local.__dict__.setdefault("loaded", {})
    digest = program.digest
    if digest not in cache:
        if len(cache) > 3:
            cache.clear()
        cache[digest] = _Loaded(program)
    return cache[digest]


def _unpickle(payload: bytes) -> Any:
    try:
        return cloudpickle.loads(payload)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ModelError(
            f"the model cannot be rebuilt on a worker ({error}): define its classes in "
            "the script or in modules beside it, or install that package on every "
            "worker, or call client.upload_file('your_module.py') first"
        ) from error


def layer_blocks(
    batch: PreparedStep, model: torch.nn.Module | None = None
) -> list[Block]:
    """Return a step's blocks, outermost first, for a model or for any."""
    first_aggregation = getattr(model, "first_aggregation", None)
    graph, blocks = batch.graph, []
    for number in reversed(range(graph.num_layers)):
        rows = graph.layer(number)
        outermost = number + 1 == graph.num_layers
        arrays = BlockArrays(
            starts=rows.starts,
            ends=rows.ends,
            indices=rows.indices,
            ids=graph.original_ids,
            degree=graph.degree,
            weighted_degree=graph.weighted_degree,
            weights=rows.weights,
            aggregated=batch.aggregated if outermost else None,
        )
        blocks.append(
            Block(
                num_src=graph.sizes[number + 1],
                num_dst=graph.sizes[number],
                arrays=arrays,
                dropout_key=batch.key,
                aggregated_op=first_aggregation if outermost else None,
            )
        )
    return blocks


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
        self._loaded.with_parameters(state.parameters)
        self._accumulated = state.accumulated
        half = program.precision == "fp16"
        self._scale = LossScale.of(state.scaling) if half else None
        past = () if state.past is None else state.past
        self._past = deque(past, maxlen=program.gradients.staleness)

    def gradient(
        self, batch: PreparedWindow, step: int, behind: int = 0
    ) -> PartGradient:
        """Return one part's share of the gradient and loss of a step.

        It is taken at the parameters of `behind` updates ago, or at the first.
        """
        behind = min(behind, len(self._past))
        if not behind:
            return self._gradient(batch, step)
        now = CPU.array(self._loaded.flat).copy()
        self._loaded.with_parameters(self._past[-behind])
        share = self._gradient(batch, step)
        self._loaded.with_parameters(now)
        return share

    def _gradient(self, batch: PreparedWindow, step: int) -> PartGradient:
        loaded, prepared = self._loaded, batch.steps[step]
        nbytes = self._before.parameters.nbytes
        if not prepared.sizes[0]:
            nothing = np.zeros_like(self._before.parameters)
            return PartGradient(nothing, 0.0, {}, nbytes, nbytes)
        model = loaded.model.train()
        clock = self.clock
        with computing(self.program.threads, self.program.precision):
            with clock.phase("forward"):
                with half_precision(self.program.precision):
                    blocks = layer_blocks(prepared, model)
                    outputs = model(CPU.tensor(prepared.x), blocks)
                task = loaded.task
                targets = target_batch(prepared, task.tables).as_tensors(CPU.tensor)
                loss = task.loss(outputs.float(), targets) / prepared.num_seeds
            with clock.phase("backward"):
                gradient = self._gradient_of(loss)
        return PartGradient(gradient, float(loss.detach()), {}, nbytes, nbytes)

    def _gradient_of(self, loss: torch.Tensor) -> np.ndarray:
        if self._scale is None:
            return self._loaded.gradient(loss)
        return self._scale.unscaled(self._loaded.gradient(loss * self._scale.factor))

    def update(
        self, left: PartGradient, right: PartGradient | None, options: UpdateOptions
    ) -> None:
        """Add the last two shares and take one optimizer step, if it is time for one.

        Raises
        ------
        TrainingError
            If the loss is not finite; or, in float16, the gradient at any scale.
        """
        clock = Clock()
        with clock.phase("reduce"):
            share = opened(left) if right is None else add_gradients(left, right)
        if not np.isfinite(share.loss):
            raise TrainingError(
                f"the loss of step {self._before.step + len(self._reports)} is "
                f"{share.loss}: lower the learning rate or normalise the features"
            )
        with clock.phase("update"), computing(self.program.threads):
            gradient = self._with_accumulated(share.gradient, options.weight)
            if options.applies:
                self._apply(gradient, options)
            else:
                self._accumulated = gradient
        self.clock.include(clock.spent)
        work = together(share.work, {here(): Work(clock.spent)})
        sent = share.dense_bytes, share.sent_bytes
        self._reports.append(StepReport(share.loss, time.time(), work, *sent))

    def _with_accumulated(self, gradient: np.ndarray, weight: float) -> np.ndarray:
        if weight != 1.0:
            gradient = gradient * np.float32(weight)
        if self._accumulated is not None:
            gradient = self._accumulated + gradient
            self._accumulated = None
        return gradient

    def _apply(self, gradient: np.ndarray, options: UpdateOptions) -> None:
        way, loaded = self.program.gradients, self._loaded
        if way.compensation == "dc-asgd" and options.late:
            now = CPU.array(loaded.flat)
            gradient = delay_compensated(gradient, now, self._past[-options.late])
        if way.staleness:
            self._past.append(CPU.array(loaded.flat).copy())
        if self._scale is not None:
            finite = bool(np.isfinite(gradient).all())
            step = self._before.step + len(self._reports)
            self._scale = self._scale.after(finite=finite).checked(step)
            if not finite:
                return
        optimizer = self._ready_optimizer()
        for group, values in zip(optimizer.param_groups, options.groups, strict=True):
            group.update(values)
        loaded.give_gradient(clipped(gradient, way.clip_norm))
        optimizer.step()

    def _ready_optimizer(self) -> torch.optim.Optimizer:
        if self._optimizer is None:
            parameters = self._loaded.parameters
            self._optimizer = self._loaded.optimizer(parameters)
            import_optimizer(self._optimizer, parameters, self._before.optimizer)
        return self._optimizer

    def checksum(self) -> str:
        """Return the SHA-256 of the parameters as they are now."""
        return hash_parameters(CPU.array(self._loaded.flat))

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
            self._accumulated,
            np.stack(self._past) if self._past else None,
            {},
            None if self._scale is None else self._scale.to_array(),
            (*before.reports, *self._reports),
        )
