"""The part of a window that does not depend on parameters, as a task graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask
from dask.task_spec import List, TaskRef

from daskgnn.dataflow.halo_cache import add_update
from daskgnn.dataflow.sampling import (
    Round,
    Sampling,
    ask,
    complete_round,
    draw_round,
    exchange_round,
    look_up,
    remote_slots,
    sample_round,
    serve,
)
from daskgnn.dataflow.steps.tasks import add_task
from daskgnn.kernels.batch import GatherPlan, StepMeta, assemble_minibatches
from daskgnn.kernels.book import ColocatedParts
from daskgnn.kernels.exchange import answer_rows, ask_rows
from daskgnn.kernels.sparsebatch import assemble_sparse
from daskgnn.kernels.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from daskgnn.dataflow.blocks import Blocks
    from daskgnn.dataflow.halo_cache import CachePlan
    from daskgnn.dataflow.sampling import PackedSampler
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.exchange import InputPlan
    from daskgnn.kernels.targets import TargetRows


@dataclass(frozen=True)
class WindowSeeds:
    """The seeds of a window, and facts about its steps, from the global plan."""

    runs: list[list[np.ndarray]]
    """[P][W] storage ids: the seeds of each part in each step."""
    step_keys: np.ndarray
    """uint64 [W], keys of the draws."""
    meta: list[StepMeta]
    targets: list[list[TargetRows | None]] | None = None
    """[P][W], which seeds each target has, where some are not simply the seeds."""

    def meta_of(self, part: int) -> list[StepMeta]:
        """Return what is said of a part's steps, [W]."""
        if self.targets is None:
            return self.meta
        pairs = zip(self.meta, self.targets[part], strict=True)
        return [replace(meta, targets=rows) for meta, rows in pairs]


@dataclass(frozen=True)
class Preparation:
    """What is the same for every window of a run."""

    run: str
    sampler: PackedSampler
    book: PartitionBook
    blocks: Blocks
    inputs: InputPlan
    cache: CachePlan | None = None
    read_in_place: bool = True
    """Whether blocks in memory that a worker can read are read there."""

    def caches_after(self, window: int) -> list[Any]:
        """Return the keys of what a window leaves for the next one to use."""
        if self.cache is None:
            return []
        return self.cache.held(window, self.book.num_parts)


def prepare_window(
    plan: Preparation,
    window: int,
    seeds: WindowSeeds,
    memories: Sequence[Any] | None = None,
) -> tuple[dict[Any, Any], list[Any]]:
    """Return the graph that prepares a window, and its P keys of prepared windows.

    One message a pair of parts, a round and a window; a part's own rows send nothing.

    Parameters
    ----------
    memories : sequence, optional
        [P], the memory that each part lies in: parts of one memory read each other's
        blocks in place, and send nothing. By default each has one of its own.
    """
    return WindowGraph(plan, window).prepare(seeds, memories)


