"""Tables of nodes: ids, features, labels and splits as columns."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.inputfiles import find_files, plain_suffix, readable
from daskgnn.graph.memory.checks import SPLITS
from daskgnn.graph.memory.origin import Origin
from daskgnn.graph.readers.names import names_of_classes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pandas as pd

    from daskgnn.graph.edges.assemble import Spool
    from daskgnn.graph.edges.identify import WordIds
    from daskgnn.graph.readers.build import BuildOptions

_ID_NAMES = ("id", "node_id", "node", "nid")
LABEL_NAMES = ("label", "labels", "y", "class", "target")
_SPLIT_WORDS = {"train": "train", "val": "val", "valid": "val", "validation": "val"}
_SPLIT_WORDS["test"] = "test"
_BROKEN = (ValueError, OSError, EOFError, ArithmeticError)
"""What a file that is no table raises while it is read."""


@dataclass(eq=False)
class NodeTable:
    """The content of a table of N nodes, in its own order."""

    length: int
    """N."""
    ids: np.ndarray | None
    """int64 or str [N], the id of each node; None where row i is node i."""
    columns: dict[str, Any] = field(default_factory=dict)
    """``features``, ``labels`` and splits, those that there are."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes, where labels are words."""
    origin: Origin = field(default_factory=Origin)
    """Names of the columns and of the file, for messages."""

    def match(self, spool: Spool, words: WordIds | None) -> Spool:
        """Return edges whose ends are rows of this table.

        Raises
        ------
        GraphFormatError
            If an edge names a node that the table lacks.
        """
        import pandas as pd

        ids = np.empty(0, np.int64) if self.ids is None else self.ids
        spelled = None if words is None else words.words()
        if spelled is not None:
            ids = ids.astype(np.str_)
        index = pd.Index(ids)

        def rows(ends: np.ndarray) -> np.ndarray:
            shown = ends if spelled is None else spelled[ends]
            if ids.dtype.kind == "U":
                shown = shown.astype(np.str_)
            found = index.get_indexer(pd.Index(shown))
            if (found < 0).any():
                raise GraphFormatError(
                    f"an edge names node {shown[(found < 0).argmax()]!s}, which the "
                    f"table of nodes lacks: expected one row per node"
                )
            return np.asarray(found, np.int64)

        return spool.renumber(rows)


def read_nodes(options: BuildOptions) -> NodeTable:
    """Read the table of nodes that a reader was given.

    A column "id" (or node_id, node, nid) names the nodes; without one, row i is node i.
    A column "label" (labels, y, class, target) holds classes; "train", "val" and "test"
    hold true or false, or "split" one of these words. The other columns of numbers are
    features: single numbers, or lists of equal length. Options name other columns.

    Raises
    ------
    DatasetError
        If a file is missing or damaged.
    GraphFormatError
        If a column is missing, ids repeat, or values are of the wrong kind.
    """
    frame = _frame(options.nodes)
    if not len(frame):
        raise GraphFormatError("the table of nodes is empty, expected one row per node")
    frame.columns = [str(name) for name in frame.columns]
    left = list(frame.columns)

    def take(given: Any, names: tuple[str, ...]) -> Any:
        """Return a column, by the user's name or a usual one; arrays as they are."""
        if isinstance(given, str):
            names = (given,)
            _check_columns(frame, names)
        elif given is not None:
            return given
        name = next((name for name in names if name in left), None)
        if name is None:
            return None
        left.remove(name)
        return frame[name].to_numpy()

    ids = take(None, _ID_NAMES)
    found = NodeTable(len(frame), None if ids is None else _check_ids(ids))
    labels = take(options.labels, LABEL_NAMES)
    splits = {name: take(getattr(options, name), (name,)) for name in SPLITS}
    words = take(None, ("split",))
    if words is not None:
        splits |= {k: v for k, v in _split_masks(words).items() if splits[k] is None}
    splits = {name: _as_mask(value, name) for name, value in splits.items()}
    features = options.features
    listed = [features] if isinstance(features, str) else features
    if listed is None or (
        isinstance(listed, list | tuple)
        and len(listed) > 0
        and all(isinstance(name, str) for name in listed)
    ):
        features = _features(frame, listed, left)
    found.origin = _origin(frame, options, listed, left)
    codes = label_codes(labels)
    found.class_names = names_of_classes(labels, codes)
    named = {"features": features, "labels": codes, **splits}
    found.columns = {name: value for name, value in named.items() if value is not None}
    return found


def _origin(
    frame: pd.DataFrame, options: BuildOptions, listed: Any, left: list[str]
) -> Origin:
    """Return what messages call the table and its columns."""
    named = isinstance(listed, list | tuple) and all(isinstance(n, str) for n in listed)
    columns = list(listed) if named else [n for n in left if _holds(frame[n])]
    features: list[str] = []
    for name in columns if named or listed is None else ():
        first = frame[name].iloc[0]
        wide = isinstance(first, list | tuple | np.ndarray)
        features += [f"{name}[{i}]" for i in range(len(first))] if wide else [name]
    labels = options.labels
    if not isinstance(labels, str):
        usual = (n for n in LABEL_NAMES if labels is None and n in frame.columns)
        labels = next(usual, "")
    table = frame.attrs.get("file", "")
    if isinstance(options.nodes, str | os.PathLike):
        table = str(options.nodes)
    return Origin(table=table, features=tuple(features), labels=labels)


