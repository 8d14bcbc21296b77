"""`Task`: what is predicted, with which loss, and how it is scored."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    """The targets of one step or split, as a loss or a score sees them.

    Row r of a model's outputs `h` belongs to one distinct node; targets that share a
    node share its row.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from daskgnn.tasks import TargetBatch
    >>> batch = TargetBatch(np.array([[0], [1]]), {"labels": np.array([1, 0])}, None, 2)
    >>> batch.as_tensors(torch.from_numpy).tables["labels"]
    tensor([1, 0])
    """

    rows: Any
    """int64 [n, k], the rows of `h` that belong to each target; -1 for none."""
    tables: dict[str, Any]
    """Rows of the task's `tables`, by name: [len(h), ...], in the order of `h`."""
    values: Any
    """[n, ...], `Targets.values` of these targets, or None."""
    num_targets: int
    """In a loss, the number of targets of the step over all parts, before
    `Task.expand`; in a score, of the part."""
    weights: Any = None
    """float32 [n], what each target's loss is to be multiplied by where the sampler
    draws targets with unequal probabilities; else None."""

    def as_tensors(self, tensor: Callable[[np.ndarray], Tensor]) -> TargetBatch:
        """Return the batch with tensors in place of arrays.

        Parameters
        ----------
        tensor : callable
            Makes a tensor of an array.

        Returns
        -------
        TargetBatch
            The same targets.
        """
        tables = {name: tensor(table) for name, table in self.tables.items()}
        values = None if self.values is None else tensor(self.values)
        weights = None if self.weights is None else tensor(self.weights)
        return TargetBatch(tensor(self.rows), tables, values, self.num_targets, weights)


def target_batch(step: PreparedStep, names: tuple[str, ...]) -> TargetBatch:
    """Return the targets of a prepared step, with rows of the tables named."""
    tables = dict.fromkeys(names, step.labels)
    batch = batch_of(step.targets, len(step.labels), tables, step.num_seeds)
    return replace(batch, weights=step.graph.target_weights)


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


def twice(batch: TargetBatch, num_rows: int) -> TargetBatch:
    """Return the targets of a batch and the same again, for `num_rows` rows twice."""
    rows, values = batch.rows, batch.values
    more = np.where(rows < 0, rows, rows + num_rows)
    tables = {name: np.concatenate([t, t]) for name, t in batch.tables.items()}
    values = None if values is None else np.concatenate([values, values])
    both = np.concatenate([rows, more])
    return TargetBatch(both, tables, values, 2 * batch.num_targets)


def weight_of(task: Task, batch: TargetBatch) -> float | None:
    """Return the sum of the weights of a part's targets, if their loss is a mean of it.

    Few tasks have targets with weights: see `NodeClassification.target_weight`.
    """
    weight = getattr(task, "target_weight", None)
    return None if weight is None else weight(batch)


def reduction_of(task: Task) -> str:
    """Return how a task's loss is reduced over a part's targets, as it was given."""
    found = getattr(task, "reduction", None)
    return str(getattr(found, "name", "sum"))


