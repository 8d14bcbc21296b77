"""Node classification, with one or several labels per node."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.targets import Targets
from daskgnn.tasks.loss import Loss, describe_function, loss_of
from daskgnn.tasks.reduction import Reduction, find_reduction
from daskgnn.tasks.scores import (
    ClassScores,
    f1,
    score_classes,
    score_labels,
    scores_by_class,
)
from daskgnn.tasks.task import TargetBatch, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from daskgnn.graph.graph import Graph
    from daskgnn.graph.memory.data import GraphData

MEASURES = ("accuracy", "f1_micro", "f1_macro", "rocauc", "ap")
_OTHER_NAMES = {"acc": "accuracy", "roc_auc": "rocauc", "average_precision": "ap"}


class NodeClassification(Task):
    """Predicts each node's class, or which of several yes/no labels it has.

    This is the default task of `Trainer`. Its methods are those of `Task`, which says
    what they are given and return.

    Parameters
    ----------
    loss : callable, optional
        ``(outputs, labels) -> sum or mean over the nodes``, for instance
        ``torch.nn.CrossEntropyLoss()``: which of them is found by calling it. By
        default cross entropy, or binary cross entropy if a node can have several
        labels.
    metric : str or sequence of str, optional
        "accuracy", "f1_micro", "f1_macro", "roc_auc" or "average_precision", or
        several; the first says which epoch is best. By default the graph's own. Of more
        than two classes, "roc_auc" and "average_precision" are the means over classes,
        each against the rest.

    Examples
    --------
    >>> import numpy as np, torch
    >>> import daskgnn
    >>> from daskgnn.tasks import NodeClassification, TargetBatch
    >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition())
    >>> task = NodeClassification().for_graph(graph)
    >>> task.check(graph, model=None)
    >>> task.num_outputs(graph), task.metric(graph)
    (2, 'accuracy')
    >>> targets = task.expand(task.targets(graph, "val"), key=0)
    >>> targets.are_nodes()
    True
    >>> task.fingerprint()
    {'task': 'NodeClassification', 'loss': 'cross_entropy', 'metric': None}

    How it is scored, for two nodes of which one is right:

    >>> h, labels = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1])
    >>> batch = TargetBatch(np.array([[0], [1]]), {"labels": labels}, None, 2)
    >>> half = task.partial(h, batch)
    >>> task.score(task.merge(half, half))["accuracy"]
    0.5
    >>> task.scores_by_class(half)[0]
    {'precision': 0.5, 'recall': 1.0, 'f1': 0.6666666666666666, 'num_nodes': 1}
    >>> task.loss(torch.from_numpy(h), batch.as_tensors(torch.from_numpy)).item() > 1
    True
    >>> task.target_weight(batch) is None  # as for any loss that is no weighted mean
    True
    """

    uses_weights = True

    def __init__(
        self, loss: Loss | None = None, metric: str | Sequence[str] | None = None
    ) -> None:
        self.loss_function = loss
        self.given_loss = loss
        """The loss as it was given; None: that of the graph's labels."""
        self.reduction = Reduction()
        """How the loss is reduced over nodes; known of a graph's task."""
        self.metrics = (metric,) if isinstance(metric, str) else tuple(metric or ())
        self._measures: dict[str, str] = {}

    def for_graph(self, graph: Graph) -> NodeClassification:
        """Return the task with the loss and the metric of a graph.

        Parameters
        ----------
        graph : Graph
            The graph that is trained on.

        Returns
        -------
        NodeClassification
            A copy.

        Raises
        ------
        InputError
            If a metric is unknown, or cannot be computed for such labels; or if the
            loss is neither the sum nor a mean over nodes.
        """
        task = copy.copy(self)
        task.loss_function = loss_of(self.loss_function, graph)
        if self.given_loss is not None:
            task.reduction = find_reduction(
                self.given_loss, graph.num_classes, multilabel=graph.multilabel
            )
        names = self.metrics or (self.metric(graph),)
        task._measures = {name: _measure_of(name) for name in names}
        return task

    def check(self, graph: Graph, model: nn.Module) -> None:
        """Raise an `InputError` if the graph lacks labels or a training split."""
        check_labelled(graph)

    def num_outputs(self, graph: Graph) -> int:
        """Return the number of classes, or of yes/no labels."""
        return graph.num_classes

    def targets(self, graph: Graph, split: str) -> Targets:
        """Return the nodes of a split as targets, one node each."""
        ids = graph.splits.get(split, np.empty(0, np.int64))
        return Targets(graph.original_ids_of(ids), ids[:, None])

    def loss(self, h: Tensor, batch: TargetBatch) -> Tensor:
        """Return the sum of the losses of a part's nodes, each times its weight."""
        assert self.loss_function is not None  # since `for_graph`
        given = h, batch.tables["labels"]
        return self.reduction.summed(self.loss_function, *given, batch.weights)

    def target_weight(self, batch: TargetBatch) -> float | None:
        """Return the sum of the weights of a part's nodes.

        Parameters
        ----------
        batch : TargetBatch
            The nodes, with their labels, as tensors.

        Returns
        -------
        float or None
            What the sum of all parts' losses is divided by, once it is added up as
            well; None for the number of nodes.
        """
        return self.reduction.weight(batch.tables["labels"], batch.weights)

    def partial(self, h: np.ndarray, batch: TargetBatch) -> ClassScores:
        """Return a part's counts, sums of losses, and what the metrics need."""
        labels = batch.tables["labels"]
        if labels.ndim == 1:
            return score_classes(h, labels, set(self._measures.values()))
        return score_labels(h, labels, set(self._measures.values()))

    def merge(self, left: ClassScores, right: ClassScores) -> ClassScores:
        """Return the sum of two contributions."""
        return left.merge(right)

    def score(self, total: ClassScores) -> dict[str, float]:
        """Return accuracy, loss and the metrics.

        Returns
        -------
        dict of float
            "num_nodes", "accuracy", "loss" (unless a node can have several labels) and
            the metrics by name.

        Raises
        ------
        InputError
            If the metric ranks nodes and no label has both positive and negative ones.
        """
        scores = {"num_nodes": total.count, "accuracy": total.right / total.given}
        if total.losses:
            scores["loss"] = sum(total.losses) / total.count
        for name, measure in self._measures.items():
            if measure.startswith("f1_"):
                assert total.classes is not None
                average = measure.removeprefix("f1_")
                several = not total.losses
                scores[name] = f1(total.classes, average, every=several)
            elif measure != "accuracy":
                scores |= _ranked(total, name, measure)
            elif name != "accuracy":
                scores[name] = scores["accuracy"]
        return scores

    def scores_by_class(self, total: ClassScores) -> list[dict[str, float]]:
        """Return "precision", "recall", "f1" and "num_nodes" of each class."""
        assert total.classes is not None
        return scores_by_class(total.classes)

    def metric(self, graph: Graph) -> str:
        """Return the first metric that was asked for, or the graph's own."""
        return self.metrics[0] if self.metrics else graph.metric or "accuracy"

    def fingerprint(self) -> dict[str, Any]:
        """Return the names of the task, its loss and its metrics, for checkpoints.

        Returns
        -------
        dict
            "task", "loss" and "metric", which is None if none was asked for; and
            "reduction" of a loss that was given.
        """
        facts: dict[str, Any] = {
            "loss": describe_function(self.loss_function),
            "metric": list(self.metrics) or None,
        }
        if self.given_loss is not None:
            facts["reduction"] = self.reduction.name
        return super().fingerprint() | facts


