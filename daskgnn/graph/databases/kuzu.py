"""Graphs in Kuzu, and in databases with the same interface."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dask
import psutil
import pyarrow as pa
from dask.utils import parse_bytes

from daskgnn import config as _config  # noqa: F401  (the defaults)
from daskgnn.graph.databases.database import KEYS, in_one_piece, told_of
from daskgnn.graph.databases.embedded import EmbeddedDatabase
from daskgnn.graph.databases.relationships import Relationships
from daskgnn.graph.databases.source import DatabaseSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from daskgnn.graph.databases.mapping import Mapping as GraphMapping
    from daskgnn.graph.databases.tables import MappedTables
    from daskgnn.graph.sources.source import GraphSource

WRITE_BYTES = 4 << 30
"""Of buffers while a graph is loaded, at most: 131,072 rows are rewritten at a time."""
_TYPES = {
    "int": "INT64",
    "text": "STRING",
    "ints": "INT64[]",
    "bytes": "BLOB",
    "float": "FLOAT",
}


class KuzuDatabase(EmbeddedDatabase):
    """A file of Kuzu."""

    scheme = package = "kuzu"

    def open_file(self) -> Any:
        """Open the file; its buffers are bounded, as workers have many processes."""
        room = parse_bytes(dask.config.get("gnn.database-memory"))
        if self.write:
            room = max(room, min(WRITE_BYTES, psutil.virtual_memory().total // 2))
        return self.module.Database(
            self.file,
            buffer_pool_size=room,
            max_num_threads=1,
            read_only=not self.write,
            max_db_size=self._most_bytes(),
        )

    def _most_bytes(self) -> int:
        """Return what addresses are reserved for: 8 TiB would fit a few times only."""
        if self.write:
            return 1 << 40
        return 1 << max(2 * os.path.getsize(self.file), 1 << 30).bit_length()

    def query(self, words: str, **given: Any) -> pa.Table:
        """Return the result of a query, whose ``$name`` are arguments."""
        with told_of(self.place, "cannot be read"), self._session() as session:
            result = session.execute(words, given)
            found = result.get_as_arrow()
            result.close()
        return found

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """Yield a session of one query: it keeps buffers of its joins until it ends."""
        session = self.module.Connection(self._database)
        try:
            yield session
        finally:
            session.close()

    def _run(self, words: str, **given: Any) -> None:
        with told_of(self.place, "cannot be written"), self._session() as session:
            session.execute(words, given).close()

    def read(
        self, table: str, columns: Sequence[str], keys: pa.Array
    ) -> list[pa.Array]:
        """Return columns of the rows with some keys."""
        key, wanted = KEYS[table], _returned(columns)
        words = f"LOAD FROM $asked MATCH (n:{table} {{{key}: k}}) RETURN {wanted}"
        return _arrays(self.query(words, asked=pa.table({"k": keys})), columns)

    def scan(self, columns: Sequence[str], start: int, stop: int) -> list[pa.Array]:
        """Return columns of a run of nodes."""
        words = (
            "MATCH (n:Node) WHERE n.id >= $start AND n.id < $stop "
            f"RETURN n.id AS id, {_returned(columns)} ORDER BY id"
        )
        return _arrays(self.query(words, start=start, stop=stop), columns)

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        found = self.query("CALL show_tables() RETURN name")["name"].to_pylist()
        if table not in found:
            return 0
        matched = "()-[n:Link]->()" if table == "Link" else f"(n:{table})"
        found = self.query(f"MATCH {matched} RETURN count(*) AS count")
        return int(found["count"][0].as_py())

    def create(self, table: str, columns: Mapping[str, str]) -> None:
        """Make a table."""
        listed = [f"`{name}` {_TYPES[kind]}" for name, kind in columns.items()]
        if table == "Link":
            words = ", ".join(["FROM Node TO Node", *listed])
            self._run(f"CREATE REL TABLE Link({words})")
        else:
            words = ", ".join([*listed, f"PRIMARY KEY({KEYS[table]})"])
            self._run(f"CREATE NODE TABLE {table}({words})")

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows in one transaction."""
        self._run(f"COPY {table} FROM $rows", rows=rows)

    def checkpoint(self) -> None:
        """Bring everything that was written into the file."""
        self._run("CHECKPOINT")


def _returned(columns: Sequence[str]) -> str:
    """Return what a query is to return, each under a name that is its place."""
    return ", ".join(f"n.`{name}` AS c{i}" for i, name in enumerate(columns))


def _arrays(found: pa.Table, columns: Sequence[str]) -> list[pa.Array]:
    """Return the columns of a result."""
    return [in_one_piece(found[f"c{i}"]) for i in range(len(columns))]


def open_source(place: str) -> GraphSource:
    """Return the graph in a file of Kuzu."""
    return DatabaseSource(KuzuDatabase, place)


def new_database(place: str, overwrite: bool) -> KuzuDatabase:
    """Return an empty database, or one that was begun."""
    return KuzuDatabase(place, write=True, overwrite=overwrite)


def open_tables(mapping: GraphMapping) -> MappedTables:
    """Return what a mapping names in a file of Kuzu."""
    return Relationships(KuzuDatabase(mapping.database), mapping)
