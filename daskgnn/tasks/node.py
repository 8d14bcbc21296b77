"""Node classification, with one or several labels per node."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.targets import Targets
from daskgnn.tasks.loss import Loss, describe_function, loss_of
from daskgnn.tasks.scores import ClassScores, f1, score_classes, score_labels
from daskgnn.tasks.task import TargetBatch, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from daskgnn.graph.graph import Graph
    from daskgnn.graph.memory.data import GraphData

_OF_OGB = {"acc": "accuracy", "rocauc": "rocauc"}


class NodeClassification(Task):
    """Predicts each node's class, or which of several labels it has.

    Parameters
    ----------
    loss : callable, optional
        (outputs, labels) -> the sum over the nodes. Default: cross entropy, or binary
        cross entropy for several labels a node.
    """

    def __init__(self, loss: Loss | None = None) -> None:
        self.loss_function = loss
        self._measure = self._metric = "accuracy"

    def for_graph(self, graph: Graph) -> NodeClassification:
        """Return the task with the graph's loss and metric.

        Raises
        ------
        InputError
            If the metric is unknown, or cannot be computed for such labels.
        """
        task = copy.copy(self)
        task.loss_function = loss_of(self.loss_function, graph)
        task._metric = self.metric(graph)
        task._measure = _measure_of(task._metric, graph)
        return task

    def check(self, graph: Graph, model: nn.Module) -> None:
        """Refuse a graph without labels or a training split."""
        check_labelled(graph)

    def num_outputs(self, graph: Graph) -> int:
        """Return the number of classes."""
        return graph.num_classes

    def targets(self, graph: Graph, split: str) -> Targets:
        """Return the nodes of a split."""
        ids = graph.splits.get(split, np.empty(0, np.int64))
        return Targets(graph.original_ids_of(ids), ids[:, None])

    def loss(self, h: Tensor, batch: TargetBatch) -> Tensor:
        """Return the sum of the nodes' losses."""
        assert self.loss_function is not None  # since `for_graph`
        return self.loss_function(h, batch.tables["labels"])

    def partial(self, h: np.ndarray, batch: TargetBatch) -> ClassScores:
        """Return what a part's nodes contribute."""
        labels = batch.tables["labels"]
        score = score_classes if labels.ndim == 1 else score_labels
        return score(h, labels, self._measure)

    def merge(self, left: ClassScores, right: ClassScores) -> ClassScores:
        """Return two contributions as one."""
        return left.merge(right)

    def score(self, total: ClassScores) -> dict[str, float]:
        """Return accuracy, loss (one label a node), and the data set's own metric.

        Raises
        ------
        InputError
            If no label has both classes, where they are ranked.
        """
        scores = {"num_nodes": total.count, "accuracy": total.right / total.given}
        if total.losses:
            scores["loss"] = sum(total.losses) / total.count
        if total.classes is not None:
            average = self._measure.removeprefix("f1_")
            several = not total.losses
            scores[self._metric] = f1(total.classes, average, every=several)
        elif self._measure in ("rocauc", "ap"):
            scores |= self._ranked(total)
        elif self._metric != "accuracy":
            scores[self._metric] = scores["accuracy"]
        return scores

    def _ranked(self, total: ClassScores) -> dict[str, float]:
        """Return the mean over columns that have both classes, as OGB does."""
        measure, name = self._measure, self._metric
        columns = [ranking for ranking in total.rankings if ranking.has_both]
        if not columns:
            raise InputError(f"metric={name!r} needs a label with both classes")
        found = [ranking.measure(measure) for ranking in columns]
        # Their last digits differ: each is computed as in the library it is from.
        mean = sum(found) / len(found) if name.startswith("ogb:") else np.mean(found)
        error = max(ranking.error(measure) for ranking in columns)
        return {name: float(mean)} | ({f"{name}_error": error} if error else {})

    def metric(self, graph: Graph) -> str:
        """Return the data set's own metric, or accuracy."""
        return graph.metric or "accuracy"

    def fingerprint(self) -> dict[str, Any]:
        """Return the names of the task and its loss."""
        return super().fingerprint() | {"loss": describe_function(self.loss_function)}


def check_labelled(graph: Graph | GraphData) -> None:
    """Refuse a graph, in memory or stored, whose nodes' classes cannot be learnt."""
    if graph.labels is None:
        raise InputError(
            f"graph {graph.name!r} has no labels, which training needs: give labels"
        )
    if not len(graph.splits.get("train", ())):
        raise InputError(
            f"graph {graph.name!r} has no training split: give train=mask when it is "
            "built"
        )


def _measure_of(metric: str, graph: Graph) -> str:
    """Return what a metric's name means for a graph's labels."""
    several = ("rocauc", "ap") if graph.multilabel else ()
    known = ("accuracy", "f1_micro", "f1_macro", *several)
    measure = metric
    if metric.startswith("ogb:"):
        from daskgnn.graph.datasets.ogb import ogb_table

        table = ogb_table(metric.removeprefix("ogb:"))
        measure = _OF_OGB.get(table["eval metric"], metric)
    if measure not in known:
        raise InputError(
            f"metric={metric!r} cannot be computed for these labels, expected "
            f"{', '.join(known)}"
        )
    return measure
