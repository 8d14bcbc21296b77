"""What a mapping needs of the database that somebody else has filled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daskgnn.errors import GraphFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.graph.databases.mapping import Mapping


@dataclass(frozen=True)
class NodeKeys:
    """The keys of all nodes, and how neighbours are named."""

    keys: np.ndarray
    """[N], int64 or text, sorted: by original id."""
    by_place: np.ndarray
    """int32, original ids by place in the database's own table; [0] where the
    database names neighbours by their keys."""

    @classmethod
    def of(cls, keys: np.ndarray, places: np.ndarray | None = None) -> NodeKeys:
        """Sort keys; `places` are theirs in the database's own table."""
        if keys.dtype == object:
            keys = keys.astype(str)
        order = np.argsort(keys, kind="stable")
        by_place = np.empty(0, np.int32)
        if places is not None:
            by_place = np.full(places.max(initial=-1) + 1, -1, np.int32)
            by_place[places[order]] = np.arange(len(order), dtype=np.int32)
        return cls(keys[order], by_place)

    def original_ids(self, near: np.ndarray) -> np.ndarray:
        """Return the original ids of neighbours as the database names them.

        Raises
        ------
        GraphFormatError
            If there is no such node.
        """
        if len(self.by_place) or not len(self.keys):
            return self.by_place[near]
        near = near.astype(self.keys.dtype) if near.dtype == object else near
        found = np.searchsorted(self.keys, near)
        there = self.keys[np.minimum(found, len(self.keys) - 1)] == near
        if not there.all():
            raise GraphFormatError(
                f"an edge ends at {near[np.argmin(there)]!r}, which is the key of no "
                "node: add the node, or remove the edge"
            )
        return found


class MappedTables(ABC):
    """The nodes and edges that a mapping names; a subclass has one kind's queries.

    Names come into queries only if the database itself lists them.
    """

    database: Any
    mapping: Mapping
    key: str
    """The property that nodes are found by."""
    unquotable = ""
    """Characters that names in queries cannot have."""

    @property
    def content(self) -> str:
        """Identifies what is in the database, as far as that can be told."""
        return str(self.database.sha256)

    @abstractmethod
    def keys(self) -> NodeKeys:
        """Return the keys of all nodes."""

    @abstractmethod
    def near(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the in-neighbours of nodes, as often as the database has them.

        Returns
        -------
        tuple
            Which of `keys`, int64 [m]; the neighbours, as `NodeKeys.original_ids` takes
            them; and the weights of the edges, float64 [m], or ones.
        """

    @abstractmethod
    def read(self, names: Sequence[str], keys: np.ndarray) -> list[pa.Array]:
        """Return properties of nodes by their keys; fewer rows if some are missing."""

    def rows(
        self, ids: np.ndarray, nodes: NodeKeys
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rows as they are sampled: by original id, each neighbour once.

        Of several edges between two nodes the one of the least weight counts; edges of
        a node to itself do not.

        Parameters
        ----------
        ids
            int64 [m], original ids of nodes.

        Returns
        -------
        tuple
            The lengths of the rows, int64 [m], the neighbours' original ids, and the
            weights of the edges.
        """
        place, near, weight = self.near(nodes.keys[ids])
        found = nodes.original_ids(near)
        order = np.lexsort((weight, found, place))
        place, found, weight = place[order], found[order], weight[order]
        kept = ids[place] != found
        kept[1:] &= (np.diff(place) != 0) | (np.diff(found) != 0)
        counts = np.bincount(place[kept], minlength=len(ids))
        return counts, found[kept], weight[kept]

    def properties(self, names: Sequence[str], keys: np.ndarray) -> list[pa.Array]:
        """Return properties of nodes, in the order of their keys.

        Raises
        ------
        InputError
            If not every key has one node.
        """
        found = self.read(names, keys)
        if len(found[0]) != len(keys):
            raise InputError(
                f"{self.database.place} has {len(found[0])} of {len(keys)} nodes that "
                f"were asked for: it was changed, or '{self.key}' is there twice"
            )
        return found

    def require(self, what: str, asked: Sequence[str], there: Sequence[str]) -> None:
        """Refuse names that the database does not have, listing those it has."""
        for name in asked:
            if name and (name not in there or set(name) & set(self.unquotable)):
                words = ", ".join(map(repr, there)) or "none"
                raise InputError(
                    f"{self.mapping.path}: {self.database.place} has no {what} "
                    f"{name!r}, it has {words}"
                )


def asked_table(keys: np.ndarray) -> pa.Table:
    """Return keys, and the place of each, as a table that queries can join."""
    words = pa.array(keys.tolist()) if keys.dtype.kind == "U" else pa.array(keys)
    return pa.table({"k": words, "place": np.arange(len(keys))})


def places_of(found: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the places in `keys`, which are distinct, of keys that are in it."""
    order = np.argsort(keys, kind="stable")
    return order[np.searchsorted(keys[order], found.astype(keys.dtype))]
