"""What is predicted: targets of one or several nodes each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Targets:
    """What a model is trained or scored on: n targets, of one or several nodes each.

    Examples
    --------
    Three edges, whose ends are the nodes of a target:

    >>> import numpy as np
    >>> from daskgnn.tasks import Targets
    >>> edges = Targets(keys=np.arange(3), nodes=np.array([[4, 1], [0, 2], [0, 1]]))
    >>> len(edges), edges.are_nodes()
    (3, False)
    >>> edges.take(np.array([2])).nodes
    array([[0, 1]])
    >>> edges.in_order().keys
    array([1, 2, 0])
    """

    keys: np.ndarray
    """int64 [n], names of the targets that do not depend on the partition: of a node,
    its original id. Epochs are shuffled by key."""
    nodes: np.ndarray
    """int64 [n, k], storage ids of each target's nodes, filled up with -1; the first is
    never -1."""
    values: np.ndarray | None = None
    """[n, ...], values of the targets such as numbers to predict, or None."""

    def __len__(self) -> int:
        """Return the number of targets."""
        return len(self.keys)

    def take(self, chosen: np.ndarray | slice) -> Targets:
        """Return some of the targets.

        Parameters
        ----------
        chosen : numpy.ndarray or slice
            Which ones: places, or a mask.

        Returns
        -------
        Targets
            These, in that order.
        """
        values = None if self.values is None else self.values[chosen]
        return Targets(self.keys[chosen], self.nodes[chosen], values)

    def are_nodes(self) -> bool:
        """Return whether the targets are just nodes: distinct, ascending, no values.

        Returns
        -------
        bool
            True for the targets of node classification.
        """
        first = self.nodes[:, 0]
        alone = self.nodes.shape[1] == 1 and self.values is None
        return alone and bool((first[1:] > first[:-1]).all())

    def in_order(self) -> Targets:
        """Return the targets ordered by their first node, then by key.

        Returns
        -------
        Targets
            The same targets.
        """
        first = self.nodes[:, 0]
        if (first[1:] > first[:-1]).all():
            return self
        return self.take(np.lexsort((self.keys, first)))


@dataclass(frozen=True)
class TargetRows:
    """Which rows each target of a part has, where they are not simply its seeds'."""

    rows: np.ndarray | None
    """int64 [n, k] into the seeds, -1 for none; None: target i is seed i."""
    values: np.ndarray | None
    """[n, ...]"""


def distinct_nodes(targets: Targets) -> tuple[np.ndarray, TargetRows | None]:
    """Return targets' nodes, each once and ascending, and the rows that targets have.

    Returns
    -------
    nodes : int64 [m]
    rows : TargetRows or None
        None where target i is node i and nothing goes with it.
    """
    first = targets.nodes[:, 0]
    if targets.nodes.shape[1] == 1 and (first[1:] > first[:-1]).all():
        values = targets.values
        return first, None if values is None else TargetRows(None, values)
    nodes, places = np.unique(targets.nodes, return_inverse=True)
    places = places.reshape(targets.nodes.shape).astype(np.int64)
    if len(nodes) and nodes[0] < 0:
        nodes, places = nodes[1:], places - 1
    return nodes, TargetRows(places, targets.values)


@dataclass(frozen=True)
class PartTargets:
    """The targets of a split whose first nodes a part owns, and all of their nodes."""

    nodes: np.ndarray
    """int64 [m], storage ids, each once and ascending."""
    rows: TargetRows | None
    """Which of `nodes` each target has, as `distinct_nodes` says."""
    count: int

    @classmethod
    def of(cls, targets: Targets) -> PartTargets:
        """Return the targets, which are in order."""
        return cls(*distinct_nodes(targets), len(targets))

    def between(self, start: int, stop: int) -> np.ndarray:
        """Return the nodes from `start` to below `stop`."""
        first, last = np.searchsorted(self.nodes, (start, stop))
        return self.nodes[first:last]
