"""Compile or load all kernels with a tiny step before the first.

Each worker that holds parts takes one step, of the run's own model, on a made-up
graph of two parts whose arrays are of the same kinds as those of the run. Nothing
of it is kept.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import Timer
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.local import get_sync
from dask.task_spec import DataNode, Task, TaskRef
from torch.random import fork_rng

from daskgnn.dataflow.blocks import Blocks, has_summaries
from daskgnn.dataflow.part import PartBlocks, PartContent
from daskgnn.dataflow.window import WindowSeeds, prepare_window
from daskgnn.errors import DaskGNNError
from daskgnn.kernels.batch import StepMeta
from daskgnn.kernels.book import PartitionBook
from daskgnn.kernels.entries import PartRows
from daskgnn.kernels.features import some_rows
from daskgnn.kernels.seeds import SeedPlan
from daskgnn.kernels.targets import Targets
from daskgnn.kernels.warmup import compiled
from daskgnn.sampling import NeighborSampler, Sampler
from daskgnn.sampling.check import (
    DEGREE,
    ROWS,
    MadeUpGraph,
    MadeUpSource,
    made_up_block,
)
from daskgnn.sampling.induced import SubgraphSampler, with_default_sizes
from daskgnn.sampling.presampling import PresampledSampler
from daskgnn.sampling.steps import runs_of
from daskgnn.train.compute.program import packed_sampler
from daskgnn.train.compute.session import TrainSession
from daskgnn.train.compute.state import TrainState
from daskgnn.train.progress import READY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike

    from daskgnn.dataflow.executor import Executor
    from daskgnn.dataflow.window import Preparation
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.batch import PreparedWindow
    from daskgnn.train.compute.program import Program
    from daskgnn.train.persist.recorder import Progress

COMPILING = "compiling kernels, once for this machine: about 10 s"
_PATIENCE = 2.0
"""Seconds that kernels take at most if they only have to be read."""


def compile_first(progress: Progress) -> None:
    """Compile what most runs need where nothing is compiled, and show how far it is.

    A progress may have a method ``compiling(done, total)``.
    """
    if compiled():
        return
    from daskgnn.kernels.compiling import compile_ahead

    progress.event({"event": COMPILING})
    compile_ahead(getattr(progress, "compiling", lambda done, total: None))


class CompileNotice:
    """Tells a run's progress, once, that kernels are being compiled."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._given = False

    def give(self) -> None:
        """Give notice, if it was not given before."""
        if not self._given:
            self._given = True
            self.progress.event({"event": COMPILING})

    def compile_first(self) -> None:
        """Compile in several processes, with notice, where nothing is compiled."""
        if not compiled():
            self._given = True
            compile_first(self.progress)

    @contextmanager
    def given_if_long(self) -> Iterator[None]:
        """Give notice if what is inside takes longer than reading kernels."""
        timer = Timer(_PATIENCE, self.give)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def warm_up_everywhere(
    executor: Executor, plan: Preparation, programs: list[Any], notice: CompileNotice
) -> None:
    """Have every worker that holds parts `warm_up`, and wait for all."""
    first_parts: dict[str, int] = {}
    for part in range(plan.book.num_parts):
        first_parts.setdefault(executor.worker_of(part), part)
    tasks = {}
    for part in first_parts.values():
        key = ("warm_up", plan.run, part)
        given = (TaskRef(programs[part]), plan, plan.blocks.of(part))
        tasks[key] = Task(key, warm_up, *given)
    with notice.given_if_long():
        executor.submit(tasks, list(tasks))
        executor.wait(list(tasks))
        # The driver's part of preparing a window: the seeds of each step.
        one = Targets(np.zeros(1, np.int64), np.zeros((1, 1), np.int64))
        SeedPlan(one, 1, seed=0).permutation(0)
    executor.release(list(tasks))
    notice.progress.event({"event": READY})


