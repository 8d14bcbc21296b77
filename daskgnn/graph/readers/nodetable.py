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
    is_list,
    is_numeric,
    is_text,
    list_rows,
    no_numbers,
    trimmed,
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
from daskgnn.graph.memory.origin import Origin
from daskgnn.graph.readers.spellings import mask_names
from daskgnn.graph.readers.tables import Table, read_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daskgnn.graph.readers.build import BuildOptions

_ID_NAMES = ("id", "node_id", "node", "nid")
LABEL_NAMES = ("label", "labels", "y", "class", "target")
_USUAL = "name its columns like id,x,label"
_SPLIT_WORDS = {
    **{name: name for name in SPLITS},
    **dict.fromkeys(("valid", "validation", "dev"), "val"),
}


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
    rounded: int = 0
    """Features that lost digits as float32."""
    unused: int = 0
    """Columns that were named in a warning."""
    origin: Origin = field(default_factory=Origin)
    """Names of the columns and of the file, for messages."""


def read_nodes(options: BuildOptions) -> NodeTable:
    """Read the table of nodes that a reader was given.

    A column "id" (or node_id, node, nid) names the nodes, or pandas' index does;
    without one, row i is node i. A column "label" (labels, y, class, target) holds
    classes; "train", "val" and "test" (or train_mask, valid, ...) hold true or false,
    or "split" one of these words; capitals do not matter. The other columns of numbers
    are features: single numbers, or lists of equal length. Options name other columns.
    What is not used is named in a warning.

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
        raise GraphFormatError(f"{table.name} is empty, expected one row per node")
    found = NodeTable(table.length, columns.take_ids(), table)
    label = columns.find(options.labels, LABEL_NAMES)
    labels = options.labels
    if label is not None:
        what = f"labels (column {label!r} of {table.name})"
        labels = read_classes(table.columns[label], what)
    named = {"labels": labels, **_splits(columns, options)}
    parts: tuple[str, ...] = ()
    named["features"] = options.features
    asked = column_names(options.features)
    if options.features is None or asked:
        names = columns.features(asked)
        named["features"], parts, found.rounded = _matrix(table, names)
        found.unused = columns.unused
    found.columns = {name: value for name, value in named.items() if value is not None}
    found.origin = Origin(table=table.file, features=parts, labels=label or "")
    if found.ids is None and not found.columns:
        raise GraphFormatError(
            f"{table.name} has no id, label or feature, only "
            f"{', '.join(table.columns) or 'no columns'}",
            python=f"{_USUAL}, or say labels=... and features=[...]",
            shell=f"{_USUAL}, or say --labels a and --feature-columns b,c",
        )
    return found


def _splits(columns: _Columns, options: BuildOptions) -> dict[str, Any]:
    """Return the splits by name, masks where they are columns; None where none is."""
    table = columns.table
    found = {n: columns.take(getattr(options, n), mask_names(n)) for n in SPLITS}
    for name, value in found.items():
        if isinstance(value, pa.Array):
            found[name] = read_mask(value, name, table.place)
    words = columns.take(None, ("split",))
    for name, mask in ({} if words is None else _split_masks(words, table)).items():
        found[name] = mask if found[name] is None else found[name]
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
        self.unused = 0
        self._others: dict[str, str] = {}

    def check(self, names: Iterable[str]) -> None:
        """Raise `GraphFormatError` if the table lacks a column."""
        for name in names:
            if name not in self.table.columns:
                raise GraphFormatError(
                    f"{self.table.name} has no column {name!r}, expected one of "
                    f"{', '.join(self.table.columns)}"
                )

    def find(self, given: Any, names: tuple[str, ...]) -> str | None:
        """Return the name of a column: the user's, or a usual one that is left.

        None where the user gives something else, or there is none. Columns of the
        other usual names are no features: what they hold is known from elsewhere.
        """
        usual = self._usual(names)
        found = usual[0] if usual and given is None else None
        if isinstance(given, str):
            self.check([given])
            found = given
        instead = "an array" if found is None else f"column {found!r}"
        self._others |= dict.fromkeys(usual, f"{instead} is taken instead")
        self.left = [name for name in self.left if name != found]
        return found

    def _usual(self, names: tuple[str, ...]) -> list[str]:
        """Return the columns of usual names, then those in other capitals."""
        free = [name for name in self.left if name not in self.asked]
        exact = [name for name in names if name in free]
        lower = [name.lower() for name in names]
        others = [n for n in free if n not in exact and n.lower() in lower]
        return exact + sorted(others, key=lambda name: lower.index(name.lower()))

    def take(self, given: Any, names: tuple[str, ...]) -> Any:
        """Return the column that `find` names; what else the user gives as it is."""
        name = self.find(given, names)
        return given if name is None else self.table.columns[name]

    def take_ids(self) -> pa.Array | None:
        """Return the column that names the nodes, or pandas' index."""
        found = self.take(None, _ID_NAMES)
        if found is not None:
            return found
        if self.table.index is not None:
            return self.table.index
        usual = {*LABEL_NAMES, *SPLITS, "split"} | self.asked
        index = [name for name in self.table.index_names if name not in usual]
        if len(index) > 1:
            raise GraphFormatError(
                f"{self.table.name} has {' and '.join(index)} as its index, expected "
                "one of them to name the nodes: call it 'id'"
            )
        return self.take(None, tuple(index))

    def features(self, asked: list[str]) -> list[str]:
        """Return the names of the columns that hold features.

        Those that are not used although nobody chose so are named in a warning.
        """
        if asked:
            self.check(asked)
            return asked
        reasons = {n: self._others.get(n) or self._reason(n) for n in self.left}
        unused = [f"{name} ({why})" for name, why in reasons.items() if why is not None]
        self.unused = len(unused)
        if unused:
            warnings.warn(
                f"{self.table.name} has columns that are not used: {', '.join(unused)}",
                stacklevel=2,
            )
        return [name for name, reason in reasons.items() if reason is None]

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


