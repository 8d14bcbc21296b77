"""The partition book: which part owns which nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PartitionBook:
    """Which part owns which nodes: parts are ranges of storage ids.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn.sampling import PartitionBook
    >>> book = PartitionBook(np.array([0, 40, 100]))
    >>> book.num_parts, book.num_nodes
    (2, 100)
    >>> ids = np.array([7, 40, 99])
    >>> book.owner(ids)
    array([0, 1, 1])
    >>> book.owned(ids, part=1)
    array([False,  True,  True])
    """

    bounds: np.ndarray
    """int64 [P + 1]: first storage id of each part."""
    held: np.ndarray | None = None
    """int64 [P + 1] of a vertex-cut: which edges of split rows each part holds."""

    @property
    def num_parts(self) -> int:
        """Number of parts, P."""
        return len(self.bounds) - 1

    @property
    def num_nodes(self) -> int:
        """Number of nodes of the graph, N."""
        return int(self.bounds[-1])

    def owner(self, ids: np.ndarray) -> np.ndarray:
        """Return the part that owns each node.

        Parameters
        ----------
        ids : numpy.ndarray
            int [n], storage ids.

        Returns
        -------
        numpy.ndarray
            int64 [n], part numbers.
        """
        return np.searchsorted(self.bounds, ids, side="right") - 1

    def owned(self, ids: np.ndarray, part: int) -> np.ndarray:
        """Return which nodes a part owns.

        Parameters
        ----------
        ids : numpy.ndarray
            int [n], storage ids.
        part : int
            Number of the part.

        Returns
        -------
        numpy.ndarray
            bool [n].
        """
        return (ids >= self.bounds[part]) & (ids < self.bounds[part + 1])


@dataclass(frozen=True)
class ColocatedParts:
    """A part, and those whose blocks its tasks can read in place."""

    part: int
    parts: tuple[int, ...]
    """Parts whose blocks can be read, this one among them, ascending."""
    far: tuple[int, ...]
    """The parts that requests and replies go to and from, ascending."""
