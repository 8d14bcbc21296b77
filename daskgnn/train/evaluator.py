"""Exact outputs for all nodes, their scores, and predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.task_spec import DataNode, List, Task, TaskRef

from daskgnn.dataflow.bundle import in_one_task
from daskgnn.dataflow.evaluate import (
    Scoring,
    evaluate_layers,
    in_chunks,
    prepare_whole_graph,
    score_parts,
)
from daskgnn.dataflow.executor import PartsLost
from daskgnn.dataflow.window import WindowSeeds, prepare_window
from daskgnn.errors import InputError
from daskgnn.graph.sources.ids import storage_ids_of
from daskgnn.kernels.batch import StepMeta
from daskgnn.kernels.counter import SAMPLING, derive_key
from daskgnn.sampling import NeighborSampler
from daskgnn.sampling.size import GraphStats
from daskgnn.train.automatic import is_evaluated_at_once
from daskgnn.train.compute.exact import (
    evaluate_layer,
    evaluate_step,
    merge_scores,
    score_targets,
)
from daskgnn.train.compute.program import packed_sampler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.dataflow.evaluate import WholeGraph
    from daskgnn.dataflow.executor import Executor
    from daskgnn.dataflow.sampling import PackedSampler
    from daskgnn.dataflow.window import Preparation
    from daskgnn.graph.graph import Graph
    from daskgnn.sampling import Sampler
    from daskgnn.train.compute.program import Trial
    from daskgnn.train.compute.state import Weights
    from daskgnn.train.targets import GivenTargets

EVALUATION_PRIORITY = 50

FEW = 0.1
"""Share of a graph's nodes up to which they are computed by their neighbourhoods."""


