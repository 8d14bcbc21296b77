"""The source of a graph in a database that somebody else has filled.

What sampling needs is computed once and kept in a side file: the order of the nodes,
their degrees, the clusters and the splits. Edges, features and labels stay where they
are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import StoreError
from daskgnn.graph.databases.mapping import Mapping, read_mapping
from daskgnn.graph.databases.properties import feature_rows, label_numbers, times_of
from daskgnn.graph.databases.schemes import open_tables
from daskgnn.graph.databases.side import QUERY_ROWS, Side, build_side, read_side
from daskgnn.graph.sources.rows import degrees_only
from daskgnn.graph.sources.schema import GraphSchema
from daskgnn.graph.sources.source import GraphSource
from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.frontier import offsets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.graph.databases.tables import MappedTables

_OPENING = Lock()


class MappedSource(GraphSource):
    """A graph that a mapping finds in a database.

    A node's original id is the place of its key among all keys, sorted.
    """

    def __init__(self, path: str, digest: str = "") -> None:
        opened = _open(path, digest)
        self.path, self.digest = f"mapped:{opened.mapping.path}", opened.digest

    def __reduce__(self) -> Any:
        return _lazy, (self.path, self.digest)

    @property
    def _graph(self) -> MappedGraph:
        return _opened(self.path.partition(":")[2], self.digest)

    @property
    def schema(self) -> GraphSchema:  # type: ignore[override]
        """What there is."""
        return self._graph.schema

    def load_rows(self, start: int, stop: int) -> AdjacencyBlock:
        """Return the in-neighbours of a run of nodes."""
        graph, ids = self._graph, np.arange(start, stop)
        indptr = graph.side.indptr[start : stop + 1]
        near, weights = graph.rows_of(ids)
        kept = weights if graph.schema.weighted else None
        original = graph.side.original_ids[start:stop]
        return AdjacencyBlock(start, indptr - indptr[0], near, original, kept)

    def load_part(self, start: int, stop: int) -> AdjacencyBlock:
        """Return what a part holds of its rows: their degrees."""
        return degrees_only(self, start, stop)

    def degrees(self, ids: np.ndarray) -> np.ndarray:
        """Return the numbers of in-neighbours of nodes, int64 [m]."""
        return self._graph.degrees(ids)

    def entries(
        self,
        ids: np.ndarray,
        slots: np.ndarray,
        columns: Sequence[str] = ("source", "weight"),
    ) -> dict[str, np.ndarray]:
        """Return single edges: see `GraphSource.entries`."""
        graph = self._graph
        nodes, place = np.unique(ids, return_inverse=True)
        near, weights = graph.rows_of(nodes)
        at = offsets(self.degrees(nodes))[place] + slots
        known = {"source": near, "weight": weights}
        return {name: known[name][at] for name in columns}

    def rows(self, table: str, ids: np.ndarray) -> np.ndarray:
        """Return the rows of some nodes in a table."""
        graph = self._graph
        if table == "original_ids":
            return graph.side.original_ids[ids]
        if table == "features":
            return graph.features(ids)
        return graph.labels(ids) if table == "labels" else graph.times(ids)

    def node_ids(self) -> np.ndarray | None:
        """Return the keys of the nodes, by original id."""
        return self._graph.side.nodes.keys


@dataclass
class MappedGraph:
    """A database, what the mapping finds in it, and the side file."""

    mapping: Mapping
    tables: MappedTables
    side: Side
    digest: str

    @cached_property
    def schema(self) -> GraphSchema:
        """What there is."""
        side, mapping = self.side, self.mapping
        return GraphSchema(
            num_nodes=len(side.nodes.keys),
            num_edges=int(side.indptr[-1]),
            version=self.digest,
            num_features=side.num_features,
            num_classes=side.num_classes,
            name=mapping.name,
            splits=side.splits,
            tables=mapping.tables,
            directed=mapping.directed,
            weighted=bool(mapping.weight),
            max_degree=int(np.diff(side.indptr).max(initial=0)),
            cluster_bounds=side.bounds,
            cluster_edges=np.diff(side.indptr[side.bounds]),
            on_demand=True,
            partitioner={"method": mapping.method, "seed": mapping.seed},
            class_names=side.classes,
        )

    def degrees(self, ids: np.ndarray) -> np.ndarray:
        """Return the numbers of in-neighbours of nodes, int64 [m]."""
        return self.side.indptr[ids + 1] - self.side.indptr[ids]

    @cached_property
    def storage_ids(self) -> np.ndarray:
        """By original id, int32 [N]."""
        found = np.empty(len(self.side.nodes.keys), np.int32)
        found[self.side.original_ids] = np.arange(len(found), dtype=np.int32)
        return found

    def rows_of(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the neighbours and weights of nodes, row after row."""
        near, weights = [np.empty(0, np.int32)], [np.empty(0, np.float32)]
        for asked in _pieces(ids):
            own = self.side.original_ids[asked]
            counts, found, weight = self.tables.rows(own, self.side.nodes)
            if not np.array_equal(counts, self.degrees(asked)):
                raise StoreError(
                    f"{self.mapping.database} has other edges than when "
                    f"{self.mapping.side_file} was made: remove that file, and start "
                    "again"
                )
            near.append(self.storage_ids[found])
            weights.append(weight.astype(np.float32))
        return np.concatenate(near), np.concatenate(weights)

    def features(self, ids: np.ndarray) -> np.ndarray:
        """Return feature rows, float32 [m, F]."""
        width, names = self.side.num_features, self.mapping.features
        rows = [np.empty((0, width), np.float32)]
        for keys in _pieces(self.side.nodes.keys[self.side.original_ids[ids]]):
            found = self.tables.properties(names, keys)
            rows.append(feature_rows(found, names, keys, width))
        return np.concatenate(rows)

    def labels(self, ids: np.ndarray) -> np.ndarray:
        """Return labels, int64 [m], -1 where there is none."""
        found = [np.empty(0, np.int64)]
        for keys in _pieces(self.side.nodes.keys[self.side.original_ids[ids]]):
            (column,) = self.tables.properties([self.mapping.label], keys)
            found.append(label_numbers(column, self.side.classes))
        return np.concatenate(found)

    def times(self, ids: np.ndarray) -> np.ndarray:
        """Return the times of nodes, int64 [m]: see `times_of`."""
        found = [np.empty(0, np.int64)]
        for keys in _pieces(self.side.nodes.keys[self.side.original_ids[ids]]):
            found.append(times_of(self.tables.properties([self.mapping.time], keys)[0]))
        return np.concatenate(found)


