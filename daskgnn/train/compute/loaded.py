"""This thread's copy of a program's model."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from daskgnn.kernels.aggregate import Rows
from daskgnn.nn import ops
from daskgnn.nn.batchnorm import BatchNorms
from daskgnn.nn.block import Block
from daskgnn.nn.blockarrays import BlockArrays
from daskgnn.nn.device import CPU
from daskgnn.train.compute.program import unpickled
from daskgnn.train.compute.state import Weights, flatten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.kernels.batch import PreparedStep
    from daskgnn.train.compute.program import Program


class LoadedModel:
    """A model of this thread, whose parameters are views of one flat vector."""

    def __init__(self, program: Program) -> None:
        self.model, self.task, self.optimizer = unpickled(program)
        self.parameters = list(self.model.parameters())
        self.trained = [p for p in self.parameters if p.requires_grad]
        sizes = [int(np.prod(shape, dtype=np.int64)) for shape in program.shapes]
        self.flat = torch.zeros(sum(sizes))
        place = 0
        for p, shape, size in zip(self.parameters, program.shapes, sizes, strict=True):
            p.data = self.flat[place : place + size].view(shape)
            place += size
        self.norms = BatchNorms(self.model)
        self.norms.watch()
        self._trial = program.trial

    def gradient(self, loss: torch.Tensor) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the gradient of `loss` by all parameters, float32 [n].

        And which parameters have one, where some that are trained have none: bool.
        """
        grads = torch.autograd.grad(loss, self.trained, allow_unused=True)
        found = dict(zip(map(id, self.trained), grads, strict=True))
        filled = [found.get(id(p)) for p in self.parameters]
        flat = flatten(
            [
                torch.zeros_like(p) if g is None else g
                for g, p in zip(filled, self.parameters, strict=True)
            ]
        )
        if all(g is not None for g in grads):
            return flat, None
        return flat, np.array([g is not None for g in filled])

    def give_gradient(
        self, gradient: np.ndarray | None, given: np.ndarray | None = None
    ) -> None:
        """Let the trained parameters' gradients be views of one, float32 [n].

        Those that are not `given` one have none, as all have without `gradient`.
        """
        flat = None if gradient is None else CPU.tensor(gradient)
        place = 0
        for i, p in enumerate(self.parameters):
            if p.requires_grad:
                has = flat is not None and (given is None or given[i])
                views = flat[place : place + p.numel()] if has else None  # type: ignore[index]
                p.grad = None if views is None else views.view(p.shape)
            place += p.numel()

    def outputs(self, *given: Any) -> tuple[torch.Tensor, np.ndarray | None]:
        """Return the model's outputs in training, and what its rows' sums are."""
        self.norms.begin()
        outputs = self.model(*given)
        return outputs, self.norms.take(self._trial.calls)

    def pooled(
        self, statistics: np.ndarray | None, sums: np.ndarray | None
    ) -> np.ndarray | None:
        """Return the running statistics after a step, from the sums of all parts."""
        if statistics is None or sums is None:
            return statistics
        return self.norms.pooled(statistics, sums, self._trial.calls)

    def untrained(self) -> Iterator[slice]:
        """Yield where parameters lie that have no gradient in any step."""
        place = 0
        for number, p in enumerate(self.parameters):
            if not p.requires_grad or number in self._trial.unused:
                yield slice(place, place + p.numel())
            place += p.numel()

    def no_rows(self) -> np.ndarray | None:
        """Return the sums of a part without rows; None without batch normalisation."""
        return self.norms.nothing(self._trial.calls)

    def with_weights(self, weights: Weights) -> torch.nn.Module:
        """Return the model with some weights."""
        np.copyto(CPU.array(self.flat), weights.parameters)
        self.norms.write(weights.statistics)
        return self.model


_local = threading.local()


def load_model(program: Program) -> LoadedModel:
    """Return this thread's copy of a program's model (unpickled once)."""
    cache = _local.__dict__.setdefault("loaded", {})
    digest = program.digest
    if digest not in cache:
        if len(cache) > 3:
            cache.clear()
        cache[digest] = LoadedModel(program)
    return cache[digest]


def seed_outputs(outputs: torch.Tensor, batch: PreparedStep) -> torch.Tensor:
    """Return a row for each of a step's seeds, float32.

    Where the sampler pools, it is the mean of the rows of the seed's subgraph.
    """
    outputs, pools = outputs.float(), batch.graph.pools
    if pools is None:
        return outputs
    everything = np.arange(len(outputs), dtype=np.int32)
    return ops.reduce(outputs, Rows.of(pools[:-1], pools[1:], everything), "mean")


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
            mean_weights=rows.mean_weights,
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
