"""Nodes and relationships of a Bolt server that somebody else has filled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daskgnn.errors import GraphFormatError, InputError
from daskgnn.graph.databases.bolt import quoted
from daskgnn.graph.databases.tables import MappedTables, NodeKeys, places_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.graph.databases.bolt import BoltDatabase
    from daskgnn.graph.databases.mapping import Mapping

_SOME = 1000
"""Nodes whose properties are looked at to know which there are."""


class BoltTables(MappedTables):
    """The nodes and relationships that a mapping names, by a property with an index."""

    def __init__(self, database: BoltDatabase, mapping: Mapping) -> None:
        self.database, self.mapping = database, mapping
        if not mapping.key:
            raise InputError(
                f"{mapping.path}: 'key' is missing: the property of {mapping.nodes} "
                "by which nodes are found, as in 'key: id'"
            )
        self.key = mapping.key
        self._check_names()
        self._check_index()
        self.node = f":{quoted(mapping.nodes)}"
        types = "|".join(quoted(name) for name in mapping.edges)
        self.arrow = f"{'<' * mapping.directed}-[r:{types}]-"

    @property
    def content(self) -> str:
        """What can be counted at once: other changes are noticed when rows are read."""
        nodes = self._value(f"MATCH (n{self.node}) RETURN count(n)")
        types = "|".join(quoted(name) for name in self.mapping.edges)
        edges = self._value(f"MATCH ()-[r:{types}]->() RETURN count(r)")
        return f"{nodes} {edges}"

    def keys(self) -> NodeKeys:
        """Return the keys of all nodes."""
        words = f"MATCH (n{self.node}) RETURN collect(n.{quoted(self.key)})"
        return NodeKeys.of(np.array(self._value(words)))

    def near(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the in-neighbours of nodes: see `MappedTables.near`."""
        key, weight = quoted(self.key), self.mapping.weight
        wanted = ["k", f"m.{key}", *([f"r.{quoted(weight)}"] if weight else [])]
        # Lists in one record: records cost the driver more than what is in them.
        listed = ", ".join(f"collect({name})" for name in wanted)
        words = (
            f"UNWIND $keys AS k MATCH (n{self.node} {{{key}: k}}){self.arrow}"
            f"(m{self.node}) RETURN {listed}"
        )
        found = self.database.records(words, keys=keys.tolist())[0]
        if len({len(column) for column in found}) != 1:
            raise GraphFormatError(
                f"{self.database.place} has edges without {weight or self.key!r}: set "
                "it, or leave it out of the mapping"
            )
        of, near = (np.array(column, keys.dtype) for column in found[:2])
        weights = np.array(found[2], np.float64) if weight else np.ones(len(near))
        return places_of(of, keys), near, weights

    def read(self, names: Sequence[str], keys: np.ndarray) -> list[pa.Array]:
        """Return properties of nodes by their keys."""
        wanted = ", ".join(["k", *(f"n.{quoted(name)}" for name in names)])
        words = (
            f"UNWIND $keys AS k MATCH (n{self.node} {{{quoted(self.key)}: k}}) "
            f"RETURN collect([{wanted}])"
        )
        rows = self.database.records(words, keys=keys.tolist())[0][0]
        place = {key: number for number, key in enumerate(keys.tolist())}
        rows.sort(key=lambda row: place[row[0]])
        columns = list(zip(*rows, strict=True))[1:] or [()] * len(names)
        return [_array(column) for column in columns]

    def _value(self, words: str) -> Any:
        return self.database.records(words)[0][0]

    def _check_names(self) -> None:
        """Refuse labels, types and properties that the database does not have."""
        mapping = self.mapping
        labels = [row[0] for row in self.database.records("CALL db.labels()")]
        self.require("label", [mapping.nodes], labels)
        types = [row[0] for row in self.database.records("CALL db.relationshipTypes()")]
        self.require("relationship type", mapping.edges, types)
        node = f"MATCH (n:{quoted(mapping.nodes)})"
        there = self._properties(f"{node} WITH n LIMIT {_SOME}")
        asked = [self.key, *mapping.properties]
        self.require(f"property of {mapping.nodes}", asked, there)
        for name in mapping.edges if mapping.weight else ():
            edge = f"MATCH ()-[n:{quoted(name)}]->()"
            there = self._properties(f"{edge} WITH n LIMIT {_SOME}")
            self.require(f"property of {name}", [mapping.weight], there)

    def _properties(self, matched: str) -> list[str]:
        words = f"{matched} UNWIND keys(n) AS k RETURN DISTINCT k ORDER BY k"
        return [row[0] for row in self.database.records(words)]

    def _check_index(self) -> None:
        """Refuse a key without an index: each row would be a scan of all nodes."""
        nodes, key = self.mapping.nodes, self.key
        for labels, properties in self.database.indexes():
            if nodes in labels and properties[:1] == [key]:
                return
        raise InputError(
            f"{self.mapping.path}: nodes of {self.database.place} have no index of "
            f"{key!r}: make one with CREATE CONSTRAINT FOR (n:{quoted(nodes)}) REQUIRE "
            f"n.{quoted(key)} IS UNIQUE"
        )


def _array(values: Sequence[Any]) -> pa.Array:
    """Return values of a property; the driver has classes of its own for times."""
    if values and isinstance(values[0], bytes | bytearray):
        return pa.array(list(map(bytes, values)), pa.binary())
    return pa.array([v.to_native() if hasattr(v, "to_native") else v for v in values])
