"""Tables of DuckDB that somebody else has filled, as a mapping names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from daskgnn.errors import InputError
from daskgnn.graph.databases.database import in_one_piece
from daskgnn.graph.databases.tables import MappedTables, NodeKeys, asked_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from daskgnn.graph.databases.duckdb import DuckDatabase
    from daskgnn.graph.databases.mapping import Mapping


class DuckTables(MappedTables):
    """A table of nodes, and tables of edges with two columns of keys."""

    def __init__(self, database: DuckDatabase, mapping: Mapping) -> None:
        self.database, self.mapping = database, mapping
        self._check_tables()
        self.key = mapping.key or self._primary_key()
        self.require(
            f"column in {mapping.nodes}", [self.key], self._columns(mapping.nodes)
        )

    def keys(self) -> NodeKeys:
        """Return the keys of all nodes."""
        words = f"SELECT {_name(self.key)} AS k FROM {_name(self.mapping.nodes)}"
        found = in_one_piece(self.database.query(words)["k"])
        return NodeKeys.of(found.to_numpy(zero_copy_only=False))

    def near(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the in-neighbours of nodes: see `MappedTables.near`."""
        mapping = self.mapping
        weight = f"CAST({_name(mapping.weight)} AS DOUBLE)" if mapping.weight else "1.0"
        ends = [(mapping.target, mapping.source)]
        ends += [] if mapping.directed else [ends[0][::-1]]
        words = " UNION ALL ".join(
            f"SELECT place, {_name(far)} AS near, {weight} AS weight FROM asked "
            f"JOIN {_name(table)} ON {_name(own)} = k"
            for table in mapping.edges
            for own, far in ends
        )
        found = self.database.query(words, asked_table(keys))
        place, near, weights = (
            in_one_piece(found[name]).to_numpy(zero_copy_only=False)
            for name in ("place", "near", "weight")
        )
        return place, near, weights.astype(np.float64)

    def read(self, names: Sequence[str], keys: np.ndarray) -> list[pa.Array]:
        """Return properties of nodes by their keys."""
        wanted = ", ".join(f"{_name(name)} AS c{i}" for i, name in enumerate(names))
        words = (
            f"SELECT place, {wanted} FROM asked JOIN {_name(self.mapping.nodes)} "
            f"ON {_name(self.key)} = k"
        )
        found = self.database.query(words, asked_table(keys))
        found = found.take(np.argsort(found["place"].to_numpy()))
        return [in_one_piece(found[f"c{i}"]) for i in range(len(names))]

    def _check_tables(self) -> None:
        """Refuse tables and columns that the database does not have."""
        mapping = self.mapping
        found = self.database.query("SELECT table_name FROM duckdb_tables()")
        tables = sorted(found["table_name"].to_pylist())
        self.require("table", [mapping.nodes, *mapping.edges], tables)
        there = self._columns(mapping.nodes)
        self.require(f"column in {mapping.nodes}", mapping.properties, there)
        for name in mapping.edges:
            asked = [mapping.source, mapping.target, mapping.weight]
            self.require(f"column in {name}", asked, self._columns(name))

    def _columns(self, table: str) -> list[str]:
        words = "SELECT table_name, column_name FROM duckdb_columns()"
        found = self.database.query(words).to_pylist()
        return [r["column_name"] for r in found if r["table_name"] == table]

    def _primary_key(self) -> str:
        """Return the column that is declared to be the key.

        Raises
        ------
        InputError
            If there is none, or one of several columns.
        """
        found = self.database.query(
            "SELECT table_name, constraint_column_names AS names "
            "FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY'"
        ).to_pylist()
        nodes = self.mapping.nodes
        (keys, *_) = [r["names"] for r in found if r["table_name"] == nodes] or [[]]
        if len(keys) != 1:
            raise InputError(
                f"{self.mapping.path}: the table {nodes!r} of {self.database.place} "
                "has no primary key of one column: name the column of its ids in the "
                "mapping, as in 'key: id'"
            )
        return str(keys[0])


def _name(name: str) -> str:
    """Return a name as queries have it."""
    return '"' + name.replace('"', '""') + '"'
