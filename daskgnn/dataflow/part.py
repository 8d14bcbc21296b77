"""One part's blocks: loaded once, and read in place by all workers on a machine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.graph.sources.check import load_checked
from daskgnn.graph.sources.packed import opened
from daskgnn.graph.sources.rows import SourceTable
from daskgnn.kernels.allocator import return_freed_memory
from daskgnn.kernels.entries import PartRows
from daskgnn.kernels.features import SparseTable
from daskgnn.kernels.record import array_bytes
from daskgnn.kernels.shared import Handle, SharedValue
from daskgnn.paths import is_url

if TYPE_CHECKING:
    from daskgnn.dataflow.sampling import PackedSampler
    from daskgnn.graph.sources.packed import PackedSource
    from daskgnn.graph.sources.source import GraphSource
    from daskgnn.kernels.adjacency import AdjacencyBlock


@dataclass(frozen=True)
class PartContent:
    """What training needs of one part."""

    adjacency: AdjacencyBlock
    features: Any
    """Dense table [n, F] of `daskgnn.kernels.half`'s dtypes, CSR `sparse.GCXS`, a
    `SparseTable` where it is used as it is, or what reads rows: `RowReader`,
    `SparseReader`."""
    labels: Any
    """[n] or [n, C], or a `SourceTable` of them."""
    data: dict[str, np.ndarray] = field(default_factory=dict)
    """What the sampler keeps beside the rows: see `Sampler.part_data`."""


@dataclass(frozen=True)
class PartSource:
    """Where a part's blocks are loaded from, and in which form."""

    graph: GraphSource | PackedSource
    start: int
    stop: int
    feature_dtype: str
    normalize_features: bool
    packed: PackedSampler
    """What says what is kept beside the rows."""
    features_in: str = "memory"
    """"memory", or "disk" for rows that are read when a step needs them."""
    sparse: bool = False
    """Whether CSR features are used as they are, and never made dense."""

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
        sampler = self.packed.sampler
        whole = sampler.needs_whole_rows
        if is_url(graph.path) and not graph.schema.on_demand:
            # Fetched beside the rows: neither waits for what the other decodes.
            with ThreadPoolExecutor(1) as pool:
                fetched = pool.submit(self.load_features)
                block = load_checked(graph, self.start, self.stop, whole=whole)
                features = fetched.result()
        else:
            block = load_checked(graph, self.start, self.stop, whole=whole)
            features = self.load_features()
        data = sampler.part_data(block, graph)
        return PartContent(block, features, self.load_labels(), data)

    def load_labels(self) -> Any:
        """Read the part's labels, or return what reads those of seeds on demand."""
        graph = opened(self.graph)
        if "labels" not in graph.schema.tables:
            return np.empty((self.stop - self.start, 0), np.float32)
        if graph.schema.on_demand:
            return SourceTable(graph, "labels", self.start)
        return graph.load_table("labels", self.start, self.stop)

    def load_features(self) -> Any:
        """Read the part's feature rows, or open what reads them."""
        how = (self.start, self.stop, self.feature_dtype, self.normalize_features)
        if self.features_in == "disk":
            graph: Any = opened(self.graph)
            return (graph.sparse_reader if self.sparse else graph.row_reader)(*how)
        if self.sparse:
            how = (self.start, self.stop, "float32", self.normalize_features)
            rows = opened(self.graph).load_features(*how)
            return SparseTable.of(rows, self.feature_dtype)
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
        source: PartSource | AdjacencyBlock | None = None,
        shared: SharedValue | None = None,
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
            self._shared = _share(content, self._source)
            if self._shared is None:
                return content
        return self._shared.value(known=opened(self._source.graph))

    @property
    def nbytes(self) -> int:
        """Bytes in this process; nothing is loaded to tell."""
        if self._shared is not None or self._content is None:
            return self.held_bytes
        return array_bytes(self._content)

    @property
    def adjacency(self) -> AdjacencyBlock:
        """The part's rows of the graph."""
        return self.content.adjacency

    @property
    def features(self) -> Any:
        """The part's feature rows: see `PartContent`."""
        return self.content.features

    @property
    def labels(self) -> Any:
        """The labels of the part's nodes: see `PartContent`."""
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
        if isinstance(self._source, PartSource):
            return self._source.load_whole_rows()
        assert self._source is not None  # of who cannot read the source, they are here
        return self._source

    def __reduce__(self) -> Any:
        if self._shared is None:
            return PartBlocks, (self.content, self._source)
        return _attach, (self._source, self._shared.handle)


class CountedBlocks(PartBlocks):
    """The blocks of a part, with what was counted before training beside its rows.

    They are those of another task: only what is added takes memory here.
    """

    def __init__(self, blocks: PartBlocks, counts: dict[str, np.ndarray]) -> None:
        self._blocks, self._counts = blocks, counts

    @property
    def content(self) -> PartContent:
        """The part's arrays."""
        content = self._blocks.content
        return replace(content, data={**content.data, **self._counts})

    @property
    def nbytes(self) -> int:
        """Bytes of what is added."""
        return array_bytes(self._counts)

    def whole_rows(self) -> AdjacencyBlock:
        """Return the part's rows of the graph, none of them split."""
        return self._blocks.whole_rows()

    def __reduce__(self) -> Any:
        return CountedBlocks, (self._blocks, self._counts)


def cut_part(source: PartSource) -> PartBlocks:
    """Return a part's blocks as they are sent to who cannot read the source."""
    content = source.load()
    if content.adjacency.split_rows is None:
        return PartBlocks(content)
    return PartBlocks(content, source.load_whole_rows())


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
    shared = _share(content, source) if share else None
    if shared is None:
        blocks = PartBlocks(content, source)
    else:
        blocks = PartBlocks(None, source, shared, held_bytes=shared.handle.size)
    del content
    return_freed_memory()
    return blocks


def _share(content: PartContent, source: PartSource) -> SharedValue | None:
    """Copy a part into memory that others can read, where there is such memory."""
    if content.adjacency.reader is None:
        _ = content.adjacency.weighted_degree  # others need not compute it again
    try:
        return SharedValue.of(content, known=opened(source.graph))
    except (OSError, AttributeError):
        return None


def _attach(source: PartSource, handle: Handle) -> PartBlocks:
    """Open what another process has loaded; later on the source, if that fails."""
    try:
        return PartBlocks(None, source, SharedValue.attach(handle))
    except OSError:
        return PartBlocks(None, source, held_bytes=handle.size)
