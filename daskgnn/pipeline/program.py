"""What workers need to compute with a model: its layers without their parameters."""

from __future__ import annotations

import hashlib
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from daskgnn.errors import InputError, ModelError, first_line
from daskgnn.nn.batchnorm import BatchNorms, is_pooled
from daskgnn.nn.device import CPU
from daskgnn.pipeline.layers import Layers
from daskgnn.train.compute.program import copied, pickled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from daskgnn.train.options.option import OptimizerFactory

FLOATS = (torch.float32, torch.float64)
TRIAL_ROWS = 2


@dataclass(frozen=True)
class LayerFacts:
    """What was seen of a layer in a trial."""

    name: str
    parameters: tuple[int, ...]
    """Numbers, among all of the model, of those that it trains."""
    norms: tuple[int, ...]
    """Numbers of its batch normalisations among the model's."""
    calls: tuple[int, ...]
    """How often each of these is called."""


@dataclass(frozen=True)
class PipelineProgram:
    """A model without what is trained, its loss and its optimizer, as bytes."""

    payload: bytes
    """cloudpickle of (model, loss, optimizer factory)."""
    cut_at: tuple[str, ...]
    layers: tuple[LayerFacts, ...]
    shapes: tuple[tuple[int, ...], ...]
    """Of all parameters of the model."""
    threads: int
    """Threads of an operation: part of the plan, never the worker's cores."""
    double: bool
    """Whether parameters are float64."""

    @cached_property
    def dtype(self) -> torch.dtype:
        """Of parameters and of what goes between stages."""
        return torch.float64 if self.double else torch.float32

    def sizes(self, number: int) -> list[int]:
        """Return how many entries each parameter of a layer has."""
        shapes = (self.shapes[k] for k in self.layers[number].parameters)
        return [int(np.prod(shape, dtype=np.int64)) for shape in shapes]


@dataclass(frozen=True)
class LayerState:
    """A layer's parameters and optimizer after some steps."""

    parameters: np.ndarray
    """[n], of all that it trains."""
    optimizer: dict[str, np.ndarray]
    """As `export_optimizer` returns it."""
    statistics: np.ndarray | None = None
    """float64 [b], the running statistics of batch normalisations, if it has any."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        rest = 0 if self.statistics is None else self.statistics.nbytes
        arrays = [self.parameters, *self.optimizer.values()]
        return rest + sum(array.nbytes for array in arrays)


def make_program(
    layers: Layers,
    facts: tuple[LayerFacts, ...],
    cut_at: tuple[str, ...],
    loss: Callable[..., torch.Tensor],
    optimizer: OptimizerFactory,
    threads: int,
) -> PipelineProgram:
    """Pickle a model by value, code of the user's own modules included.

    Raises
    ------
    ModelError
        If the model, loss or optimizer factory cannot be pickled.
    """
    skeleton = copied(layers.model).train()
    parameters = list(skeleton.parameters())
    shapes = tuple(tuple(p.shape) for p in parameters)
    trained = {k for layer in facts for k in layer.parameters}
    for k in trained:
        parameters[k].data = parameters[k].data.new_empty(0)
        parameters[k].grad = None
    given = skeleton, loss, optimizer
    payload = pickled(given, "the model, its loss or its optimizer", "them", ModelError)
    double = any(parameters[k].dtype == torch.float64 for k in trained)
    return PipelineProgram(payload, cut_at, facts, shapes, threads, double)


def unpacked(program: PipelineProgram) -> tuple[Layers, Any, Any]:
    """Return a program's layers, loss and optimizer factory."""
    model, loss, optimizer = cloudpickle.loads(program.payload)
    return Layers(model, program.cut_at), loss, optimizer


