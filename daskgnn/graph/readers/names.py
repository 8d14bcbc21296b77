"""What users call nodes and classes: names of nodes in memory, and of labels."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges import convert
from daskgnn.graph.edges.columns import as_column, first_missing, is_text
from daskgnn.graph.edges.convert import check_rows_are_counted
from daskgnn.graph.edges.identify import id_array
from daskgnn.graph.edges.meaning import whole
from daskgnn.graph.edges.packids import TEXT
from daskgnn.graph.memory.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FLAGS = {"features": "--feature-columns", "labels": "--labels"}


def names_of_nodes(nodes: Sequence[Any]) -> np.ndarray | None:
    """Return the ids of nodes that are any objects, in their order.

    Whole numbers stay numbers, and text stays text; bytes are UTF-8. Anything else,
    tuples for instance, is written as ``str`` writes it, or as ``repr`` does where that
    tells nodes apart.

    Parameters
    ----------
    nodes
        Distinct objects [N].

    Returns
    -------
    numpy.ndarray or None
        int64, or text of variable width, [N]; None where they are the numbers 0..N-1 in
        order.

    Raises
    ------
    GraphFormatError
        If two different nodes are written alike, or one is None, NaN or empty.
    """
    column = _as_ids(nodes)
    if column is not None and pa.types.is_int64(column.type):
        ids = np.asarray(column.to_numpy())
        return None if np.array_equal(ids, np.arange(len(ids))) else ids
    if column is not None and is_text(column) and _differ(column.to_pylist()):
        return id_array(column)
    for written in (str, repr):
        words = [written(node) for node in nodes]
        if _differ(words):
            return np.array(words, TEXT)
    word, count = Counter(words).most_common(1)[0]
    raise GraphFormatError(
        f"{count} nodes are written {word}, expected nodes that differ: relabel them "
        "with networkx.convert_node_labels_to_integers(graph)"
    )


def _as_ids(nodes: Sequence[Any]) -> pa.Array | None:
    """Return numbers and text as a column of ids, none of which is missing."""
    try:
        column = as_column(nodes, "node_ids")
    except GraphFormatError:  # tuples, for instance
        return None
    row = first_missing(column)
    if row is not None:
        raise GraphFormatError(
            f"node {row} is called {nodes[row]!r}, which is not an id: give each node "
            "an id of its own"
        )
    return whole(column, "node_ids")


def _differ(words: Sequence[str]) -> bool:
    """Return whether all words are different."""
    return len(set(words)) == len(words)


def given_node_ids(node_ids: Any, num_nodes: int) -> np.ndarray | None:
    """Return the ids that a user gives for nodes 0..N-1.

    Raises
    ------
    GraphFormatError
        If there is not one of each, or one occurs twice.
    """
    if node_ids is None:
        return None
    check_rows_are_counted(node_ids, "node_ids")
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


def named_labels(
    labels: Any,
    num_classes: int | None,
    class_names: Any,
    node_ids: np.ndarray | None = None,
) -> tuple[np.ndarray | None, int, tuple[str, ...] | None]:
    """Return labels as class numbers, how many classes there are, and their names.

    Class i is ``class_names[i]``, where a user gives them; labels that are words are
    found among them. Otherwise the words of labels are the classes, in alphabetical
    order, and classes that no label names are called by their numbers; so are all,
    where labels are numbers: None.

    Parameters
    ----------
    node_ids
        What messages call the nodes.

    Raises
    ------
    GraphFormatError
        If a label is none of the names, or there is not one name of each class.
    """
    found = None if labels is None else convert.label_classes(labels)
    numbers, words = (found.labels, found.names) if found else (None, None)
    names = given_class_names(class_names)
    if numbers is not None and words is not None and names is not None:
        numbers = _by_name(numbers, words, names, Origin(node_ids))
    count = convert.count_classes(numbers, num_classes)
    single = numbers is not None and numbers.ndim == 1
    if names is not None and num_classes is None and single:
        count = max(count, len(names))  # no node may have the last ones
    if names is not None and len(names) != count:
        raise GraphFormatError(
            f"class_names has {len(names)} names for {count} classes: give one "
            "per class, in the order of their numbers"
        )
    if names is None and words is not None:
        names = (*words, *map(str, range(len(words), count)))
    return numbers, count, names


def _by_name(
    labels: np.ndarray, words: tuple[str, ...], names: tuple[str, ...], origin: Origin
) -> np.ndarray:
    """Return labels, numbers of words, as numbers of the names that a user gives."""
    place = {name: number for number, name in enumerate(names)}
    for number, word in enumerate(words):
        if word not in place:
            node = origin.node(int((labels == number).argmax()))
            raise GraphFormatError(
                f"the label of {node} is {word!r}, expected one of class_names "
                f"({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}): add it "
                "there, or leave class_names out"
            )
    return np.array([*(place[word] for word in words), -1], np.int64)[labels]


def given_class_names(names: Any) -> tuple[str, ...] | None:
    """Return the names of classes that a user gives, class i's at place i.

    Parameters
    ----------
    names
        A sequence, or a dictionary of names by class number.

    Raises
    ------
    GraphFormatError
        If it is neither.
    """
    if names is None:
        return None
    if isinstance(names, dict):
        if {*names} != {*range(len(names))}:
            raise GraphFormatError(
                f"class_names has the keys {', '.join(map(repr, list(names)[:5]))}, "
                f"expected the class numbers 0..{len(names) - 1}: pass a list of names"
            )
        names = [names[number] for number in range(len(names))]
    check_rows_are_counted(names, "class_names")
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise GraphFormatError(
            f"class_names is {names!r}, expected one name per class: pass a list"
        )
    return tuple(str(name) for name in names)
