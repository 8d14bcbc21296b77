"""Sizes of the parts of a vertex-cut: edges, copies of nodes, look-ups.

N nodes, P parts, C clusters; R split rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.partition.quality import Quality


@dataclass(frozen=True, eq=False)
class Holdings:
    """How much of each split row each cluster holds."""

    rows: np.ndarray
    """int64 [R], storage ids, ascending."""
    counts: np.ndarray
    """int64 [R, C], entries."""
    cluster_bounds: np.ndarray
    """int64 [C + 1], storage ids."""
    stored: Callable[[int, int], np.ndarray]
    """(start, stop) -> storage ids of the neighbours in all entries that the clusters
    between two storage ids hold."""

    def by_part(self, book: np.ndarray) -> np.ndarray:
        """Return int64 [R, P], the entries of each row with each part."""
        first = np.searchsorted(self.cluster_bounds, book[:-1])
        found: np.ndarray = np.add.reduceat(self.counts, first, axis=1)
        return found

    def correct(self, quality: Quality, book: np.ndarray) -> Quality:
        """Return a partition's numbers with entries and copies as they are stored.

        A part has a copy of a node if it owns it or holds one of its edges.
        """
        held = self.by_part(book)
        edges, halo = [], []
        for part, (start, stop) in enumerate(pairwise(int(b) for b in book)):
            columns = self.stored(start, stop)
            here = np.zeros(int(book[-1]), bool)
            here[columns] = True
            here[self.rows[held[:, part] > 0]] = True
            here[start:stop] = False
            edges.append(len(columns))
            halo.append(int(here.sum()))
        return replace(
            quality,
            edges=np.array(edges, np.int64),
            halo_nodes=np.array(halo, np.int64),
        )

    def look_ups(self, book: np.ndarray) -> LookUps:
        """Return which entries have to be looked up with other parts."""
        held = self.by_part(book)
        shares = held / held.sum(axis=1, keepdims=True)
        return LookUps(self.rows, shares, book)


@dataclass(frozen=True, eq=False)
class LookUps:
    """The share of a row's entries that has to be looked up."""

    rows: np.ndarray
    """int64 [R], storage ids of the split rows, ascending."""
    shares: np.ndarray
    """float64 [R, P], of each row's entries with each part."""
    book: np.ndarray

    def share(self, nodes: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """Return float64 [m], for parts that want the rows of nodes.

        What the row's master holds comes with its answer, and what the part itself
        holds is at hand.
        """
        number = np.searchsorted(self.rows, nodes)
        split_rows = np.append(self.rows, -1)[number] == nodes
        found = np.zeros(len(nodes))
        row, part = number[split_rows], parts[split_rows]
        master = np.searchsorted(self.book, nodes[split_rows], side="right") - 1
        own = self.shares[row, master]
        found[split_rows] = (
            1 - own - np.where(master == part, 0, self.shares[row, part])
        )
        return found