def _pieces(values: np.ndarray) -> list[np.ndarray]:
    """Cut what is asked for into what a query asks for."""
    starts = range(0, len(values), QUERY_ROWS)
    return [values[start : start + QUERY_ROWS] for start in starts]


def open_source(place: str) -> GraphSource:
    """Return the graph that a mapping finds."""
    return MappedSource(place.partition(":")[2])


def _lazy(path: str, digest: str) -> MappedSource:
    """Return a source in another process, where it is opened when it reads first."""
    source = MappedSource.__new__(MappedSource)
    source.path, source.digest = path, digest
    return source


def _opened(path: str, digest: str) -> MappedGraph:
    """Return a graph, opened once a process: two threads wait for each other."""
    with _OPENING:
        return _kept(path, digest)


@lru_cache(maxsize=8)
def _kept(path: str, digest: str) -> MappedGraph:
    return _open(path, digest)


def _open(path: str, digest: str) -> MappedGraph:
    """Open a database and its side file, which the driver makes if need be."""
    mapping = read_mapping(path)
    tables = open_tables(mapping)
    found = mapping.digest(tables.content)
    if digest and digest != found:
        raise StoreError(
            f"{mapping.path} or its database was changed since the graph was opened: "
            "open it again with open_graph"
        )
    side = read_side(mapping.side_file, found)
    if side is None:
        if digest:
            raise StoreError(
                f"the side file {mapping.side_file} is missing, or of another graph: "
                f"open the graph again with open_graph('mapped:{mapping.path}')"
            )
        side = build_side(tables, found)
    return MappedGraph(mapping, tables, side, found)
