"""What a task needs to compute with a model: sent once, by value."""

from __future__ import annotations

import copy
import hashlib
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import torch

from daskgnn.dataflow.step import PartGradient, add_gradients
from daskgnn.errors import ModelError, TrainingError
from daskgnn.kernels.features import dense
from daskgnn.kernels.neighbor import FanOut
from daskgnn.nn.block import Block
from daskgnn.train.arithmetic import computing, half_precision
from daskgnn.train.state import (
    TrainState,
    export_optimizer,
    flatten,
    import_optimizer,
)

if TYPE_CHECKING:
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.batch import PreparedStep, PreparedWindow
    from daskgnn.kernels.halo import Halo, WholePart
    from daskgnn.train.loss import Loss

OptimizerFactory = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Program:
    """A model without its parameters, its loss and its optimizer, as bytes."""

    payload: bytes
    """cloudpickle of (model with empty parameters, loss, optimizer factory)."""
    shapes: tuple[tuple[int, ...], ...]
    fan_out: FanOut
    threads: int
    """Threads of a numeric task: part of the plan, never the worker's cores."""
    precision: str = "float32"
    """Of the dense products in training: see `Trainer`."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the payload."""
        return hashlib.sha256(self.payload).hexdigest()


def make_program(
    model: torch.nn.Module,
    loss: Loss,
    optimizer: OptimizerFactory,
    fan_out: FanOut,
    threads: int,
    precision: str = "float32",
) -> Program:
    """Pickle `model` by value, code of the user's own modules included.

    Raises
    ------
    ModelError
        If the model, loss or optimizer factory cannot be pickled.
    """
    skeleton = copy.deepcopy(model)
    shapes = tuple(tuple(p.shape) for p in skeleton.parameters())
    for p in skeleton.parameters():
        p.data = torch.empty(0)
        p.grad = None
    try:
        with _user_code_by_value():
            payload = cloudpickle.dumps((skeleton, loss, optimizer))
    except Exception as error:
        raise ModelError(
            f"the model, its loss or its optimizer cannot be sent to workers "
            f"({type(error).__name__}: {error}): keep open files, locks and clients "
            "out of them"
        ) from error
    return Program(payload, shapes, fan_out, threads, precision)


@contextmanager
def _user_code_by_value() -> Iterator[None]:
    """Have cloudpickle send modules that are not installed by value."""
    mine = [m for m in list(sys.modules.values()) if _is_user_module(m)]
    registered = []
    for module in mine:
        try:
            cloudpickle.register_pickle_by_value(module)
        except ValueError:
            continue
        registered.append(module)
    try:
        yield
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)


def _is_user_module(module: Any) -> bool:
    """Return whether a module is neither installed, nor ours, nor ``__main__``."""
    name = getattr(module, "__name__", "")
    path = getattr(module, "__file__", None)
    if not path or name in ("__main__", "__mp_main__") or sys.modules.get(name) is None:
        return False
    if name.partition(".")[0] == "daskgnn":
        return False
    installed = "site-packages" in path or "dist-packages" in path
    return not installed and not path.startswith(_installed_roots())


@cache
def _installed_roots() -> tuple[str, ...]:
    """Return the folders of Python and of what is installed for it."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({sysconfig.get_path(name) + os.sep for name in names})


class _Loaded:
    """A model of this thread, whose parameters are views of one flat vector."""

    def __init__(self, program: Program) -> None:
        self.model, self.loss, self.optimizer = _unpickle(program.payload)
        self.parameters = list(self.model.parameters())
        self.trained = [p for p in self.parameters if p.requires_grad]
        sizes = [int(np.prod(shape, dtype=np.int64)) for shape in program.shapes]
        self.flat = torch.zeros(sum(sizes))
        place = 0
        for p, shape, size in zip(self.parameters, program.shapes, sizes, strict=True):
            p.data = self.flat[place : place + size].view(shape)
            place += size

    def with_parameters(self, parameters: np.ndarray) -> torch.nn.Module:
        """Return the model with the given parameters, float32 [n]."""
        np.copyto(self.flat.numpy(), parameters)
        return self.model


_local = threading.local()


def _load(program: Program) -> _Loaded:
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
    batch: PreparedStep, fan_out: FanOut, model: torch.nn.Module
) -> list[Block]:
    """Return a step's blocks, outermost first: prefixes of one local CSR."""
    first_aggregation = getattr(model, "first_aggregation", None)
    counts = np.diff(batch.indptr)
    blocks = []
    for hop in reversed(range(fan_out.num_hops)):
        num_dst, num_src = batch.sizes[hop], batch.sizes[hop + 1]
        starts = batch.indptr[:num_dst]
        outermost = hop + 1 == fan_out.num_hops
        blocks.append(
            Block(
                num_src=num_src,
                num_dst=num_dst,
                starts=starts,
                ends=starts + np.minimum(counts[:num_dst], fan_out.limits[hop]),
                indices=batch.indices,
                edge_weight=batch.weights,
                ids=batch.ids,
                degree=batch.degree,
                strength=batch.strength,
                dropout_key=batch.key,
                aggregated=batch.aggregated if outermost else None,
                aggregated_op=first_aggregation if outermost else None,
            )
        )
    return blocks


