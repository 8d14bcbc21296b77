"""Graphs from PyTorch Geometric's objects, and others with their attributes."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.convert import label_classes
from daskgnn.graph.memory.checks import SPLITS
from daskgnn.graph.readers.adjt import edges_of
from daskgnn.graph.readers.memory import from_edge_index
from daskgnn.graph.readers.names import given_class_names, given_node_ids
from daskgnn.graph.readers.spellings import CLASS_NAMES, NODE_IDS, split_names

if TYPE_CHECKING:
    from daskgnn.graph.memory.data import GraphData

_EDGES = ("edge_index", "adj_t")
_FIELDS = {
    "num_nodes": ("num_nodes",),
    "features": ("x",),
    "labels": ("y",),
    "edge_weight": ("edge_weight",),
    "edge_attr": ("edge_attr",),
    **{split: split_names(split) for split in SPLITS},
}


def from_pyg(data: Any, **options: Any) -> GraphData:
    """Build a graph from a PyTorch Geometric ``Data`` object.

    It takes ``edge_index`` or ``adj_t``, ``num_nodes``, ``x``, ``y``, ``edge_weight``,
    ``edge_attr``, and ``train_mask``, ``val_mask`` and ``test_mask`` (or ``train_idx``
    and so on), as far as the object has them; ids of nodes from ``node_ids``,
    ``node_id``, ``n_id`` or ``node_names``, and names of classes from ``class_names``
    or ``label_names``, where there is one for each node or class. Other attributes are
    named in a warning.

    Parameters
    ----------
    data : torch_geometric.data.Data
        The object; only its attributes are read.
    **options : dict
        Arguments of `from_edge_index`; they override what `data` holds.

    Returns
    -------
    GraphData
        The checked graph.

    Raises
    ------
    GraphFormatError
        If there is neither ``edge_index`` nor ``adj_t``, or there are several types of
        edges; as `from_edge_index`.

    Examples
    --------
    Any object with these attributes will do:

    >>> from types import SimpleNamespace
    >>> import torch
    >>> import daskgnn
    >>> data = SimpleNamespace(
    ...     edge_index=torch.tensor([[0, 1], [1, 2]]), x=torch.eye(3), y=torch.arange(3)
    ... )
    >>> daskgnn.from_pyg(data, train=[0, 1])
    GraphData('graph', 3 nodes, 4 edges, 3 features, 3 classes, 2 train)
    """
    if hasattr(data, "edge_types"):
        raise GraphFormatError(
            f"{type(data).__name__} has types of nodes or edges, and daskgnn trains on "
            "graphs of one type: pass data.to_homogeneous(), with the types among the "
            "features where a model needs them (docs/limits.md)"
        )
    edge_index, adj_t = getattr(data, "edge_index", None), getattr(data, "adj_t", None)
    if edge_index is None and adj_t is not None:
        edge_index, values = edges_of(adj_t)
        options = values | options
    if edge_index is None:
        raise GraphFormatError(
            f"{type(data).__name__} has neither edge_index nor adj_t, expected a "
            "torch_geometric.data.Data with one of them: set data.edge_index"
        )
    used = {*_EDGES}
    for option, attributes in _FIELDS.items():
        value = _take(data, attributes, used)
        if value is not None:
            options.setdefault(option, value)
    return _with_names(data, edge_index, options, used)


def _take(data: Any, attributes: tuple[str, ...], used: set[str]) -> Any:
    """Return the first of some attributes that there is, and note that it is used."""
    for name in attributes:
        value = getattr(data, name, None)
        if value is not None:
            used.add(name)
            return value
    return None


def _with_names(
    data: Any, edges: Any, options: dict[str, Any], used: set[str]
) -> GraphData:
    """Build the graph, with the names of nodes and classes that the object has."""
    classes = options.get("labels")
    if classes is not None:
        options["labels"] = classes = label_classes(classes)
    words = None if classes is None else classes.names
    names = _listed(_take(data, CLASS_NAMES, used))
    if names and words and {*words} <= {*map(str, names)}:
        options.setdefault("class_names", names)
    graph = from_edge_index(edges, **options)
    found: dict[str, Any] = {}
    ids = _listed(_take(data, NODE_IDS, used))
    if options.get("node_ids") is None and _tell_apart(ids, graph.num_nodes):
        found["node_ids"] = given_node_ids(ids, graph.num_nodes)
    if graph.class_names is None and _tell_apart(names, graph.num_classes):
        found["class_names"] = given_class_names(names)
    for option, attributes in (("node_ids", NODE_IDS), ("class_names", CLASS_NAMES)):
        if option not in found and options.get(option) is None:
            used -= {*attributes}  # what there is does not fit
    _warn_of_others(data, used)
    return replace(graph, **found)


def _listed(given: Any) -> list[Any] | None:
    """Return a sequence, an array or a tensor as a list; None for anything else."""
    listed = given.tolist() if hasattr(given, "tolist") else given
    return list(listed) if isinstance(listed, list | tuple) else None


def _tell_apart(names: list[Any] | None, count: int) -> bool:
    """Tell whether there are so many names, all of them different."""
    return names is not None and len(names) == len({*map(str, names)}) == count


def _warn_of_others(data: Any, used: set[str]) -> None:
    """Name in a warning the attributes that are not used."""
    keys = getattr(data, "keys", None)  # a property in older versions
    stored = keys() if callable(keys) else keys or getattr(data, "__dict__", {})
    left = [n for n in stored if n not in used and getattr(data, n, None) is not None]
    if left:
        warnings.warn(
            f"{type(data).__name__} has attributes that are not used: "
            f"{', '.join(left)}",
            stacklevel=4,
        )
