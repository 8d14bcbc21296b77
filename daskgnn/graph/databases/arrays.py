"""The arrays of a graph that daskgnn has loaded into a database."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pyarrow as pa
from dask.utils import parse_bytes

from daskgnn import config as _config  # noqa: F401  (the defaults)
from daskgnn.errors import StoreError
from daskgnn.graph.databases.cache import RowCache
from daskgnn.graph.databases.columns import Column, columns_of
from daskgnn.graph.store.store import Arrays
from daskgnn.kernels.listcache import ListCache, list_bytes
from daskgnn.kernels.rowcheck import row_checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from daskgnn.graph.databases.database import Database

FORMAT, FORMAT_VERSION = "daskgnn-database", 2
ABOUT = "about"
"""Key of what is said of the graph, as JSON."""
PIECE_BYTES = 1 << 18
"""Of an array that is no column of nodes."""
QUERY_BYTES = 1 << 24
"""About what a query may return: four times as much fills a buffer pool of 128 MiB."""


class ArrayFacts:
    """Shape and type of an array, without its content."""

    def __init__(self, shape: Iterable[int], dtype: str) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=int))

    @property
    def piece(self) -> int:
        """Rows of a piece."""
        return max(PIECE_BYTES // max(self.row_bytes, 1), 1)


class Group(Mapping[str, np.ndarray]):
    """Arrays of a group, each read when it is asked for first: workers need none."""

    def __init__(self, arrays: DatabaseArrays, prefix: str) -> None:
        names = (name for name in arrays.arrays if name.startswith(f"{prefix}/"))
        self._names = {name.removeprefix(f"{prefix}/"): name for name in names}
        self._arrays = arrays
        self._read: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._read:
            self._read[name] = self._arrays.read(self._names[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class DatabaseArrays(Arrays):
    """Arrays that are read from a database; every row and piece has a checksum."""

    def __init__(self, database: Database) -> None:
        self.database = database
        said = json.loads(self._about())
        if said.get("format") != FORMAT or said.get("format_version") != FORMAT_VERSION:
            raise StoreError(
                f"{database.place} is of format {said.get('format')} "
                f"{said.get('format_version')}, expected {FORMAT} {FORMAT_VERSION}: "
                "load the graph again with daskgnn load, or use the daskgnn that did"
            )
        self.attributes: dict[str, Any] = said["attributes"]
        self.arrays = {n: ArrayFacts(*facts) for n, facts in said["arrays"].items()}
        self.columns = {c.array: c for c in columns_of(self.arrays)}

    @property
    def checksum(self) -> str:
        """Names the content and its order."""
        return str(self.attributes["checksum"])

    @cached_property
    def caches(self) -> dict[str, RowCache | ListCache]:
        """By array: rows that were read lately, within `gnn.database-cache` bytes."""
        left = parse_bytes(dask.config.get("gnn.database-cache"))
        needed = {c.array: self._cache_bytes(c) for c in self.columns.values()}
        found: dict[str, RowCache | ListCache] = {}
        # What small ones do not need is for the larger ones.
        for name in sorted(needed, key=needed.__getitem__):
            share = min(left // (len(needed) - len(found)), needed[name])
            left -= share
            column, numbers = self.columns[name], self.arrays[name].shape[0]
            if column.pointers:
                kept = (self.num_nodes, numbers, column.dtype)
                found[name] = ListCache(share, *kept)
            else:
                found[name] = RowCache(share, column.shape, column.dtype)
        return found

    def _cache_bytes(self, column: Column) -> int:
        """Return the bytes in which all rows of a column are kept."""
        facts = self.arrays[column.array]
        if column.pointers:
            return list_bytes(self.num_nodes, facts.shape[0], column.dtype)
        return self.num_nodes * (facts.row_bytes + 8)

    def group(self, prefix: str) -> Mapping[str, np.ndarray]:
        """Return the arrays of a group, by their names in it."""
        return Group(self, prefix)

    @property
    def num_nodes(self) -> int:
        """N."""
        return int(self.attributes["num_nodes"])

    def _about(self) -> bytes:
        if not self.database.count("Array"):
            raise StoreError(
                f"{self.database.place} holds no graph of daskgnn: load one with "
                f"daskgnn load GRAPH {self.database.place}, or give mapping= for a "
                "database of your own"
            )
        return self._pieces([ABOUT])[0]

    def _pieces(self, keys: list[str]) -> list[bytes]:
        """Return pieces by their keys, compared with their checksums."""
        asked = pa.array(keys, pa.string())
        data, checks = self.database.read("Array", ["data", "check"], asked)
        found: list[bytes] = data.to_pylist()
        pairs = zip(keys, found, strict=False)  # there may be fewer
        right = [zlib.crc32(f"{key}:".encode() + piece) for key, piece in pairs]
        if len(found) < len(keys) or checks.to_pylist() != right:
            raise self.damaged(f"'Array' {keys[0]!r}")
        return found

    def damaged(self, what: str) -> StoreError:
        """Return what to raise for rows that are not those that were written."""
        return StoreError(
            f"rows of {what} in {self.database.place} are missing or damaged: restore "
            "the database from a copy, or load the graph again"
        )

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start`` to ``stop - 1`` of an array, whole if not given."""
        facts = self.arrays[name]
        stop = facts.shape[0] if stop is None else stop
        column = self.columns.get(name)
        if column is None:
            return self._read_pieces(name, start, stop)
        if not column.pointers:
            rows = self.run_of(column, start, stop)[1]
            return np.require(rows, requirements=["C", "W"])
        # Entries are asked for by their places: which rows are these?
        pointers = self._pointers(column.pointers)
        first = max(int(np.searchsorted(pointers, start, "right")) - 1, 0)
        last = int(np.searchsorted(pointers, stop))
        values = self.run_of(column, first, last)[1]
        return values[start - int(pointers[first]) : stop - int(pointers[first])]

    def read_entries(self, name: str, start: int, indptr: np.ndarray) -> np.ndarray:
        """Return the entries of rows from `start` on: see `Arrays.read_entries`."""
        return self.run_of(self.columns[name], start, start + len(indptr) - 1)[1]

    def _pointers(self, name: str) -> np.ndarray:
        """Return row pointers, whole: who reads on demand never comes here."""
        if name not in self._held:
            self._held[name] = self.read(name)
        return self._held[name]

    @cached_property
    def _held(self) -> dict[str, np.ndarray]:
        return {}

    def _read_pieces(self, name: str, start: int, stop: int) -> np.ndarray:
        facts = self.arrays[name]
        if start >= stop:
            return np.empty((0, *facts.shape[1:]), facts.dtype)
        first, last = start // facts.piece, -(-stop // facts.piece)
        keys = [f"{name}/{number}" for number in range(first, last)]
        content = b"".join(self._pieces(keys))
        found = np.frombuffer(bytearray(content), facts.dtype)
        found = found.reshape(-1, *facts.shape[1:])
        return found[start - first * facts.piece : stop - first * facts.piece]

    def run_of(
        self, column: Column, start: int, stop: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of adjacent nodes in a column: see `rows_of`."""
        names = [column.name, column.check]

        def query(ids: np.ndarray) -> list[pa.Array]:
            return self.database.scan(names, int(ids[0]), int(ids[-1]) + 1)

        return self._checked(column, np.arange(start, stop), query)

    def rows_of(self, column: Column, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of some nodes in a column.

        Parameters
        ----------
        ids
            int64 [m], ascending.

        Returns
        -------
        tuple
            Where each row begins in the values, int64 [m + 1]; and the values, as they
            are stored, [k] or [m, F].
        """
        names = [column.name, column.check]

        def query(ids: np.ndarray) -> list[pa.Array]:
            return self.database.read("Node", names, pa.array(ids))

        return self._checked(column, ids, query)

    def _checked(
        self,
        column: Column,
        ids: np.ndarray,
        query: Callable[[np.ndarray], list[pa.Array]],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ask for rows in pieces, and compare each with its checksum."""
        bounds = [np.zeros(1, np.int64)]
        values = [np.empty(0, column.dtype)]
        step = max(QUERY_BYTES // self._row_bytes(column), 1)
        for i in range(0, len(ids), step):
            asked = ids[i : i + step]
            rows, checks = query(asked)
            if len(rows) != len(asked) or rows.null_count:
                raise self.damaged(f"'Node' ({column.name})")
            starts, flat = column.unpacked(rows)
            if not np.array_equal(row_checks(asked, starts, flat), checks.to_numpy()):
                raise self.damaged(f"'Node' ({column.name})")
            bounds.append(starts[1:] + bounds[-1][-1])
            values.append(flat.astype(column.dtype, copy=False))
        flat = values[1] if len(values) == 2 else np.concatenate(values)
        found = flat.reshape(-1, *column.shape)
        if column.pointers:
            return np.concatenate(bounds) // int(
                np.prod(column.shape, dtype=int)
            ), found
        return np.arange(len(ids) + 1), found

    def _row_bytes(self, column: Column) -> int:
        """Return about how many bytes a row of a column has."""
        facts = self.arrays[column.array]
        width = 8 if column.kind == "ints" else column.dtype.itemsize
        size = int(np.prod(facts.shape, dtype=np.int64)) * width
        return max(size // max(self.num_nodes, 1), 8)
