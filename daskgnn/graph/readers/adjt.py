"""Edges of the transposed sparse adjacency that PyTorch Geometric calls ``adj_t``."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskgnn.errors import GraphFormatError


def edges_of(adj_t: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the edges, int64 [2, E], of ``adj_t``; and their values as options.

    Its row *i* has the sources of the edges that end in node *i*. The values are
    "edge_weight", or "edge_attr" if there are several an edge; ones, which torch's
    sparse tensors hold for want of nothing, are no weights.

    Parameters
    ----------
    adj_t
        A ``torch_sparse.SparseTensor`` or a sparse tensor of torch, in any layout.

    Raises
    ------
    GraphFormatError
        If it is something else, or not square.
    """
    if hasattr(adj_t, "coo"):  # of torch_sparse
        row, column, values = adj_t.coo()
        shape = tuple(adj_t.sparse_sizes())
    elif "sparse" in str(getattr(adj_t, "layout", "")):
        found = adj_t.detach().to_sparse_coo().coalesce()
        (row, column), values = found.indices(), found.values()
        shape = tuple(found.shape[:2])
    else:
        raise GraphFormatError(
            f"adj_t is {type(adj_t).__name__}, expected a SparseTensor or a sparse "
            "tensor: or set data.edge_index, which "
            "torch_geometric.utils.to_edge_index(adj_t) returns"
        )
    if shape[0] != shape[1]:
        raise GraphFormatError(
            f"adj_t has shape {shape}, expected as many rows as columns, a node each"
        )
    edges = np.stack([np.asarray(column), np.asarray(row)]).astype(np.int64)
    values = None if values is None else np.asarray(values.detach())
    if values is None or (values.ndim == 1 and (values == 1).all()):
        return edges, {}
    return edges, {"edge_weight" if values.ndim == 1 else "edge_attr": values}
