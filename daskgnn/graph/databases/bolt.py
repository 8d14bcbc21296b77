"""Graphs on a server that speaks Bolt: Neo4j, or another with the same queries.

Every value goes to the server as a parameter, never as text of a query.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import pairwise
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dask
import numpy as np
import pyarrow as pa
from dask.utils import parse_timedelta

from daskgnn import config as _config  # noqa: F401  (the defaults)
from daskgnn.errors import (
    DaskGNNError,
    InputError,
    SourceAwayError,
    StoreError,
    first_line,
)
from daskgnn.graph.databases.arrays import ABOUT
from daskgnn.graph.databases.database import KEYS, Database, import_extra
from daskgnn.graph.databases.source import DatabaseSource
from daskgnn.paths import check_no_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from daskgnn.graph.databases.mapping import Mapping as GraphMapping
    from daskgnn.graph.databases.tables import MappedTables
    from daskgnn.graph.sources.source import GraphSource

USER, PASSWORD = "NEO4J_USERNAME", "NEO4J_PASSWORD"
"""Environment variables of the credentials, in every process."""
LABELS = {"Node": "DaskgnnNode", "Array": "DaskgnnArray", "Link": "DASKGNN_LINK"}
"""What tables are called there, beside whatever else the database holds."""
_ENDS = ("source", "target")
_ROWS = {"Node": 2_000, "Array": 64, "Link": 10_000}
"""Rows of a transaction."""
_CONNECT_SECONDS = 10.0


class BoltDatabase(Database):
    """A database of a server; each process has one driver, with a pool of connections.

    Parameters
    ----------
    place
        Address of the server and name of the database: ``bolt://host:7687/db``.
    sha256
        The graph that is expected; the one that is there now.
    write
        Whether a graph is loaded into it.
    overwrite
        Whether a graph that is there may be replaced.
    """

    def __init__(
        self,
        place: str,
        sha256: str = "",
        *,
        write: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.place = place
        self.address, self.database = _parts(place)
        self.neo4j = import_extra("neo4j", "neo4j")
        self.patience = parse_timedelta(dask.config.get("gnn.patience"))
        user = os.environ.get(USER)
        with self._told():
            self.driver = self.neo4j.GraphDatabase.driver(
                self.address,
                auth=(user, os.environ.get(PASSWORD, "")) if user else None,
                connection_timeout=_CONNECT_SECONDS,
                max_transaction_retry_time=self.patience,
                fetch_size=10_000,
                notifications_min_severity="OFF",
            )
        # At its end a process closes what it reads from.
        self._close = weakref.finalize(self, self.driver.close)
        try:
            self._begin(sha256, write, overwrite)
        except BaseException:
            self.close()
            raise

    def _begin(self, expected: str, write: bool, overwrite: bool) -> None:
        """Compare what is there with what is expected to be."""
        if not expected:  # the first time, who asks is told at once
            with self._told(), self._session("READ") as session:
                session.run("RETURN 1").consume()  # alone it is not tried again
        about = self._about()
        if write:
            if about is not None and not overwrite:
                raise StoreError(
                    f"{self.place} holds a graph already",
                    python="give another place, or copy_graph(..., overwrite=True)",
                    shell="give another place, or replace it with --force",
                )
            if about is not None:
                self.remove()
            return
        self.sha256 = hashlib.sha256(about or b"").hexdigest()
        if expected and self.sha256 != expected:
            raise StoreError(
                f"the graph in {self.place} was replaced since it was opened: open it "
                "again with open_graph"
            )

    def _about(self) -> bytes | None:
        """Return what is said of the graph that was loaded last; None without one."""
        if not self.count("Array"):
            return None
        found = self.read("Array", ["data"], pa.array([ABOUT]))[0].to_pylist()
        return found[0] if found else None

    def read(
        self, table: str, columns: Sequence[str], keys: pa.Array
    ) -> list[pa.Array]:
        """Return columns of the rows with some keys."""
        key = KEYS[table]
        # Lists in one record: records cost the driver more than what is in them.
        listed = ", ".join(f"collect(n.{quoted(name)})" for name in columns)
        query = (
            f"UNWIND $keys AS k MATCH (n:{LABELS[table]} {{{key}: k}}) "
            f"RETURN collect(k), {listed}"
        )
        asked = keys.to_pylist()
        found, *values = self.records(query, keys=asked)[0]
        if found != asked[: len(found)]:
            place = {key: number for number, key in enumerate(asked)}
            order = sorted(range(len(found)), key=lambda i: place[found[i]])
            values = [[column[i] for i in order] for column in values]
        return [_column(*pair) for pair in zip(columns, values, strict=True)]

    def scan(self, columns: Sequence[str], start: int, stop: int) -> list[pa.Array]:
        """Return columns of a run of nodes."""
        return self.read("Node", columns, pa.array(np.arange(start, stop)))

    def indexes(self) -> list[tuple[list[str], list[str]]]:
        """Return the labels and the properties of each index."""
        words = "SHOW INDEXES YIELD labelsOrTypes, properties"
        return [(row[0] or [], row[1] or []) for row in self.records(words)]

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        matched = f"(n:{LABELS[table]})"
        if table == "Link":
            matched = f"()-[n:{LABELS[table]}]->()"
        return int(self.records(f"MATCH {matched} RETURN count(n)")[0][0])

    def create(self, table: str, columns: Mapping[str, str]) -> None:
        """Make the constraint by which rows are found; columns need no declaration."""
        if table in KEYS:
            self._write(
                f"CREATE CONSTRAINT {quoted(f'daskgnn_{table.lower()}')} "
                f"IF NOT EXISTS FOR (n:{LABELS[table]}) "
                f"REQUIRE n.{KEYS[table]} IS UNIQUE"
            )

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows, a run of them a transaction; all links of a node in one."""
        names = rows.column_names
        values = {name: f"r[{i}]" for i, name in enumerate(names)}
        query = f"UNWIND $rows AS r CREATE (:{LABELS[table]} {_mapping(values)})"
        if table == "Link":
            node, given = LABELS["Node"], _mapping(dict(list(values.items())[2:]))
            query = (
                f"UNWIND $rows AS r MATCH (a:{node} {{id: r[0]}}) "
                f"MATCH (b:{node} {{id: r[1]}}) "
                f"CREATE (a)-[:{LABELS[table]} {given}]->(b)"
            )
        columns = [_plain(rows[name]) for name in names]
        for start, stop in _runs(table, rows):
            batch = [c[start:stop] for c in columns]
            self._write(query, rows=list(map(list, zip(*batch, strict=True))))

    def finish(self) -> None:
        """Close: every transaction has made what it wrote lasting."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._close()

    def remove(self) -> None:
        """Remove what loading has written, and nothing else."""
        for table in ("Array", "Node"):  # without the first no graph is there any more
            while self._write(
                f"MATCH (n:{LABELS[table]}) WITH n LIMIT 2000 DETACH DELETE n "
                "RETURN count(*)"
            )[0][0]:
                pass

    def records(self, query: str, **given: Any) -> list[list[Any]]:
        """Run a query; one that a server cannot answer just now is tried again.

        Raises
        ------
        SourceAwayError
            If there is no answer for about `gnn.patience`, be it that the server has
            stopped with its connections open, which the driver would wait for.
        """

        found = _started(lambda: self._read(query, given))
        try:
            return found.result(1.5 * self.patience + _CONNECT_SECONDS)
        except TimeoutError:
            if found.done():
                raise
            raise self._away() from None

    def _read(self, query: str, given: dict[str, Any]) -> list[list[Any]]:
        with self._told():
            while True:
                try:
                    with self._session("READ") as session:
                        return session.execute_read(_rows, query, given)
                except self.neo4j.exceptions.IncompleteCommit:
                    # The server went while it ended a transaction. The driver does not
                    # try again, as something may have been written: here nothing is.
                    continue

    def _write(self, query: str, **given: Any) -> list[list[Any]]:
        """Run a query that changes the database in a transaction of its own."""
        with self._told(), self._session("WRITE") as session:
            return session.execute_write(_rows, query, given)

    def _session(self, access: str) -> Any:
        return self.driver.session(database=self.database, default_access_mode=access)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the driver raises into an error of one line."""
        try:
            yield
        except DaskGNNError:
            raise
        except Exception as error:
            raise self._error(error) from error

    def _away(self) -> SourceAwayError:
        return SourceAwayError(
            f"{self.place}: no server answers at {self.address}: start it, or "
            "correct the address"
        )

    def _error(self, error: Exception) -> StoreError:
        known = self.neo4j.exceptions
        if isinstance(error, known.ServiceUnavailable | known.SessionExpired):
            return self._away()
        said = first_line(getattr(error, "message", None) or error)
        if isinstance(error, known.AuthError):
            said = (
                f"the server does not let {os.environ.get(USER)!r} in: set {USER} and "
                f"{PASSWORD} in the environment of every process"
            )
        return StoreError(f"{self.place}: {said}")


