"""Tables of nodes: ids, features, labels and splits as columns."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.columns import (
    first_missing,
    is_list,
    is_numeric,
    is_text,
    list_rows,
    value_at,
)
from daskgnn.graph.edges.meaning import (
    number_words,
    read_classes,
    read_mask,
    read_text,
)
from daskgnn.graph.edges.rounding import to_float32
from daskgnn.graph.memory.checks import SPLITS
from daskgnn.graph.readers.tables import Table, read_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daskgnn.graph.readers.build import BuildOptions

_ID_NAMES = ("id", "node_id", "node", "nid")
LABEL_NAMES = ("label", "labels", "y", "class", "target")
_SPLIT_WORDS = {
    **{name: name for name in SPLITS},
    **dict.fromkeys(("valid", "validation", "dev"), "val"),
}
_WHERE = "the table of nodes"


@dataclass(eq=False)
class NodeTable:
    """The content of a table of N nodes, in its own order."""

    length: int
    """N."""
    ids: pa.Array | None
    """The id of each node [N], whole numbers or text; None where row i is node i."""
    source: Table
    """What it was read from."""
    columns: dict[str, Any] = field(default_factory=dict)
    """``features``, ``labels`` and splits, those that there are."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes, where labels are words."""
    rounded: int = 0
    """Features that lost digits as float32."""


def read_nodes(options: BuildOptions) -> NodeTable:
    """Read the table of nodes that a reader was given.

    A column "id" (or node_id, node, nid) names the nodes, or pandas' index does;
    without one, row i is node i. A column "label" (labels, y, class, target) holds
    classes; "train", "val" and "test" hold true or false, or "split" one of these
    words. The other columns of numbers are features: single numbers, or lists of equal
    length. Options name other columns. What is not used is named in a warning.

    Raises
    ------
    DatasetError
        If a file is missing or damaged.
    GraphFormatError
        If a column is missing, ids are missing, values are of the wrong kind, or there
        is nothing that could be used.
    """
    columns = _Columns(options)
    table = columns.table
    if not table.length:
        raise GraphFormatError("the table of nodes is empty, expected one row per node")
    found = NodeTable(table.length, columns.take_ids(), table)
    labels = columns.take(options.labels, LABEL_NAMES)
    splits = {name: columns.take(getattr(options, name), (name,)) for name in SPLITS}
    words = columns.take(None, ("split",))
    masks = {
        name: read_mask(value, name, _WHERE) if isinstance(value, pa.Array) else value
        for name, value in splits.items()
    }
    if words is not None:
        for name, mask in _split_masks(words, table).items():
            masks[name] = mask if masks[name] is None else masks[name]
    if isinstance(labels, pa.Array):
        classes = read_classes(labels, "labels of the table of nodes")
        labels, found.class_names = classes.labels, classes.names
    features = options.features
    asked = column_names(features)
    if features is None or asked:
        features, found.rounded = columns.features(asked)
    named = {"features": features, "labels": labels, **masks}
    found.columns = {name: value for name, value in named.items() if value is not None}
    if found.ids is None and not found.columns:
        raise GraphFormatError(
            f"{_WHERE} has no id, label or feature, only "
            f"{', '.join(table.columns) or 'no columns'}: name its columns like "
            "id,x,label, or say labels=... and features=[...]"
        )
    return found


def column_names(features: Any) -> list[str]:
    """Return the names of columns that are asked for as features."""
    listed = [features] if isinstance(features, str) else features
    if isinstance(listed, list | tuple) and all(isinstance(n, str) for n in listed):
        return list(listed)
    return []


