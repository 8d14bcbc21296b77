"""A graph whose nodes have been put into storage order."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.display import graph_table
from daskgnn.graph.edges.packids import pack_ids
from daskgnn.graph.memory.content import check_half, graph_hash, stored_features
from daskgnn.graph.memory.data import origin_of
from daskgnn.graph.memory.ordered import (
    feature_sources,
    ordered_indptr,
    ordered_slots,
    plain,
    taken,
)
from daskgnn.graph.store.writer import ArraySource, check_target, write_store
from daskgnn.kernels.half import check_dtype_name
from daskgnn.partition.book import Clusters, count_clusters, cut_clusters
from daskgnn.partition.quality import (
    Quality,
    each_row_bytes,
    feature_row_bytes,
    measure,
)
from daskgnn.paths import store_target

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from daskgnn.graph.memory.data import GraphData
    from daskgnn.graph.store.writer import Fill
    from daskgnn.partition.traffic import Holdings


@dataclass(frozen=True, eq=False, repr=False)
class PartitionedGraph:
    """A graph of N nodes whose nodes are ordered by cluster, then by original id.

    `GraphData.partition` makes one. A node's storage id is its place in this order.
    Only the order is held beside the graph: arrays in storage order are computed piece
    by piece when they are written.

    Examples
    --------
    >>> import os, tempfile
    >>> import daskgnn
    >>> partitioned = daskgnn.load_dataset("karate").partition(8, method="metis")
    >>> partitioned.num_clusters, len(partitioned.original_ids)
    (8, 34)
    >>> path = partitioned.save(os.path.join(tempfile.mkdtemp(), "karate.zarr"))
    >>> daskgnn.open_graph(path, num_parts=2).num_parts
    2

    Storage ids and original ids translate into each other:

    >>> partitioned.original_ids[partitioned.storage_ids[5]]
    np.int64(5)
    >>> sorted(partitioned.splits)
    ['test', 'train', 'val']
    >>> len(partitioned.indptr), len(partitioned.indices)
    (35, 156)
    """

    data: GraphData
    """The graph in its original order."""
    original_ids: np.ndarray
    """int64 [N], the original id of each storage id."""
    cluster_bounds: np.ndarray
    """int64 [num_clusters + 1]: cluster c has storage ids bounds[c] to
    bounds[c+1] - 1."""
    partitioner: dict[str, Any]
    """The method, its seed, and how many clusters were asked for."""
    cluster_names: np.ndarray
    """int64 [num_clusters], the partitioner's own numbers of the clusters,
    ascending."""
    counted: tuple[Clusters, int] | None = field(default=None, kw_only=True)
    """What `count_clusters` returns, if that is known already."""

    @classmethod
    def from_clusters(
        cls, data: GraphData, clusters: np.ndarray, partitioner: dict[str, Any]
    ) -> PartitionedGraph:
        """Order a graph by the cluster of each node; empty clusters are left out."""
        order = np.argsort(clusters, kind="stable").astype(np.int64)
        starts = np.flatnonzero(np.diff(clusters[order])) + 1
        bounds = np.concatenate(([0], starts, [data.num_nodes])).astype(np.int64)
        names = np.asarray(clusters)[order[bounds[:-1]]].astype(np.int64)
        return cls(data, order, bounds, partitioner, names)

    @property
    def num_clusters(self) -> int:
        """Number of clusters, none of them empty."""
        return len(self.cluster_bounds) - 1

    @cached_property
    def storage_ids(self) -> np.ndarray:
        """The storage id of each original id: int [N], in the type of `indices`."""
        ids = np.empty(self.data.num_nodes, self.data.indices.dtype)
        ids[self.original_ids] = np.arange(self.data.num_nodes, dtype=ids.dtype)
        return ids

    @cached_property
    def indptr(self) -> np.ndarray:
        """CSR row pointers in storage order, int64 [N+1]."""
        return ordered_indptr(self.data.indptr, self.original_ids)

    @property
    def nbytes(self) -> int:
        """About how many bytes a store of the graph takes, with features as float16."""
        data = self.data
        return int(data.num_edges * 4 + data.num_nodes * (24 + 2 * data.num_features))

    @property
    def indices(self) -> np.ndarray:
        """Storage ids of the in-neighbours, int [E]; rows in order of original ids."""
        return self._neighbours(0, self.data.num_edges)

    @cached_property
    def splits(self) -> dict[str, np.ndarray]:
        """Sorted storage ids of each split, int64."""
        return {
            name: np.sort(self.storage_ids[ids]).astype(np.int64)
            for name, ids in self.data.splits.items()
        }

    @cached_property
    def _counts(self) -> tuple[Clusters, int]:
        """What cutting the order needs, and the entries between clusters."""
        if self.counted is not None:
            return self.counted
        return count_clusters(self._block, self.cluster_bounds)

    def book(self, num_parts: int) -> np.ndarray:
        """Return where each part begins if the graph is opened with `num_parts` parts.

        Parameters
        ----------
        num_parts : int
            Number of parts, P.

        Returns
        -------
        numpy.ndarray
            int64 [P+1]: part p has storage ids ``book[p]`` to ``book[p+1] - 1``.

        Raises
        ------
        PartitionError
            If `num_parts` is not in 1..num_clusters.

        Examples
        --------
        >>> import daskgnn
        >>> clusters = [0] * 16 + [1] * 18
        >>> daskgnn.load_dataset("karate").partition(method=clusters).book(2)
        array([ 0, 16, 34])
        """
        return cut_clusters(self._counts[0], self.splits.get("train"), num_parts)

    def save(
        self,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        feature_dtype: str = "float32",
        temporary: str | os.PathLike[str] | None = None,
        told: Callable[[int], Any] = int,
        fill: Fill | None = None,
    ) -> str:
        """Write the graph as a Zarr store, which `daskgnn.open_graph` opens.

        The store is written under a temporary name and renamed when it is complete.

        Parameters
        ----------
        path : str or path
            Directory of the store, or its address in an object store
            (``s3://bucket/graph.zarr``, or any that fsspec knows).
        overwrite : bool, default False
            Whether to replace a store that exists.
        feature_dtype : {"float32", "float16", "bfloat16"}, default "float32"
            Type that dense features are rounded to and stored as.
        temporary : str or path, optional
            Directory to write to until the store is complete; by default beside `path`.
        told : callable, optional
            Called with the number of bytes of each piece written, for a progress bar.
        fill : callable, optional
            Writes the arrays in place of this process: see
            `daskgnn.graph.store.writer.write_store`.

        Returns
        -------
        str
            The absolute path of the store, or its address.

        Raises
        ------
        StoreError
            If `path` exists and may not be replaced, or cannot be written.
        InputError
            If `feature_dtype` is not float32 and features are sparse or too large for
            it.

        Examples
        --------
        >>> import os, tempfile
        >>> import daskgnn
        >>> path = os.path.join(tempfile.mkdtemp(), "karate.zarr")
        >>> path = daskgnn.load_dataset("karate").partition().save(path)
        >>> print(daskgnn.validate(path).num_nodes)
        34
        """
        check_target(store_target(path), overwrite)
        sources, attributes = self.stored_arrays(feature_dtype)
        return write_store(path, sources, attributes, overwrite, temporary, told, fill)

    def stored_arrays(
        self, feature_dtype: str = "float32"
    ) -> tuple[list[ArraySource], dict[str, Any]]:
        """Return what a store of the graph holds: its arrays and its attributes.

        Raises
        ------
        InputError
            If features are sparse, or too large for `feature_dtype`.
        """
        features = stored_features(self.data)
        check_half(features, feature_dtype, self.data.name, origin_of(self.data))
        sources = self._edge_sources()
        sources += feature_sources(features, self.original_ids, feature_dtype)
        sources += self._node_sources()
        return sources, self._attributes(features, feature_dtype)

    def quality(
        self,
        num_parts: int,
        num_neighbors: Sequence[int] = (15, 10),
        batch_size: int = 1024,
        feature_dtype: str = "float32",
        window: int = 1,
    ) -> Quality:
        """Measure the partition as it would be with `num_parts` parts.

        Parameters
        ----------
        num_parts : int
            Number of parts.
        num_neighbors : sequence of int, default (15, 10)
            Fan-outs of the training whose traffic is estimated; -1 for all neighbours.
        batch_size : int, default 1024
            Seeds a step, over all parts.
        feature_dtype : {"float32", "float16", "bfloat16"}, default "float32"
            Type in which feature rows are sent.
        window : int, default 1
            Steps that are prepared together and fetch a remote row once.

        Returns
        -------
        Quality
            Edge cut, balance, halo sizes and estimated traffic.

        Raises
        ------
        PartitionError
            If `num_parts` is not in 1..num_clusters, or a setting of the training is
            invalid.

        Examples
        --------
        >>> import daskgnn
        >>> quality = daskgnn.load_dataset("karate").partition(8).quality(num_parts=2)
        >>> quality.num_parts
        2
        >>> 0 < quality.edge_cut < 0.5
        True
        """
        seeds = self.splits.get("train")
        book = self.book(num_parts)
        features = stored_features(self.data)
        each = each_row_bytes(features, check_dtype_name(feature_dtype))
        return measure(
            self._block,
            book,
            seeds,
            num_neighbors=num_neighbors,
            batch_size=batch_size,
            window=window,
            row_bytes=each[self.original_ids] if np.ndim(each) else each,
            holdings=self.holdings,
        )

    @property
    def holdings(self) -> Holdings | None:
        """Which split rows the clusters hold; None unless the graph is a vertex-cut."""
        return None

    def _block(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the CSR rows of a run of storage ids."""
        indptr = self.indptr[start : stop + 1]
        return indptr - indptr[0], self._neighbours(int(indptr[0]), int(indptr[-1]))

    def _slots(self, start: int, stop: int) -> np.ndarray:
        """Return where entries ``start`` to ``stop - 1`` stand in original order."""
        return ordered_slots(
            self.data.indptr, self.indptr, self.original_ids, start, stop
        )

    def _neighbours(self, start: int, stop: int) -> np.ndarray:
        """Return a run of `indices`."""
        return self.storage_ids[self.data.indices[self._slots(start, stop)]]

    def _stored_slots(self, start: int, stop: int) -> np.ndarray:
        """Return where stored entries ``start`` to ``stop - 1`` stand originally."""
        return self._slots(start, stop)

    def _stored_neighbours(self, start: int, stop: int) -> np.ndarray:
        """Return a run of `indices` as they are stored."""
        return self.storage_ids[self.data.indices[self._stored_slots(start, stop)]]

    def _edge_sources(self) -> list[ArraySource]:
        """List the arrays of the edges."""
        indices = self.data.indices
        values = {f"edge_attr/{name}": a for name, a in self.data.edge_attr.items()}
        if self.data.edge_weight is not None:
            values["edge_weight"] = self.data.edge_weight
        return [
            plain("indptr", self.indptr),
            ArraySource(
                "indices", indices.shape, indices.dtype, self._stored_neighbours
            ),
            *(taken(name, a, self._stored_slots) for name, a in values.items()),
        ]

    def _node_sources(self) -> list[ArraySource]:
        """List the other arrays of the nodes, and those of the clusters."""
        found = [
            plain("original_ids", self.original_ids),
            plain("cluster_bounds", self.cluster_bounds),
            plain("cluster_edges", self._counts[0].edges),
        ]
        labels = self.data.labels
        if labels is not None:
            found.append(taken("labels", labels, lambda i, j: self.original_ids[i:j]))
        if self.data.node_ids is not None:
            found += [plain(*pair) for pair in pack_ids(self.data.node_ids).items()]
        return found + [plain(f"splits/{n}", ids) for n, ids in self.splits.items()]

    def _attributes(self, features: Any, feature_dtype: str) -> dict[str, Any]:
        """Return what the store says of the graph."""
        data = self.data
        half = features is not None and feature_dtype != "float32"
        return {
            **({"feature_dtype": feature_dtype} if half else {}),
            **({"class_names": list(data.class_names)} if data.class_names else {}),
            "name": data.name,
            "num_nodes": data.num_nodes,
            "num_edges": data.num_edges,
            "num_features": data.num_features,
            "num_classes": int(data.num_classes),
            "multilabel": data.multilabel,
            "directed": bool(data.directed),
            "weighted": data.edge_weight is not None,
            "max_degree": int(np.diff(data.indptr).max()),
            "feature_row_bytes": feature_row_bytes(features, feature_dtype),
            "metric": data.metric,
            "report": {name: int(n) for name, n in data.report.items()},
            "partitioner": {
                **self.partitioner,
                "num_clusters": self.num_clusters,
                "edge_cut": self._counts[1] / max(data.num_edges, 1),
            },
            "graph_hash": graph_hash(data, feature_dtype),
        }

    def __repr__(self) -> str:
        """Return one line of counts."""
        return (
            f"PartitionedGraph({self.data.name!r}, {self.data.num_nodes} nodes, "
            f"{self.data.num_edges} edges, {self.num_clusters} clusters by "
            f"{self.partitioner['method']!r})"
        )

    def _repr_html_(self) -> str:
        """Return a table of counts."""
        more = {"clusters": self.num_clusters, "method": self.partitioner["method"]}
        return graph_table("PartitionedGraph", self.data, "num_features", **more)
