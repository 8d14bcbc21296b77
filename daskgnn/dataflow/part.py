"""One part's blocks: loaded once, and read in place by all workers of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import GraphFormatError
from daskgnn.graph.diskrows import open_rows
from daskgnn.graph.gcxs import csr_block
from daskgnn.graph.store import (
    load_adjacency,
    load_degrees,
    load_features,
    load_half_features,
    load_labels,
    load_part_rows,
)
from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.allocator import return_freed_memory
from daskgnn.kernels.entries import PartRows
from daskgnn.kernels.features import RowReader, is_dense, normalize_rows
from daskgnn.kernels.shared import Handle, SharedArrays
from daskgnn.kernels.spread import SpreadRows

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class PartContent:
    """What training needs of one part."""

    adjacency: AdjacencyBlock
    features: Any
    """Dense table [n, F] of `daskgnn.kernels.half`'s dtypes, CSR `sparse.GCXS`, or a
    `RowReader`."""
    labels: np.ndarray
    """[n] or [n, C]"""
    draw_weights: np.ndarray | None
    """float32 [E], weights of the draws."""


@dataclass(frozen=True)
class PartSource:
    """Where a part's blocks are loaded from, and what becomes of them."""

    path: str
    start: int
    stop: int
    checksum: str
    feature_dtype: str
    normalize_features: bool
    sample_by: str
    features_in: str = "memory"
    """"memory", or "disk" for rows that are read when a step needs them."""

    def load(self) -> PartContent:
        """Read the part from the store.

        Raises
        ------
        StoreError
            If the store is damaged.
        GraphFormatError
            If a weight of a draw is not positive.
        """
        rows = (self.path, self.start, self.stop)
        adjacency = load_part_rows(*rows, self.checksum)
        return PartContent(
            adjacency,
            self.load_features(),
            load_labels(*rows, self.checksum),
            None if self.sample_by == "uniform" else self._draw_weights(adjacency),
        )

    def load_features(self) -> Any:
        """Read the part's feature rows, or open what reads them."""
        rows = (self.path, self.start, self.stop)
        if self.features_in == "disk":
            how = (self.feature_dtype, self.normalize_features, self.checksum)
            return open_rows(*rows, *how)
        if self.feature_dtype != "float32":
            how = (self.feature_dtype, self.normalize_features, self.checksum)
            return load_half_features(*rows, *how)
        features = load_features(*rows, self.checksum)
        return normalize_rows(features) if self.normalize_features else features

    def load_whole_rows(self) -> AdjacencyBlock:
        """Read the part's rows of the graph, none of them spread."""
        return load_adjacency(self.path, self.start, self.stop, self.checksum)

    def _draw_weights(self, block: AdjacencyBlock) -> np.ndarray:
        """Return float32 [E], the weight of each edge of `block` in draws."""
        if self.sample_by == "degree":
            # A source that nothing points to counts as having one in-neighbour.
            degrees = np.maximum(load_degrees(self.path, self.checksum), 1)
            weights = degrees[block.indices].astype(np.float32)
        elif block.weights is None:
            return np.ones(len(block.indices), np.float32)
        else:
            weights = block.weights
        if len(weights) and weights.min() <= 0:
            raise GraphFormatError(
                f"sample_by={self.sample_by!r} needs positive weights, and some edge "
                "weighs 0 or less: use sample_by='uniform' or repair the weights"
            )
        return weights


class PartBlocks:
    """The blocks of one part, as tasks are given them.

    What is sent of shared blocks is where they lie. A worker that cannot open them, be
    it that their holder has died, reads the store: results are the same.
    """

    def __init__(
        self,
        content: PartContent | None,
        source: PartSource | None = None,
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
        assert self._source is not None
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
    def draw_weights(self) -> np.ndarray | None:
        """float32 [E], weights of the draws."""
        return self.content.draw_weights

    @property
    def rows(self) -> PartRows:
        """The part's rows of the graph, as a sampler is given them."""
        weights = self.content.draw_weights
        data = {} if weights is None else {"draw_weights": weights}
        return PartRows(self.adjacency, data)

    def whole_rows(self) -> AdjacencyBlock:
        """Return the part's rows of the graph, none of them spread.

        Those of a vertex-cut are read from the store: this takes their memory.
        """
        if self.adjacency.spread is None:
            return self.adjacency
        assert self._source is not None
        return self._source.load_whole_rows()

    def __reduce__(self) -> Any:
        if self._shared is None:
            return PartBlocks, (self.content, self._source)
        return _attach, (self._source, self._shared.handle)


def load_part(source: PartSource, *, share: bool) -> PartBlocks:
    """Load a part's blocks; with `share` into memory that others can read.

    Raises
    ------
    StoreError, GraphFormatError
        See `PartSource.load`.
    """
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
    """Open what another process has loaded; later on the store, if that fails."""
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
        "strength": block.strength,
        "labels": content.labels,
    }
    if block.weights is not None:
        arrays["weights"] = block.weights
    if content.draw_weights is not None:
        arrays["draw_weights"] = content.draw_weights
    if block.spread is not None:
        arrays |= _spread_arrays(block.spread)
    if isinstance(features, RowReader):
        return arrays
    if is_dense(features):
        return {**arrays, "features": features}
    sparse = {f"features_{n}": getattr(features, n) for n in ("indptr", "indices")}
    shape = np.array(features.shape)
    return {**arrays, **sparse, "features_data": features.data, "shape": shape}


def _spread_arrays(spread: SpreadRows) -> dict[str, np.ndarray]:
    """Return the arrays of spread rows by name."""
    names = ("rows", "indptr", "holders", "starts", "strength")
    arrays = {f"spread_{name}": getattr(spread, name) for name in names}
    arrays["spread_held"] = np.array([spread.first, spread.count])
    return {name: array for name, array in arrays.items() if array is not None}


def _spread_of(arrays: Mapping[str, np.ndarray]) -> SpreadRows | None:
    """Return the spread rows whose arrays are among these."""
    if "spread_rows" not in arrays:
        return None
    first, count = (int(n) for n in arrays["spread_held"])
    return SpreadRows(
        arrays["spread_rows"],
        arrays["spread_indptr"],
        arrays["spread_holders"],
        arrays["spread_starts"],
        first,
        count,
        arrays.get("spread_strength"),
    )


def _content_of(arrays: Mapping[str, np.ndarray], source: PartSource) -> PartContent:
    """Return the part whose arrays these are."""
    block = AdjacencyBlock(
        source.start,
        arrays["indptr"],
        arrays["indices"],
        arrays["original_ids"],
        arrays.get("weights"),
        _spread_of(arrays),
    )
    vars(block)["strength"] = arrays["strength"]  # what it would compute again
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
    return PartContent(block, features, arrays["labels"], arrays.get("draw_weights"))
