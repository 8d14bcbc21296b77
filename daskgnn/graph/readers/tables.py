"""Tables as Arrow columns: of Parquet and text files, and of pandas DataFrames.

An index of pandas is no position: it is kept beside the columns.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.columns import as_column, only_counts, trimmed, value_at
from daskgnn.graph.edges.inputfiles import (
    find_files,
    plain_suffix,
    read_bytes,
    readable,
)
from daskgnn.graph.edges.meaning import MISSING, read_text
from daskgnn.graph.readers.lines import (
    TEXT,
    find_layout,
    is_number,
    tidy,
    without_header,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import pandas as pd

LEVEL = "__index_level_"
"""What pandas calls an index without a name in Parquet."""
_UNREADABLE = (
    "cannot be read as a table",
    (pa.ArrowException, ValueError, OSError),
    "expected Parquet or CSV",
)
"""What is said of a file that is none, and what reading it raises then."""


@dataclass(eq=False)
class Table:
    """Columns of one length, by name."""

    columns: dict[str, pa.Array]
    length: int
    """N."""
    index: pa.Array | None = None
    """pandas' index [N] without a name, unless it is 0..N-1."""
    index_names: tuple[str, ...] = ()
    """The columns that pandas holds as its index."""
    spelled: bool = False
    """Whether fields are text, so that numbers and words look alike."""
    file: str = ""
    """The file, pattern or folder that it was read from, if there is one."""
    has_lines: bool = False
    """Whether row i is line i + 2 of the file."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.file or "the table of nodes"

    def place(self, row: int) -> str:
        """Return how a message names a row."""
        if self.index is not None:
            return f"{self.name}, node {value_at(self.index, row)}"
        return f"{self.name}, {f'line {row + 2}' if self.has_lines else f'row {row}'}"


def read_table(given: Any, texts: Collection[str]) -> Table:
    """Read files, or take a DataFrame.

    Parameters
    ----------
    texts
        Columns that are kept as text where fields are text, in any capitals.

    Raises
    ------
    DatasetError
        If a file is missing or damaged.
    GraphFormatError
        If there is an index that cannot be one column.
    """
    import pandas as pd

    if isinstance(given, pd.DataFrame):
        return _from_frame(given)
    tables = []
    for path in find_files(given):
        parquet = plain_suffix(path) in (".parquet", ".pq")
        tables.append(_from_parquet(path) if parquet else _from_text(path, texts))
    found = tables[0] if len(tables) == 1 else _joined(tables)
    if isinstance(given, str | os.PathLike):
        found.file = os.fspath(given)
    return _without_plain_index(found)


def _from_frame(frame: pd.DataFrame) -> Table:
    """Return a DataFrame's columns, first those of its index that have names."""
    import pandas as pd

    levels = [frame.index.get_level_values(i) for i in range(frame.index.nlevels)]
    kept = {str(level.name): level for level in levels if level.name is not None}
    if len(levels) > 1 and len(kept) < len(levels):
        raise GraphFormatError(
            f"the table of nodes has an index of {len(levels)} levels, expected "
            "columns: pass nodes.reset_index()"
        )
    plain = [frame.iloc[:, i] for i in range(frame.shape[1])]
    names = [str(name) for name in frame.columns]
    # A RangeIndex costs nothing, and is checked without its numbers.
    default = not kept and names and frame.index.equals(pd.RangeIndex(len(frame)))
    found = Table(
        {n: _column(level, n) for n, level in kept.items() if n not in names}
        | dict(zip(_distinct(names), map(_column, plain, names), strict=True)),
        len(frame),
        None if kept or default else _column(frame.index, "index"),
        tuple(name for name in kept if name not in names),
        file=frame.attrs.get("file", ""),
    )
    return _without_plain_index(found)


def _column(values: Any, name: str) -> pa.Array:
    """Return a column; bytes that are no text stay what they are."""
    try:
        return as_column(values, name)
    except GraphFormatError:
        values = values if isinstance(values, pa.ChunkedArray) else pa.array(values)
        return values.combine_chunks() if hasattr(values, "combine_chunks") else values


def _distinct(names: list[str]) -> list[str]:
    """Return names without repeats, as pandas does: x, x.1."""
    found: dict[str, None] = {}
    for name in names:
        fresh, count = name, 0
        while fresh in found:
            count += 1
            fresh = f"{name}.{count}"
        found[fresh] = None
    return list(found)


