"""A graph's content, independent of its partition: its stored form and its hash."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from daskgnn.errors import InputError
from daskgnn.graph.memory.data import GraphData, RowSource
from daskgnn.graph.memory.origin import Origin
from daskgnn.kernels.half import check_dtype_name, check_range, narrow, widen

if TYPE_CHECKING:
    from collections.abc import Iterator


# CSR rows are slower to gather than dense ones, so they must save a good deal.
CSR_SHARE = 0.5
_BLOCK_ROWS = 1 << 16
_UNNAMED = Origin()


def stored_features(data: GraphData) -> np.ndarray | RowSource | sp.csr_array | None:
    """Return the features as they are stored: float32, dense or canonical CSR.

    CSR (columns sorted, no zeros) where it takes at most half the bytes, however
    the features were given.
    """
    features: Any = data.features
    if features is None or isinstance(features, RowSource):
        return features
    if sp.issparse(features):
        features = _canonical(features)
        nonzeros = features.nnz
    else:
        nonzeros = _count_nonzeros(features, "float32")
    if _saves_as_csr(nonzeros, features.shape):
        return features if sp.issparse(features) else _canonical(features)
    return features.toarray() if sp.issparse(features) else features


def _saves_as_csr(nonzeros: int, shape: tuple[int, int]) -> bool:
    """Return whether CSR takes few enough bytes."""
    rows, columns = shape
    return 8 * (nonzeros + rows + 1) <= CSR_SHARE * 4 * rows * columns


def check_half(
    features: Any, feature_dtype: str, name: str, origin: Origin = _UNNAMED
) -> None:
    """Check that a graph's stored features can be kept in a dtype.

    Raises
    ------
    InputError
        If the dtype is unknown; if it is not float32 and the features are CSR or hold
        a number that is too large for it, naming the node.
    """
    if check_dtype_name(feature_dtype) == "float32" or features is None:
        return
    if sp.issparse(features):
        refuse_sparse(feature_dtype, name)
    if isinstance(features, RowSource):
        return
    check_range(features, feature_dtype, "node", origin.shown, origin.feature)


def refuse_sparse(feature_dtype: str, name: str) -> None:
    """Raise the `InputError` for half-precision features that are CSR."""
    raise InputError(
        f"feature_dtype={feature_dtype!r}: the features of {name!r} are mostly zeros, "
        "so they are kept as float32 CSR, which is smaller than any dense form: leave "
        "feature_dtype out"
    )


def rounded(rows: np.ndarray, feature_dtype: str) -> np.ndarray:
    """Return float32 rows as they are read back from a store of a dtype."""
    return widen(narrow(rows, feature_dtype))


def _canonical(features: Any) -> sp.csr_array:
    """Return CSR with sorted columns, no repeats and no stored zeros."""
    matrix = sp.csr_array(features)
    if not (matrix.has_canonical_format and matrix.data.all()):
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    return matrix


def _count_nonzeros(features: np.ndarray, feature_dtype: str) -> int:
    """Count the elements that do not round to zero, a block of rows at a time."""
    blocks = _blocks(features)
    return sum(int(np.count_nonzero(rounded(b, feature_dtype))) for b in blocks)


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield runs of rows."""
    for start in range(0, len(array), _BLOCK_ROWS):
        yield array[start : start + _BLOCK_ROWS]


def graph_hash(data: GraphData, feature_dtype: str = "float32") -> str:
    """Return the SHA-256 of a graph in original order, in hex.

    It covers edges, weights, edge attributes, features, labels and splits, and
    depends neither on the partition nor on whether features came dense or sparse.
    Features count as they are read back from a store of `feature_dtype`.
    """
    found = hashlib.sha256()
    for name, array in _arrays(data, feature_dtype):
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        for rows in _blocks(array):
            if name == "features":
                rows = rounded(rows, feature_dtype)
            content: Any = np.ascontiguousarray(rows)
            found.update(content.reshape(-1).view(np.uint8))
    return found.hexdigest()


def _hashed_features(data: GraphData, feature_dtype: str) -> Any:
    """Return the features in the form that they have when they are read back."""
    features = stored_features(data)
    if feature_dtype == "float32" or features is None:
        return features
    if isinstance(features, RowSource):
        return features
    # Rounding to zero may make CSR the smaller form afterwards.
    if _saves_as_csr(_count_nonzeros(features, feature_dtype), features.shape):
        return _canonical(rounded(features, feature_dtype))
    return features


def _arrays(data: GraphData, feature_dtype: str) -> list[tuple[str, np.ndarray]]:
    """List the arrays of a graph by name, in a fixed order."""
    found: dict[str, Any] = {"indptr": data.indptr, "indices": data.indices}
    found["edge_weight"] = data.edge_weight
    found |= {f"edge_attr/{n}": data.edge_attr[n] for n in sorted(data.edge_attr)}
    features = _hashed_features(data, feature_dtype)
    if sp.issparse(features):
        found["features_indptr"] = features.indptr.astype(np.int64)
        found["features_indices"] = features.indices.astype(np.int32)
        found["features_data"] = features.data
    else:
        found["features"] = features
    found["labels"] = data.labels
    found |= {f"splits/{n}": data.splits[n] for n in sorted(data.splits)}
    return [(name, array) for name, array in found.items() if array is not None]
