"""Graphs from what users have: arrays, scipy matrices, NetworkX, PyG.

N nodes, E edges, F features, C classes.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges import convert
from daskgnn.graph.edges.assemble import to_rows
from daskgnn.graph.edges.convert import (
    check_ids,
    check_num_nodes,
    edge_array,
    known_num_nodes,
)
from daskgnn.graph.memory.checks import SPLITS
from daskgnn.graph.memory.data import GraphData
from daskgnn.graph.readers.npz import read_npz as read_npz

SelfLoops = Literal["drop", "keep"]


def from_edge_index(
    edge_index: Any,
    *,
    num_nodes: int | None = None,
    features: Any = None,
    labels: Any = None,
    num_classes: int | None = None,
    edge_weight: Any = None,
    edge_attr: Any = None,
    train: Any = None,
    val: Any = None,
    test: Any = None,
    directed: bool = False,
    self_loops: SelfLoops = "drop",
    name: str = "graph",
    metric: str | None = None,
) -> GraphData:
    """Build a graph from a list of edges.

    Repeated edges are merged into the first given one. Unless ``directed``, every
    edge is entered both ways, with one weight: that of the first given of
    (u, v) and (v, u). What was merged, dropped or added is counted in ``report``.

    Parameters
    ----------
    edge_index
        Integers (2, E): sources, destinations. numpy, a torch tensor, or anything
        ``np.asarray`` takes.
    num_nodes
        N; else the length of features, labels or a mask, else the largest id + 1.
    features
        (N, F) numbers, dense or a scipy sparse matrix; kept as float32.
    labels
        (N,) class numbers, -1 or NaN where not given, or (N, C) of 0 and 1.
    edge_weight
        (E,) numbers >= 0.
    edge_attr
        Further values of the edges: one array (E, ...), or several by name.
    train, val, test
        Bool masks (N,) or arrays of node ids.
    self_loops
        "drop" or "keep".

    Returns
    -------
    GraphData
        The checked graph.

    Raises
    ------
    GraphFormatError
        If anything does not fit; the message names it.
    """
    edges = edge_array(edge_index)
    given = {"train": train, "val": val, "test": test}
    matrix = None if features is None else convert.feature_matrix(features)
    targets = None if labels is None else convert.label_array(labels)
    if num_nodes is None:
        num_nodes = known_num_nodes(matrix, targets, given)
    else:
        num_nodes = check_num_nodes(num_nodes)
    num_nodes = check_ids(edges, num_nodes)
    values = _edge_values(edge_weight, edge_attr, edges.shape[1])
    rows = to_rows(
        edges,
        num_nodes,
        directed=directed,
        keep_self_loops=convert.keeps_self_loops(self_loops),
        track=bool(values),
    )
    values = {key: array[rows.positions] for key, array in values.items()}
    return GraphData(
        rows.indptr,
        rows.indices,
        edge_weight=values.pop(None, None),
        edge_attr={str(key): array for key, array in values.items()},
        features=matrix,
        labels=targets,
        num_classes=convert.count_classes(targets, num_classes),
        splits=convert.split_arrays(given, num_nodes),
        directed=directed,
        name=name,
        metric=metric,
        report=rows.report,
    )


def _edge_values(
    weight: Any, attributes: Any, num_edges: int
) -> dict[str | None, np.ndarray]:
    """Return edge values by name, the weight under None."""
    values: dict[str | None, np.ndarray] = {}
    if weight is not None:
        array = convert.edge_values(weight, "edge_weight", num_edges)
        if array.shape == (num_edges, 1):
            array = array[:, 0]
        values[None] = array.astype(np.float32)
    if attributes is not None and not isinstance(attributes, dict):
        attributes = {"edge_attr": attributes}
    for name, value in (attributes or {}).items():
        values[str(name)] = convert.edge_values(value, f"edge_attr {name}", num_edges)
    return values


def from_scipy(
    matrix: Any, *, weighted: bool | None = None, **options: Any
) -> GraphData:
    """Build a graph from a square scipy sparse matrix: ``A[i, j]`` is edge i -> j.

    Every stored entry is an edge, also a stored 0.

    Parameters
    ----------
    matrix
        Any scipy sparse matrix or array (N, N).
    weighted
        Whether the entries are edge weights; if not given, whether any is not 1.
    options
        As for :func:`from_edge_index`.

    Raises
    ------
    GraphFormatError
        If the matrix is not square, or as for :func:`from_edge_index`.
    """
    if not sp.issparse(matrix) or matrix.ndim != 2:
        raise GraphFormatError(
            f"from_scipy got {type(matrix).__name__}, expected a sparse (N, N) matrix: "
            f"pass scipy.sparse.csr_array(matrix)"
        )
    if matrix.shape[0] != matrix.shape[1]:
        raise GraphFormatError(
            f"the matrix has shape {matrix.shape}, expected (N, N): one row and one "
            f"column a node"
        )
    entries = matrix.tocoo()
    if weighted is None:
        weighted = "edge_weight" not in options and bool((entries.data != 1).any())
    if weighted:
        options["edge_weight"] = entries.data
    options.setdefault("num_nodes", matrix.shape[0])
    return from_edge_index(np.stack([entries.row, entries.col]), **options)


def from_networkx(
    graph: Any,
    *,
    weight: str | None = None,
    edge_attr: tuple[str, ...] | list[str] = (),
    directed: bool | None = None,
    **options: Any,
) -> GraphData:
    """Build a graph from a NetworkX graph; node *i* is the i-th of ``graph.nodes``.

    Parameters
    ----------
    graph
        Anything with ``nodes(data=...)``, ``edges(data=True)`` and ``is_directed()``.
    weight
        Name of the edge attribute that holds the weights.
    edge_attr
        Names of further edge attributes.
    directed
        As the graph, if not given.
    options
        As for :func:`from_edge_index`; ``features``, ``labels``, ``train``, ``val``
        and ``test`` may also be names of node attributes.

    Raises
    ------
    GraphFormatError
        If an attribute is missing somewhere, or as for :func:`from_edge_index`.
    """
    number = {node: i for i, node in enumerate(graph.nodes)}
    ends = [(number[u], number[v], data) for u, v, data in graph.edges(data=True)]
    for key in ("features", "labels", *SPLITS):
        if isinstance(options.get(key), str):
            found = [data for _, data in graph.nodes(data=True)]
            options[key] = _column(found, options[key], "node")
    columns = [data for _, _, data in ends]
    if weight is not None:
        options["edge_weight"] = _column(columns, weight, "edge")
    if edge_attr:
        options["edge_attr"] = {key: _column(columns, key, "edge") for key in edge_attr}
    options.setdefault("num_nodes", len(number))
    edges = np.array([(u, v) for u, v, _ in ends], dtype=np.int64).reshape(-1, 2).T
    return from_edge_index(
        edges, directed=graph.is_directed() if directed is None else directed, **options
    )


def _column(rows: list[dict[str, Any]], key: str, what: str) -> np.ndarray:
    missing = sum(key not in row for row in rows)
    if missing:
        raise GraphFormatError(
            f"{missing} of {len(rows)} {what}s have no attribute {key!r}: "
            f"give it to every {what}, or pass an array"
        )
    try:
        return np.array([row[key] for row in rows])
    except ValueError:
        raise GraphFormatError(
            f"{what} attribute {key!r} has rows of unequal length, expected equal ones"
        ) from None


def from_pyg(data: Any, **options: Any) -> GraphData:
    """Build a graph from a ``torch_geometric.data.Data`` object.

    Takes ``edge_index``, ``num_nodes``, ``x``, ``y``, ``edge_weight``, ``edge_attr``
    and ``train_mask``, ``val_mask``, ``test_mask``, where they are there.

    Parameters
    ----------
    data
        The object; only its attributes are looked at.
    options
        As for :func:`from_edge_index`; they win over what ``data`` holds.

    Raises
    ------
    GraphFormatError
        If there is no ``edge_index``, or as for :func:`from_edge_index`.
    """
    edge_index = getattr(data, "edge_index", None)
    if edge_index is None or hasattr(data, "edge_types"):
        raise GraphFormatError(
            f"{type(data).__name__} has no single edge_index, expected a homogeneous "
            f"torch_geometric.data.Data: pass data.to_homogeneous()"
        )
    fields = {
        "num_nodes": "num_nodes",
        "features": "x",
        "labels": "y",
        "edge_weight": "edge_weight",
        "edge_attr": "edge_attr",
        **{name: f"{name}_mask" for name in SPLITS},
    }
    for option, attribute in fields.items():
        value = getattr(data, attribute, None)
        if value is not None:
            options.setdefault(option, value)
    return from_edge_index(edge_index, **options)