def _from_parquet(path: Path) -> Table:
    """Read a Parquet file; pandas' notes in it say which columns were its index."""
    with readable(path, *_UNREADABLE):
        # One thread: the file is small compared with the edges, and memory counts.
        table = pq.read_table(path, use_threads=False)
    names = [str(name) for name in table.column_names]
    found = [_column(c, n) for c, n in zip(table.columns, names, strict=True)]
    columns = dict(zip(_distinct(names), found, strict=True))
    index, index_names = None, []
    for name, counted in index_of(table.schema).items():
        if counted is None:
            found_index = columns.pop(str(name))
        else:
            found_index = pa.array(np.arange(*spread(counted)), pa.int64())
        if name is None or name.startswith(LEVEL):
            index = found_index
        else:
            columns = {name: found_index} | columns
            index_names.append(name)
    return Table(columns, table.num_rows, index, tuple(index_names))


def index_of(schema: pa.Schema) -> dict[str | None, range | None]:
    """Return the columns that pandas holds as its index, by pandas' notes in Parquet.

    An index that is only counted is no column of the file, but a range.
    """
    notes = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    found: dict[str | None, range | None] = {}
    for about in notes.get("index_columns", ()):
        if isinstance(about, str) and about in schema.names:
            found[about] = None
        elif isinstance(about, dict) and about.get("kind") == "range":
            numbers = range(about["start"], about["stop"], about["step"])
            found[about.get("name")] = numbers
    return found


def spread(numbers: range) -> tuple[int, int, int]:
    """Return the start, stop and step of a range."""
    return numbers.start, numbers.stop, numbers.step


def _from_text(path: Path, texts: Collection[str]) -> Table:
    """Read a file of lines with fields; the first one names them."""
    data = read_bytes(path)
    if not data.strip():
        raise GraphFormatError(f"{path} is empty, expected a line of names and a node")
    layout = find_layout(data, None, True, path)
    names = _distinct(list(layout.columns))
    _refuse_data(path, names)
    kept = [name for name in names if name in texts or name.lower() in texts]
    block = tidy(without_header(data), layout.delimiter)
    if not block.strip():
        return Table(dict.fromkeys(names, pa.array([], TEXT)), 0)
    with readable(path, *_UNREADABLE):
        table = csv.read_csv(
            pa.BufferReader(block),
            csv.ReadOptions(
                column_names=names, block_size=len(block) + 1, use_threads=False
            ),
            csv.ParseOptions(
                delimiter=layout.delimiter, quote_char='"', newlines_in_values=True
            ),
            csv.ConvertOptions(
                column_types=dict.fromkeys(kept, TEXT),
                null_values=["", *MISSING],
                strings_can_be_null=False,
            ),
        )
    found = {n: trimmed(_column(table.column(i), n)) for i, n in enumerate(names)}
    index = None
    if names[0] == "":  # pandas' index
        index = read_text(found.pop(""))
    return Table(
        found, table.num_rows, index, spelled=True, file=str(path), has_lines=True
    )


def _refuse_data(path: Path, names: list[str]) -> None:
    """Raise `GraphFormatError` where a first line holds values, not names.

    Columns may be numbered, which is how pandas writes a matrix.
    """
    numbers = [name for name in names if is_number(name)]
    values = [float(name) for name in numbers]
    rising = values == sorted(set(values)) and all(n.isdecimal() for n in numbers)
    if not rising:
        raise GraphFormatError(
            f"{path} begins with {', '.join(names[:4])}, expected names of columns in "
            "the first line, like id,x,label"
        )


def _joined(tables: list[Table]) -> Table:
    """Return the rows of all tables; what a file lacks is missing there."""
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    columns = {}
    for name in names:
        parts = [table.columns.get(name, pa.nulls(table.length)) for table in tables]
        columns[name] = _concatenated(parts, name)
    first = tables[0]
    length = sum(table.length for table in tables)
    index = None
    if any(table.index is not None for table in tables):
        parts = [
            pa.array(np.arange(t.length)) if t.index is None else t.index
            for t in tables
        ]
        index = _concatenated(parts, "index")
    spelled = any(table.spelled for table in tables)
    return Table(columns, length, index, first.index_names, spelled)


def _concatenated(parts: list[pa.Array], name: str) -> pa.Array:
    """Return columns of several files as one."""
    kinds = {part.type for part in parts if not pa.types.is_null(part.type)}
    if len(kinds) > 1:
        return as_column([v for part in parts for v in part.to_pylist()], name)
    kind = next(iter(kinds), pa.null())
    return pa.concat_arrays([part.cast(kind) for part in parts])


def _without_plain_index(table: Table) -> Table:
    """Return a table whose index is left out where it only counts the rows.

    Of a table that is nothing else, it names the nodes.
    """
    index = table.index
    if index is None or not table.columns:
        return table
    if only_counts(index.to_numpy(zero_copy_only=False)):
        table.index = None
    return table
