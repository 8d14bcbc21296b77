"""Minibatches in this process, for a loop of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.dataflow.blocks import load_blocks
from daskgnn.dataflow.executor import LocalExecutor
from daskgnn.dataflow.window import Preparation, prepare_window
from daskgnn.errors import InputError
from daskgnn.graph.graph import Graph
from daskgnn.graph.lookup import find_nodes
from daskgnn.graph.sources.ids import storage_ids_of
from daskgnn.kernels.book import PartitionBook
from daskgnn.kernels.exchange import InputPlan
from daskgnn.kernels.seeds import SeedPlan
from daskgnn.kernels.targets import Targets
from daskgnn.nn.device import CPU
from daskgnn.sampling import NeighborSampler
from daskgnn.sampling.check import check_sampler
from daskgnn.train.checks import check_count, check_graph, require_features
from daskgnn.train.compute.loaded import layer_blocks
from daskgnn.train.compute.program import packed_sampler
from daskgnn.train.deployment import new_name
from daskgnn.train.options.options import TRAINER
from daskgnn.train.plan import Position, WindowPlanner, windows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from daskgnn.kernels.batch import PreparedStep
    from daskgnn.nn import Block
    from daskgnn.sampling import Sampler


@dataclass(frozen=True)
class Minibatch:
    """A minibatch of a loop of one's own: what a model is given, and what it is to say.

    Examples
    --------
    >>> import daskgnn
    >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition())
    >>> batch = next(iter(graph.minibatches([5, 5], seeds=[0, 33])))
    >>> batch.x.shape[1], len(batch.blocks)
    (34, 2)
    >>> sorted(batch.seeds.tolist()), batch.labels.shape
    ([0, 33], torch.Size([2]))
    """

    x: torch.Tensor
    """float32 [num_src of the first block, F], features of all nodes."""
    blocks: list[Block]
    """One a layer, outermost first; the destinations of the last are the seeds."""
    seeds: torch.Tensor
    """int64 [n], original ids of the seeds: rows of the model's output. Where ids were
    mapped, ``graph.node_ids()[seeds]`` are those of the input."""
    labels: torch.Tensor | None
    """Their labels, int64 [n] or float32 [n, C]; None of a graph without labels."""
    pools: torch.Tensor | None = None
    """int64 [n + 1] where the sampler pools: the output of seed *i* is the mean of the
    model's rows ``pools[i]`` to ``pools[i + 1] - 1``; else None."""


class Minibatches:
    """The minibatches of some seeds, sampled in this process: each pass is an epoch.

    `Graph.minibatches` makes one. Which neighbours are sampled depends on `seed` and
    the epoch alone, not on how the graph is partitioned.

    Parameters
    ----------
    graph : Graph
        What `daskgnn.open_graph` returns, with features. It is loaded as one part.
    sampler : Sampler or sequence of int
        How neighbours are sampled; fan-outs stand for a `NeighborSampler`.
    seeds : str, array of bool or sequence, default "train"
        The nodes to compute: a split, a mask [N], or ids as the input had them.
    batch_size : int, default 1024
        Seeds of a minibatch.
    shuffle : bool, default True
        Whether each epoch has an order of its own; else it is that of original ids.
    seed : int, default 0
        Seed of order and sampling.
    normalize_features : bool, default False
        Whether each node's features are divided by their sum.

    Attributes
    ----------
    epoch : int
        Number of the next pass, from 0; setting it repeats or skips epochs.

    Raises
    ------
    InputError
        If an argument is invalid, or the graph has no features.

    Examples
    --------
    >>> import torch
    >>> import daskgnn
    >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition())
    >>> model = daskgnn.nn.GraphSAGE(graph.num_features, 16, graph.num_classes)
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    >>> batches = daskgnn.Minibatches(graph, [10, 5], "train", batch_size=2)
    >>> len(batches)
    2
    >>> for epoch in range(3):
    ...     for batch in batches:
    ...         optimizer.zero_grad()
    ...         out = model(batch.x, batch.blocks)
    ...         torch.nn.functional.cross_entropy(out, batch.labels).backward()
    ...         optimizer.step()
    >>> batches.epoch
    3
    """

    def __init__(
        self,
        graph: Graph,
        sampler: Sampler | Any,
        seeds: Any = "train",
        batch_size: int = 1024,
        *,
        shuffle: bool = True,
        seed: int = 0,
        normalize_features: bool = False,
    ) -> None:
        check_graph(graph)
        require_features(graph)
        self._graph = Graph(graph.source, 1, graph.features_in)
        self._packed = packed_sampler(_usable(sampler, graph))
        nodes = find_nodes(graph, seeds, "seeds")
        if len(np.unique(nodes)) < len(nodes):
            raise InputError("seeds hold a node twice, expected each once")
        where = storage_ids_of(graph.source, graph.partition_book, nodes)
        targets = Targets(nodes, where[:, None])
        self._plan = SeedPlan(
            targets.in_order(),
            check_count("batch_size", batch_size),
            TRAINER["seed"].checked("seed", seed),
            shuffle,
        )
        self._normalize = normalize_features
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of minibatches of an epoch."""
        return self._plan.steps_per_epoch

    def __iter__(self) -> Iterator[Minibatch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        executor, preparation = self._loaded
        planner = WindowPlanner(self._plan, 1, self._graph.index_dtype)
        start = Position(epoch)
        for window in windows(self._plan, start, epoch + 1, lambda: 1, None):
            seeds = planner.seeds(window)
            tasks, keys = prepare_window(preparation, window.number, seeds)
            executor.submit(tasks, keys)
            (prepared,) = executor.result(keys)
            executor.release(keys)
            yield self._batch(prepared.steps[0])

    def _batch(self, step: PreparedStep) -> Minibatch:
        """Return a prepared step as tensors."""
        known, labels = step.graph.original_ids[step.seed_rows], step.labels
        pools = step.graph.pools
        return Minibatch(
            x=CPU.tensor(step.x),  # type: ignore[arg-type]  # dense
            blocks=layer_blocks(step),
            seeds=CPU.tensor(known.astype(np.int64)),
            labels=CPU.tensor(labels) if self._graph.has_labels else None,
            pools=None if pools is None else CPU.tensor(pools),
        )

    @cached_property
    def _loaded(self) -> tuple[LocalExecutor, Preparation]:
        """The graph in this process, and how minibatches are made of it."""
        executor = LocalExecutor()
        blocks = load_blocks(
            executor,
            self._graph,
            self._packed,
            normalize_features=self._normalize,
        )
        book = PartitionBook(self._graph.partition_book, self._graph.held_book)
        inputs = InputPlan(None)
        return executor, Preparation(new_name(), self._packed, book, blocks, inputs)


def _usable(sampler: Any, graph: Graph) -> Sampler:
    """Return a sampler that has been tried, or the one that fan-outs stand for."""
    if isinstance(sampler, list | tuple | np.ndarray):
        sampler = NeighborSampler(list(sampler))
    if getattr(sampler, "any_depth", False) and not sampler.num_layers:
        name = type(sampler).__name__
        raise InputError(
            f"sampler {name} must know how many layers the model has: "
            f"{name}().for_graph(graph, num_layers=2)"
        )
    check_sampler(sampler, weighted=graph.weighted, index_dtype=graph.index_dtype)
    sampler.check(graph)
    found: Sampler = sampler
    return found
