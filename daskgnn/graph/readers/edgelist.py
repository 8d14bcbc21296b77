"""Edge lists as text: one edge a line, separated by commas, tabs, semicolons or spaces.

Lines that begin with # or % are comments, as in the files of SNAP and KONECT.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from daskgnn.errors import GraphFormatError, first_line
from daskgnn.graph.edges.identify import WordIds
from daskgnn.graph.edges.inputfiles import count_lines, line_blocks, tidy
from daskgnn.graph.readers.build import begin, build_graph, find_columns, parse_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from daskgnn.graph.memory.data import GraphData

_KNOWN = re.compile(
    "source|target|src|dst|destination|from|to|(node|id)_?[12]|(from|to)nodeid"
    "|[uvij]|head|tail"
)
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
    name : str, default None
        Name of the graph in reports; by default that of the file.
    metric : str, default None
        How predictions are scored: see `GraphData.metric`.
    memory_limit : int or str, default None
        Memory for reading, beside the finished graph: bytes, or for instance "2 GiB".
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
        words = WordIds()
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
    for block in line_blocks(path, size, bar):
        if layout is None:
            layout = find_layout(block, asked.delimiter, asked.header)
            wanted = find_columns(layout.columns, asked.places, path)
            if layout.header:
                block = block.lstrip(b"\n \t").partition(b"\n")[2]
        if block.strip():
            found = _parse(block, layout, wanted, path, words is None)
            if words is not None:
                found[:2] = [words.number(_checked(ids, path)) for ids in found[:2]]
            yield found


def _checked(words: np.ndarray, path: Path) -> np.ndarray:
    """Return words, none of them empty."""
    if (words == "").any():
        raise GraphFormatError(f"{path}: an edge has an empty id, expected two ids")
    return words.astype(object)


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
    known = sum(bool(_KNOWN.fullmatch(w.lower().replace(" ", ""))) for w in first)
    return known >= 2 or any(_is_number(word) for word in second)


def _is_number(word: str) -> bool:
    """Tell whether a word is a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _parse(
    block: bytes, layout: Layout, wanted: list[int], path: Path, numbers: bool
) -> list[np.ndarray]:
    """Return ids as int64 or words, and weights as float32, of a block of lines."""
    if layout.delimiter == " ":
        block = tidy(block)
    kinds = dict.fromkeys(wanted[:2], pa.int64() if numbers else pa.string())
    kinds |= dict.fromkeys(wanted[2:], pa.float32())
    try:
        found = parse_lines(block, layout.delimiter, len(layout.columns), kinds)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _explain(error, wanted, path, numbers) from None
    if len(found[wanted[0]]) != count_lines(block):
        raise GraphFormatError(
            f"{path} has a quoted field that goes over the end of its line, or a "
            "carriage return within one: expected one edge a line"
        )
    return [found[i] for i in wanted]


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
