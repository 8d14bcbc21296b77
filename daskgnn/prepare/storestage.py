"""The stage from partitioned rows to a store's chunks, as tasks on a cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.graph.memory.data import RowSource
from daskgnn.graph.memory.ordered import STORED_DTYPES, ordered_slots
from daskgnn.graph.store.writer import (
    ArraySource,
    chunk_bounds,
    create_array,
    fill_arrays,
    open_array,
)
from daskgnn.kernels.half import narrow
from daskgnn.kernels.preads import read_rows
from daskgnn.partition.book import add_clusters, count_entries
from daskgnn.prepare.rowfiles import INDICES, INDPTR, WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from daskgnn.graph.memory.partitioned import PartitionedGraph
    from daskgnn.prepare.mapper import Mapper

_STEP = 1 << 22
_ORDERED, _STORAGE_IDS = "ordered-indptr.npy", "storage-ids.npy"


@dataclass(frozen=True)
class OrderedFiles:
    """The rows of a graph in storage order, made from the files of a work folder.

    Entries are read, not mapped: their pages would count as memory of a worker.
    """

    folder: Path
    feature_dtype: str
    features: RowSource | None

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a run of rows of the array that a store calls so."""
        order = self._mapped("original_ids.npy")
        if name == "features":
            assert self.features is not None
            found = narrow(self.features[order[start:stop]], self.feature_dtype)
            return found.view(STORED_DTYPES[self.feature_dtype])
        indptr, ordered = self._mapped(f"rows/{INDPTR}"), self._mapped(_ORDERED)
        slots = ordered_slots(indptr, ordered, order, start, stop)
        if name == "edge_weight":
            return self._read(WEIGHTS, np.float32, slots)
        indices = self._read(INDICES, np.int32, slots)
        return np.asarray(self._mapped(_STORAGE_IDS)[indices])

    def counted(self, first: int, last: int) -> np.ndarray:
        """Return int64 [2], the `count_entries` of the cluster with these bounds."""
        ordered, total = self._mapped(_ORDERED), np.zeros(2, np.int64)
        begin, end = int(ordered[first]), int(ordered[last])
        for start in range(begin, end, _STEP):
            found = self.rows("indices", start, min(start + _STEP, end))
            total += count_entries(found, first, last)
        return total

    def _mapped(self, name: str) -> np.ndarray:
        return np.load(self.folder / name, mmap_mode="r")

    def _read(self, name: str, dtype: Any, slots: np.ndarray) -> np.ndarray:
        """Return entries of the rows' files."""
        out: np.ndarray = np.empty((len(slots), 1), dtype)
        path = self.folder / "rows" / name
        with path.open("rb") as file:
            missing = read_rows(file.fileno(), slots * out.itemsize, out)
        if missing >= 0:
            raise OSError(f"{path} is truncated")
        return out[:, 0]


def write_chunk(
    files: OrderedFiles, root: str, name: str, start: int, stop: int
) -> int:
    """Write one chunk of an array of a store; return the bytes of its rows."""
    found = files.rows(name, start, stop)
    open_array(root, name)[start:stop] = found
    return found.nbytes


@dataclass(frozen=True)
class StoreStage:
    """Writes the large arrays of a store by tasks; the driver does the others."""

    folder: Path
    mapper: Mapper

    def counted(self, graph: PartitionedGraph) -> PartitionedGraph:
        """Return a graph whose clusters were counted by tasks, a cluster each."""
        np.save(self.folder / _ORDERED, graph.indptr)
        np.save(self.folder / _STORAGE_IDS, graph.storage_ids)
        bounds = np.array(graph.cluster_bounds)
        files = self._files(graph, "float32")
        calls = [(files, *pair) for pair in pairwise(bounds.tolist())]
        counts = self.mapper.map("count-clusters", OrderedFiles.counted, calls)
        return replace(graph, counted=add_clusters(bounds, counts))

    def fill(self, graph: PartitionedGraph, feature_dtype: str) -> Any:
        """Return what `write_store` calls to write the arrays."""
        files = self._files(graph, feature_dtype)
        by_workers = {"indices", "edge_weight"}
        if files.features is not None:
            by_workers.add("features")

        def filled(
            root: str, sources: Iterable[ArraySource], told: Callable[[int], Any]
        ) -> None:
            own, calls = [], []
            for source in sources:
                if source.name not in by_workers:
                    own.append(source)
                    continue
                create_array(root, source)
                calls += [
                    (files, root, source.name, *rows) for rows in chunk_bounds(source)
                ]
            for written in self.mapper.map("rows-to-store", write_chunk, calls):
                told(written)
            fill_arrays(root, own, told)
            # What workers that were killed had begun to write.
            for path in Path(root).rglob("*.partial"):
                path.unlink(missing_ok=True)

        return filled

    def _files(self, graph: PartitionedGraph, feature_dtype: str) -> OrderedFiles:
        features = graph.data.features
        drawn = features if isinstance(features, RowSource) else None
        return OrderedFiles(self.folder, feature_dtype, drawn)