def _matrix(
    table: Table, names: list[str]
) -> tuple[np.ndarray | None, tuple[str, ...], int]:
    """Return float32 [N, F] of columns, or None if there are none.

    Then what messages call each feature, and how many numbers lost digits.
    """
    parts, called, lost = [], [], 0
    for name in names:
        column = table.columns[name]
        rows, rounded = to_float32(_rows(column, name, table))
        parts.append(rows)
        lost += rounded
        wide = is_list(column)
        called += [f"{name}[{i}]" for i in range(rows.shape[1])] if wide else [name]
    return (np.concatenate(parts, axis=1) if parts else None), tuple(called), lost


def _rows(column: pa.Array, name: str, table: Table) -> np.ndarray:
    """Return the numbers [N, n] of a column of numbers or lists, NaN for a gap."""
    what = f"column {name!r} of {table.name}"
    if is_text(column):
        column = read_text(column, names=False)
    if is_list(column):
        return list_rows(column, what)
    if not is_numeric(column):
        raise no_numbers(what)
    return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(-1, 1)


def _split_masks(column: pa.Array, table: Table) -> dict[str, np.ndarray]:
    """Return masks of a column that names each node's split.

    Raises
    ------
    GraphFormatError
        For a word that names none; an empty one is in no split.
    """
    said = pc.fill_null(trimmed(column.cast(pa.large_string())), "")
    words = pc.utf8_lower(said)
    codes = words.dictionary_encode()
    known = codes.dictionary.to_pylist()
    for number, word in enumerate(known):
        if word and word not in _SPLIT_WORDS:
            row = pc.index(codes.indices, number).as_py()
            raise GraphFormatError(
                f"{table.place(row)}: split is {value_at(column, row)}, expected one "
                f"of {', '.join(_SPLIT_WORDS)}, or nothing"
            )
    meant = np.array([_SPLIT_WORDS.get(word, "") for word in known])
    names = meant[codes.indices.to_numpy(zero_copy_only=False)]
    found = {name: names == name for name in SPLITS}
    return {name: mask for name, mask in found.items() if mask.any()}
