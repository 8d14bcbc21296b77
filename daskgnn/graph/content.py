"""What a graph is, whatever its partition: its stored form and its hash."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from daskgnn.graph.data import GraphData

# CSR rows are slower to gather than dense ones, so they must save a good deal.
CSR_SHARE = 0.5
_BLOCK_ROWS = 1 << 16


def stored_features(data: GraphData) -> np.ndarray | sp.csr_array | None:
    """Return the features as they are stored: float32, dense or canonical CSR.

    CSR (columns sorted, no zeros) where it takes at most half the bytes, however
    the features were given.
    """
    features: Any = data.features
    if features is None:
        return None
    if sp.issparse(features):
        features = _canonical(features)
        nonzeros = features.nnz
    else:
        nonzeros = _count_nonzeros(features)
    rows, columns = features.shape
    csr_bytes = 8 * (nonzeros + rows + 1)
    if csr_bytes <= CSR_SHARE * 4 * rows * columns:
        return features if sp.issparse(features) else _canonical(features)
    return features.toarray() if sp.issparse(features) else features


def _canonical(features: Any) -> sp.csr_array:
    """Return CSR with sorted columns, no repeats and no stored zeros."""
    matrix = sp.csr_array(features)
    clean = matrix.has_canonical_format and matrix.data.all()
    if not clean:
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    return matrix


def _count_nonzeros(features: np.ndarray) -> int:
    """Count the non-zero elements, a block of rows at a time."""
    starts = range(0, len(features), _BLOCK_ROWS)
    return sum(int(np.count_nonzero(features[i : i + _BLOCK_ROWS])) for i in starts)


def graph_hash(data: GraphData) -> str:
    """Return the SHA-256 of a graph in original order, in hex.

    It covers edges, weights, edge attributes, features, labels and splits, and
    depends neither on the partition nor on whether features came dense or sparse.
    """
    found = hashlib.sha256()
    for name, array in _arrays(data):
        content: Any = np.ascontiguousarray(array)
        found.update(f"{name} {content.dtype.str} {content.shape}\n".encode())
        found.update(content.reshape(-1).view(np.uint8))
    return found.hexdigest()


def _arrays(data: GraphData) -> list[tuple[str, np.ndarray]]:
    """List the arrays of a graph by name, in a fixed order."""
    found: list[tuple[str, np.ndarray]] = [
        ("indptr", data.indptr),
        ("indices", data.indices),
    ]
    if data.edge_weight is not None:
        found.append(("edge_weight", data.edge_weight))
    found += [(f"edge_attr/{n}", data.edge_attr[n]) for n in sorted(data.edge_attr)]
    features: Any = stored_features(data)
    if sp.issparse(features):
        found += [
            ("features_indptr", features.indptr.astype(np.int64)),
            ("features_indices", features.indices.astype(np.int32)),
            ("features_data", features.data),
        ]
    elif features is not None:
        found.append(("features", features))
    if data.labels is not None:
        found.append(("labels", data.labels))
    return found + [(f"splits/{n}", data.splits[n]) for n in sorted(data.splits)]
