"""Node classification, with one or several labels per node."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.targets import Targets
from daskgnn.tasks.loss import Loss, describe_function, loss_of
from daskgnn.tasks.reduction import Reduction, find_reduction
from daskgnn.tasks.scores import ClassScores, f1, score_classes, score_labels
from daskgnn.tasks.task import TargetBatch, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from daskgnn.graph.graph import Graph
    from daskgnn.graph.memory.data import GraphData

_OF_OGB = {"acc": "accuracy", "rocauc": "rocauc"}


class NodeClassification(Task):
    """Predicts each node's class, or which of several yes/no labels it has.

    This is the default task of `Trainer`.

    Parameters
    ----------
    loss : callable, optional
        ``(outputs, labels) -> sum or mean over the nodes``, for instance
        ``torch.nn.CrossEntropyLoss()``: which of them is found by calling it. By
        default cross entropy, or binary cross entropy if a node can have several
        labels.

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
    {'task': 'NodeClassification', 'loss': 'cross_entropy'}

    How it is scored, for two nodes of which one is right:

    >>> h, labels = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1])
    >>> batch = TargetBatch(np.array([[0], [1]]), {"labels": labels}, None, 2)
    >>> half = task.partial(h, batch)
    >>> task.score(task.merge(half, half))["accuracy"]
    0.5
    >>> task.loss(torch.from_numpy(h), batch.as_tensors(torch.from_numpy)).item() > 1
    True
    >>> task.target_weight(batch) is None  # as for any loss that is no weighted mean
    True
    """

    def __init__(self, loss: Loss | None = None) -> None:
        self.loss_function = loss
        self.reduction = Reduction()
        """How the loss is reduced over nodes; known of a graph's task."""
        self._measure = self._metric = "accuracy"
        self._given = loss is not None

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
            If the graph's metric is unknown, or cannot be computed for such labels; or
            if the loss is neither the sum nor a mean over nodes.
        """
        task = copy.copy(self)
        task.loss_function = loss_of(self.loss_function, graph)
        if self.loss_function is not None:
            task.reduction = find_reduction(
                self.loss_function, graph.num_classes, multilabel=graph.multilabel
            )
        task._metric = self.metric(graph)
        task._measure = _measure_of(task._metric, graph)
        return task

    def check(self, graph: Graph, model: nn.Module) -> None:
        """Check that the graph has labels and a training split.

        Parameters
        ----------
        graph : Graph
            The graph that is trained on.
        model : torch.nn.Module
            The model, which is not looked at.

        Raises
        ------
        InputError
            If it has none.
        """
        check_labelled(graph)

    def num_outputs(self, graph: Graph) -> int:
        """Return the number of classes, or of yes/no labels.

        Parameters
        ----------
        graph : Graph
            The graph that is trained on.

        Returns
        -------
        int
            C.
        """
        return graph.num_classes

    def targets(self, graph: Graph, split: str) -> Targets:
        """Return the nodes of a split as targets.

        Parameters
        ----------
        graph : Graph
            The graph that is trained on.
        split : str
            "train", "val" or "test".

        Returns
        -------
        Targets
            One node each; empty if there is no such split.
        """
        ids = graph.splits.get(split, np.empty(0, np.int64))
        return Targets(graph.original_ids_of(ids), ids[:, None])

    def loss(self, h: Tensor, batch: TargetBatch) -> Tensor:
        """Return the sum of the losses of a part's nodes, each times its weight.

        Parameters
        ----------
        h : torch.Tensor
            float32 [m, C], the model's outputs.
        batch : TargetBatch
            The nodes, with their labels, as tensors.

        Returns
        -------
        torch.Tensor
            A scalar.
        """
        assert self.loss_function is not None  # since `for_graph`
        return self.reduction.summed(self.loss_function, h, batch.tables["labels"])

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
        return self.reduction.weight(batch.tables["labels"])

    def partial(self, h: np.ndarray, batch: TargetBatch) -> ClassScores:
        """Return what a part's nodes contribute to the scores.

        Parameters
        ----------
        h : numpy.ndarray
            float32 [m, C], the model's outputs.
        batch : TargetBatch
            The nodes, with their labels, as numpy arrays.

        Returns
        -------
        ClassScores
            Counts, sums of losses, and what the metric needs.
        """
        labels = batch.tables["labels"]
        score = score_classes if labels.ndim == 1 else score_labels
        return score(h, labels, self._measure)

    def merge(self, left: ClassScores, right: ClassScores) -> ClassScores:
        """Return two contributions as one.

        Parameters
        ----------
        left, right : ClassScores
            What `partial` or `merge` returned.

        Returns
        -------
        ClassScores
            Their sum.
        """
        return left.merge(right)

    def score(self, total: ClassScores) -> dict[str, float]:
        """Return accuracy, loss and the graph's own metric.

        Parameters
        ----------
        total : ClassScores
            The merged contributions of all parts.

        Returns
        -------
        dict of float
            "num_nodes", "accuracy", "loss" (unless a node can have several labels) and
            the metric.

        Raises
        ------
        InputError
            If the metric ranks nodes and no label has both positive and negative ones.
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
        """Return the graph's own metric.

        Parameters
        ----------
        graph : Graph
            The graph that is trained on.

        Returns
        -------
        str
            "accuracy" if the graph names none.
        """
        return graph.metric or "accuracy"

    def fingerprint(self) -> dict[str, Any]:
        """Return the names of the task and of its loss, for checkpoints.

        Returns
        -------
        dict
            "task" and "loss", and "reduction" of a loss that was given.
        """
        facts = {"loss": describe_function(self.loss_function)}
        if self._given:
            facts["reduction"] = self.reduction.name
        return super().fingerprint() | facts


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
