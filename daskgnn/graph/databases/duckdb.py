"""Graphs in DuckDB: tables that are joined with what is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask
import pyarrow as pa
import pyarrow.compute as pc

from daskgnn import config as _config  # noqa: F401  (the defaults)
from daskgnn.graph.databases.database import KEYS, Sessions, in_one_piece, told_of
from daskgnn.graph.databases.ducktables import DuckTables
from daskgnn.graph.databases.embedded import EmbeddedDatabase
from daskgnn.graph.databases.source import DatabaseSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from daskgnn.graph.databases.mapping import Mapping as GraphMapping
    from daskgnn.graph.databases.tables import MappedTables
    from daskgnn.graph.sources.source import GraphSource

_TYPES = {
    "int": "BIGINT",
    "text": "VARCHAR",
    "ints": "BIGINT[]",
    "bytes": "BLOB",
    "float": "FLOAT",
}


class DuckDatabase(EmbeddedDatabase):
    """A file of DuckDB."""

    scheme = package = "duckdb"

    def open_file(self) -> Any:
        """Open the file; its buffers are bounded, as workers have many processes."""
        room = dask.config.get("gnn.database-memory")
        settings = {"threads": 1, "memory_limit": str(room)}
        self.sessions = Sessions(self._session)
        return self.module.connect(self.file, read_only=not self.write, config=settings)

    def _session(self) -> Any:
        return self._database.cursor()

    def query(self, words: str, asked: pa.Table | None = None) -> pa.Table:
        """Return the result of a query, which may join the table ``asked``."""
        with told_of(self.place, "cannot be read"), self.sessions.lent() as session:
            if asked is not None:
                session.register("asked", asked)
            return session.sql(words).to_arrow_table()

    def _run(self, words: str, given: pa.Table | None = None) -> None:
        with told_of(self.place, "cannot be written"), self.sessions.lent() as session:
            if given is not None:
                session.register("given", given)
            session.execute(words)

    def read(
        self, table: str, columns: Sequence[str], keys: pa.Array
    ) -> list[pa.Array]:
        """Return columns of the rows with some keys."""
        places = pa.array(range(len(keys)), pa.int64())
        found = self.query(
            f'SELECT place, {_listed(columns)} FROM asked JOIN "{table}" '
            f"ON {KEYS[table]} = k",
            pa.table({"k": keys, "place": places}),
        )
        # Sorting rows of many bytes in the database takes longer.
        if not in_one_piece(found["place"]).equals(places[: len(found)]):
            found = found.take(pc.sort_indices(found["place"]))
        return [in_one_piece(found[name]) for name in columns]

    def scan(self, columns: Sequence[str], start: int, stop: int) -> list[pa.Array]:
        """Return columns of a run of nodes."""
        found = self.query(
            f"SELECT id, {_listed(columns)} FROM Node WHERE id >= {int(start)} "
            f"AND id < {int(stop)} ORDER BY id"
        )
        return [in_one_piece(found[name]) for name in columns]

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        found = self.query("SELECT table_name FROM duckdb_tables()")
        if table not in found["table_name"].to_pylist():
            return 0
        found = self.query(f'SELECT count(*) AS count FROM "{table}"')
        return int(found["count"][0].as_py())

    def create(self, table: str, columns: Mapping[str, str]) -> None:
        """Make a table."""
        ends = {"source": "int", "target": "int"} if table == "Link" else {}
        kinds = {**ends, **columns}.items()
        words = ", ".join(f'"{name}" {_TYPES[kind]}' for name, kind in kinds)
        self._run(f'CREATE TABLE "{table}"({words})')

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows in one transaction."""
        self._run(f'INSERT INTO "{table}" SELECT * FROM given', rows)

    def checkpoint(self) -> None:
        """Bring everything that was written into the file."""
        self._run("CHECKPOINT")

    def close(self) -> None:
        """Close the file, and the sessions that keep it open."""
        for session in self.sessions.ended():
            session.close()
        super().close()


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def open_tables(mapping: GraphMapping) -> MappedTables:
    """Return what a mapping names in a file of DuckDB."""
    return DuckTables(DuckDatabase(mapping.database), mapping)


def open_source(place: str) -> GraphSource:
    """Return the graph in a file of DuckDB."""
    return DatabaseSource(DuckDatabase, place)


def new_database(place: str, overwrite: bool) -> DuckDatabase:
    """Return an empty database, or one that was begun."""
    return DuckDatabase(place, write=True, overwrite=overwrite)