def _started(call: Callable[[], Any]) -> Future[Any]:
    """Start a call in a thread that no process waits for at its end."""
    found: Future[Any] = Future()

    def run() -> None:
        try:
            found.set_result(call())
        except BaseException as error:
            found.set_exception(error)

    Thread(target=run, daemon=True).start()
    return found


def _rows(transaction: Any, query: str, given: dict[str, Any]) -> list[list[Any]]:
    """Run a query in a transaction."""
    return [record.values() for record in transaction.run(query, given)]


def _parts(place: str) -> tuple[str, str | None]:
    """Return the address of a server, and the name of the database."""
    check_no_password(place)
    parts = urlsplit(place)
    name = parts.path.strip("/")
    if not parts.hostname or "/" in name or parts.query:
        scheme = parts.scheme or "bolt"
        raise InputError(
            f"{place!r} is not the address of a database: give it as in "
            f"{scheme}://localhost:7687/neo4j"
        )
    return f"{parts.scheme}://{parts.netloc}", name or None


def quoted(name: str) -> str:
    """Return a name as queries have it."""
    return "`" + name.replace("`", "``") + "`"


def _mapping(values: Mapping[str, str]) -> str:
    """Return properties by name as queries have them."""
    return "{" + ", ".join(f"{quoted(n)}: {v}" for n, v in values.items()) + "}"


