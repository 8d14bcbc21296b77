"""Base classes of graph sources: a store, memory, or a user's class.

A source says once what there is (`GraphSchema`) and answers for runs of rows and for
single rows. N nodes, E entries, F features, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.graph.sources.rows import SourceRows, degrees_only
from daskgnn.partition.book import Clusters, equal_clusters
from daskgnn.seams import required

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.graph.memory.data import GraphData
    from daskgnn.graph.sources.schema import GraphSchema
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.features import RowReader
    from daskgnn.partition.traffic import Holdings

RUN = 1 << 16
"""Rows that are loaded at once where only few numbers of each are wanted."""


class GraphSource:
    """Where a graph comes from: subclass it to read graphs from anywhere.

    A subclass has a `schema` and the methods `load_rows` and `rows`. The other methods
    are built on these and may be overridden by faster ones. A source is pickled and
    sent to every worker: it should hold paths and addresses, and open what it reads
    from when it reads first. Several threads may call it at once.

    Examples
    --------
    A ring, computed when its rows are read:

    >>> import numpy as np
    >>> import daskgnn
    >>> class Ring(daskgnn.GraphSource):
    ...     schema = daskgnn.GraphSchema(
    ...         num_nodes=100, num_edges=200, version="ring-1", num_features=1,
    ...         num_classes=2, splits={"train": np.arange(60)},
    ...     )
    ...     def load_rows(self, start, stop):
    ...         ids = np.arange(start, stop)
    ...         near = np.sort(np.stack([(ids - 1) % 100, (ids + 1) % 100], axis=1))
    ...         indptr = 2 * np.arange(len(ids) + 1)
    ...         return daskgnn.AdjacencyBlock(
    ...             start, indptr, near.ravel().astype(np.int32), ids
    ...         )
    ...     def rows(self, table, ids):
    ...         half = ids // 50
    ...         return half if table == "labels" else half[:, None].astype(np.float32)
    >>> daskgnn.open_graph(Ring(), num_parts=2).adjacency.shape
    (100, 100)

    The methods that are built on these:

    >>> ring, ids = Ring(), np.array([7, 8])
    >>> ring.open()
    >>> ring.check()
    >>> ring.degrees(ids)
    array([2, 2])
    >>> ring.entries(ids, np.array([0, 1]), ["source"])
    {'source': array([6, 9], dtype=int32)}
    >>> ring.load_table("labels", 49, 51)
    array([0, 1])
    >>> ring.load_features(49, 51)
    array([[0.],
           [1.]], dtype=float32)
    >>> ring.row_bytes(), ring.node_ids()
    (4.0, None)
    >>> ring.to_data()
    Traceback (most recent call last):
        ...
    daskgnn.errors.InputError: Ring has no to_data(): ...
    """

    in_memory = False
    """Whether workers cannot open the source: parts are then sent to them whole."""
    reads_sparse_rows = False
    """Whether CSR features can be read row by row."""
    path = ""
    """Path of the store, if the source reads one."""
    schema: GraphSchema
    """What there is to read: an attribute or a property."""

    @required
    def load_rows(self, start: int, stop: int) -> AdjacencyBlock:
        """Return the in-neighbours of a run of nodes.

        Parameters
        ----------
        start, stop : int
            Storage ids: the run is ``start`` to ``stop - 1``.

        Returns
        -------
        AdjacencyBlock
            CSR rows, each ordered by the neighbours' original ids.
        """
        raise NotImplementedError

    @required
    def rows(self, table: str, ids: np.ndarray) -> np.ndarray:
        """Return the rows of some nodes in a table.

        Parameters
        ----------
        table : str
            One of the schema's `tables`.
        ids : numpy.ndarray
            int64 [m], storage ids in any order.

        Returns
        -------
        numpy.ndarray
            In the order of `ids`: "features" are float32 [m, F] (or of the schema's
            type), "labels" int64 [m] or float32 [m, C], "original_ids" int64 [m].
        """
        raise NotImplementedError

    def open(self) -> None:
        """Open the source in this process, or raise an error that tells why not."""
        self.schema  # noqa: B018

    def check(self) -> None:
        """Check that everything is there; called when the graph is opened."""
        self.open()

    def load_part(self, start: int, stop: int) -> AdjacencyBlock:
        """Return what a part holds of its rows.

        Parameters
        ----------
        start, stop : int
            Storage ids: the part is ``start`` to ``stop - 1``.

        Returns
        -------
        AdjacencyBlock
            CSR rows; of a source that is read on demand, only degrees.
        """
        if self.schema.on_demand:
            return degrees_only(self, start, stop)
        return self.load_rows(start, stop)

    def load_table(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a run of rows of a table other than the features.

        Parameters
        ----------
        name : str
            The table.
        start, stop : int
            Storage ids: the run is ``start`` to ``stop - 1``.

        Returns
        -------
        numpy.ndarray
            Writable [stop - start, ...].
        """
        ids = np.arange(start, stop)
        if name == "original_ids" and name not in self.schema.tables:
            return ids
        return np.require(self.rows(name, ids), requirements=["C", "W"])

    def load_features(
        self, start: int, stop: int, dtype: str = "float32", normalize: bool = False
    ) -> Any:
        """Return a run of feature rows.

        Parameters
        ----------
        start, stop : int
            Storage ids: the run is ``start`` to ``stop - 1``.
        dtype : {"float32", "float16", "bfloat16"}, default "float32"
            Type that dense rows are converted to.
        normalize : bool, default False
            Whether to divide each row by its sum, in float32 before rounding.

        Returns
        -------
        numpy.ndarray or sparse.GCXS
            [stop - start, F]; bfloat16 is held as its bits, see `daskgnn.kernels.half`.

        Raises
        ------
        InputError
            If a number is too large for the type, naming its node.
        """
        reader = self.row_reader(start, stop, dtype, normalize)
        return reader.take(np.arange(stop - start))

    def row_reader(
        self, start: int, stop: int, dtype: str, normalize: bool
    ) -> RowReader:
        """Return an object that reads feature rows of a part when they are needed.

        Parameters
        ----------
        start, stop : int
            Storage ids: the part is ``start`` to ``stop - 1``.
        dtype : {"float32", "float16", "bfloat16"}
            Type that rows are converted to.
        normalize : bool
            Whether to divide each row by its sum.

        Returns
        -------
        RowReader
            Has ``take(rows)``.
        """
        known = self.schema
        kinds = (known.num_features, known.feature_dtype, dtype, normalize)
        return SourceRows(self, start, stop, *kinds)

    def degrees(self, ids: np.ndarray) -> np.ndarray:
        """Return the numbers of in-neighbours of nodes.

        Parameters
        ----------
        ids : numpy.ndarray
            int64 [m], storage ids in any order.

        Returns
        -------
        numpy.ndarray
            int64 [m].
        """
        found = np.empty(len(ids), np.int64)
        for start, mine in _runs(ids, RUN):
            stop = min(start + RUN, self.schema.num_nodes)
            found[mine] = self.load_rows(start, stop).degree[ids[mine] - start]
        return found

    def entries(
        self,
        ids: np.ndarray,
        slots: np.ndarray,
        columns: Sequence[str] = ("source", "weight"),
    ) -> dict[str, np.ndarray]:
        """Return single edges: what stands in certain slots of rows.

        Parameters
        ----------
        ids : numpy.ndarray
            int64 [m], storage id of each edge's row.
        slots : numpy.ndarray
            int64 [m], its place in that row, from 0.
        columns : sequence of str, default ("source", "weight")
            "source" for storage ids of the neighbours, "weight" for edge weights.

        Returns
        -------
        dict of numpy.ndarray
            [m] for each column: storage ids in the schema's `index_dtype`, weights
            float32.
        """
        found = {"source": np.empty(len(ids), self.schema.index_dtype)}
        found["weight"] = np.ones(len(ids), np.float32)
        for start, mine in _runs(ids, 1):
            block = self.load_rows(start, start + 1)
            found["source"][mine] = block.indices[slots[mine]]
            if block.weights is not None:
                found["weight"][mine] = block.weights[slots[mine]]
        return {name: found[name] for name in columns}

    def row_bytes(self) -> float | np.ndarray:
        """Return the size of a stored feature row in bytes.

        Returns
        -------
        float or numpy.ndarray
            Of every row, or [N] where rows differ.
        """
        known = self.schema.feature_row_bytes
        return 4.0 * self.schema.num_features if known is None else known

    def node_ids(self) -> np.ndarray | None:
        """Return the ids of the nodes in the input, by original id.

        Returns
        -------
        numpy.ndarray or None
            int64 or text [N]; None if they are 0..N-1.
        """
        return None

    def holdings(self) -> Holdings | None:
        """Return which split rows the clusters hold, of a vertex-cut.

        Returns
        -------
        Holdings or None
            None of every other graph.
        """
        return None

    def to_data(self) -> GraphData:
        """Load the whole graph into memory, in its original order.

        Returns
        -------
        GraphData
            The graph.

        Raises
        ------
        InputError
            Unless a subclass overrides this.
        """
        raise InputError(
            f"{type(self).__name__} has no to_data(): store the graph to read it back "
            "whole (graph.partition().save('graph.zarr'))"
        )


def _runs(ids: np.ndarray, length: int) -> list[tuple[int, np.ndarray]]:
    """Return the first id of each run of so many, and the places of its ids."""
    number = ids.astype(np.int64) // length
    return [(int(n) * length, np.flatnonzero(number == n)) for n in np.unique(number)]


def csr_rows(
    source: GraphSource, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the row pointers and storage ids of a run of a source's rows."""
    block = source.load_rows(start, stop)
    return block.indptr, block.indices


def clusters_of(source: GraphSource) -> Clusters:
    """Return the clusters that a source gives; what it leaves out is counted."""
    schema = source.schema
    bounds, edges = schema.cluster_bounds, schema.cluster_edges
    if bounds is None:
        bounds = equal_clusters(schema.num_nodes)
    if edges is None:
        degrees = source.degrees(np.arange(schema.num_nodes))
        edges = np.add.reduceat(degrees, bounds[:-1])
    return Clusters(bounds, edges, schema.cluster_crossing)
