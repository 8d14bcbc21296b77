"""`Task`: what is predicted, with which loss, and how it is scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.seams import required

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from daskgnn.graph.graph import Graph
    from daskgnn.kernels.batch import PreparedStep
    from daskgnn.kernels.targets import TargetRows, Targets

Partial = Any
"""What a part's targets contribute to a score: any picklable object that stays small
however many targets there are."""


@dataclass(frozen=True)
class TargetBatch:
    """The targets that a model's outputs are for, as tensors or as numpy arrays.

    Row r of the outputs `h` belongs to one distinct node; a node that several targets
    share has one row.
    """

    rows: Any
    """int64 [n, k], the rows of `h` that each target has; -1 for none."""
    tables: dict[str, Any]
    """Rows of the task's tables, by name, [len(h), ...] beside those of `h`."""
    values: Any
    """[n, ...] of `Targets.values`, or None."""
    num_targets: int
    """Targets of the step over all parts, as they were drawn; of a part, in scores."""

    def as_tensors(self, tensor: Callable[[np.ndarray], Tensor]) -> TargetBatch:
        """Return the batch with every array made a tensor."""
        tables = {name: tensor(table) for name, table in self.tables.items()}
        values = None if self.values is None else tensor(self.values)
        return TargetBatch(tensor(self.rows), tables, values, self.num_targets)


def target_batch(step: PreparedStep, names: tuple[str, ...]) -> TargetBatch:
    """Return the targets of a prepared step, with rows of the tables named."""
    tables = dict.fromkeys(names, step.labels)
    return batch_of(step.targets, step.sizes[0], tables, step.num_seeds)


def batch_of(
    targets: TargetRows | None,
    num_seeds: int,
    tables: dict[str, np.ndarray],
    num_targets: int,
) -> TargetBatch:
    """Return the targets of some seeds."""
    rows = None if targets is None else targets.rows
    if rows is None:
        rows = np.arange(num_seeds)[:, None]
    values = None if targets is None else targets.values
    return TargetBatch(rows, tables, values, num_targets)


class Task:
    """What is predicted. Subclass it and pass an object: ``Trainer(task=MyTask())``.

    A task is pickled and sent to workers once, with the model; `loss`, `partial`,
    `merge` and `score` see what they are given and nothing else. What only `targets`
    and `expand` use, which run on the driver, can be left out by ``__getstate__``.
    """

    tables: tuple[str, ...] = ("labels",)
    """Node tables whose rows `loss` and `partial` get, for the targets' nodes."""

    def for_graph(self, graph: Graph) -> Task:
        """Return the task with what it has to know of a graph (default: as it is)."""
        return self

    def check(self, graph: Graph, model: nn.Module) -> None:
        """Raise an `InputError` where graph or model do not fit the task."""

    def num_outputs(self, graph: Graph) -> int | None:
        """Return the columns that a model's output must have, or None for any."""
        return None

    @required
    def targets(self, graph: Graph, split: str) -> Targets:
        """Return the targets of a split, none where there is no such split."""
        raise NotImplementedError

    def expand(self, targets: Targets, key: int) -> Targets:
        """Return what a step's targets become: with negatives, for instance.

        Parameters
        ----------
        targets : Targets
            Of one step, of all parts, in order; or of a split, when it is scored.
        key : int
            Of the step: take draws from `daskgnn.kernels.counter` beneath it and the
            targets' keys, never from a generator.
        """
        return targets

    @required
    def loss(self, h: Tensor, batch: TargetBatch) -> Tensor:
        """Return the sum of the losses of a part's targets, a scalar.

        It is divided by the number of targets of the step over all parts.

        Parameters
        ----------
        h : float32 [m, C]
            The model's outputs, a row a distinct node.
        batch : TargetBatch
            Of tensors.
        """
        raise NotImplementedError

    @required
    def partial(self, h: np.ndarray, batch: TargetBatch) -> Partial:
        """Return what a part's targets contribute to the score, `batch` of numpy."""
        raise NotImplementedError

    def merge(self, left: Partial, right: Partial) -> Partial:
        """Return two contributions as one (default: dicts of sums)."""
        return {name: value + right[name] for name, value in left.items()}

    @required
    def score(self, total: Partial) -> dict[str, float]:
        """Return the scores of a split, `metric` among them."""
        raise NotImplementedError

    def metric(self, graph: Graph) -> str:
        """Return the score that says which epoch is best: higher is better."""
        return "accuracy"

    def fingerprint(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with to be continued, JSON-able."""
        return {"task": type(self).__qualname__}
