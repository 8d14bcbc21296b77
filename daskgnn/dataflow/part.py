"""One part's blocks: loaded once, and read in place by all workers of a machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.graph.sources.check import load_checked
from daskgnn.graph.sources.entries import SourceEntries
from daskgnn.graph.sources.gcxs import csr_block
from daskgnn.graph.sources.packed import opened
from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.allocator import return_freed_memory
from daskgnn.kernels.entries import PartRows
from daskgnn.kernels.features import RowReader, is_dense
from daskgnn.kernels.shared import Handle, SharedArrays
from daskgnn.kernels.split import SplitRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskgnn.dataflow.sampling import PackedSampler
    from daskgnn.graph.sources.packed import PackedSource
    from daskgnn.graph.sources.source import GraphSource
    from daskgnn.kernels.adjacency import EntryReader

_KEPT = "kept/"
"""Begins the names of a sampler's arrays among a part's."""


@dataclass(frozen=True)
class PartContent:
    """What training needs of one part."""

    adjacency: AdjacencyBlock
    features: Any
    """Dense table [n, F] of `daskgnn.kernels.half`'s dtypes, CSR `sparse.GCXS`, or a
    `RowReader`."""
    labels: np.ndarray
    """[n] or [n, C]"""
    data: dict[str, np.ndarray] = field(default_factory=dict)
    """What the sampler keeps beside the rows: see `Sampler.part_data`."""


@dataclass(frozen=True)
class PartSource:
    """Where a part's blocks are loaded from, and what becomes of them."""

    graph: GraphSource | PackedSource
    start: int
    stop: int
    feature_dtype: str
    normalize_features: bool
    packed: PackedSampler
    """What says what is kept beside the rows."""
    features_in: str = "memory"
    """"memory", or "disk" for rows that are read when a step needs them."""

    def load(self) -> PartContent:
        """Read the part.

        Raises
        ------
        StoreError
            If a store is damaged.
        GraphFormatError
            If the sampler cannot draw from the part's rows.
        """
        graph = opened(self.graph)
        block = load_checked(graph, self.start, self.stop)
        labels = np.empty((self.stop - self.start, 0), np.float32)
        if "labels" in graph.schema.tables:
            labels = graph.load_table("labels", self.start, self.stop)
        return PartContent(
            block,
            self.load_features(),
            labels,
            self.packed.sampler.part_data(block, graph),
        )

    def load_features(self) -> Any:
        """Read the part's feature rows, or open what reads them."""
        how = (self.start, self.stop, self.feature_dtype, self.normalize_features)
        if self.features_in == "disk":
            return opened(self.graph).row_reader(*how)
        return opened(self.graph).load_features(*how)

    def load_whole_rows(self) -> AdjacencyBlock:
        """Read the part's rows of the graph, with all of their entries."""
        return opened(self.graph).load_rows(self.start, self.stop)


class PartBlocks:
    """The blocks of one part, as tasks are given them.

    What is sent of shared blocks is where they lie. A worker that cannot open them, be
    it that their holder has died, reads the source: results are the same.
    """

    def __init__(
        self,
        content: PartContent | None,
        source: PartSource | WholeRows | None = None,
        shared: SharedArrays | None = None,
        *,
        held_bytes: int = 0,
    ) -> None:
        self._content = content
        self._source = source
        self._shared = shared
        self._lock = Lock()
        self.held_bytes = held_bytes
        """What it takes of this process's memory, as far as it is shared or will be."""

    @property
    def attached(self) -> bool:
        """Whether the memory is another process's."""
        return self._shared is not None and not self.held_bytes

    @property
    def content(self) -> PartContent:
        """The part's arrays."""
        with self._lock:
            if self._content is None:
                self._content = self._opened()
            return self._content

    def _opened(self) -> PartContent:
        assert isinstance(self._source, PartSource)
        if self._shared is None:
            content = self._source.load()
            self._shared = _share(content)
            if self._shared is None:
                return content
        return _content_of(self._shared.arrays(), self._source)

    @property
    def nbytes(self) -> int:
        """Bytes in this process; nothing is loaded to tell."""
        if self._shared is not None or self._content is None:
            return self.held_bytes
        return sum(array.nbytes for array in _arrays_of(self._content).values())

    @property
    def adjacency(self) -> AdjacencyBlock:
        """The part's rows of the graph."""
        return self.content.adjacency

    @property
    def features(self) -> Any:
        """The part's feature rows: see `PartContent`."""
        return self.content.features

    @property
    def labels(self) -> np.ndarray:
        """[n] or [n, C]"""
        return self.content.labels

    @property
    def rows(self) -> PartRows:
        """The part's rows of the graph, as a sampler is given them."""
        return PartRows(self.adjacency, self.content.data)

    def whole_rows(self) -> AdjacencyBlock:
        """Return the part's rows of the graph, none of them split.

        Those of a vertex-cut, or on demand, are read from the source: this takes their
        memory.
        """
        if self.adjacency.is_whole:
            return self.adjacency
        assert self._source is not None
        return self._source.load_whole_rows()

    def __reduce__(self) -> Any:
        if self._shared is None:
            return PartBlocks, (self.content, self._source)
        return _attach, (self._source, self._shared.handle)