def compute_gradient(
    program: Program, state: TrainState, window: PreparedWindow, index: int
) -> PartGradient:
    """Return one part's share of the gradient and loss of a step."""
    batch = window.steps[index]
    if not batch.sizes[0]:
        return PartGradient(np.zeros_like(state.parameters), 0.0)
    with computing(program.threads, program.precision):
        loaded = _load(program)
        model = loaded.with_parameters(state.parameters).train()
        with half_precision(program.precision):
            outputs = model(
                torch.from_numpy(batch.x), layer_blocks(batch, program.fan_out, model)
            )
        total = loaded.loss(outputs.float(), torch.from_numpy(batch.labels))
        loss = total / batch.num_seeds
        grads = torch.autograd.grad(loss, loaded.trained, allow_unused=True)
        found = dict(zip(map(id, loaded.trained), grads, strict=True))
        filled = [found.get(id(p)) for p in loaded.parameters]
        gradient = [
            torch.zeros_like(p) if g is None else g
            for g, p in zip(filled, loaded.parameters, strict=True)
        ]
        return PartGradient(flatten(gradient), float(loss.detach()))


def apply_update(
    program: Program,
    state: TrainState,
    left: PartGradient,
    right: PartGradient | None,
    options: list[dict[str, Any]],
) -> TrainState:
    """Add the last two shares of the gradient and take one optimizer step.

    `options` are the settings of each of the optimizer's parameter groups for this
    step, computed by the driver (learning rates).
    """
    share = left if right is None else add_gradients(left, right)
    if not np.isfinite(share.loss):
        raise TrainingError(
            f"the loss of step {state.step} is {share.loss}: lower the learning rate "
            "or normalise the features"
        )
    with computing(program.threads):
        loaded = _load(program)
        loaded.with_parameters(state.parameters)
        optimizer = loaded.optimizer(loaded.parameters)
        import_optimizer(optimizer, loaded.parameters, state.optimizer)
        for group, values in zip(optimizer.param_groups, options, strict=True):
            group.update(values)
        gradient = torch.from_numpy(share.gradient)
        place = 0
        for p in loaded.parameters:
            if p.requires_grad:
                p.grad = gradient[place : place + p.numel()].view(p.shape)
            place += p.numel()
        optimizer.step()
        for p in loaded.parameters:
            p.grad = None
        return TrainState(
            loaded.flat.numpy().copy(),
            export_optimizer(optimizer, loaded.parameters),
            state.step + 1,
            (*state.losses, share.loss),
            (*state.finished, time.time()),
        )


def evaluate_layer(
    program: Program,
    parameters: np.ndarray,
    number: int,
    block: AdjacencyBlock,
    halo: Halo,
    whole: WholePart,
    own: np.ndarray | None,
    received: list[np.ndarray],
) -> np.ndarray:
    """Return layer `number` of a part's rows, over all their neighbours."""
    model: Any = _load(program).with_parameters(parameters).eval()
    first = own is None
    table = dense(whole.x) if own is None else np.concatenate([own, *received])
    bipartite = Block(
        num_src=len(whole.original_ids),
        num_dst=block.num_rows,
        starts=block.indptr[:-1],
        ends=block.indptr[1:],
        indices=halo.indices,
        edge_weight=block.weights,
        ids=whole.original_ids,
        degree=block.degree,
        strength=whole.strength,
        dropout_key=0,
        aggregated=whole.aggregated if first else None,
        aggregated_op=getattr(model, "first_aggregation", None) if first else None,
    )
    with computing(program.threads), torch.no_grad():
        out = model.layer(number, torch.from_numpy(table), bipartite)
        return out.float().contiguous().numpy()


def evaluate_step(
    program: Program, parameters: np.ndarray, window: PreparedWindow
) -> np.ndarray:
    """Return the outputs of the first step's seeds, float32 [n, C].

    The window must have been sampled with all neighbours.
    """
    batch = window.steps[0]
    everything = FanOut((-1,) * program.fan_out.num_hops)
    with computing(program.threads), torch.no_grad():
        model = _load(program).with_parameters(parameters).eval()
        out = model(torch.from_numpy(batch.x), layer_blocks(batch, everything, model))
        return out.float().contiguous().numpy()
