"""What a database must do to have graphs loaded into it and read from it.

A graph that daskgnn has loaded is in two tables, and a third for people who query it:

- ``Node``: a row a node, by its storage id, with its neighbours and features;
- ``Array``: everything else in pieces of bytes, by name and number;
- ``Link``: the edges as relationships, which training never reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from daskgnn.errors import DaskGNNError, InputError, StoreError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

KEYS = {"Node": "id", "Array": "key"}
"""The column that a table's rows are found by: int64, and text."""


class Sessions:
    """Lends sessions of a database to threads, each to one at a time.

    There are never more than threads that ask at once.
    """

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._idle: list[Any] = []

    @contextmanager
    def lent(self) -> Iterator[Any]:
        """Lend a session; one in which something failed is not lent again."""
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._start()
        yield session
        self._idle.append(session)

    def ended(self) -> list[Any]:
        """Return the sessions that are not lent, which are to be closed."""
        idle, self._idle = self._idle, []
        return idle


class Database(ABC):
    """A database that is open in this process; any thread may read.

    A subclass has the queries of one kind of database. Columns are exchanged as
    pyarrow arrays: ``int`` is int64, ``text`` a string, ``ints`` a list of int64,
    ``bytes`` binary.
    """

    place: str
    """Scheme and place, absolute: what `open_graph` opens."""
    sha256: str = ""
    """Identifies what is there, where that can be told."""

    @abstractmethod
    def read(
        self, table: str, columns: Sequence[str], keys: pa.Array
    ) -> list[pa.Array]:
        """Return columns of the rows with some keys.

        Parameters
        ----------
        table
            "Node" or "Array".
        keys
            [m], distinct; those of nodes ascend.

        Returns
        -------
        list of pyarrow.Array
            [m] of each column, in the order of `keys`; shorter if there are no rows
            with some of them.
        """

    @abstractmethod
    def scan(self, columns: Sequence[str], start: int, stop: int) -> list[pa.Array]:
        """Return columns of the nodes ``start`` to ``stop - 1``, in this order."""

    @abstractmethod
    def count(self, table: str) -> int:
        """Return the number of rows of "Node", "Array" or "Link"; 0 without it."""

    @abstractmethod
    def create(self, table: str, columns: Mapping[str, str]) -> None:
        """Make a table; for "Link" `columns` are those beside its two ends.

        Parameters
        ----------
        columns
            "int", "text", "ints", "bytes" or "float", by name.
        """

    @abstractmethod
    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows, all or none: those of "Link" begin with ``source``, ``target``."""

    @abstractmethod
    def finish(self) -> None:
        """Make what was written lasting, and close."""

    @abstractmethod
    def close(self) -> None:
        """Close without more ado: what was not finished may be continued."""

    @abstractmethod
    def remove(self) -> None:
        """Remove what loading has written, tables included."""


def import_extra(package: str, extra: str) -> Any:
    """Import the package of a database.

    Raises
    ------
    InputError
        If it is not installed, with the command that installs it.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{extra}: needs the package {package} ({first_line(error)}): "
            f'pip install "daskgnn[{extra}]"'
        ) from error
    except ImportError as error:
        raise InputError(
            f"{extra}: the package {package} cannot be imported "
            f"({first_line(error)}): kuzu and ladybug exclude each other in a process"
        ) from error


def in_one_piece(column: pa.ChunkedArray) -> pa.Array:
    """Return a column of a result as one array."""
    if column.num_chunks == 1:
        return column.chunk(0)
    found = column.combine_chunks()
    return found.chunk(0) if hasattr(found, "num_chunks") else found


@contextmanager
def told_of(place: str, what: str) -> Iterator[None]:
    """Turn what a database raises into a `StoreError` of one line."""
    try:
        yield
    except DaskGNNError:
        raise
    except Exception as error:
        remedy = ""
        if "buffer pool is full" in str(error):
            remedy = ": give it more, dask.config.set({'gnn.database-memory': '1GiB'})"
        raise StoreError(f"{place} {what}: {first_line(error)}{remedy}") from error
