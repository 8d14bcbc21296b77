"""The task graphs of sampling before training, and blocks with what they count.

The rounds are those of a window, but for the last one: parts ask owners as always, and
an owner adds what it is asked for to its counts instead of answering.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dask.task_spec import List, Task, TaskRef

from daskgnn.dataflow.blocks import Blocks, large_graphs
from daskgnn.dataflow.part import CountedBlocks
from daskgnn.dataflow.sampling import ask
from daskgnn.dataflow.window import WindowGraph
from daskgnn.sampling.coverage import presampling_keys
from daskgnn.sampling.steps import runs_of
from daskgnn.values import same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from daskgnn.dataflow.executor import Executor
    from daskgnn.dataflow.part import PartBlocks
    from daskgnn.dataflow.sampling import Message, PackedSampler, Round
    from daskgnn.dataflow.window import Preparation
    from daskgnn.sampling.presampling import PresampledSampler

Counts = dict[str, "np.ndarray"]


class PresamplingGraph(WindowGraph):
    """Adds the tasks of a window of pre-sampling to a graph."""

    def tally(
        self,
        steps: int,
        keys: np.ndarray,
        before: Sequence[Any],
        memories: Sequence[Any],
    ) -> tuple[list[Any], list[Any]]:
        """Add the window, and return keys by part: of counts, and of what was drawn.

        Parameters
        ----------
        steps, keys
            How many steps, and the keys of their draws, uint64 [steps].
        before
            Keys of the counts so far, by part; none in the first window.
        memories
            By part, see `prepare_window`.
        """
        sampler: Any = self.plan.sampler.sampler
        near = [self._near(part, memories) for part in self.parts]
        starts = runs_of(sampler.plan.starts(0, 0), len(self.parts))
        runs = [[own] * steps for own in starts]
        last = sampler.rounds - 1
        states = self._sampled(runs, keys, near, last)
        how, counts, drawn = self._how(last, keys), [], []
        for owner in self.parts:
            asked = [
                self._add(("want", last, owner, part), ask, states[part], how, owner)
                for part in self.parts
            ]
            blocks = self.plan.blocks.of(owner)
            known: Any = TaskRef(before[owner]) if before else {}
            given = (blocks, known, List(*asked), how)
            counts.append(self._add(("tally", owner), _tally, *given))
            drawn.append(self._add(("drawn", owner), _drawn, blocks, counts[-1], how))
        return [ref.key for ref in counts], [ref.key for ref in drawn]


def _tally(
    blocks: PartBlocks, counts: Counts, asked: list[Message], how: Round
) -> Counts:
    """Return a part's counts after a window."""
    sampler: Any = how.sampler
    sets = [message.value for message in asked]
    found: Counts = sampler.tally(blocks.rows, counts, sets, how.book)
    return found


def _drawn(blocks: PartBlocks, counts: Counts, how: Round) -> int:
    """Return how many training nodes of a part were drawn."""
    sampler: Any = how.sampler
    return int(sampler.drawn(blocks.rows, counts))


def presample(
    executor: Executor,
    plan: Preparation,
    seed: int,
    told: Callable[[PresampledSampler], None],
) -> tuple[PresampledSampler, list[Any]]:
    """Sample until enough is known; return the sampler, and keys of counts by part.

    The counts stay where the parts are.

    Parameters
    ----------
    plan
        The run's preparation, under a name of its own.
    seed
        Of the run.
    told
        Called after each window.

    Raises
    ------
    InputError
        If training nodes are drawn too rarely.
    """
    sampler: Any = plan.sampler.sampler
    sampler = sampler.presampled(steps=0, drawn=0)
    counts: list[Any] = []
    number = 0
    while steps := sampler.presampling(number):
        graph = PresamplingGraph(plan, number)
        keys = presampling_keys(seed, sampler.done.steps, steps)
        memories = executor.memories(plan.book.num_parts)
        after, drawn = graph.tally(steps, keys, counts, memories)
        executor.submit(graph.tasks, [*after, *drawn])
        total = sum(executor.result(drawn))
        executor.release([*drawn, *counts])
        counts, number = after, number + 1
        sampler = sampler.presampled(sampler.done.steps + steps, total)
        told(sampler)
    return sampler, counts


def send_counts(executor: Executor, counts: list[Counts], run: str) -> list[Any]:
    """Send counts that are known to their parts; return keys by part."""
    tasks: dict[Any, Any] = {}
    for part, own in enumerate(counts):
        key = ("tally", run, part)
        tasks[key] = Task(key, same, own)
    with large_graphs():  # on purpose
        executor.submit(tasks, list(tasks), lasting=True)
    return list(tasks)


def counted_blocks(
    executor: Executor, blocks: Blocks, counts: Sequence[Any], run: str
) -> Blocks:
    """Return blocks that have their counts beside their rows."""
    tasks: dict[Any, Any] = {}
    for part, key in enumerate(counts):
        name = ("count-part", run, part)
        tasks[name] = Task(name, CountedBlocks, blocks.of(part), TaskRef(key))
    found = Blocks(tuple(tasks))
    executor.submit(tasks, found.keys, lasting=True)
    return found


def with_counts(
    executor: Executor,
    plan: Preparation,
    packed: PackedSampler,
    counts: Sequence[Any],
    run: str,
) -> Preparation:
    """Return a preparation whose sampler has, and uses, what was counted.

    Parameters
    ----------
    packed
        The sampler after its pre-sampling.
    counts
        Keys by part.
    run
        A name for the blocks.
    """
    blocks = counted_blocks(executor, plan.blocks, counts, run)
    return replace(plan, sampler=packed, blocks=blocks)
