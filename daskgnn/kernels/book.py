"""Which part owns which nodes: a partition is an ordering, a part a range of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PartitionBook:
    """The parts of a graph: the same for every task of a run."""

    bounds: np.ndarray
    """int64 [P + 1]: first storage id of each part."""
    held: np.ndarray | None = None
    """int64 [P + 1], of a vertex-cut: the first place of the entries of split rows
    that each part holds (`daskgnn.kernels.split`)."""

    @property
    def num_parts(self) -> int:
        """Number of parts."""
        return len(self.bounds) - 1

    @property
    def num_nodes(self) -> int:
        """Number of nodes of the graph."""
        return int(self.bounds[-1])

    def owner(self, ids: np.ndarray) -> np.ndarray:
        """Return the part that owns each storage id."""
        return np.searchsorted(self.bounds, ids, side="right") - 1

    def owned(self, ids: np.ndarray, part: int) -> np.ndarray:
        """Return which storage ids `part` owns, as bool."""
        return (ids >= self.bounds[part]) & (ids < self.bounds[part + 1])


@dataclass(frozen=True)
class ColocatedParts:
    """A part, and those whose blocks its tasks can read in place."""

    part: int
    parts: tuple[int, ...]
    """Parts whose blocks can be read, this one among them, ascending."""
    far: tuple[int, ...]
    """The parts that requests and replies go to and from, ascending."""