class _Columns:
    """The columns of a table, those that nobody has taken yet apart."""

    def __init__(self, options: BuildOptions) -> None:
        given = [options.labels, *(getattr(options, name) for name in SPLITS)]
        self.asked = {name for name in given if isinstance(name, str)}
        self.asked |= set(column_names(options.features))
        usual = {*_ID_NAMES, *LABEL_NAMES, "split", ""}
        self.table = read_table(options.nodes, usual | self.asked)
        self.left = list(self.table.columns)

    def check(self, names: Iterable[str]) -> None:
        """Raise `GraphFormatError` if the table lacks a column."""
        for name in names:
            if name not in self.table.columns:
                raise GraphFormatError(
                    f"the table of nodes has no column {name!r}, expected one of "
                    f"{', '.join(self.table.columns)}"
                )

    def take(self, given: Any, names: tuple[str, ...]) -> Any:
        """Return a column, by the user's name or a usual one; arrays as they are."""
        if isinstance(given, str):
            names = (given,)
            self.check(names)
        elif given is not None:
            return given
        name = next((name for name in names if name in self.left), None)
        if name is None:
            return None
        self.left.remove(name)
        return self.table.columns[name]

    def take_ids(self) -> pa.Array | None:
        """Return the column that names the nodes, or pandas' index."""
        names = [name for name in _ID_NAMES if name not in self.asked]
        found = self.take(None, tuple(names))
        if found is not None:
            return found
        if self.table.index is not None:
            return self.table.index
        usual = {*LABEL_NAMES, *SPLITS, "split"} | self.asked
        index = [name for name in self.table.index_names if name not in usual]
        if len(index) > 1:
            raise GraphFormatError(
                f"the table of nodes has {' and '.join(index)} as its index, expected "
                "one of them to name the nodes: call it 'id'"
            )
        return self.take(None, tuple(index))

    def features(self, asked: list[str]) -> tuple[np.ndarray | None, int]:
        """Return float32 [N, F] of the columns that hold features, or None.

        The second number is how many of them lost digits. What is not used although
        nobody chose so is named in a warning.
        """
        self.check(asked)
        reasons = {}
        if not asked:
            reasons = {name: self._reason(name) for name in self.left}
        names = asked or [name for name, reason in reasons.items() if reason is None]
        unused = [f"{name} ({why})" for name, why in reasons.items() if why is not None]
        if unused:
            warnings.warn(
                f"{_WHERE} has columns that are not used: {', '.join(unused)}",
                stacklevel=2,
            )
        parts, lost = [], 0
        for name in names:
            rows, rounded = to_float32(self._rows(name))
            parts.append(rows)
            lost += rounded
        return (np.concatenate(parts, axis=1) if parts else None), lost

    def _reason(self, name: str) -> str | None:
        """Return why a column is no feature, or None if it is one."""
        column = self.table.columns[name]
        if name in self.table.index_names:
            return "pandas' index"
        if is_numeric(column):
            return None
        if is_list(column):
            inner = column.type.value_type
            good = pa.types.is_integer(inner) or pa.types.is_floating(inner)
            nested = pa.types.is_nested(inner) or pa.types.is_decimal(inner)
            return None if good or nested else f"lists of {inner}"
        if not is_text(column):
            empty = pa.types.is_null(column.type)
            return "nothing in it" if empty else f"values of type {column.type}"
        if self.table.spelled and not is_text(read_text(column, names=False)):
            return None
        numbers, absent = number_words(column)
        if numbers.any():
            row = int((~(numbers | absent)).argmax())
            if (numbers | absent).all():
                number = value_at(column, int(numbers.argmax()))
                return f"text, though numbers like {number}"
            return f"{value_at(column, row)} in row {row} among numbers"
        return "words"

    def _rows(self, name: str) -> np.ndarray:
        """Return the numbers [N, n] of a column of numbers or lists."""
        column, what = self.table.columns[name], f"column {name!r} of {_WHERE}"
        if is_text(column):
            column = read_text(column, names=False)
        if is_list(column):
            return list_rows(column, what)
        if not is_numeric(column):
            raise GraphFormatError(
                f"{what} holds no numbers or lists of equal length: name the columns "
                "of features by features=[...]"
            )
        row = first_missing(column)
        if row is not None:
            raise GraphFormatError(
                f"{what} has no value in row {row}, expected a number in each: fill "
                "it, or name the columns of features by features=[...]"
            )
        return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(-1, 1)


def _split_masks(column: pa.Array, table: Table) -> dict[str, np.ndarray]:
    """Return masks of a column that names each node's split.

    Raises
    ------
    GraphFormatError
        For a word that names none; an empty one is in no split.
    """
    words = pc.utf8_lower(pc.fill_null(column.cast(pa.large_string()), ""))
    codes = words.dictionary_encode()
    known = codes.dictionary.to_pylist()
    for number, word in enumerate(known):
        if word and word not in _SPLIT_WORDS:
            row = pc.index(codes.indices, number).as_py()
            raise GraphFormatError(
                f"{table.place(row)}: split is {value_at(column, row)}, expected one "
                f"of {', '.join(_SPLIT_WORDS)}, or nothing"
            )
    said = np.array([_SPLIT_WORDS.get(word, "") for word in known])
    names = said[codes.indices.to_numpy(zero_copy_only=False)]
    found = {name: names == name for name in SPLITS}
    return {name: mask for name, mask in found.items() if mask.any()}
