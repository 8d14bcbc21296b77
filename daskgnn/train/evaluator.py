"""Exact outputs for all nodes, their scores, and predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.task_spec import DataNode, List, Task, TaskRef

from daskgnn.dataflow.evaluate import (
    Scoring,
    by_original_id,
    evaluate_layers,
    prepare_whole_graph,
    score_parts,
)
from daskgnn.dataflow.executor import PartsLost
from daskgnn.dataflow.window import WindowSeeds, prepare_window
from daskgnn.kernels.batch import StepMeta
from daskgnn.sampling import NeighborSampler
from daskgnn.train.compute.exact import (
    evaluate_layer,
    evaluate_step,
    merge_scores,
    score_targets,
)
from daskgnn.train.compute.program import packed_sampler

if TYPE_CHECKING:
    from daskgnn.dataflow.evaluate import WholeGraph
    from daskgnn.dataflow.executor import Executor
    from daskgnn.dataflow.window import Preparation
    from daskgnn.graph.graph import Graph
    from daskgnn.train.compute.program import Trial
    from daskgnn.train.compute.state import Weights
    from daskgnn.train.targets import GivenTargets

EVALUATION_PRIORITY = 50


@dataclass(eq=False)
class Evaluator:
    """Evaluates a model's weights exactly, over all neighbours.

    Models with a method ``layer(i, h, block)`` are evaluated layer by layer; others
    by full neighbourhoods of batches of nodes, which costs more and says the same.
    """

    executor: Executor
    targets: GivenTargets
    programs: list[Any]
    """Keys of the program, by part."""
    preparation: Preparation
    trial: Trial
    """What the model is like."""
    batch_size: int
    _count: int = 0
    _whole: WholeGraph | None = None

    @property
    def graph(self) -> Graph:
        """The graph whose nodes are evaluated."""
        return self.targets.graph

    def scores(self, weights: Weights, splits: list[str]) -> dict[str, Any]:
        """Return the scores of the given splits."""
        while True:
            try:
                return self._scores(weights, splits)
            except PartsLost:
                self.executor.take_over()

    def _scores(self, weights: Weights, splits: list[str]) -> dict[str, Any]:
        task = self.targets.task
        wanted = [self.targets.by_part(split) for split in splits]
        targets = [
            dict(zip(splits, own, strict=True)) for own in zip(*wanted, strict=True)
        ]
        outputs = self._outputs(weights)
        tasks, total = score_parts(
            outputs,
            self.preparation.blocks,
            Scoring(score_targets, merge_scores, task.tables),
            self.programs,
            self.graph.partition_book,
            targets,
        )
        self.executor.submit(tasks, [total], priority=EVALUATION_PRIORITY)
        try:
            (found,) = self.executor.result([total])
        finally:
            self.executor.release([total, *outputs])
        return {split: task.score(found[split]) for split in splits}

    def predict(self, weights: Weights) -> da.Array:
        """Return the outputs (N, C), a Dask array in original node order."""
        outputs = self._outputs(weights)
        bounds = np.linspace(0, self.graph.num_nodes, self.graph.num_parts + 1)
        bounds = bounds.astype(np.int64)
        token = f"{self.preparation.run}-{self._count}"
        tasks, keys = by_original_id(outputs, self.preparation.blocks, bounds, token)
        self.executor.submit(tasks, keys, part_of=_part_of_prediction)
        # The array refers to the chunks on the workers.
        graph = self.executor.kept(keys)
        self.executor.release([*outputs, *keys])
        chunks = (tuple(int(n) for n in np.diff(bounds)), (self.trial.num_outputs,))
        meta = np.empty((0, 0), np.float32)
        return da.Array(graph, "predict-" + token, chunks, meta=meta)

    def _outputs(self, weights: Weights) -> list[Any]:
        """Start an evaluation; return the keys of each part's outputs."""
        self._count += 1
        if not self.trial.layered:
            return self._outputs_by_batches(weights)
        if self._whole is None:
            tasks, self._whole = prepare_whole_graph(
                self.preparation.run,
                self.preparation.book,
                self.preparation.blocks,
                self.preparation.inputs.first_aggregation,
            )
            self.executor.submit(tasks, self._whole.keys, lasting=True)
        tasks, outputs = evaluate_layers(
            self._whole,
            self._count,
            self._num_layers,
            evaluate_layer,
            self.programs,
            weights,
        )
        self.executor.submit(tasks, outputs, priority=EVALUATION_PRIORITY)
        return outputs

    def _outputs_by_batches(self, weights: Weights) -> list[Any]:
        """Evaluate each part's rows in batches with their whole neighbourhoods.

        One window is prepared while another is evaluated, so memory is bounded.
        """
        name = f"{self.preparation.run}-whole-{self._count}"
        plan = replace(
            self.preparation,
            run=name,
            sampler=packed_sampler(NeighborSampler((-1,) * self._num_layers)),
            inputs=replace(self.preparation.inputs, half=False),
            cache=None,
        )
        longest = int(np.diff(self.graph.partition_book).max())
        pieces: list[list[Any]] = [[] for _ in range(self.graph.num_parts)]
        previous: list[Any] = []
        for window, first in enumerate(range(0, longest, self.batch_size)):
            seeds = WindowSeeds(
                self._whole_runs(first), np.zeros(1, np.uint64), [StepMeta(0, 1)]
            )
            memories = self.executor.memories(self.graph.num_parts)
            tasks, batches = prepare_window(plan, window, seeds, memories)
            state = ("parameters", name, window, 0)
            tasks[state] = DataNode(state, weights)
            outputs: list[Any] = []
            for part, batch in enumerate(batches):
                key = ("output", name, window, part)
                programs = TaskRef(self.programs[part])
                tasks[key] = Task(
                    key, evaluate_step, programs, TaskRef(state), TaskRef(batch)
                )
                pieces[part].append(key)
                outputs.append(key)
            self.executor.submit(tasks, outputs, priority=EVALUATION_PRIORITY)
            self.executor.wait(previous)
            previous = outputs
        return self._joined(name, pieces)

    @property
    def _num_layers(self) -> int:
        return self.preparation.sampler.sampler.num_layers

    def _whole_runs(self, first: int) -> list[list[np.ndarray]]:
        """Return, by part, the rows from `first` of one batch."""
        book, dtype = self.graph.partition_book, self.graph.index_dtype
        runs = []
        for p in range(self.graph.num_parts):
            start = min(book[p] + first, book[p + 1])
            stop = min(start + self.batch_size, book[p + 1])
            runs.append([np.arange(start, stop, dtype=dtype)])
        return runs

    def _joined(self, name: str, pieces: list[list[Any]]) -> list[Any]:
        """Put each part's batches together; return the keys of the wholes."""
        tasks = {}
        for part, keys in enumerate(pieces):
            key = ("outputs", name, part)
            tasks[key] = Task(key, np.concatenate, List(*map(TaskRef, keys)))
        self.executor.submit(tasks, list(tasks), priority=EVALUATION_PRIORITY)
        for keys in pieces:
            self.executor.release(keys)
        return list(tasks)


def _part_of_prediction(key: Any) -> int:
    return int(key[-2] if str(key[0]).startswith("predict-") else key[-1])
