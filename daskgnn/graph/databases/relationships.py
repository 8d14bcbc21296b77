"""Queries of a database that somebody else has filled, with Kuzu's interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.graph.databases.database import in_one_piece
from daskgnn.graph.databases.tables import (
    MappedTables,
    NodeKeys,
    asked_table,
    places_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from daskgnn.graph.databases.kuzu import KuzuDatabase
    from daskgnn.graph.databases.mapping import Mapping


FEW_KEYS = 1024
"""Up to so many keys are given in a list, more as a table: measured."""
_PLACE = "offset(id(m)) AS near"


class Relationships(MappedTables):
    """The nodes and relationships that a mapping names."""

    unquotable = "`"

    def __init__(self, database: KuzuDatabase, mapping: Mapping) -> None:
        self.database, self.mapping = database, mapping
        self._check_tables()
        self.key = self._find_key()
        self.node = f"`{mapping.nodes}` {{`{self.key}`: k}}"
        types = "|".join(f"`{name}`" for name in mapping.edges)
        self.arrow = f"{'<' * mapping.directed}-[r:{types}]-"

    def keys(self) -> NodeKeys:
        """Return the keys of all nodes, and their places in their table."""
        words = f"MATCH (n:`{self.mapping.nodes}`) RETURN n.`{self.key}` AS k, {_PLACE}"
        found = self.database.query(words.replace("(m)", "(n)"))
        keys = in_one_piece(found["k"]).to_numpy(zero_copy_only=False)
        places = in_one_piece(found["near"]).to_numpy()
        return NodeKeys.of(keys, places)

    def near(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the in-neighbours of nodes: see `MappedTables.near`.

        The neighbours' places in their table are read, not their keys, which would be
        looked up one by one: a third of the time.
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
                asked=asked_table(keys),
            )
        columns = [in_one_piece(c).to_numpy(zero_copy_only=False) for c in found]
        place, near, *weights = columns
        if few:
            place = places_of(place, keys)
        return place, near, weights[0] if weights else np.ones(len(near))

    def read(self, names: Sequence[str], keys: np.ndarray) -> list[pa.Array]:
        """Return properties of nodes by their keys."""
        wanted = ", ".join(f"n.`{name}` AS c{i}" for i, name in enumerate(names))
        words = f"LOAD FROM $asked MATCH (n:{self.node}) RETURN place, {wanted}"
        found = self.database.query(words, asked=asked_table(keys))
        place = found["place"].to_numpy()
        if (np.diff(place) < 0).any():
            found = found.take(np.argsort(place))
        return [in_one_piece(found[f"c{i}"]) for i in range(len(names))]

    def _check_tables(self) -> None:
        """Refuse labels, types and properties that the database does not have."""
        mapping = self.mapping
        found = self.database.query("CALL show_tables() RETURN name, type").to_pydict()
        tables = list(zip(found["name"], found["type"], strict=True))
        labels = [name for name, kind in tables if kind == "NODE"]
        types = [name for name, kind in tables if kind == "REL"]
        self.require("label", [mapping.nodes], labels)
        self.require("relationship type", mapping.edges, types)
        there = self._properties(mapping.nodes)["name"]
        self.require(f"property of {mapping.nodes}", mapping.properties, there)
        for name in mapping.edges if mapping.weight else ():
            there = self._properties(name)
            self.require(f"property of {name}", [mapping.weight], there["name"])

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
