"""Edge lists as text: one edge a line, separated by commas, tabs, semicolons or spaces.

Lines that begin with # or % are comments, as in the files of SNAP and KONECT.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskgnn.errors import GraphFormatError, first_line
from daskgnn.graph.edges.identify import WordIds
from daskgnn.graph.edges.inputfiles import count_lines, line_blocks
from daskgnn.graph.edges.meaning import MISSING, is_padded
from daskgnn.graph.readers.build import begin, build_graph, find_columns
from daskgnn.graph.readers.lines import (
    TEXT,
    Layout,
    find_layout,
    line_of,
    parse_lines,
    tidy,
    without_header,
)
from daskgnn.kernels.words import has_padded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from daskgnn.graph.memory.data import GraphData

_BLOCK_SHARE = 32
"""Of the memory limit, for a block of text: its columns take some times as much."""


class _NotNumbers(Exception):
    """Ids that were read as whole numbers are not numbers."""


@dataclass(frozen=True)
class _Asked:
    """What the caller says of the lines."""

    places: tuple[str | int, str | int, str | int | None]
    """Columns of sources, destinations and weights."""
    delimiter: str | None
    header: bool | None


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
    r"""Read a graph from text files with one edge a line: CSV, TSV or similar.

    Files may be compressed (``.gz``, ``.bz2``, ``.xz``) and are read block by block.
    Lines that begin with # or % are comments. Columns that are not named are ignored.

    Parameters
    ----------
    path : str, path or list of them
        A file, a pattern such as "edges-*.csv.gz", or a list of them.
    source : str or int, default 0
        Column of the edges' sources: by name if there is a header, or by number from 0.
    destination : str or int, default 1
        Column of their destinations.
    weight : str or int, optional
        Column of their weights.
    delimiter : str, optional
        "," or another single character; " " means any run of spaces and tabs. By
        default it is guessed from the first line.
    header : bool, optional
        Whether the first line of each file names the columns; by default it is guessed.
    **options : dict
        What all readers of files take, listed below.
    directed : bool, default False
        Whether to keep the direction of edges; otherwise each is added both ways.
    self_loops : {"drop", "keep"}, default "drop"
        What to do with edges from a node to itself.
    ids : {"auto", "keep", "map"}, default "auto"
        Whether the ids in the file are the node numbers 0..N-1 ("keep") or names that
        are numbered ("map"). "auto" maps words, and numbers that are negative or
        sparse.
    num_nodes : int, default None
        N, where ids are kept; by default the largest id + 1.
    nodes : str, path or pandas.DataFrame, default None
        A table of nodes: Parquet or CSV files, or a DataFrame.
    features : array, str or list of str, default None
        [N, F] numbers, or the names of columns of `nodes`.
    labels : array or str, default None
        [N] class numbers or [N, C] yes/no labels, or the name of a column of `nodes`.
    num_classes : int, default None
        C; by default the largest class number + 1.
    train, val, test : array or str, default None
        The splits: bool masks [N], node ids, or names of columns of `nodes`.
    split_index : int, default None
        Which split to take of masks [N, k] or [k, N] that hold k of them, from 0.
    name : str, default None
        Name of the graph in reports; by default that of the file.
    metric : str, default None
        How predictions are scored: see `GraphData.metric`.
    memory_limit : int or str, default None
        Memory for reading, besides the finished graph: bytes, or for instance "2 GiB".
    progress : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    GraphData
        The checked graph; its `report` counts what was merged, dropped and added.

    Raises
    ------
    DatasetError
        If a file is missing or damaged.
    GraphFormatError
        If a line cannot be read; as `from_edge_index`.

    Examples
    --------
    >>> import os, tempfile
    >>> import daskgnn
    >>> path = os.path.join(tempfile.mkdtemp(), "friends.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("who,knows\nann,bob\nbob,eve\n")
    >>> columns = {"source": "who", "destination": "knows"}
    >>> data = daskgnn.read_edge_list(path, header=True, **columns)
    >>> data
    GraphData('friends', 3 nodes, 4 edges, 0 features, 0 classes)
    >>> data.node_ids.tolist()
    ['ann', 'bob', 'eve']
    """
    reading = begin(path, options)
    asked = _Asked((source, destination, weight), delimiter, header)
    size = max(reading.limit // _BLOCK_SHARE, 1 << 12)
    weighted, words = weight is not None, None
    try:
        spool = reading.collect(partial(_chunks, asked, size, None), weighted)
    except _NotNumbers:
        words = WordIds(spelled=True)
        spool = reading.collect(partial(_chunks, asked, size, words), weighted)
    return build_graph(spool, reading.options, words)


def _chunks(
    asked: _Asked, size: int, words: WordIds | None, path: Path, bar: Any
) -> Iterator[list[np.ndarray]]:
    """Yield the edges of a file, a block of lines at a time.

    Parameters
    ----------
    size
        Bytes of a block.
    words
        Where ids are words: numbers for them.
    """
    layout = None
    for line, block in line_blocks(path, size, bar):
        if layout is None:
            layout = find_layout(block, asked.delimiter, asked.header, path)
            wanted = _wanted(asked, layout, path)
            if layout.header:
                block = without_header(block)
        if block.strip():
            place = _Place(path, line, block)
            found = _parse(block, layout, wanted, path, words is None)
            if words is not None:
                found[:2] = [_numbered(words, ids, place) for ids in found[:2]]
            yield found


@dataclass(frozen=True)
class _Place:
    """Where some lines are."""

    path: Path
    line: int
    """The number of the first."""
    block: bytes

    def of(self, row: int) -> str:
        """Return how a message names a row of the block."""
        return f"{self.path}, line {self.line + line_of(self.block, row)}"


def _wanted(asked: _Asked, layout: Layout, path: Path) -> list[int]:
    """Return the numbers of the columns that are read."""
    places = asked.places
    if layout.header and layout.columns[0] == "" and places[:2] == (0, 1):
        # pandas writes its index as a column without a name.
        places = (1, 2, asked.places[2])
    return find_columns(layout.columns, places, path)


def _numbered(words: WordIds, ids: pa.Array, place: _Place) -> np.ndarray:
    """Return the numbers of ids that are words, none of them empty."""
    numbers = words.number(ids)
    empty = pc.index(ids, "").as_py()
    if empty >= 0:
        raise GraphFormatError(
            f"{place.of(empty)}: an edge has an empty id, expected two ids"
        )
    if words.missing_at is None:
        absent = pc.is_in(ids, pa.array([*MISSING], TEXT))
        row = pc.index(absent, pa.scalar(True)).as_py()
        if row >= 0:
            words.missing_at = f"{place.of(row)}: id {ids[row].as_py()!r}"
    return numbers


def _parse(
    block: bytes, layout: Layout, wanted: list[int], path: Path, numbers: bool
) -> list[Any]:
    """Return ids as int64 or words, and weights, of a block of lines."""
    block = tidy(block, layout.delimiter)
    kinds = dict.fromkeys(wanted[:2], pa.int64() if numbers else TEXT)
    kinds |= dict.fromkeys(wanted[2:], pa.float64())
    try:
        found = parse_lines(block, layout.delimiter, len(layout.columns), kinds)
        if numbers and has_padded(np.frombuffer(block, np.uint8)):
            _refuse_padded(block, layout, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _explain(error, wanted, path, numbers) from None
    if len(found[wanted[0]]) != count_lines(block):
        raise GraphFormatError(
            f"{path} has a quoted field that goes over the end of its line, or a "
            "carriage return within one: expected one edge a line"
        )
    return [found[i] for i in wanted]


def _refuse_padded(block: bytes, layout: Layout, wanted: list[int]) -> None:
    """Raise `_NotNumbers` if an id is like 02 or 0x1F."""
    kinds = dict.fromkeys(wanted[:2], TEXT)
    found = parse_lines(block, layout.delimiter, len(layout.columns), kinds)
    if any(is_padded(ids) for ids in found.values()):
        raise _NotNumbers


def _explain(
    error: Exception, wanted: list[int], path: Path, numbers: bool
) -> Exception:
    """Return the error for a block that pyarrow cannot read."""
    text = first_line(error)
    if numbers and any(f"In CSV column #{i}:" in text for i in wanted[:2]):
        return _NotNumbers()
    return GraphFormatError(
        f"{path} holds a line that does not fit ({text}): expected the same fields in "
        "every line, numbers as weights; comments begin with # or %"
    )