@dataclass(eq=False)
class Evaluator:
    """Evaluates a model's weights exactly, over all neighbours.

    Models with a method ``layer(i, h, block)`` are evaluated layer by layer; others
    by full neighbourhoods of batches of nodes, which costs more and says the same.
    Where the sampler says what an output is (`Sampler.evaluates`), batches are sampled
    by it, with one key for all: a node's sample depends on the run's seed alone.
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

    @property
    def kept(self) -> list[Any]:
        """Keys of what is held between evaluations."""
        return [] if self._whole is None else self._whole.keys

    def scores(self, weights: Weights, splits: list[str]) -> dict[str, Any]:
        """Return the scores of the given splits."""
        found = self._totals(weights, splits)
        return {split: self.targets.task.score(found[split]) for split in splits}

    def scores_of(
        self, weights: Weights, split: str, *, per_class: bool
    ) -> dict[str, Any]:
        """Return a split's scores; those of its classes by their names, if asked for.

        Raises
        ------
        InputError
            If they are asked for, and the task has no classes.
        """
        total, task = self._totals(weights, [split])[split], self.targets.task
        scores: dict[str, Any] = {"split": split, **task.score(total)}
        if not per_class:
            return scores
        classes = task.scores_by_class(total)
        if classes is None:
            raise InputError(
                f"per_class=True: {type(task).__name__} has no classes to score: leave "
                "per_class out"
            )
        names = self.graph.class_names or map(str, range(len(classes)))
        return {**scores, "classes": dict(zip(names, classes, strict=True))}

    def _totals(self, weights: Weights, splits: list[str]) -> dict[str, Any]:
        """Return the merged contributions to each split's scores."""
        while True:
            try:
                return self._totals_now(weights, splits)
            except PartsLost:
                self.executor.take_over()

    def _totals_now(self, weights: Weights, splits: list[str]) -> dict[str, Any]:
        task = self.targets.task
        wanted = [self.targets.by_part(split) for split in splits]
        targets = [
            dict(zip(splits, own, strict=True)) for own in zip(*wanted, strict=True)
        ]
        at_once = self._is_at_once(weights)
        if at_once:
            tasks, outputs = self._layers(weights)
        else:
            tasks, outputs = {}, self._outputs_of(weights, targets)
        scores, total = score_parts(
            outputs,
            self.preparation.blocks,
            Scoring(score_targets, merge_scores, task.tables),
            self.programs,
            self.graph.partition_book,
            targets,
        )
        if at_once:
            scores = in_one_task({**tasks, **scores}, total)
        self.executor.submit(scores, [total], priority=EVALUATION_PRIORITY)
        try:
            (found,) = self.executor.result([total])
        finally:
            self.executor.release([total, *outputs])
        return dict(found)

    def _is_at_once(self, weights: Weights) -> bool:
        """Return whether one task computes and scores all parts."""
        if self._samples or not self.trial.layered or not self.executor.num_workers():
            return False
        return is_evaluated_at_once(self.graph, weights.parameters.size)

    def are_few(self, nodes: np.ndarray) -> bool:
        """Return whether all that nodes depend on is a small share of the graph."""
        stats = GraphStats(self.graph.num_nodes, self.graph.num_edges)
        needed = self._sampler.estimate(stats, len(nodes)).nodes
        return needed < FEW * self.graph.num_nodes

    def by_neighbourhoods(self, weights: Weights, nodes: np.ndarray) -> np.ndarray:
        """Return the outputs of a few nodes, by original id, computed now: [n, C]."""
        self._count += 1
        book = self.graph.partition_book
        places = storage_ids_of(self.graph.source, book, nodes)
        seeds, back = np.unique(places, return_inverse=True)
        cuts = np.searchsorted(seeds, book)
        runs = [seeds[first:last] for first, last in pairwise(cuts)]
        keys = self._outputs_by_batches(weights, runs)
        try:
            return np.concatenate(self.executor.result(keys))[back]
        finally:
            self.executor.release(keys)

    def _outputs_of(self, weights: Weights, targets: list[dict[str, Any]]) -> list[Any]:
        """Start to compute what targets need; return the keys of each part's outputs.

        Rows that no target needs may be zeros.
        """
        if not self._samples:
            return self._outputs(weights)
        self._count += 1
        nothing = np.empty(0, np.int64)
        rows = [
            np.unique(np.concatenate([nothing, *(t.nodes for t in own.values())]))
            for own in targets
        ]
        return self._outputs_by_batches(weights, rows, whole=True)

    def chunks(
        self,
        weights: Weights,
        token: str,
        chosen: list[Any],
        num_layers: int | None = None,
    ) -> dict[Any, Any]:
        """Start to compute the outputs of some nodes; return their chunks.

        Parameters
        ----------
        token : str
            Part of the chunks' keys: see `in_chunks`.
        chosen : list
            Of each chunk, the original ids of its rows.
        num_layers : int, optional
            As of `_outputs`.
        """
        outputs = self._outputs(weights, num_layers)
        tasks, keys = in_chunks(outputs, self.preparation.blocks, chosen, token)
        self.executor.submit(tasks, keys, part_of=_part_of_prediction)
        # The array refers to the chunks on the workers.
        graph = self.executor.kept(keys)
        self.executor.release([*outputs, *keys])
        return graph

    def _outputs(self, weights: Weights, num_layers: int | None = None) -> list[Any]:
        """Start an evaluation; return the keys of each part's outputs.

        Parameters
        ----------
        num_layers
            Layers to compute, of a model that is evaluated layer by layer; by default
            all.
        """
        if self._samples or not self.trial.layered:
            self._count += 1
            whole = [range(*pair) for pair in pairwise(self.graph.partition_book)]
            return self._outputs_by_batches(weights, whole)
        tasks, outputs = self._layers(weights, num_layers)
        self.executor.submit(tasks, outputs, priority=EVALUATION_PRIORITY)
        return outputs

    def _layers(
        self, weights: Weights, num_layers: int | None = None
    ) -> tuple[dict[Any, Any], list[Any]]:
        """Return the graph of all layers and its keys: see `evaluate_layers`."""
        self._count += 1
        if self._whole is None:
            tasks, self._whole = prepare_whole_graph(
                self.preparation.run,
                self.preparation.book,
                self.preparation.blocks,
                self.preparation.inputs.first_aggregation,
            )
            self.executor.submit(tasks, self._whole.keys, lasting=True)
        return evaluate_layers(
            self._whole,
            self._count,
            self._num_layers if num_layers is None else num_layers,
            evaluate_layer,
            self.programs,
            weights,
        )

    def _outputs_by_batches(
        self,
        weights: Weights,
        rows: Sequence[range | np.ndarray],
        *,
        whole: bool = False,
    ) -> list[Any]:
        """Evaluate some of each part's rows in batches, by their neighbourhoods.

        One window is prepared while another is evaluated, so memory is bounded. With
        `whole`, outputs have a row for each of the part's nodes, of others zeros.
        """
        name = f"{self.preparation.run}-whole-{self._count}"
        plan = replace(
            self.preparation,
            run=name,
            sampler=self._packed,
            inputs=replace(self.preparation.inputs, half=False),
            cache=None,
        )
        step_keys = np.array([derive_key(SAMPLING, self.targets.seed)], np.uint64)
        longest = max(map(len, rows))
        pieces: list[list[Any]] = [[] for _ in range(self.graph.num_parts)]
        previous: list[Any] = []
        for window, first in enumerate(range(0, longest, self.batch_size)):
            seeds = WindowSeeds(self._runs(rows, first), step_keys, [StepMeta(0, 1)])
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
        return self._joined(name, pieces, rows if whole else None)

    @property
    def _samples(self) -> bool:
        """Whether the sampler says what an output is."""
        return self.preparation.sampler.sampler.evaluates

    @property
    def _packed(self) -> PackedSampler:
        """The same, pickled."""
        if self._samples:
            return self.preparation.sampler
        return packed_sampler(self._sampler)

    @property
    def _sampler(self) -> Sampler:
        """What samples the neighbourhoods of batches."""
        if self._samples:
            return self.preparation.sampler.sampler
        return NeighborSampler((-1,) * self._num_layers)

    @property
    def _num_layers(self) -> int:
        return self.preparation.sampler.sampler.num_layers

    def _runs(
        self, rows: Sequence[range | np.ndarray], first: int
    ) -> list[list[np.ndarray]]:
        """Return, by part, the rows from `first` of one batch."""
        batch = slice(first, first + self.batch_size)
        return [[np.asarray(own[batch], self.graph.index_dtype)] for own in rows]

    def _joined(
        self,
        name: str,
        pieces: list[list[Any]],
        places: Sequence[range | np.ndarray] | None,
    ) -> list[Any]:
        """Put each part's batches together; return the keys of the wholes.

        Rows go to their `places`, by storage id, among all of the part's.
        """
        tasks = {}
        for part, (keys, bounds) in enumerate(
            zip(pieces, pairwise(self.graph.partition_book.tolist()), strict=True)
        ):
            key, batches = ("outputs", name, part), List(*map(TaskRef, keys))
            tasks[key] = Task(key, np.concatenate, batches)
            if places is not None:
                tasks[key] = Task(key, _placed, batches, places[part], bounds)
        self.executor.submit(tasks, list(tasks), priority=EVALUATION_PRIORITY)
        for keys in pieces:
            self.executor.release(keys)
        return list(tasks)


def _placed(
    batches: list[np.ndarray], places: np.ndarray, bounds: tuple[int, int]
) -> np.ndarray:
    """Return a part's rows with those of some nodes, by storage id; others are 0."""
    rows = np.concatenate(batches)
    out = np.zeros((bounds[1] - bounds[0], rows.shape[1]), rows.dtype)
    out[places - bounds[0]] = rows
    return out


def _part_of_prediction(key: Any) -> int:
    return int(key[-2] if str(key[0]).startswith("predict-") else key[-1])
