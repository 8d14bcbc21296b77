"""Edge lists as text: one edge a line, separated by commas, tabs, semicolons or spaces.

Lines that begin with # or % are comments, as in the files of SNAP and KONECT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import csv

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.assemble import Spool, limit_bytes
from daskgnn.graph.edges.identify import WordIds
from daskgnn.graph.edges.inputfiles import count_lines, find_files, line_blocks, tidy
from daskgnn.graph.readers.build import (
    BuildOptions,
    build_graph,
    progress_bar,
    take_options,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from daskgnn.graph.memory.data import GraphData

_KNOWN = frozenset(
    [
        "source",
        "target",
        "src",
        "dst",
        "destination",
        "from",
        "to",
        "node1",
        "node2",
        "node_1",
        "node_2",
        "fromnodeid",
        "tonodeid",
        "id1",
        "id2",
        "id_1",
        "id_2",
        "u",
        "v",
        "i",
        "j",
        "head",
        "tail",
    ]
)
_BLOCK_SHARE = 32
"""Of the memory limit, for a block of text: its columns take some times as much."""


class _NotNumbers(Exception):
    """Ids that were read as whole numbers are not numbers."""


@dataclass(frozen=True)
class Layout:
    """The format of a file's lines."""

    delimiter: str
    """One character; a space stands for any run of spaces and tabs."""
    columns: tuple[str, ...]
    """Their names: of the header, or "0", "1", ..."""
    header: bool
    """Whether the first line names the columns."""


def read_edge_list(
    path: Any,
    *,
    source: str | int = 0,
    destination: str | int = 1,
    weight: str | int | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
    **options: Any,
) -> GraphData:
    """Read edges from text files: CSV, TSV or columns with spaces between them.

    Files may be compressed (``.gz``, ``.bz2``, ``.xz``); they are read a block at a
    time. Lines that begin with # or % are left out. Further columns are left out too.

    Parameters
    ----------
    path
        A file, a pattern like "edges-*.csv.gz", or a list of them.
    source, destination, weight
        Columns by name, where there is a header, or by number from 0.
    delimiter
        "," or another single character; " " for spaces and tabs; found out from the
        first line if not given.
    header
        Whether the first line of each file names the columns; if not given, whether it
        holds no numbers where the second does, or names known for it.
    options
        ``directed``, ``self_loops``, ``ids``, ``num_nodes``, ``nodes``, ``features``,
        ``labels``, ``num_classes``, ``train``, ``val``, ``test``, ``name``, ``metric``,
        ``memory_limit``, ``progress``: see `daskgnn.graph.readers.build.BuildOptions`.

    Returns
    -------
    GraphData
        The checked graph; ``report`` counts what was merged, dropped and added.

    Raises
    ------
    DatasetError
        If a file is missing or damaged.
    GraphFormatError
        If a line does not fit, or as for ``from_edge_index``.
    """
    files = find_files(path)
    build = take_options(options, files[0].name.partition(".")[0])
    places = (source, destination, weight)
    try:
        spool, words = _read(files, places, delimiter, header, build, numbers=True)
    except _NotNumbers:
        spool, words = _read(files, places, delimiter, header, build, numbers=False)
    return build_graph(spool, build, words)