def _plain(column: pa.ChunkedArray) -> list[Any]:
    """Return values as the driver takes them; lists of numbers are bytes there."""
    if not pa.types.is_list(column.type):
        return column.to_pylist()
    flat = column.combine_chunks()
    ends, values = flat.offsets.to_numpy(), flat.values.to_numpy()
    return [values[a:b].tobytes() for a, b in pairwise(ends)]


def _column(name: str, values: list[Any]) -> pa.Array:
    """Return the values of a column as an array."""
    if name == "neighbors":
        lengths = np.array([len(v) // 8 for v in values], np.int32)
        ends = np.concatenate(
            [np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)]
        )
        return pa.ListArray.from_arrays(ends, np.frombuffer(b"".join(values), np.int64))
    if values and isinstance(values[0], bytes | bytearray):
        return pa.array(values, pa.binary())
    return pa.array(values)


def _runs(table: str, rows: pa.Table) -> Iterator[tuple[int, int]]:
    """Cut rows into transactions, links where another node begins."""
    size, count = _ROWS[table], len(rows)
    bounds = np.arange(0, count, size)
    if table == "Link":
        target = rows[_ENDS[1]].to_numpy()
        begins = np.flatnonzero(np.diff(target, prepend=-1))
        place = np.searchsorted(begins, bounds)
        bounds = np.unique(begins[place[place < len(begins)]])
    yield from zip(bounds, [*bounds[1:], count], strict=True)


def open_source(place: str) -> GraphSource:
    """Return the graph on a server."""
    return DatabaseSource(BoltDatabase, place)


def open_tables(mapping: GraphMapping) -> MappedTables:
    """Return what a mapping names on a server."""
    from daskgnn.graph.databases.bolttables import BoltTables

    return BoltTables(BoltDatabase(mapping.database), mapping)


def new_database(place: str, overwrite: bool) -> BoltDatabase:
    """Return a database without a graph, or with one that was begun."""
    return BoltDatabase(place, write=True, overwrite=overwrite)
