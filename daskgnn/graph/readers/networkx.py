"""Graphs from NetworkX, whose nodes are any objects and have attributes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.rounding import warn_of_rounding
from daskgnn.graph.memory.checks import SPLITS
from daskgnn.graph.memory.origin import Origin
from daskgnn.graph.readers.build import BuildOptions
from daskgnn.graph.readers.memory import from_edge_index
from daskgnn.graph.readers.names import names_of_nodes
from daskgnn.graph.readers.nodetable import LABEL_NAMES, NodeTable, read_nodes
from daskgnn.graph.readers.spellings import split_columns

if TYPE_CHECKING:
    from daskgnn.graph.memory.data import GraphData

_COLUMNS = ("features", "labels", *SPLITS)


def from_networkx(
    graph: Any,
    *,
    weight: str | None = None,
    edge_attr: tuple[str, ...] | list[str] = (),
    directed: bool | None = None,
    **options: Any,
) -> GraphData:
    """Build a graph from a NetworkX graph; node *i* is the i-th of ``graph.nodes``.

    Nodes keep their names: `GraphData.node_ids` has the objects of ``graph.nodes``,
    numbers as numbers and everything else as text. Attributes of nodes are read as the
    columns of a table of nodes: words are classes, a node without a label has none, and
    "split" (of the words train, val and test) or "train", "val" and "test" (true or
    false; or "train_mask", ...) are taken by themselves, like "label" (labels, y,
    class, target), unless no two nodes have the same.

    Parameters
    ----------
    graph : networkx.Graph
        Anything with ``nodes(data=...)``, ``edges(data=True)`` and ``is_directed()``.
    weight : str, optional
        Name of the edge attribute with the weights.
    edge_attr : sequence of str, default ()
        Names of further edge attributes to keep.
    directed : bool, optional
        Whether to keep the direction of edges; by default, whether the graph is
        directed.
    **options : dict
        Arguments of `from_edge_index`. `features`, `labels`, `train`, `val` and `test`
        may also be names of node attributes, `features` a list of them.

    Returns
    -------
    GraphData
        The checked graph.

    Raises
    ------
    GraphFormatError
        If some node or edge lacks an attribute; as `from_edge_index`.

    Examples
    --------
    >>> import networkx as nx
    >>> import daskgnn
    >>> graph = nx.path_graph(4)
    >>> nx.set_node_attributes(graph, {0: "a", 1: "a", 2: "b", 3: "b"}, "group")
    >>> data = daskgnn.from_networkx(graph, labels="group")
    >>> data
    GraphData('graph', 4 nodes, 6 edges, 0 features, 2 classes)
    >>> data.class_names
    ('a', 'b')
    """
    number = {node: i for i, node in enumerate(graph.nodes)}
    ends = [(number[u], number[v], data) for u, v, data in graph.edges(data=True)]
    ids = names_of_nodes(list(graph.nodes))
    rows = [data for _, data in graph.nodes(data=True)]
    table = _read_attributes(rows, options, ids)
    options |= {} if table is None else table.columns
    options.setdefault("node_ids", ids)
    columns = [data for _, _, data in ends]
    if weight is not None:
        options["edge_weight"] = _column(columns, weight)
    if edge_attr:
        options["edge_attr"] = {key: _column(columns, key) for key in edge_attr}
    options.setdefault("num_nodes", len(number))
    edges = np.array([(u, v) for u, v, _ in ends], dtype=np.int64).reshape(-1, 2).T
    options["directed"] = graph.is_directed() if directed is None else directed
    found = from_edge_index(edges, **options)
    if table is None or not table.rounded:
        return found
    report = {"features_rounded": table.rounded}
    warn_of_rounding(report, found.name)
    return replace(found, report=found.report | report)


def _read_attributes(
    rows: list[dict[str, Any]], options: dict[str, Any], ids: np.ndarray | None
) -> NodeTable | None:
    """Return what nodes' attributes say, read as the columns of a table of nodes are.

    None where there is nothing that is asked for or known.
    """
    import pandas as pd

    asked = {n: options[n] for n in _COLUMNS if _names_attributes(options.get(n))}
    if "labels" not in options and (found := _label_attribute(rows)):
        asked["labels"] = found
    given = [name for name in SPLITS if name in options]
    columns: dict[str, Any] = {
        name: [row.get(name) for row in rows]
        for name in split_columns({key: None for row in rows for key in row}, given)
    }
    for option, given in asked.items():
        for name in [given] if isinstance(given, str) else given:
            lacking = sum(row.get(name) is None for row in rows)
            if lacking == len(rows) or (lacking and option == "features"):
                first = [row.get(name) for row in rows].index(None)
                raise GraphFormatError(
                    f"{lacking} of {len(rows)} nodes have no attribute {name!r} (the "
                    f"first is {Origin(ids).shown(first)}): give it to every node, or "
                    "pass an array"
                )
            columns[name] = [row.get(name) for row in rows]
    if not columns:
        return None
    frame = pd.DataFrame(columns, None if ids is None else pd.Index(ids.tolist()))
    frame.attrs["file"] = "the graph"  # for messages
    return read_nodes(BuildOptions(nodes=frame, **asked))


def _names_attributes(given: Any) -> bool:
    """Return whether an option is the name of an attribute, or a list of them."""
    if isinstance(given, str):
        return True
    listed = isinstance(given, list | tuple) and len(given) > 0
    return listed and all(isinstance(name, str) for name in given)


def _label_attribute(rows: list[dict[str, Any]]) -> str | None:
    """Return the usual attribute that holds classes: not one that names each node."""
    keys = {key: None for row in rows for key in row if isinstance(key, str)}
    lower = {key.lower(): key for key in reversed(keys)}
    for usual in LABEL_NAMES:
        name = usual if usual in keys else lower.get(usual, usual)
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            return name if len({str(value) for value in values}) < len(rows) else None
    return None


def _column(edges: list[dict[str, Any]], key: str) -> np.ndarray:
    """Return an attribute that every edge has."""
    missing = sum(key not in edge for edge in edges)
    if missing:
        raise GraphFormatError(
            f"{missing} of {len(edges)} edges have no attribute {key!r}: "
            "give it to every edge, or pass an array"
        )
    try:
        return np.array([edge[key] for edge in edges])
    except ValueError:
        raise GraphFormatError(
            f"edge attribute {key!r} has rows of unequal length, expected equal ones"
        ) from None