def warm_up(program: Program, plan: Preparation, blocks: PartBlocks) -> None:
    """Take a step on a made-up graph, with arrays of the given ones' kinds."""
    if not blocks.adjacency.num_rows:
        return

    def step() -> None:
        window = tiny_window(plan, blocks.content)
        size = sum(int(np.prod(shape, dtype=np.int64)) for shape in program.shapes)
        state = TrainState(np.zeros(size, np.float32), {})
        # What the user's model or loss does not like is said in the first step.
        with suppress(Exception):
            TrainSession(program, state).gradient(window, 0)

    # So is what the sampler does not like: its own options may not suit so few nodes.
    known = type(plan.sampler.sampler).__module__.startswith("daskgnn.")
    # Threads have copies of the model: this one's, perhaps with buffers, goes with it.
    with (
        suppress(DaskGNNError if known else Exception),
        fork_rng(devices=[]),
        ThreadPoolExecutor(1) as pool,
    ):
        pool.submit(step).result()


def tiny_window(plan: Preparation, content: PartContent) -> PreparedWindow:
    """Prepare a window of one step on the made-up graph, and return part 0's."""
    dtype = content.adjacency.indices.dtype
    weighted = content.adjacency.weights is not None
    blocks = [made_up_block(part, weighted, dtype) for part in range(2)]
    sampler, rows = _tiny_sampler(plan.sampler.sampler, content, blocks)
    some = np.arange(ROWS) % content.adjacency.num_rows
    features = some_rows(content.features, some)
    labels = np.zeros_like(content.labels[some])
    nodes = {}
    for part, own in enumerate(rows):
        tiny = PartContent(own.block, features, labels, own.data)
        nodes[("part", part)] = DataNode(("part", part), PartBlocks(tiny))
    packed = plan.sampler
    if sampler is not packed.sampler:
        packed = packed_sampler(sampler)
    small = replace(
        plan,
        cache=None,
        sampler=packed,
        book=PartitionBook(np.arange(3) * ROWS),
        blocks=Blocks(tuple(nodes)),
    )
    seeds = WindowSeeds(_runs(sampler, dtype), np.zeros(1, np.uint64), [StepMeta(0, 4)])
    tasks, windows = prepare_window(small, 0, seeds)
    return get_sync({**tasks, **nodes}, windows)[0]


def _tiny_sampler(
    sampler: Sampler, content: PartContent, blocks: list[AdjacencyBlock]
) -> tuple[Sampler, list[PartRows]]:
    """Return a run's sampler as it is for the made-up graph, and the parts' rows."""
    source = MadeUpSource()
    if isinstance(sampler, SubgraphSampler):
        graph = MadeUpGraph(source, 2, content.adjacency.indices.dtype)
        small = with_default_sizes(sampler).for_graph(graph, sampler.num_layers)
    elif type(sampler).steps is not Sampler.steps:  # only its graph says what they are
        small = NeighborSampler((DEGREE,) * sampler.num_layers)
    else:
        small = sampler
    rows = [PartRows(block, small.part_data(block, source)) for block in blocks]
    if has_summaries(small):
        small = small.with_summaries([small.summarize(own) for own in rows])
    if isinstance(small, PresampledSampler) and "node_counts" in content.data:
        small = small.presampled(steps=1, drawn=ROWS)
        for own in rows:
            sizes = {"node_counts": ROWS, "edge_counts": ROWS * DEGREE}
            own.data.update({n: np.ones(size, np.int32) for n, size in sizes.items()})
    return small, rows


def _runs(sampler: Sampler, dtype: DTypeLike) -> list[list[np.ndarray]]:
    """Return the seeds of a step on the made-up graph, by part."""
    nodes = np.arange(2 * ROWS)
    chosen = sampler.steps(Targets(nodes, nodes[:, None]), seed=0, num_parts=2)
    if chosen is not None:
        return [[own] for own in runs_of(chosen.starts(0, 0), 2)]
    return [[np.arange(2, dtype=dtype) + part * ROWS] for part in range(2)]