def _read(
    files: list[Path],
    places: tuple[str | int, str | int, str | int | None],
    delimiter: str | None,
    header: bool | None,
    build: BuildOptions,
    *,
    numbers: bool,
) -> tuple[Spool, WordIds | None]:
    """Read all files; `numbers` says whether ids are whole numbers or words."""
    limit = limit_bytes(build.memory_limit)
    spool = Spool(limit // 2, weighted=places[2] is not None)
    words = None if numbers else WordIds()
    with progress_bar(files, build.progress) as bar:
        for path in files:
            for columns in _columns(
                path, places, delimiter, header, limit // _BLOCK_SHARE, numbers, bar
            ):
                ends = columns[:2]
                if words is not None:
                    ends = [words.number(_checked(ids, path)) for ids in ends]
                spool.append(*ends, *columns[2:])
    return spool, words


def _checked(words: np.ndarray, path: Path) -> np.ndarray:
    """Return words, none of them empty."""
    if (words == "").any():
        raise GraphFormatError(f"{path}: an edge has an empty id, expected two ids")
    return words


def _columns(
    path: Path,
    places: tuple[str | int, str | int, str | int | None],
    delimiter: str | None,
    header: bool | None,
    size: int,
    numbers: bool,
    bar: Any,
) -> Iterator[list[np.ndarray]]:
    """Yield the columns that are asked for, a block of lines at a time."""
    layout = None
    for block in line_blocks(path, max(size, 1 << 12), bar):
        if layout is None:
            layout = find_layout(block, delimiter, header)
            wanted = [
                _find(layout, place, path) for place in places if place is not None
            ]
            if layout.header:
                block = block.lstrip(b"\n \t").partition(b"\n")[2]
        if block.strip():
            yield _parse(block, layout, wanted, path, numbers)


def find_layout(block: bytes, delimiter: str | None, header: bool | None) -> Layout:
    """Find out how lines look from the first two.

    Raises
    ------
    GraphFormatError
        If the delimiter is not one character.
    """
    lines = [line.strip() for line in block.lstrip().split(b"\n", 8) if line.strip()]
    first = lines[0].decode("utf-8", "replace")
    second = lines[1].decode("utf-8", "replace") if len(lines) > 1 else ""
    if delimiter is None:
        # Tabs next to spaces are white space, too; commas and semicolons separate.
        delimiter = next((sign for sign in ",;" if sign in first), " ")
    if delimiter == "\t":
        delimiter = " " if " " not in first else "\t"
    if len(delimiter) != 1:
        raise GraphFormatError(
            f"delimiter is {delimiter!r}, expected one character: pass delimiter=','"
        )
    names = _fields(first, delimiter)
    if header is None:
        header = _is_header(names, _fields(second, delimiter))
    columns = names if header else [str(i) for i in range(len(names))]
    return Layout(delimiter, tuple(columns), header)


def _fields(line: str, delimiter: str) -> list[str]:
    """Return the fields of a line, without quotes."""
    fields = line.split() if delimiter == " " else line.split(delimiter)
    return [field.strip().strip('"') for field in fields]


def _is_header(first: list[str], second: list[str]) -> bool:
    """Tell whether a first line names columns."""
    if any(_is_number(word) for word in first):
        return False
    known = sum(word.lower().replace(" ", "") in _KNOWN for word in first)
    return known >= 2 or any(_is_number(word) for word in second)


def _is_number(word: str) -> bool:
    """Tell whether a word is a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _find(layout: Layout, place: str | int, path: Path) -> int:
    """Return the number of a column."""
    if isinstance(place, int) and not isinstance(place, bool):
        if 0 <= place < len(layout.columns):
            return place
    elif layout.header and place in layout.columns:
        return layout.columns.index(str(place))
    raise GraphFormatError(
        f"{path} has no column {place!r}, expected one of "
        f"{', '.join(layout.columns) or 'none'}: name others by source= and "
        "destination="
    )


def _parse(
    block: bytes, layout: Layout, wanted: list[int], path: Path, numbers: bool
) -> list[np.ndarray]:
    """Return ids as int64 or words, and weights as float32, of a block of lines."""
    delimiter = layout.delimiter
    if delimiter == " ":
        block = tidy(block)
    names = [str(i) for i in range(len(layout.columns))]
    kinds = {str(i): pa.int64() if numbers else pa.string() for i in wanted[:2]}
    kinds |= {str(i): pa.float32() for i in wanted[2:]}
    try:
        table = csv.read_csv(
            pa.BufferReader(block),
            csv.ReadOptions(column_names=names, block_size=len(block) + 1),
            csv.ParseOptions(delimiter=delimiter, quote_char='"'),
            csv.ConvertOptions(
                column_types=kinds,
                include_columns=[str(i) for i in wanted],
                null_values=[],
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _explain(error, wanted, path, numbers) from None
    if table.num_rows != count_lines(block):
        raise GraphFormatError(
            f"{path} has a quoted field that goes over the end of its line, or a "
            "carriage return within one: expected one edge a line"
        )
    columns = [table.column(i).to_numpy() for i in range(len(wanted))]
    if not numbers:
        columns[:2] = [column.astype(object) for column in columns[:2]]
    return columns


def _explain(
    error: Exception, wanted: list[int], path: Path, numbers: bool
) -> Exception:
    """Return the error for a block that pyarrow cannot read."""
    text = str(error).splitlines()[0]
    ids = any(f"In CSV column #{i}:" in text for i in wanted[:2])
    if numbers and ids:
        return _NotNumbers()
    return GraphFormatError(
        f"{path} holds a line that does not fit ({text}): expected the same fields in "
        "every line, numbers as weights; comments begin with # or %"
    )
