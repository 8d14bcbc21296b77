"""Nodes by the ids that a user knows them by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.graph.edges.identify import WordIds

if TYPE_CHECKING:
    from daskgnn.graph.graph import Graph


def find_nodes(graph: Graph, nodes: Any, name: str = "nodes") -> np.ndarray:
    """Return the original ids of some nodes, int64 [n], in the order given.

    Parameters
    ----------
    graph
        The graph.
    nodes
        Ids as the input had them, where numbers may be written as text; a mask, bool
        [N], in the order of original ids; or the name of a split.
    name
        What the argument is called.

    Raises
    ------
    InputError
        If there is none, or one that the graph does not have.
    """
    if isinstance(nodes, str):
        return _of_split(graph, nodes, name)
    if isinstance(nodes, int | np.integer) or not isinstance(nodes, Iterable):
        raise InputError(f"{name}={nodes!r}, expected a list of ids, as in [{nodes!r}]")
    values = np.asarray(nodes if hasattr(nodes, "__array__") else list(nodes))
    if values.ndim != 1 or not len(values):
        raise InputError(
            f"{name} has shape {values.shape}, expected ids of at least one node, [n]"
        )
    if values.dtype == bool:
        return _of_mask(graph, values, name)
    known = graph.node_ids()
    if known is None or np.asarray(known).dtype.kind in "iu":
        values = _as_numbers(values)
    if known is None:
        return _checked(graph, values, name)
    return _looked_up(graph, values, np.asarray(known), name)


def _as_numbers(values: np.ndarray) -> np.ndarray:
    """Return numbers that are written as text, as they are in a shell or a file."""
    if values.dtype.kind not in "OSTU":
        return values
    try:
        return np.array([int(value) for value in values.tolist()], np.int64)
    except (TypeError, ValueError, OverflowError):
        return values  # which are refused


def _of_split(graph: Graph, split: str, name: str) -> np.ndarray:
    """Return the nodes of a split, in the order of original ids."""
    if split not in graph.splits:
        has = ", ".join(graph.splits) or "none"
        raise InputError(
            f"{name}={split!r}: graph {graph.name!r} has no such split (it has {has}), "
            f"and single nodes are given as a list: {name}=[{split!r}]"
        )
    return np.sort(graph.original_ids_of(graph.splits[split]))


def _of_mask(graph: Graph, mask: np.ndarray, name: str) -> np.ndarray:
    """Return the nodes that a mask has."""
    if len(mask) != graph.num_nodes or not mask.any():
        raise InputError(
            f"{name} is a mask that has {mask.sum()} of {len(mask)} nodes, expected at "
            f"least one of {graph.num_nodes}"
        )
    return np.flatnonzero(mask)


def _checked(graph: Graph, values: np.ndarray, name: str) -> np.ndarray:
    """Return node numbers, none of which is out of range."""
    most = graph.num_nodes - 1
    if values.dtype.kind not in "iu":
        raise InputError(
            f"{name} holds {values[0].item()!r}, and graph {graph.name!r} has node "
            f"numbers: give whole numbers in 0..{most}"
        )
    wrong = (values < 0) | (values > most)
    if wrong.any():
        raise InputError(
            f"{name} holds {values[wrong.argmax()]}, and the nodes of graph "
            f"{graph.name!r} are 0..{most}"
        )
    return values.astype(np.int64)


def _looked_up(
    graph: Graph, values: np.ndarray, known: np.ndarray, name: str
) -> np.ndarray:
    """Return where ids stand among those of the input."""
    numbers = known.dtype.kind in "iu"
    if values.dtype.kind not in ("iu" if numbers else "OSTU"):
        raise InputError(
            f"{name} holds {_shown(values[0])}, and the ids of graph {graph.name!r} "
            f"are {'numbers' if numbers else 'words'}, such as {_shown(known[0])}"
        )
    found = _rows_of(known, values) if numbers else _rows_of_words(known, values)
    if (found < 0).any():
        raise InputError(
            f"{name} holds {_shown(values[(found < 0).argmax()])}, which no node of "
            f"graph {graph.name!r} is called"
        )
    return found


def _rows_of(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return where numbers stand among known ones, -1 for those that do not."""
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known, values, sorter=order)
    found = order[np.minimum(place, len(known) - 1)]
    return np.where(known[found] == values, found, -1).astype(np.int64)


def _rows_of_words(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return where words stand among known ones, -1 for those that do not."""
    words = WordIds()
    words.number(known)
    return words.number(values, add=False)


def _shown(value: Any) -> str:
    """Return an id as Python writes it."""
    return repr(value.item() if hasattr(value, "item") else value)