def check_labelled(graph: Graph | GraphData) -> None:
    """Refuse a graph, in memory or stored, whose nodes' classes cannot be learnt."""
    if not graph.has_labels:
        raise InputError(
            f"graph {graph.name!r} has no labels, which training needs",
            python="give labels=... when it is built",
            shell="store it with daskgnn partition --nodes FILE --labels COLUMN",
        )
    if not len(graph.splits.get("train", ())):
        raise InputError(
            f"graph {graph.name!r} has no training split",
            python="give train=mask when it is built, or draw one with "
            "split(train=0.6, val=0.2)",
            shell="draw one with --split 60/20/20, or store it with daskgnn partition "
            "--nodes FILE, a table with a column split (train, val or test) or train "
            "(true or false)",
        )


def _ranked(total: ClassScores, name: str, measure: str) -> dict[str, float]:
    """Return the mean over columns that have both classes, as OGB does."""
    columns = [ranking for ranking in total.rankings if ranking.has_both]
    if not columns:
        raise InputError(f"metric={name!r} needs a label with both classes")
    found = [ranking.measure(measure) for ranking in columns]
    # Their last digits differ: each is computed as in the library it is from.
    mean = sum(found) / len(found) if name.startswith("ogb:") else np.mean(found)
    error = max(ranking.error(measure) for ranking in columns)
    return {name: float(mean)} | ({f"{name}_error": error} if error else {})


def _measure_of(metric: str) -> str:
    """Return what a metric's name means."""
    measure = metric
    if metric.startswith("ogb:"):
        from daskgnn.graph.datasets.ogb import ogb_table

        measure = ogb_table(metric.removeprefix("ogb:"))["eval metric"]
    measure = _OTHER_NAMES.get(measure, measure)
    if measure not in MEASURES:
        names = {value: name for name, value in _OTHER_NAMES.items() if "_" in name}
        known = ", ".join(names.get(name, name) for name in MEASURES)
        raise InputError(f"metric={metric!r} is unknown, expected {known}")
    return measure
