"""The model, loss and optimizer that tasks compute with, sent by value."""

from __future__ import annotations

import copy
import hashlib
import io
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import torch

from daskgnn.dataflow.sampling import PackedSampler
from daskgnn.errors import InputError, ModelError, first_line
from daskgnn.nn.batchnorm import BatchNorms
from daskgnn.nn.device import CPU
from daskgnn.train.compute.gradients import SYNCHRONOUS, Gradients
from daskgnn.train.compute.usercode import user_code_by_value

if TYPE_CHECKING:
    from daskgnn.sampling import Sampler
    from daskgnn.tasks.task import Task
    from daskgnn.train.options.option import OptimizerFactory


@dataclass(frozen=True)
class Trial:
    """What was seen of a model on a graph of two nodes."""

    layered: bool = False
    """Whether it can be evaluated layer by layer: it has a method ``layer(i, h,
    block)`` whose loop gives what ``forward`` gives."""
    num_outputs: int = 0
    """Columns of its output."""
    calls: tuple[int, ...] = ()
    """How often each of its batch normalisations is called."""
    unused: tuple[int, ...] = ()
    """Numbers of the trained parameters that had no gradient."""


@dataclass(frozen=True)
class Program:
    """A model without its parameters, its task and its optimizer, as bytes."""

    payload: bytes
    """cloudpickle of (model with empty parameters, task, optimizer factory)."""
    content: str
    """SHA-256 of what these consist of: the same whenever they are pickled."""
    shapes: tuple[tuple[int, ...], ...]
    threads: int
    """Threads of a numeric task: part of the plan, never the worker's cores."""
    precision: str = "float32"
    """Of the dense products in training: see `Trainer`."""
    gradients: Gradients = SYNCHRONOUS
    trial: Trial = field(default_factory=Trial)
    """What was seen of the model in a trial."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, and of what was seen of the model."""
        return hashlib.sha256(f"{self.content} {self.trial!r}".encode()).hexdigest()

    @property
    def given(self) -> np.ndarray | None:
        """bool, a parameter: whether it had a gradient in the trial; None: all had."""
        if not self.trial.unused:
            return None
        given = np.ones(len(self.shapes), bool)
        given[list(self.trial.unused)] = False
        return given


def make_program(
    model: torch.nn.Module,
    task: Task,
    optimizer: OptimizerFactory,
    threads: int,
    precision: str = "float32",
    gradients: Gradients = SYNCHRONOUS,
    trial: Trial | None = None,
) -> Program:
    """Pickle `model` by value, code of the user's own modules included.

    Raises
    ------
    ModelError
        If the model, task or optimizer factory cannot be pickled.
    """
    skeleton = copied(model).train()
    shapes = tuple(tuple(p.shape) for p in skeleton.parameters())
    BatchNorms(skeleton).reset()
    for p in skeleton.parameters():
        p.data = torch.empty(0)
        p.grad = None
    whose = "the model, its loss or its optimizer"
    given = skeleton, task, optimizer
    payload = pickled(given, whose, "them", ModelError)
    how = threads, precision, gradients, trial or Trial()
    return Program(payload, _content_of(given), shapes, *how)


def copied(model: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a model, which leaves the user's own as it is.

    Raises
    ------
    ModelError
        If it cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise _unsendable("the model", "it", ModelError, error) from error


def unpickled(program: Program) -> Any:
    """Return what a program holds: model, task and optimizer factory.

    Raises
    ------
    ModelError
        If their code is not found here.
    """
    try:
        return cloudpickle.loads(program.payload)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ModelError(
            f"the model cannot be rebuilt on a worker ({error}): define its classes in "
            "the script or in modules beside it, or install that package on every "
            "worker, or call client.upload_file('your_module.py') first"
        ) from error


def with_task(program: Program, task: Task) -> Program:
    """Return a program whose outputs another task scores."""
    model, _, optimizer = unpickled(program)
    given = model, task, optimizer
    payload = pickled(given, "the task", "it", InputError)
    return replace(program, payload=payload, content=_content_of(given))


def packed_sampler(sampler: Sampler) -> PackedSampler:
    """Pickle a sampler by value, so that workers need no code of the user's.

    Raises
    ------
    InputError
        If it cannot be pickled.
    """
    return PackedSampler(pickled(sampler, "the sampler", "it", InputError))


def pickled(given: Any, whose: str, them: str, refusal: type[InputError]) -> bytes:
    """Pickle what workers have no code of, or say that it cannot be."""
    try:
        with user_code_by_value():
            return cloudpickle.dumps(given)
    except Exception as error:
        raise _unsendable(whose, them, refusal, error) from error


class _ContentPickler(cloudpickle.Pickler):
    """Pickles the content of tensors, where pickle has addresses of memory, too."""

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        """Return what a tensor consists of; None for all else."""
        if not isinstance(obj, torch.Tensor):
            return None
        try:
            entries = CPU.array(obj.detach().reshape(-1).view(torch.uint8))
        except (RuntimeError, TypeError):  # sparse, for instance
            return None
        kind = type(obj).__name__, str(obj.dtype), tuple(obj.shape), obj.requires_grad
        return *kind, entries.tobytes()


def _content_of(given: Any) -> str:
    """Return the SHA-256 of what some objects consist of."""
    file = io.BytesIO()
    with user_code_by_value():
        _ContentPickler(file).dump(given)
    return hashlib.sha256(file.getbuffer()).hexdigest()


def _unsendable(
    whose: str, them: str, refusal: type[InputError], error: Exception
) -> InputError:
    """Return what to raise for what cannot be pickled or copied."""
    return refusal(
        f"{whose} cannot be sent to workers ({type(error).__name__}: "
        f"{first_line(error)}): keep open files, locks and clients out of {them}"
    )