@dataclass(frozen=True)
class WholeRows:
    """What `PartBlocks.whole_rows` returns of a part that nothing can be read of."""

    block: AdjacencyBlock

    def load_whole_rows(self) -> AdjacencyBlock:
        """Return the rows."""
        return self.block


def cut_part(source: PartSource) -> PartBlocks:
    """Return a part's blocks as they are sent to who cannot read the source."""
    content = source.load()
    if content.adjacency.split_rows is None:
        return PartBlocks(content)
    return PartBlocks(content, WholeRows(source.load_whole_rows()))


def load_part(source: PartSource | PartBlocks, *, share: bool) -> PartBlocks:
    """Load a part's blocks; with `share` into memory that others can read.

    Blocks that were sent are as they were.

    Raises
    ------
    StoreError, GraphFormatError
        See `PartSource.load`.
    """
    if isinstance(source, PartBlocks):
        return source
    content = source.load()
    shared = _share(content) if share else None
    if shared is None:
        blocks = PartBlocks(content, source)
    else:
        blocks = PartBlocks(None, source, shared, held_bytes=shared.handle.size)
    del content
    return_freed_memory()
    return blocks


def _share(content: PartContent) -> SharedArrays | None:
    """Copy a part into memory that others can read, where there is such memory."""
    try:
        return SharedArrays.of(_arrays_of(content))
    except (OSError, AttributeError):
        return None


def _attach(source: PartSource, handle: Handle) -> PartBlocks:
    """Open what another process has loaded; later on the source, if that fails."""
    try:
        return PartBlocks(None, source, SharedArrays.attach(handle))
    except OSError:
        return PartBlocks(None, source, held_bytes=handle.size)


def _arrays_of(content: PartContent) -> dict[str, np.ndarray]:
    """Return all arrays of a part by name."""
    block, features = content.adjacency, content.features
    arrays = {
        "indptr": block.indptr,
        "indices": block.indices,
        "original_ids": block.original_ids,
        "weighted_degree": block.weighted_degree,
        "labels": content.labels,
    }
    if block.weights is not None:
        arrays["weights"] = block.weights
    arrays |= {_KEPT + name: array for name, array in content.data.items()}
    if block.split_rows is not None:
        arrays |= _split_row_arrays(block.split_rows)
    if isinstance(features, RowReader):
        return arrays
    if is_dense(features):
        return {**arrays, "features": features}
    sparse = {f"features_{n}": getattr(features, n) for n in ("indptr", "indices")}
    shape = np.array(features.shape)
    return {**arrays, **sparse, "features_data": features.data, "shape": shape}


def _split_row_arrays(split_rows: SplitRows) -> dict[str, np.ndarray]:
    """Return the arrays of split rows by name."""
    names = ("rows", "indptr", "holders", "starts", "weighted_degree")
    arrays = {f"split_{name}": getattr(split_rows, name) for name in names}
    arrays["split_held"] = np.array([split_rows.first, split_rows.count])
    return {name: array for name, array in arrays.items() if array is not None}


def _split_rows_of(arrays: Mapping[str, np.ndarray]) -> SplitRows | None:
    """Return the split rows whose arrays are among these."""
    if "split_rows" not in arrays:
        return None
    first, count = (int(n) for n in arrays["split_held"])
    return SplitRows(
        arrays["split_rows"],
        arrays["split_indptr"],
        arrays["split_holders"],
        arrays["split_starts"],
        first,
        count,
        arrays.get("split_weighted_degree"),
    )


def _reader_of(
    arrays: Mapping[str, np.ndarray], source: PartSource
) -> EntryReader | None:
    """Return what reads the entries of rows that are degrees alone."""
    if "split_rows" in arrays or len(arrays["indices"]) == arrays["indptr"][-1]:
        return None
    return SourceEntries(opened(source.graph), source.start, "weights" in arrays)


def _content_of(arrays: Mapping[str, np.ndarray], source: PartSource) -> PartContent:
    """Return the part whose arrays these are."""
    block = AdjacencyBlock(
        source.start,
        arrays["indptr"],
        arrays["indices"],
        arrays["original_ids"],
        arrays.get("weights"),
        _split_rows_of(arrays),
        _reader_of(arrays, source),
    )
    vars(block)["weighted_degree"] = arrays[
        "weighted_degree"
    ]  # what it would compute again
    if source.features_in == "disk":
        features: Any = source.load_features()
    elif "features" in arrays:
        features = arrays["features"]
    else:
        rows, columns = (int(n) for n in arrays["shape"])
        features = csr_block(
            arrays["features_indptr"],
            arrays["features_indices"],
            arrays["features_data"],
            (rows, columns),
        )
    data = {
        name.removeprefix(_KEPT): array
        for name, array in arrays.items()
        if name.startswith(_KEPT)
    }
    return PartContent(block, features, arrays["labels"], data)
