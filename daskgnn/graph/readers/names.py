"""What users call nodes and classes: names of nodes in memory, and of labels."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import GraphFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LARGEST = 2**63
_FLAGS = {"features": "--feature-columns", "labels": "--labels"}


def names_of_nodes(nodes: Sequence[Any]) -> np.ndarray | None:
    """Return the ids of nodes that are any objects, in their order.

    Whole numbers stay numbers, and text stays text. Anything else, tuples for instance,
    is written as ``str`` writes it, or as ``repr`` does where that tells nodes apart.

    Parameters
    ----------
    nodes
        Distinct objects [N].

    Returns
    -------
    numpy.ndarray or None
        int64 or str [N]; None where they are the numbers 0..N-1 in order.

    Raises
    ------
    GraphFormatError
        If two different nodes are written alike.
    """
    if all(_is_whole(node) for node in nodes):
        ids = np.array([int(node) for node in nodes], np.int64)
        return None if np.array_equal(ids, np.arange(len(ids))) else ids
    for written in (str, repr):
        words = [written(node) for node in nodes]
        if len(set(words)) == len(words):
            return np.array(words, np.str_)
    word, count = Counter(words).most_common(1)[0]
    raise GraphFormatError(
        f"{count} nodes are written {word}, expected nodes that differ: relabel them "
        "with networkx.convert_node_labels_to_integers(graph)"
    )


def _is_whole(node: Any) -> bool:
    """Return whether a node is a whole number that int64 can hold."""
    kinds = (int, np.integer)
    if not isinstance(node, kinds) or isinstance(node, bool | np.bool_):
        return False
    return bool(-_LARGEST <= node < _LARGEST)


def given_node_ids(node_ids: Any, num_nodes: int) -> np.ndarray | None:
    """Return the ids that a user gives for nodes 0..N-1.

    Raises
    ------
    GraphFormatError
        If there is not one of each, or one occurs twice.
    """
    if node_ids is None:
        return None
    nodes = node_ids.tolist() if hasattr(node_ids, "tolist") else list(node_ids)
    if len(nodes) != num_nodes:
        raise GraphFormatError(
            f"node_ids has {len(nodes)} ids for {num_nodes} nodes: give one per node, "
            "in the order of the nodes"
        )
    twice = [node for node, count in Counter(nodes).items() if count > 1]
    if twice:
        raise GraphFormatError(
            f"node_ids holds {twice[0]!r} twice: give each node an id of its own"
        )
    return names_of_nodes(nodes)


def refuse_column_names(given: Mapping[str, Any]) -> None:
    """Refuse names of columns where there is no table of nodes.

    Raises
    ------
    GraphFormatError
    """
    for option, value in given.items():
        listed = isinstance(value, list | tuple) and len(value) > 0
        if isinstance(value, str) or (
            option == "features" and listed and all(isinstance(n, str) for n in value)
        ):
            raise GraphFormatError(
                f"{option}={value!r} names a column of a table of nodes, and none is "
                "given",
                python=f"give nodes='nodes.csv' as well, or {option} as an array",
                shell=f"{_FLAGS.get(option, option)} needs --nodes FILE",
            )


def names_of_classes(values: Any, codes: np.ndarray) -> tuple[str, ...] | None:
    """Return the name of each class: what stood where a label has its number.

    Parameters
    ----------
    values
        Labels as they were given.
    codes
        The class number of each, int64 [N] with -1 for unknown.

    Returns
    -------
    tuple of str or None
        None where classes are called by their numbers, or a node has several labels.
    """
    if not isinstance(values, np.ndarray) or values.dtype.kind in "biuf":
        return None
    if values.ndim != 1 or np.ndim(codes) != 1:
        return None
    numbers, first = np.unique(codes, return_index=True)
    found = dict(zip(numbers.tolist(), (str(values[i]) for i in first), strict=True))
    names = tuple(found.get(c, str(c)) for c in range(max(found, default=-1) + 1))
    return None if names == tuple(map(str, range(len(names)))) else names


def numbered_beyond(
    names: tuple[str, ...] | None, num_classes: int
) -> tuple[str, ...] | None:
    """Return names of so many classes: those that no label names have their number."""
    if names is None:
        return None
    return (*names, *map(str, range(len(names), num_classes)))


def given_class_names(names: Any, num_classes: int) -> tuple[str, ...] | None:
    """Return the names of classes that a user gives.

    Raises
    ------
    GraphFormatError
        If there is not one of each class.
    """
    if names is None:
        return None
    words = tuple(str(name) for name in names)
    if len(words) != num_classes:
        raise GraphFormatError(
            f"class_names has {len(words)} names for {num_classes} classes: give one "
            "per class, in the order of their numbers"
        )
    return words
