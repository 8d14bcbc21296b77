"""The source of a graph that daskgnn has loaded into a database."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.graph.databases.arrays import DatabaseArrays
from daskgnn.graph.databases.cache import RowCache
from daskgnn.graph.databases.content import content_digest
from daskgnn.graph.sources.rows import DenseRows, SourceSparseRows, degrees_only
from daskgnn.graph.sources.stored import StoredSource
from daskgnn.kernels.listcache import ListCache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.graph.databases.database import Database
    from daskgnn.graph.sources.schema import GraphSchema
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.features import RowReader

_OPENING = Lock()
_MOST_OPEN = 8
_kept: dict[tuple[str, str], DatabaseArrays] = {}
"""Open databases, by place and content."""


class DatabaseSource(StoredSource):
    """A graph whose edges, features and labels stay in a database.

    Workers hold degrees and original ids. What is drawn is asked for once per part,
    round and window.

    Parameters
    ----------
    kind
        Class of the database.
    place
        Scheme and place.
    sha256
        The content that is expected, where it can be told; what is there now.
    """

    reads_sparse_rows = True

    def __init__(
        self, kind: Callable[..., Database], place: str, sha256: str = ""
    ) -> None:
        self.kind = kind
        database = kind(place, sha256)
        self.path, self.sha256 = database.place, database.sha256
        database.close()

    def __reduce__(self) -> Any:
        return _lazy, (type(self), self.kind, self.path, self.sha256)

    @property
    def arrays(self) -> DatabaseArrays:
        """What is in the database, which each process opens once."""
        return _opened(self.kind, self.path, self.sha256)

    @cached_property
    def schema(self) -> GraphSchema:  # type: ignore[override]
        """What there is."""
        return replace(super().schema, on_demand=True)

    def prove(self) -> str:
        """Read everything, and return the hash of the content.

        Raises
        ------
        StoreError
            If it is not what was loaded.
        """
        found, arrays = content_digest(self.arrays), self.arrays
        if found != arrays.attributes["content"]:
            raise arrays.damaged("some table")
        return found

    def open(self) -> None:
        """Open the database in this process."""
        self.arrays  # noqa: B018

    def load_part(self, start: int, stop: int) -> AdjacencyBlock:
        """Return what a part holds of its rows: their degrees."""
        return degrees_only(self, start, stop)

    def rows(self, table: str, ids: np.ndarray) -> np.ndarray:
        """Return the rows of some nodes in a table: see `GraphSource.rows`."""
        arrays, column = self.arrays, self.arrays.columns.get(table)
        if column is None:
            return super().rows(table, ids)
        if (ids[1:] <= ids[:-1]).any():
            distinct, place = np.unique(ids, return_inverse=True)
            return self.rows(table, distinct)[place]
        cache = arrays.caches[table]
        assert isinstance(cache, RowCache)
        return cache.take(ids, lambda new: arrays.rows_of(column, new)[1])

    def row_reader(
        self, start: int, stop: int, dtype: str, normalize: bool
    ) -> RowReader:
        """Return what reads feature rows when wanted; sparse ones are made dense."""
        if not self.schema.sparse_features:
            return super().row_reader(start, stop, dtype, normalize)
        return DenseRows(self.sparse_reader(start, stop, dtype, normalize))

    def sparse_reader(
        self, start: int, stop: int, dtype: str, normalize: bool
    ) -> SourceSparseRows:
        """Return what reads sparse feature rows of a part when wanted."""
        columns = self.schema.num_features
        return SourceSparseRows(self, start, stop, columns, dtype, normalize)

    def sparse_rows(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return CSR rows of ascending ids: indptr, columns and entries."""
        indptr, indices = self._lists("features_indices", ids)
        return indptr, indices, self._lists("features_data", ids)[1]

    def _lists(self, name: str, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        arrays, cache = self.arrays, self.arrays.caches[name]
        assert isinstance(cache, ListCache)
        return cache.lists(ids, partial(arrays.rows_of, arrays.columns[name]))

    def entries(
        self,
        ids: np.ndarray,
        slots: np.ndarray,
        columns: Sequence[str] = ("source", "weight"),
    ) -> dict[str, np.ndarray]:
        """Return single edges: see `GraphSource.entries`."""
        arrays, found = self.arrays, {}
        # Most ids come in runs: only the first of each run is sorted.
        first = np.flatnonzero(np.diff(ids, prepend=-1))
        nodes, place = np.unique(ids[first], return_inverse=True)
        place = np.repeat(place, np.diff(first, append=len(ids)))
        for name in columns:
            array = _ENTRIES[name]
            read = partial(arrays.rows_of, arrays.columns[array])
            cache = arrays.caches[array]
            assert isinstance(cache, ListCache)
            found[name] = cache.entries(nodes, place, slots, read)
        return found


_ENTRIES = {"source": "indices", "weight": "edge_weight"}


def _lazy(
    cls: type[DatabaseSource], kind: Any, place: str, sha256: str
) -> DatabaseSource:
    """Return a source in another process, where it is opened when it reads first."""
    source = cls.__new__(cls)
    source.kind, source.path, source.sha256 = kind, place, sha256
    return source


def _opened(kind: Callable[..., Database], place: str, sha256: str) -> DatabaseArrays:
    """Return a database, opened once a process: two threads wait for each other.

    Where no content is expected, what is there now is looked at.
    """
    with _OPENING:
        found = _kept.get((place, sha256)) if sha256 else None
        if found is not None:
            return found
        database = kind(place, sha256)
        name = database.place, str(getattr(database, "sha256", ""))
        if name in _kept:
            database.close()
        else:
            _kept[name] = DatabaseArrays(database)
            if len(_kept) > _MOST_OPEN:
                del _kept[next(iter(_kept))]
        return _kept[name]
