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

from daskgnn.dataflow.blocks import Blocks
from daskgnn.dataflow.part import PartBlocks, PartContent
from daskgnn.dataflow.window import WindowSeeds, prepare_window
from daskgnn.kernels.batch import StepMeta
from daskgnn.kernels.book import PartitionBook
from daskgnn.kernels.features import some_rows
from daskgnn.kernels.seeds import SeedPlan
from daskgnn.kernels.targets import Targets
from daskgnn.kernels.warmup import compiled
from daskgnn.sampling.check import ROWS, MadeUpSource, made_up_block
from daskgnn.train.compute.session import TrainSession
from daskgnn.train.compute.state import TrainState
from daskgnn.train.progress import READY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskgnn.dataflow.executor import Executor
    from daskgnn.dataflow.window import Preparation
    from daskgnn.kernels.batch import PreparedWindow
    from daskgnn.train.compute.program import Program
    from daskgnn.train.persist.recorder import Progress

COMPILING = "compiling kernels, once for this version and machine: 10 to 20 s"
_PATIENCE = 2.0
"""Seconds that kernels take at most if they only have to be read."""


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

    def give_if_not_compiled(self) -> None:
        """Give notice if this machine lacks what every run needs."""
        if not compiled():
            self.give()

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
        window = _tiny_window(plan, blocks.content)
        size = sum(int(np.prod(shape, dtype=np.int64)) for shape in program.shapes)
        state = TrainState(np.zeros(size, np.float32), {})
        TrainSession(program, state).gradient(window, 0)

    # Threads have copies of the model: this one's, which may have buffers, goes with
    # it. A failure here occurs in the first step, too, with a better message.
    with suppress(Exception), fork_rng(devices=[]), ThreadPoolExecutor(1) as pool:
        pool.submit(step).result()


def _tiny_window(plan: Preparation, content: PartContent) -> PreparedWindow:
    """Prepare a window of one step on the made-up graph, and return part 0's."""
    dtype = content.adjacency.indices.dtype
    some = np.arange(ROWS) % content.adjacency.num_rows
    nodes = {}
    for part in range(2):
        block = made_up_block(part, content.adjacency.weights is not None, dtype)
        tiny = PartContent(
            block,
            some_rows(content.features, some),
            np.zeros_like(content.labels[some]),
            plan.sampler.sampler.part_data(block, MadeUpSource()),
        )
        nodes[("part", part)] = DataNode(("part", part), PartBlocks(tiny))
    small = replace(
        plan,
        cache=None,
        book=PartitionBook(np.arange(3) * ROWS),
        blocks=Blocks(tuple(nodes)),
    )
    runs = [[np.arange(2, dtype=dtype) + part * ROWS] for part in range(2)]
    seeds = WindowSeeds(runs, np.zeros(1, np.uint64), [StepMeta(0, 4)])
    tasks, windows = prepare_window(small, 0, seeds)
    return get_sync({**tasks, **nodes}, windows)[0]
