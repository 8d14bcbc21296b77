"""A run's graph and program on the workers that it has now."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dask.task_spec import Task as DaskTask
from dask.utils import parse_bytes

from daskgnn.cluster.client import translate_cluster_errors
from daskgnn.dataflow.blocks import gather_summaries, load_blocks
from daskgnn.dataflow.executor import has_cluster, make_executor
from daskgnn.dataflow.halo_cache import load_static, plan_cache
from daskgnn.dataflow.memory import (
    WindowBudget,
    estimate_cache,
    estimate_mapped,
    estimate_step,
    first_window,
    memory_share,
    parts_per_worker,
    plan_memory,
)
from daskgnn.dataflow.presampling import with_counts
from daskgnn.dataflow.window import Preparation
from daskgnn.graph.sources.packed import check_source_everywhere
from daskgnn.kernels.book import PartitionBook
from daskgnn.kernels.exchange import InputPlan
from daskgnn.train.checks import remote_aggregation, share_memory
from daskgnn.train.compute.program import packed_sampler, with_task
from daskgnn.train.evaluator import Evaluator
from daskgnn.train.precision import warn_of_slow_products
from daskgnn.train.targets import GivenTargets
from daskgnn.train.warmup import CompileNotice, warm_up_everywhere
from daskgnn.values import same

if TYPE_CHECKING:
    import torch

    from daskgnn.dataflow.executor import Executor
    from daskgnn.dataflow.memory import MemoryPlan, StepSize
    from daskgnn.graph.graph import Graph
    from daskgnn.sampling import Sampler
    from daskgnn.tasks.task import Task
    from daskgnn.train.compute.program import Program
    from daskgnn.train.compute.state import Weights
    from daskgnn.train.options.options import TrainOptions


@dataclass(eq=False)
class Deployment:
    """What is loaded and sent to a cluster once, on first use."""

    executor: Executor
    targets: GivenTargets
    model: torch.nn.Module
    program: Program
    sampler: Sampler
    batch_size: int
    """Seeds a step, over all parts: the distinct nodes of its targets."""
    options: TrainOptions

    def __post_init__(self) -> None:
        self.run = new_name()
        cache = self.options["halo_cache"]
        self.feature_dtype = str(self.options["feature_dtype"])
        self.halo_cache = self.options["halo_cache_policy"], int(parse_bytes(cache))
        """Policy, and bytes a part."""

    @property
    def graph(self) -> Graph:
        """The graph whose blocks are loaded."""
        return self.targets.graph

    @cached_property
    def preparation(self) -> Preparation:
        """How windows are prepared; the blocks are on their way from then on."""
        packed = packed_sampler(self.sampler)
        blocks = load_blocks(
            self.executor,
            self.graph,
            packed,
            normalize_features=self.options["normalize_features"],
            feature_dtype=self.feature_dtype,
            share=self.shares_memory and self.executor.num_workers() > 0,
            sparse=self._sparse,
        )
        summaries = gather_summaries(self.executor, packed, blocks, self.run)
        if summaries:
            self.sampler = self.sampler.with_summaries(summaries)
            packed = packed_sampler(self.sampler)
        preparation = Preparation(
            self.run,
            packed,
            PartitionBook(self.graph.partition_book, self.graph.held_book),
            blocks,
            InputPlan(
                self._first_aggregation,
                self.program.precision == "bf16",
                remote_aggregation(several_hosts=self.executor.num_hosts() > 1),
                self._sparse,
            ),
            plan_cache(
                self.graph,
                self.feature_dtype,
                self._first_aggregation,
                *self.halo_cache,
                self.run,
                sparse=self._sparse,
            ),
            self.shares_memory,
        )
        load_static(self.executor, preparation, self.graph, self.batch_size)
        return preparation

    @cached_property
    def programs(self) -> list[Any]:
        """Keys of the program, by part."""
        return self._sent(self.program, self.run)

    def _sent(self, program: Program, name: str) -> list[Any]:
        """Send a program; return its keys by part."""
        parts = range(self.graph.num_parts)
        keys: list[Any] = [("program", name, part) for part in parts]
        tasks = {key: DaskTask(key, same, program) for key in keys}
        self.executor.submit(tasks, keys, lasting=True)
        return keys

    @cached_property
    def evaluator(self) -> Evaluator:
        """What computes exact scores."""
        return Evaluator(
            self.executor,
            self.targets,
            self.programs,
            self.preparation,
            self.program.trial,
            self.batch_size,
        )

    def scores_by(
        self, task: Task, weights: Weights, split: str, *, per_class: bool
    ) -> dict[str, Any]:
        """Return scores of a split by another task than that of the run."""
        name = new_name()
        evaluator = replace(
            self.evaluator,
            targets=GivenTargets(task, self.graph, self.options["seed"]),
            programs=self._sent(with_task(self.program, task), name),
            preparation=replace(self.preparation, run=name),
            _whole=None,
        )
        try:
            return evaluator.scores_of(weights, split, per_class=per_class)
        finally:
            self.executor.release([*evaluator.programs, *evaluator.kept])

    def use(self, program: Program) -> None:
        """Compute with another program from now on."""
        held, evaluator = map(self.__dict__.get, ("programs", "evaluator"))
        # Nothing has changed if it cannot be sent.
        self.programs = self._sent(program, new_name())
        self.program = program
        if evaluator is not None:
            evaluator.programs, evaluator.trial = self.programs, program.trial
        self.executor.release(held or ())

    def load(self) -> None:
        """Wait until the blocks are loaded: what a store hides is found here."""
        self.executor.wait(self.preparation.blocks.keys)

    @property
    def is_counted(self) -> bool:
        """Whether blocks have what the sampler counts before training."""
        return self.preparation.blocks.keys[0][0] == "count-part"

    def use_counts(self, sampler: Sampler, counts: list[Any]) -> None:
        """Train with what a sampler has counted: keys by part."""
        given = self.executor, self.preparation, packed_sampler(sampler), counts
        self.sampler, self.preparation = sampler, with_counts(*given, self.run)

    def start(self, notice: CompileNotice) -> None:
        """Load the blocks, and have every worker take a tiny step.

        `notice` tells if that takes long.
        """
        self.load()
        if self.executor.num_hosts() == 1:
            notice.compile_first()
        warm_up_everywhere(self.executor, self.preparation, self.programs, notice)

    @property
    def shares_memory(self) -> bool:
        """Whether workers of a machine read each other's blocks in place."""
        if self.graph.source.in_memory and self.executor.num_workers():
            return False  # who could not open them would have nothing to read
        limit = self.executor.memory_limit()
        mapped = estimate_mapped(self.graph, self.feature_dtype, sparse=self._sparse)
        return share_memory(
            # Mapped memory counts for the worker that reads it, too.
            has_room=not limit or mapped < memory_share() * limit,
            has_cache=self.halo_cache[1] > 0,
        )

    @property
    def first_window(self) -> int:
        """Steps of a window until it is known how long one takes."""
        held = parts_per_worker(self.graph.num_parts, self.executor.num_workers())
        return first_window(self.step_size, held)

    def window(self, wanted: int | None) -> int:
        """Return how many steps a window may have.

        Raises
        ------
        InputError
            As `memory_plan`.
        """
        return self.memory_plan(wanted).window

    def memory_plan(self, wanted: int | None) -> MemoryPlan:
        """Return what a worker is expected to hold.

        Raises
        ------
        InputError
            If not even windows of one step fit into the workers' memory.
        """
        budget = WindowBudget.configured(self.executor.memory_limit(), wanted)
        return plan_memory(
            self.graph,
            self.step_size,
            budget,
            num_workers=self.executor.num_workers(),
            feature_dtype=self.feature_dtype,
            cache_bytes=estimate_cache(*self.halo_cache, budget.look_ahead),
            sparse=self._sparse,
        )

    @property
    def _sparse(self) -> bool:
        """Whether features stay sparse."""
        return bool(self.options["sparse_features"])

    @property
    def _first_aggregation(self) -> str | None:
        # Sparse rows are multiplied before they are aggregated.
        return None if self._sparse else getattr(self.model, "first_aggregation", None)

    @cached_property
    def step_size(self) -> StepSize:
        """What one step of one part is expected to take."""
        seeds = min(self.batch_size, len(self.targets.of("train")))
        how = self.sampler, seeds, self._first_aggregation
        return estimate_step(self.graph, *how, sparse=self._sparse)


def find_workers(graph: Graph, options: TrainOptions) -> Executor:
    """Return what a run's tasks are carried out by; nothing is sent to it yet."""
    with translate_cluster_errors(lambda: "nothing has been trained yet: try again"):
        executor = make_executor(options["client"], graph.num_parts, options["standby"])
        if has_cluster(executor):
            from daskgnn.cluster.clusters import check_cluster

            check_cluster(executor.client)
            if not graph.path:
                check_source_everywhere(executor.client, graph.source)
        how = options["precision"], options["threads_per_part"]
        warn_of_slow_products(executor, *how)
    return executor


def new_name() -> str:
    """Return what makes the keys of one use of a deployment its own."""
    return uuid.uuid4().hex[:8]