class Task:
    """What is predicted, with which loss, and how it is scored.

    Subclass it and pass an object to `Trainer` as `task`. It is pickled and sent to the
    workers once, with the model. `targets` and `expand` run in this process: what only
    they use can be left out of the pickle by ``__getstate__``.

    Examples
    --------
    Predict a number for each node:

    >>> import numpy as np, torch
    >>> import daskgnn
    >>> from daskgnn.tasks import TargetBatch, Targets, Task
    >>> class NodeRegression(Task):
    ...     tables = ()  # the graph's labels are not used
    ...     def __init__(self, numbers):
    ...         self.numbers = numbers  # float32 [N, 1], by original id
    ...     def num_outputs(self, graph):
    ...         return 1
    ...     def targets(self, graph, split):
    ...         nodes = graph.splits.get(split, np.empty(0, np.int64))
    ...         keys = graph.original_ids_of(nodes)
    ...         return Targets(keys, nodes[:, None], self.numbers[keys])
    ...     def loss(self, h, batch):  # of tensors
    ...         return ((h[batch.rows[:, 0]] - batch.values) ** 2).sum()
    ...     def partial(self, h, batch):  # of numpy arrays
    ...         off = h[batch.rows[:, 0]] - batch.values
    ...         return {"count": len(off), "squares": float((off**2).sum())}
    ...     def score(self, total):
    ...         return {"-mse": -total["squares"] / total["count"]}
    ...     def metric(self, graph):
    ...         return "-mse"  # higher is better
    >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition())
    >>> task = NodeRegression(np.ones((34, 1), np.float32)).for_graph(graph)
    >>> targets = task.expand(task.targets(graph, "val"), key=0)
    >>> len(targets) == len(graph.splits["val"])
    True

    How it is scored, for two targets with the outputs 1 and 3:

    >>> h, values = np.array([[1.0], [3.0]]), np.ones((2, 1))
    >>> batch = TargetBatch(np.array([[0], [1]]), {}, values, 2)
    >>> half = task.partial(h, batch)
    >>> task.score(task.merge(half, half))
    {'-mse': -2.0}
    >>> task.loss(torch.from_numpy(h), batch.as_tensors(torch.from_numpy))
    tensor(4., dtype=torch.float64)
    >>> task.scores_by_class(half)  # there are no classes
    >>> task.check(graph, model=None)  # could refuse graph and model
    >>> task.fingerprint()
    {'task': 'NodeRegression'}
    """

    tables: tuple[str, ...] = ("labels",)
    """Node tables that `loss` and `partial` need of the targets' nodes."""
    uses_weights: bool = False
    """Whether `loss` multiplies by `TargetBatch.weights`, as some samplers need."""

    def for_graph(self, graph: Graph) -> Task:
        """Return the task with what it needs to know of a graph.

        Parameters
        ----------
        graph : Graph
            The graph that is trained on.

        Returns
        -------
        Task
            By default the task as it is.
        """
        return self

    def check(self, graph: Graph, model: nn.Module) -> None:
        """Raise an `InputError` if the graph or the model does not fit the task.

        Parameters
        ----------
        graph : Graph
            The graph that is trained on.
        model : torch.nn.Module
            The model.
        """

    def num_outputs(self, graph: Graph) -> int | None:
        """Return how many columns the model's output must have.

        Parameters
        ----------
        graph : Graph
            The graph that is trained on.

        Returns
        -------
        int or None
            None for any number, which is the default.
        """
        return None

    @required
    def targets(self, graph: Graph, split: str) -> Targets:
        """Return the targets of a split.

        Parameters
        ----------
        graph : Graph
            The graph that is trained on.
        split : str
            "train", "val" or "test".

        Returns
        -------
        Targets
            Empty if the graph has no such split.
        """
        raise NotImplementedError

    def expand(self, targets: Targets, key: int) -> Targets:
        """Add to the targets of a step, for instance negatives.

        Parameters
        ----------
        targets : Targets
            Those of one step, over all parts and in order; or of a split that is
            scored.
        key : int
            Key of the step: draws must be made from it and the targets' keys with
            `daskgnn.kernels.counter`, never with a random generator.

        Returns
        -------
        Targets
            By default the same targets.
        """
        return targets

    @required
    def loss(self, h: Tensor, batch: TargetBatch) -> Tensor:
        """Return the sum of the losses of a part's targets.

        The sum over all parts is divided by the number of targets of the step.

        Parameters
        ----------
        h : torch.Tensor
            float32 [m, C], the model's outputs: one row for each distinct node.
        batch : TargetBatch
            The targets, as tensors.

        Returns
        -------
        torch.Tensor
            A scalar.
        """
        raise NotImplementedError

    @required
    def partial(self, h: np.ndarray, batch: TargetBatch) -> Partial:
        """Return what a part's targets contribute to the scores.

        Parameters
        ----------
        h : numpy.ndarray
            float32 [m, C], the model's outputs: one row for each distinct node.
        batch : TargetBatch
            The targets, as numpy arrays.

        Returns
        -------
        object
            Small and picklable, however many targets there are.
        """
        raise NotImplementedError

    def merge(self, left: Partial, right: Partial) -> Partial:
        """Return two contributions as one.

        Parameters
        ----------
        left, right : object
            What `partial` or `merge` returned.

        Returns
        -------
        object
            By default a dict whose values are added.
        """
        return {name: value + right[name] for name, value in left.items()}

    @required
    def score(self, total: Partial) -> dict[str, float]:
        """Return the scores of a split.

        Parameters
        ----------
        total : object
            The merged contributions of all parts.

        Returns
        -------
        dict of float
            Scores by name; that of `metric` is among them.
        """
        raise NotImplementedError

    def scores_by_class(self, total: Partial) -> list[dict[str, float]] | None:
        """Return the scores of each class.

        Parameters
        ----------
        total : object
            The merged contributions of all parts.

        Returns
        -------
        list of dict or None
            By class number; None, which is the default, if targets have no classes.
        """
        return None

    def metric(self, graph: Graph) -> str:
        """Return the name of the score that decides which epoch is best.

        Parameters
        ----------
        graph : Graph
            The graph that is trained on.

        Returns
        -------
        str
            By default "accuracy"; higher is better.
        """
        return "accuracy"

    def fingerprint(self) -> dict[str, Any]:
        """Return what distinguishes this task from others, for checkpoints.

        A run is resumed only with a task of the same fingerprint.

        Returns
        -------
        dict
            As JSON can hold it; by default the name of the class.
        """
        return {"task": type(self).__qualname__}