def norms_of(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Return a model's batch normalisations."""
    return [module for module in model.modules() if is_pooled(module)]


# -- the trial


def examine(
    layers: Layers, x: np.ndarray, beside: Sequence[tuple[Any, ...]] = ()
) -> tuple[LayerFacts, ...]:
    """Run each layer once, on a few rows, and note down what it uses.

    Parameters
    ----------
    layers : Layers
        Of a copy of the model, which is changed.
    x : numpy.ndarray
        The model's input.
    beside : sequence of tuple, optional
        What each layer takes besides.

    Raises
    ------
    ModelError
        If layers do not fit each other, share what is trained, or change buffers that
        are no running statistics.
    """
    model = layers.model.train()
    _check_dtypes(model)
    trial = _Trial(layers)
    before = _fixed_buffers(model)
    with torch.random.fork_rng(devices=[]):
        facts = trial.run(CPU.copy(x), beside)
    changed = [
        name
        for name, value in _fixed_buffers(model).items()
        if not torch.equal(value, before[name])
    ]
    if changed:
        raise ModelError(
            f"the buffer {changed[0]!r} changes in training: only the running "
            "statistics of BatchNorm may"
        )
    _check_shared(model, facts)
    return facts


class _Trial:
    """Runs layers one after the other and sees what each of them uses."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self.parameters = list(layers.model.parameters())
        self.norms = norms_of(layers.model)
        self.counts = [0] * len(self.norms)
        for i, module in enumerate(self.norms):
            module.register_forward_pre_hook(self._counting(i))

    def _counting(self, i: int) -> Callable[..., None]:
        def count(*_: Any) -> None:
            self.counts[i] += 1

        return count

    def run(
        self, h: torch.Tensor, beside: Sequence[tuple[Any, ...]]
    ) -> tuple[LayerFacts, ...]:
        """Return the facts of all layers."""
        watched = BatchNorms(self.layers.model)
        watched.watch()
        found = []
        for i, name in enumerate(self.layers.names):
            self.counts = [0] * len(self.norms)
            watched.begin()
            more = beside[i] if beside else ()
            h = h.detach()
            if h.is_floating_point():
                h.requires_grad_()
            try:
                with _Uses() as uses:
                    out = self.layers.run(i, h.clone(), *more)
            except ModelError:
                raise
            except Exception as error:
                shape = tuple(h.shape)
                raise ModelError(
                    f"{name} cannot take what comes before it, {shape}: "
                    f"{first_line(error)}"
                ) from error
            watched.calls()
            met = tuple(k for k, count in enumerate(self.counts) if count)
            found.append(
                LayerFacts(
                    name,
                    self._used(i, uses.met, out, h),
                    met,
                    tuple(self.counts[k] for k in met),
                )
            )
            h = out
        return tuple(found)

    def _used(
        self, i: int, met: set[int], out: torch.Tensor, h: torch.Tensor
    ) -> tuple[int, ...]:
        """Return the numbers of the trained parameters that a layer uses."""
        scope = {id(p) for p in self.layers.scope(i).parameters()}
        numbers = [
            k
            for k, p in enumerate(self.parameters)
            if p.requires_grad and id(p) in scope
        ]
        if self.layers.pieces is not None:
            return tuple(numbers)
        grads: Sequence[Any] = [None] * len(numbers)
        if out.requires_grad and numbers:
            wanted = [self.parameters[k] for k in numbers]
            grads = torch.autograd.grad(out.sum(), wanted, allow_unused=True)
        return tuple(
            k
            for k, g in zip(numbers, grads, strict=True)
            if g is not None or id(self.parameters[k]) in met
        )


class _Uses(TorchFunctionMode):
    """Sees which tensors torch's functions are given."""

    def __init__(self) -> None:
        super().__init__()
        self.met: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self._see(args)
        self._see((kwargs or {}).values())
        return func(*args, **(kwargs or {}))

    def _see(self, given: Any) -> None:
        for each in given:
            if isinstance(each, torch.Tensor):
                self.met.add(id(each))
            elif isinstance(each, list | tuple):
                self._see(each)


def _check_dtypes(model: torch.nn.Module) -> None:
    trained = {p.dtype for p in model.parameters() if p.requires_grad}
    if len(trained) > 1 or not trained <= set(FLOATS):
        found = ", ".join(sorted(map(str, trained)))
        raise ModelError(
            f"the model's parameters are {found}, expected all of float32, or all of "
            "float64"
        )


def _fixed_buffers(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the buffers that training must leave as they are."""
    pooled = BatchNorms(model).buffers()
    return {n: b.clone() for n, b in model.named_buffers() if n not in pooled}


def _check_shared(model: torch.nn.Module, facts: tuple[LayerFacts, ...]) -> None:
    """Refuse layers that train the same parameter, or have the same statistics."""
    names = [name for name, _ in model.named_parameters()]
    users: dict[tuple[str, int], str] = {}
    for layer in facts:
        used = [("parameter", k) for k in layer.parameters]
        used += [("norm", k) for k in layer.norms]
        for each in used:
            if each in users:
                kind, k = each
                what = names[k] if kind == "parameter" else "a BatchNorm"
                raise ModelError(
                    f"{users[each]} and {layer.name} share {what!r}: give each its own"
                )
            users[each] = layer.name


# -- randomness


@contextmanager
def seeded(*words: int) -> Iterator[None]:
    """Have torch draw, inside, what these numbers alone determine."""
    packed = struct.pack(f"<{len(words)}q", *words)
    digest = hashlib.blake2b(packed, digest_size=8).digest()
    generator = torch.default_generator
    before = generator.get_state()
    generator.manual_seed(int.from_bytes(digest, "little") >> 1)
    try:
        yield
    finally:
        generator.set_state(before)


def check_batch(x: Any) -> None:
    """Refuse what is no batch of rows."""
    if getattr(x, "ndim", 0) < 1 or not len(x):
        raise InputError(f"a batch is {type(x).__name__}, expected an array of rows")
