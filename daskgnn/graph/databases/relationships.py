"""Queries of a database that somebody else has filled, with Kuzu's interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daskgnn.errors import InputError
from daskgnn.graph.databases.database import in_one_piece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.graph.databases.kuzu import KuzuDatabase
    from daskgnn.graph.databases.mapping import Mapping


FEW_KEYS = 1024
"""Up to so many keys are given in a list, more as a table: measured."""
_PLACE = "offset(id(m)) AS near"


class Relationships:
    """The nodes and relationships that a mapping names.

    Names come into queries only if the database itself lists them.
    """

    def __init__(self, database: KuzuDatabase, mapping: Mapping) -> None:
        self.database, self.mapping = database, mapping
        self._check_tables()
        self.key = self._find_key()
        self.node = f"`{mapping.nodes}` {{`{self.key}`: k}}"
        types = "|".join(f"`{name}`" for name in mapping.edges)
        self.arrow = f"{'<' * mapping.directed}-[r:{types}]-"

    def keys(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys of all nodes, sorted, and by place in their table, which."""
        words = f"MATCH (n:`{self.mapping.nodes}`) RETURN n.`{self.key}` AS k, {_PLACE}"
        found = self.database.query(words.replace("(m)", "(n)"))
        keys = in_one_piece(found["k"]).to_numpy(zero_copy_only=False)
        places = in_one_piece(found["near"]).to_numpy()
        if keys.dtype == object:
            keys = keys.astype(str)
        order = np.argsort(keys, kind="stable")
        by_place = np.full(places.max(initial=-1) + 1, -1, np.int32)
        by_place[places[order]] = np.arange(len(order), dtype=np.int32)
        return keys[order], by_place

    def near(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the in-neighbours of nodes, as often as the database has them.

        The neighbours' places in their table are read, not their keys, which would be
        looked up one by one: a third of the time.

        Returns
        -------
        tuple
            Which of `keys`, int64 [m]; the neighbours' places; and the weights of the
            edges, float64 [m], or ones.
        """
        mapping, few = self.mapping, len(keys) <= FEW_KEYS
        weight = ""
        if mapping.weight:
            weight = f", CAST(r.`{mapping.weight}` AS DOUBLE) AS weight"
        edge = f"{self.arrow}(m:`{mapping.nodes}`)"
        if few:
            found = self.database.query(
                f"MATCH (n:`{mapping.nodes}`){edge} WHERE n.`{self.key}` IN $asked "
                f"RETURN n.`{self.key}` AS k, {_PLACE}{weight}",
                asked=keys.tolist(),
            )
        else:
            found = self.database.query(
                f"LOAD FROM $asked MATCH (n:{self.node}){edge} "
                f"RETURN place, {_PLACE}{weight}",
                asked=self._asked(keys),
            )
        columns = [in_one_piece(c).to_numpy(zero_copy_only=False) for c in found]
        place, near, *weights = columns
        if few:
            order = np.argsort(keys, kind="stable")
            sorted_keys = keys[order]
            place = order[np.searchsorted(sorted_keys, place.astype(keys.dtype))]
        return place, near, weights[0] if weights else np.ones(len(near))

    def rows(
        self, ids: np.ndarray, keys: np.ndarray, by_place: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rows as they are sampled: by original id, each neighbour once.

        Of several edges between two nodes the one of the least weight counts; edges of
        a node to itself do not.

        Parameters
        ----------
        ids, keys
            [m], original ids of nodes, and their keys.
        by_place
            Original ids by place in the table.

        Returns
        -------
        tuple
            The lengths of the rows, int64 [m], the neighbours' original ids, and the
            weights of the edges.
        """
        place, near, weight = self.near(keys)
        found = by_place[near]
        order = np.lexsort((weight, found, place))
        place, found, weight = place[order], found[order], weight[order]
        kept = ids[place] != found
        kept[1:] &= (np.diff(place) != 0) | (np.diff(found) != 0)
        counts = np.bincount(place[kept], minlength=len(keys))
        return counts, found[kept], weight[kept]

    def properties(self, names: Sequence[str], keys: np.ndarray) -> list[pa.Array]:
        """Return properties of nodes, in the order of their keys."""
        wanted = ", ".join(f"n.`{name}` AS c{i}" for i, name in enumerate(names))
        words = f"LOAD FROM $asked MATCH (n:{self.node}) RETURN place, {wanted}"
        found = self.database.query(words, asked=self._asked(keys))
        place = found["place"].to_numpy()
        if len(place) != len(keys):
            raise InputError(
                f"{self.database.place} has {len(place)} of {len(keys)} nodes that "
                f"were asked for: it was changed, or '{self.key}' is there twice"
            )
        if (np.diff(place) < 0).any():
            found = found.take(np.argsort(place))
        return [in_one_piece(found[f"c{i}"]) for i in range(len(names))]

    def _asked(self, keys: np.ndarray) -> pa.Table:
        return pa.table({"k": keys, "place": np.arange(len(keys))})

    def _check_tables(self) -> None:
        """Refuse labels, types and properties that the database does not have."""
        mapping = self.mapping
        found = self.database.query("CALL show_tables() RETURN name, type").to_pydict()
        tables = list(zip(found["name"], found["type"], strict=True))
        labels = [name for name, kind in tables if kind == "NODE"]
        types = [name for name, kind in tables if kind == "REL"]
        self._require("label", [mapping.nodes], labels)
        self._require("relationship type", mapping.edges, types)
        given = [*mapping.features, mapping.label, mapping.split]
        there = self._properties(mapping.nodes)
        asked = [name for name in given if name]
        self._require(f"property of {mapping.nodes}", asked, there["name"])
        for name in mapping.edges if mapping.weight else ():
            there = self._properties(name)
            self._require(f"property of {name}", [mapping.weight], there["name"])

    def _require(self, what: str, asked: Sequence[str], there: Sequence[str]) -> None:
        for name in asked:
            if name not in there or "`" in name:
                words = ", ".join(map(repr, there)) or "none"
                raise InputError(
                    f"{self.mapping.path}: {self.database.place} has no {what} "
                    f"{name!r}, it has {words}"
                )

    def _properties(self, table: str) -> dict[str, Any]:
        # A name that the database lists: its quotes are doubled, to be text.
        words = "CALL table_info('{}') RETURN *".format(table.replace("'", "\\'"))
        return self.database.query(words).to_pydict()

    def _find_key(self) -> str:
        """Return the property that nodes are found by."""
        there = self._properties(self.mapping.nodes)
        keys = [
            n for n, key in zip(there["name"], there["primary key"], strict=True) if key
        ]
        return str(keys[0])
