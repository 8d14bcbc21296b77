"""A chunk of one of a graph's Dask arrays, as its task loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from daskgnn.errors import StoreError
from daskgnn.graph.sources.gcxs import NO_ROWS as NO_ROWS
from daskgnn.graph.sources.gcxs import csr_block, ones
from daskgnn.graph.sources.packed import opened

if TYPE_CHECKING:
    from sparse import GCXS

    from daskgnn.graph.sources.source import GraphSource


def load_chunk(source: Any, start: int, stop: int, what: str) -> Any:
    """Load a chunk of one of a graph's arrays: these rows of it."""
    graph = opened(source)
    if what == "adjacency":
        return _load_matrix(graph, start, stop)
    if what == "features":
        return graph.load_features(start, stop)
    return graph.load_table(what, start, stop)


def _load_matrix(source: GraphSource, start: int, stop: int) -> GCXS:
    """Load rows of the graph as a CSR block, columns of each row sorted."""
    block = source.load_rows(start, stop)
    count = len(block.indices)
    data = np.ones(count, np.int8) if block.weights is None else block.weights
    shape = (stop - start, source.schema.num_nodes)
    rows = sp.csr_array((data, block.indices, block.indptr), shape=shape)
    if len(rows.indices) != count:
        raise StoreError(f"array 'indptr' in {source.path!r} does not fit 'indices'")
    rows.sort_indices()
    data = ones(count) if block.weights is None else rows.data
    return csr_block(block.indptr, rows.indices, data, shape)
