"""Graphs from objects in memory: arrays and scipy matrices.

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
from daskgnn.graph.edges.rounding import warn_of_rounding
from daskgnn.graph.edges.splits import split_arrays
from daskgnn.graph.memory.data import GraphData
from daskgnn.graph.readers.names import (
    given_node_ids,
    named_labels,
    refuse_column_names,
)
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
    split_index: int | None = None,
    directed: bool = False,
    self_loops: SelfLoops = "drop",
    name: str = "graph",
    metric: str | None = None,
    node_ids: Any = None,
    class_names: Any = None,
) -> GraphData:
    """Build a graph from arrays: an edge list, features, labels and splits.

    Repeated edges are merged; the first one given counts. Unless `directed`, every edge
    is added in both directions, with one weight: that of the first given of (u, v) and
    (v, u). `GraphData.report` counts what was merged, dropped or added.

    Parameters
    ----------
    edge_index : array of int
        [2, E]: sources and destinations. A numpy array, a torch tensor, or anything
        that ``np.asarray`` takes.
    num_nodes : int, optional
        N; by default the length of features, labels or a mask, else the largest id + 1.
    features : array or sparse matrix, optional
        [N, F] numbers, dense or a scipy sparse matrix; stored as float32.
    labels : array, optional
        Class numbers [N], with -1 or NaN for unlabelled nodes; or words [N], with None
        for unlabelled nodes, which are classes in alphabetical order; or yes/no labels
        [N, C] of 0 and 1, with NaN for unknown ones.
    num_classes : int, optional
        C; by default the largest class number + 1.
    edge_weight : array of float, optional
        [E] numbers of at least 0; by default every edge has weight 1.
    edge_attr : array or dict of arrays, optional
        Further edge attributes [E, ...]: one array, or several by name.
    train : array, optional
        The training split: a bool mask [N] or node ids.
    val : array, optional
        The validation split, given like `train`.
    test : array, optional
        The test split, given like `train`.
    split_index : int, optional
        Which split to take of masks [N, k] or [k, N] that hold k of them, from 0.
    directed : bool, default False
        Whether to keep the direction of edges; otherwise each is added both ways.
    self_loops : {"drop", "keep"}, default "drop"
        What to do with edges from a node to itself.
    name : str, default "graph"
        Name of the graph in reports and messages.
    metric : str, optional
        How predictions are scored: see `GraphData.metric`.
    node_ids : sequence, optional
        What you call the nodes [N]: numbers, words or other objects. Predictions and
        messages name nodes so.
    class_names : sequence of str or dict, optional
        What you call the classes [C]: class i is ``class_names[i]``, and labels that
        are words are found among them. By default the words of `labels`.

    Returns
    -------
    GraphData
        The checked graph.

    Raises
    ------
    GraphFormatError
        If an array has a wrong shape or values; the message names it.

    Examples
    --------
    >>> import daskgnn
    >>> data = daskgnn.from_edge_index(
    ...     [[0, 1, 2, 2], [1, 2, 3, 2]],
    ...     features=[[1.0], [2.0], [3.0], [4.0]],
    ...     labels=[0, 0, 1, 1],
    ...     train=[0, 3],
    ... )
    >>> data
    GraphData('graph', 4 nodes, 6 edges, 1 features, 2 classes, 2 train)
    >>> data.report["self_loops_dropped"]
    1
    """
    edges = edge_array(edge_index)
    given = {"train": train, "val": val, "test": test}
    refuse_column_names({"features": features, "labels": labels, **given})
    rounded: dict[str, int] = {}
    matrix = None if features is None else convert.feature_matrix(features, rounded)
    classes = None if labels is None else convert.label_classes(labels)
    num_nodes = _count_nodes(num_nodes, edges, matrix, classes, given)
    values = _edge_values(edge_weight, edge_attr, edges.shape[1], rounded)
    rows = to_rows(
        edges,
        num_nodes,
        directed=directed,
        keep_self_loops=convert.keeps_self_loops(self_loops),
        track=bool(values),
    )
    values = {key: array[rows.positions] for key, array in values.items()}
    warn_of_rounding(rounded, name)
    ids = given_node_ids(node_ids, num_nodes)
    targets, num_classes, names = named_labels(classes, num_classes, class_names, ids)
    return GraphData(
        rows.indptr,
        rows.indices,
        edge_weight=values.pop(None, None),
        edge_attr={str(key): array for key, array in values.items()},
        features=matrix,
        labels=targets,
        num_classes=num_classes,
        splits=split_arrays(given, num_nodes, split_index),
        directed=directed,
        name=name,
        metric=metric,
        report=rows.report | rounded,
        node_ids=ids,
        class_names=names,
    )


def _count_nodes(
    num_nodes: int | None, edges: np.ndarray, matrix: Any, classes: Any, splits: Any
) -> int:
    """Return the number of nodes: as given, of arrays [N], or by the largest id."""
    if num_nodes is not None:
        return check_ids(edges, check_num_nodes(num_nodes))
    labels = None if classes is None else classes.labels
    return check_ids(edges, known_num_nodes(matrix, labels, splits))


def _edge_values(
    weight: Any, attributes: Any, num_edges: int, report: dict[str, int]
) -> dict[str | None, np.ndarray]:
    """Return edge values by name, the weight under None."""
    values: dict[str | None, np.ndarray] = {}
    if weight is not None:
        array = convert.edge_values(weight, "edge_weight", num_edges, report)
        values[None] = array[:, 0] if array.shape == (num_edges, 1) else array
    if attributes is not None and not isinstance(attributes, dict):
        attributes = {"edge_attr": attributes}
    for name, value in (attributes or {}).items():
        what = f"edge_attr {name}"
        values[str(name)] = convert.edge_values(value, what, num_edges, report)
    return values


def from_scipy(
    matrix: Any, *, weighted: bool | None = None, **options: Any
) -> GraphData:
    """Build a graph from a square scipy sparse matrix: ``A[i, j]`` is the edge i -> j.

    Every stored entry is an edge, even a stored 0; entries at one place are added up,
    and the format of the matrix changes nothing.

    Parameters
    ----------
    matrix : scipy.sparse matrix or array
        [N, N], in any format.
    weighted : bool, optional
        Whether the entries are edge weights; by default, whether any of them is not 1.
    **options : dict
        Arguments of `from_edge_index`: `features`, `labels`, `train`, `directed`, ...

    Returns
    -------
    GraphData
        The checked graph.

    Raises
    ------
    GraphFormatError
        If the matrix is not sparse or not square; as `from_edge_index`.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> import daskgnn
    >>> path = sp.diags_array([1.0, 1.0, 1.0], offsets=1, shape=(4, 4))
    >>> daskgnn.from_scipy(path)
    GraphData('graph', 4 nodes, 6 edges, 0 features, 0 classes)
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
    # What is given for each entry is in the order of the matrix's own entries.
    ordered = not {"edge_weight", "edge_attr"} & options.keys()
    entries = _summed(matrix).tocoo() if ordered else matrix.tocoo()
    if weighted is None:
        weighted = "edge_weight" not in options and bool((entries.data != 1).any())
    if weighted:
        options["edge_weight"] = entries.data
    options.setdefault("num_nodes", matrix.shape[0])
    return from_edge_index(np.stack([entries.row, entries.col]), **options)


def _summed(matrix: Any) -> sp.csr_array:
    """Return a matrix of any format as sorted rows without repeats."""
    rows = sp.csr_array(matrix)
    if matrix.format == "bsr":  # its blocks are stored with their zeros
        rows = rows.copy()
        rows.eliminate_zeros()
    if not rows.has_canonical_format:
        rows = rows.copy()  # the user's own matrix stays as it is
        rows.sum_duplicates()
    return rows
