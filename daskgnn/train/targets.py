"""A task's targets: checks, and their parts for scoring."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.counter import EXPANSION, derive_key
from daskgnn.kernels.seeds import SeedPlan
from daskgnn.kernels.targets import PartTargets, Targets, distinct_nodes
from daskgnn.seams import check_seam
from daskgnn.tasks.node import NodeClassification
from daskgnn.tasks.task import Task
from daskgnn.train.checks import require_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from daskgnn.graph.graph import Graph
    from daskgnn.train.options.options import TrainOptions


def chosen_task(options: TrainOptions, model: torch.nn.Module, graph: Graph) -> Task:
    """Return the task of a trainer, for a graph; refuse one that is none.

    Raises
    ------
    InputError
    """
    require_features(graph)
    task = options["task"]
    if task is None:
        task = NodeClassification(options["loss"], options["metric"])
    check_seam("task", task, Task)
    task.check(graph, model)
    for table in task.tables:
        if table != "labels" or not graph.has_labels:
            raise InputError(
                f"task: {type(task).__name__}.tables names {table!r}, which graph "
                f"{graph.name!r} does not have: tables = () asks for none"
            )
    return task.for_graph(graph)


def measured_by(task: Task, graph: Graph, metric: str | Sequence[str]) -> Task:
    """Return a task of node classification with other metrics.

    Raises
    ------
    InputError
        If it is another task, or a metric is unknown.
    """
    if not isinstance(task, NodeClassification):
        raise InputError(
            f"metric={metric!r} is of node classification: {type(task).__name__} says "
            "itself what its scores are"
        )
    return NodeClassification(task.given_loss, metric).for_graph(graph)


@dataclass(eq=False)
class GivenTargets:
    """A task's targets of each split, computed once."""

    task: Task
    graph: Graph
    seed: int
    _by_part: dict[str, list[PartTargets]] = field(default_factory=dict)

    def of(self, split: str) -> Targets:
        """Return a split's targets.

        Raises
        ------
        InputError
            If they are not what `Task.targets` says.
        """
        name = f"{type(self.task).__name__}.targets"
        return check_targets(name, self.task.targets(self.graph, split), self.graph)

    def plan(self, batch_size: int) -> SeedPlan:
        """Return the plan of the training targets.

        Raises
        ------
        InputError
            If there is none.
        """
        targets = self.of("train")
        if not len(targets):
            raise InputError(
                f"{type(self.task).__name__}.targets(graph, 'train') returned no "
                "target, expected at least one"
            )
        return SeedPlan(targets, batch_size, self.seed)

    def has(self, split: str) -> bool:
        """Return whether a split has a target."""
        return any(part.count for part in self.by_part(split))

    def check(self, split: str) -> None:
        """Refuse a split without a target."""
        if not self.has(split):
            names = ", ".join(filter(self.has, ("train", "val", "test")))
            raise InputError(f"split={split!r} has no node, expected one of {names}")

    def by_part(self, split: str) -> list[PartTargets]:
        """Return the targets that each part scores: its first nodes own them."""
        if split not in self._by_part:
            targets = self.expand(self.of(split), derive_key(EXPANSION, self.seed))
            targets = targets.in_order()
            cuts = np.searchsorted(targets.nodes[:, 0], self.graph.partition_book)
            self._by_part[split] = [
                PartTargets.of(targets.take(slice(first, last)))
                for first, last in pairwise(cuts)
            ]
        return self._by_part[split]

    def expand(self, targets: Targets, key: int) -> Targets:
        """Return what some targets become, checked."""
        expanded = self.task.expand(targets, key)
        if expanded is targets:
            return targets
        name = f"{type(self.task).__name__}.expand"
        return check_targets(name, expanded, self.graph)

    def few(self, plan: SeedPlan) -> Targets:
        """Return a few of the training targets, as a step has them."""
        some = plan.in_order.take(slice(4))
        return self.expand(some, derive_key(EXPANSION, self.seed))

    def seeds_of_step(self, plan: SeedPlan) -> int:
        """Return about how many seeds a step has: the distinct nodes of its targets."""
        if plan.chosen is not None:
            return int(plan.chosen.seeds_per_step)
        targets = plan.in_order.take(slice(plan.batch_size))
        expanded = self.expand(targets, derive_key(EXPANSION, self.seed))
        if expanded is targets and targets.nodes.shape[1] == 1:
            return plan.batch_size
        nodes, _ = distinct_nodes(expanded)
        return max(1, len(nodes) * plan.batch_size // max(len(targets), 1))


def check_targets(name: str, given: Any, graph: Graph) -> Targets:
    """Return targets; refuse what cannot be any, in one line.

    Parameters
    ----------
    name : str
        The method that has returned them.

    Raises
    ------
    InputError
    """
    if not isinstance(given, Targets):
        raise InputError(
            f"{name} returned {type(given).__name__}, expected daskgnn.tasks.Targets("
            "keys, nodes, values)"
        )
    keys, nodes, values = np.asarray(given.keys), np.asarray(given.nodes), given.values
    if keys.ndim != 1 or keys.dtype != np.int64:
        raise InputError(
            f"{name} returned keys of shape {keys.shape} and {keys.dtype}, expected "
            "int64 [n], one per target"
        )
    if nodes.ndim != 2 or len(nodes) != len(keys) or nodes.dtype.kind != "i":
        raise InputError(
            f"{name} returned nodes of shape {nodes.shape} and {nodes.dtype}, expected "
            f"int64 [{len(keys)}, k], storage ids of each target"
        )
    least, most = nodes.min(initial=0), nodes.max(initial=0)
    if least < -1 or nodes[:, :1].min(initial=0) < 0 or most >= graph.num_nodes:
        raise InputError(
            f"{name} returned nodes from {least} to {most}, expected storage ids "
            f"0..{graph.num_nodes - 1}, or -1 for none after the first of a target"
        )
    if values is None:
        return given
    values = np.asarray(values)
    if values.shape[:1] != keys.shape or values.dtype.kind not in "bif":
        raise InputError(
            f"{name} returned values of shape {values.shape} and {values.dtype}, "
            f"expected signed or float numbers [{len(keys)}, ...], or None"
        )
    return given