class WindowGraph:
    """Adds the tasks that prepare a window to a graph."""

    def __init__(self, plan: Preparation, window: int) -> None:
        self.plan, self.window = plan, window
        self.parts = range(plan.book.num_parts)
        self.tasks: dict[Any, Any] = {}

    def prepare(
        self, seeds: WindowSeeds, memories: Sequence[Any] | None
    ) -> tuple[dict[Any, Any], list[Any]]:
        """Return the graph and its keys of prepared windows: see `prepare_window`."""
        near = [self._near(part, memories) for part in self.parts]
        rounds = self.plan.sampler.sampler.rounds
        states = self._sampled(seeds.runs, seeds.step_keys, near, rounds)
        prepared = [
            self._gather(near[part], states[part], seeds.meta_of(part))
            for part in self.parts
        ]
        return self.tasks, prepared

    def _sampled(
        self,
        runs: list[list[np.ndarray]],
        keys: np.ndarray,
        near: list[ColocatedParts],
        rounds: int,
    ) -> list[Any]:
        """Add the first rounds of sampling; return what each part has then."""
        plan, traffic = self.plan, Traffic.none(len(self.parts))
        start = plan.sampler.sampler.start
        states: list[Any] = [
            Sampling(start(own, keys, plan.book), traffic) for own in runs
        ]
        for number in range(rounds):
            how = self._how(number, keys)
            if how.exchanges:
                states = self._exchange(states, how)
            else:
                pairs = zip(near, states, strict=True)
                states = [self._round(*pair, how) for pair in pairs]
        return states

    def _how(self, number: int, keys: np.ndarray) -> Round:
        """Return what all parts know of a round."""
        threads = max(int(dask.config.get("gnn.sampling-threads")), 1)
        return Round(self.plan.sampler, self.plan.book, number, keys, threads)

    def _near(self, part: int, memories: Sequence[Any] | None) -> ColocatedParts:
        near: tuple[int, ...] = (part,)
        if memories is not None and self.plan.read_in_place:
            near = tuple(p for p in self.parts if memories[p] == memories[part])
        far = tuple(p for p in self.parts if p not in near)
        return ColocatedParts(part, near, far)

    def _add(self, name: tuple[Any, ...], function: Any, *given: Any) -> TaskRef:
        """Add a task; its name's first word comes before run and window in its key."""
        key = (name[0], self.plan.run, self.window, *name[1:])
        return add_task(self.tasks, key, function, *given)

    def _blocks(self, near: ColocatedParts) -> List:
        return List(*(self.plan.blocks.of(part) for part in near.parts))

    def _round(
        self, near: ColocatedParts, state: Sampling | TaskRef, how: Round
    ) -> TaskRef:
        """Add one round of one part: ask, serve, merge."""
        part, number, blocks = near.part, how.number, self.plan.blocks
        others, asked, replies = [], [], []
        for other in near.far:
            if isinstance(state, Sampling):
                # The driver knows the seeds, so it makes no empty requests.
                wanted: Any = ask(state, how, other)
                if not len(wanted.value.ids):
                    continue
            else:
                name: Any = ("want", number, other, part)
                wanted = self._add(name, ask, state, how, other)
            name = ("serve", number, part, other)
            others.append(other)
            asked.append(wanted)
            replies.append(self._add(name, serve, blocks.of(other), wanted, how))
        held = self._blocks(near)
        asking = replace(near, far=tuple(others))
        sources = (state, asking, held, List(*asked), List(*replies), how)
        if self.plan.book.held is None:
            return self._add(("sample", number, part), sample_round, *sources)
        drawn = self._add(("draw", number, part), draw_round, *sources)
        given = (state, drawn, near, held, *self._look_ups(number, near, drawn), how)
        return self._add(("sample", number, part), complete_round, *given)

    def _look_ups(
        self, number: int, near: ColocatedParts, drawn: TaskRef
    ) -> tuple[List, List]:
        """Add the look-ups, with parts far away, of entries that these hold.

        Returns
        -------
        tuple
            What is asked of each far part, and what it answers.
        """
        asked, replies = [], []
        for other in near.far:
            name: Any = ("refer", number, other, near.part)
            asked.append(self._add(name, remote_slots, drawn, self.plan.book, other))
            name = ("look-up", number, near.part, other)
            blocks = self.plan.blocks.of(other)
            replies.append(self._add(name, look_up, blocks, asked[-1]))
        return List(*asked), List(*replies)

    def _exchange(self, states: list[Any], how: Round) -> list[Any]:
        """Add a round in which all parts give each other what they request."""
        wants = {
            (other, part): self._add(
                ("want", how.number, other, part), ask, states[part], how, other
            )
            for part in self.parts
            for other in self.parts
        }
        after = []
        for part in self.parts:
            wanted = List(*(wants[part, other] for other in self.parts))
            name = ("sample", how.number, part)
            after.append(
                self._add(name, exchange_round, states[part], part, wanted, how)
            )
        return after

    def _gather(self, near: ColocatedParts, nodes: Any, meta: list[StepMeta]) -> Any:
        """Add the gather of one part's feature rows and what makes batches of them."""
        plan, part, inputs = self.plan, near.part, self.plan.inputs
        cache = None if plan.cache is None else plan.cache.before(self.window, part)
        asked, replies = [], []
        for other in near.far:
            given = (nodes, plan.book, other, plan.blocks.of(part), inputs, cache)
            asked.append(self._add(("want", "rows", other, part), ask_rows, *given))
            wanted = (plan.blocks.of(other), asked[-1], inputs.first_aggregation)
            replies.append(self._add(("rows", part, other), answer_rows, *wanted))
        exchanged = List(*asked), List(*replies)
        if plan.cache is not None:
            add_update(self.tasks, plan.cache, self.window, part, (nodes, *exchanged))
        how = (self._blocks(near), GatherPlan(plan.book, meta, inputs), cache)
        name = ("gather", part)
        assemble = assemble_sparse if inputs.sparse else assemble_minibatches
        return self._add(name, assemble, nodes, near, *exchanged, *how).key