def _check_columns(frame: pd.DataFrame, names: Iterable[str]) -> None:
    """Raise `GraphFormatError` if a table lacks a column."""
    for name in names:
        if name not in frame.columns:
            raise GraphFormatError(
                f"the table of nodes has no column {name!r}, expected one of "
                f"{', '.join(frame.columns)}"
            )


def _frame(given: Any) -> pd.DataFrame:
    """Return a table as pandas has it."""
    import pandas as pd

    if isinstance(given, pd.DataFrame):
        return given.copy(deep=False)
    frames = [_read_frame(path) for path in find_files(given)]
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _read_frame(path: Path) -> pd.DataFrame:
    """Read one file of a table."""
    import pandas as pd

    expected = "expected Parquet or CSV"
    with readable(path, "cannot be read as a table", _BROKEN, expected):
        if plain_suffix(path) in (".parquet", ".pq"):
            # One thread: the file is small compared with the edges, and memory counts.
            return pd.read_parquet(path, engine="pyarrow", use_threads=False)
        separator = "\t" if plain_suffix(path) in (".tsv", ".tab") else ","
        return pd.read_csv(path, sep=separator, skipinitialspace=True)


def _check_ids(ids: np.ndarray) -> np.ndarray:
    """Return ids as int64 or str, each different."""
    import pandas as pd

    if pd.isna(ids).any():
        raise GraphFormatError("the table of nodes has a row without an id")
    if ids.dtype.kind not in "iu":
        ids = np.array([str(value) for value in ids], dtype=np.str_)
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < len(ids):
        raise GraphFormatError(
            f"the table of nodes has {counts.max()} rows with id "
            f"{values[counts.argmax()]}, expected one row per node"
        )
    return ids if ids.dtype.kind == "U" else ids.astype(np.int64)


def _features(frame: pd.DataFrame, given: Any, left: list[str]) -> np.ndarray | None:
    """Return float32 (N, F) of the columns that hold features, or None."""
    names = list(given) if given is not None else [n for n in left if _holds(frame[n])]
    _check_columns(frame, names)
    parts = [_matrix(frame[name], name) for name in names]
    return np.concatenate(parts, axis=1) if parts else None


def _holds(column: pd.Series) -> bool:
    """Tell whether a column holds numbers, or lists of them."""
    if column.dtype.kind in "biuf":
        return True
    return isinstance(column.iloc[0], list | tuple | np.ndarray)


def _matrix(column: pd.Series, name: str) -> np.ndarray:
    """Return float32 (N, n) of a column of numbers or lists."""
    try:
        if column.dtype.kind in "biuf":
            return column.to_numpy(np.float32).reshape(-1, 1)
        return np.stack([np.asarray(row, np.float32) for row in column]).reshape(
            len(column), -1
        )
    except (ValueError, TypeError):
        raise GraphFormatError(
            f"column {name!r} of the table of nodes holds no numbers or lists of equal "
            "length",
            python="name the columns of features by features=[...]",
            shell="name the columns of features by --feature-columns a,b",
        ) from None


def label_codes(labels: Any) -> Any:
    """Return labels as numbers; a column of lists becomes (N, C)."""
    if not isinstance(labels, np.ndarray) or labels.dtype.kind in "biuf":
        return labels
    if len(labels) and isinstance(labels[0], list | tuple | np.ndarray):
        try:
            return np.stack([np.asarray(row, np.float32) for row in labels])
        except (ValueError, TypeError):
            raise GraphFormatError(
                "labels of the table of nodes are lists of unequal length or no numbers"
            ) from None
    # Words are classes in alphabetical order.
    import pandas as pd

    words = pd.Series(labels, dtype=object).map(str, na_action="ignore")
    return pd.factorize(words, sort=True)[0].astype(np.int64)


def _split_masks(words: np.ndarray) -> dict[str, np.ndarray]:
    """Return masks of a column that names each node's split."""
    said = np.array([_SPLIT_WORDS.get(str(word).lower(), "") for word in words])
    found = {name: said == name for name in SPLITS}
    return {name: mask for name, mask in found.items() if mask.any()}


def _as_mask(value: Any, name: str) -> Any:
    """Return a column of 0 and 1 as true and false; what is no column as it is."""
    if not isinstance(value, np.ndarray) or value.dtype.kind == "b":
        return value
    if value.dtype.kind == "O" and all(isinstance(v, bool | np.bool_) for v in value):
        return value.astype(bool)
    if value.dtype.kind in "iuf" and np.isin(value, (0, 1)).all():
        return value.astype(bool)
    raise GraphFormatError(
        f"column {name!r} of the table of nodes holds {value[0]!r}, expected true or "
        "false"
    )
