"""Exact outputs for all nodes, their scores, and predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.task_spec import List, Task, TaskRef

from daskgnn.dataflow.evaluate import (
    by_original_id,
    evaluate_layers,
    prepare_whole_graph,
    score_parts,
)
from daskgnn.dataflow.window import Preparation, WindowSeeds, prepare_window
from daskgnn.kernels.batch import StepFacts
from daskgnn.kernels.hops import Sampling
from daskgnn.kernels.neighbor import FanOut
from daskgnn.train.program import evaluate_layer, evaluate_step
from daskgnn.train.scores import SplitOutputs, reduce_outputs, score_split

if TYPE_CHECKING:
    from daskgnn.dataflow.blocks import Blocks
    from daskgnn.dataflow.evaluate import WholeGraph
    from daskgnn.dataflow.executor import Executor
    from daskgnn.graph.graph import Graph

EVALUATION_PRIORITY = 50


class Evaluator:
    """Evaluates parameters exactly, over all neighbours.

    Models with a method ``layer(i, h, block)`` are evaluated layer by layer; others
    by full neighbourhoods of batches of nodes, which costs more and says the same.
    """

    def __init__(
        self,
        run: str,
        executor: Executor,
        graph: Graph,
        blocks: Blocks,
        programs: list[Any],
        preparation: Preparation,
        layered: bool,
        batch_size: int,
    ) -> None:
        self.run = run
        self.executor = executor
        self.graph = graph
        self.blocks = blocks
        self.programs = programs
        self.preparation = preparation
        self.layered = layered
        self.batch_size = batch_size
        self._count = 0
        self._whole: WholeGraph | None = None
        self._rows = {
            name: self._rows_of(ids) for name, ids in graph.splits.items() if len(ids)
        }

    def scores(self, parameters: np.ndarray, splits: list[str]) -> dict[str, Any]:
        """Return the scores of the given splits."""
        outputs = self._outputs(parameters)
        rows = [
            {split: self._rows[split][part] for split in splits}
            for part in range(self.graph.num_parts)
        ]
        tasks, keys = score_parts(outputs, self.blocks, reduce_outputs, rows)
        self.executor.submit(tasks, keys, priority=EVALUATION_PRIORITY)
        parts: list[dict[str, SplitOutputs]] = self.executor.result(keys)
        self.executor.release([*keys, *outputs])
        return {
            split: score_split([part[split] for part in parts], self.graph.metric)
            for split in splits
        }

    def predict(self, parameters: np.ndarray) -> da.Array:
        """Return the outputs (N, C), a Dask array in original node order."""
        outputs = self._outputs(parameters)
        bounds = np.linspace(0, self.graph.num_nodes, self.graph.num_parts + 1)
        bounds = bounds.astype(np.int64)
        token = f"{self.run}-{self._count}"
        tasks, keys = by_original_id(outputs, self.blocks, bounds, token)
        self.executor.submit(tasks, keys, part_of=_part_of_prediction)
        # The chunks stay where they are: the array refers to them.
        graph = self.executor.kept(keys)
        classes = self._num_outputs(outputs)
        self.executor.release([*outputs, *keys])
        chunks = (tuple(int(n) for n in np.diff(bounds)), (classes,))
        meta = np.empty((0, 0), np.float32)
        return da.Array(graph, "predict-" + token, chunks, meta=meta)

    def _num_outputs(self, outputs: list[Any]) -> int:
        key = ("output-width", *outputs[0][1:])
        task = Task(key, _width, TaskRef(outputs[0]))
        self.executor.submit({key: task}, [key])
        (width,) = self.executor.result([key])
        self.executor.release([key])
        return int(width)

    def _outputs(self, parameters: np.ndarray) -> list[Any]:
        """Start an evaluation; return the keys of each part's outputs."""
        self._count += 1
        if not self.layered:
            return self._outputs_by_batches(parameters)
        if self._whole is None:
            tasks, self._whole = prepare_whole_graph(
                self.run,
                self.preparation.sampling,
                self.blocks,
                self.preparation.first_aggregation,
            )
            self.executor.submit(tasks, self._whole.keys)
        tasks, outputs = evaluate_layers(
            self._whole,
            self._count,
            self.preparation.sampling.fan_out.num_hops,
            evaluate_layer,
            self.programs,
            parameters,
        )
        self.executor.submit(tasks, outputs, priority=EVALUATION_PRIORITY)
        return outputs

    def _outputs_by_batches(self, parameters: np.ndarray) -> list[Any]:
        """Evaluate each part's rows in batches with their whole neighbourhoods."""
        sampling = self.preparation.sampling
        whole = Sampling(FanOut((-1,) * sampling.fan_out.num_hops), sampling.bounds)
        book = self.graph.partition_book
        longest = int(np.diff(book).max())
        name = f"{self.run}-whole-{self._count}"
        plan = Preparation(
            name,
            whole,
            self.blocks,
            self.preparation.first_aggregation,
            self.preparation.label_template,
        )
        pieces: list[list[Any]] = [[] for _ in range(self.graph.num_parts)]
        tasks: dict[Any, Any] = {}
        key: Any
        for window, first in enumerate(range(0, longest, self.batch_size)):
            runs = [
                [
                    np.arange(
                        min(book[p] + first, book[p + 1]),
                        min(book[p] + first + self.batch_size, book[p + 1]),
                        dtype=self.graph.index_dtype,
                    )
                ]
                for p in range(self.graph.num_parts)
            ]
            seeds = WindowSeeds(runs, np.zeros(1, np.uint64), [StepFacts(0, 1)])
            added, keys = prepare_window(plan, window, seeds)
            tasks.update(added)
            for part, batch in enumerate(keys):
                if not len(runs[part][0]):
                    continue
                key = ("output", name, window, part)
                tasks[key] = Task(
                    key,
                    evaluate_step,
                    TaskRef(self.programs[part]),
                    parameters,
                    TaskRef(batch),
                )
                pieces[part].append(key)
        outputs = []
        for part, keys in enumerate(pieces):
            key = ("outputs", name, part)
            tasks[key] = Task(key, np.concatenate, List(*map(TaskRef, keys)))
            outputs.append(key)
        self.executor.submit(tasks, outputs, priority=EVALUATION_PRIORITY)
        return outputs

    def _rows_of(self, ids: np.ndarray) -> list[np.ndarray]:
        """Return a split's rows within each part."""
        book = self.graph.partition_book
        cuts = np.searchsorted(ids, book)
        return [
            ids[cuts[p] : cuts[p + 1]] - book[p] for p in range(self.graph.num_parts)
        ]


def _part_of_prediction(key: Any) -> int:
    return int(key[-2] if str(key[0]).startswith("predict-") else key[-1])


def _width(output: np.ndarray) -> int:
    return int(output.shape[1])
