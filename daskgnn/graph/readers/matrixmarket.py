"""Matrix Market: a sparse matrix as text, entry (i, j) an edge from i to j."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daskgnn.errors import DatasetError, GraphFormatError, first_line
from daskgnn.graph.edges.inputfiles import line_blocks, opened
from daskgnn.graph.readers.build import begin, build_graph
from daskgnn.graph.readers.lines import parse_lines, tidy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from daskgnn.graph.edges.assemble import Spool
    from daskgnn.graph.memory.data import GraphData

_COLUMNS = {"pattern": 2, "integer": 3, "real": 3}


def read_matrix_market(
    path: Any, *, weighted: bool | None = None, **options: Any
) -> GraphData:
    """Read a graph from a square sparse matrix in Matrix Market format.

    Every stored entry is an edge, even a stored 0; entries at one place are added up. A
    symmetric matrix stores one half; as a directed graph it gets both directions.

    Parameters
    ----------
    path : str or path
        A ``.mtx`` file, which may be compressed.
    weighted : bool, optional
        Whether the entries are edge weights; by default, whether any of them is not 1.
        Those of a pattern are 1.
    **options : dict
        Arguments of `read_edge_list` beyond `header`: `directed`, `nodes`, `labels`,
        ...

    Returns
    -------
    GraphData
        The checked graph.

    Raises
    ------
    DatasetError
        If the file is missing, damaged or of another format.
    GraphFormatError
        If the matrix is not square, or dense, complex or skew; as `from_edge_index`.

    Examples
    --------
    >>> import os, tempfile
    >>> import scipy.io, scipy.sparse as sp
    >>> import daskgnn
    >>> path = os.path.join(tempfile.mkdtemp(), "path.mtx")
    >>> scipy.io.mmwrite(path, sp.diags_array([1.0, 1.0, 1.0], offsets=1, shape=(4, 4)))
    >>> daskgnn.read_matrix_market(path)
    GraphData('path', 4 nodes, 6 edges, 0 features, 0 classes)
    """
    reading = begin(path, options, single="matrix")
    field, symmetric = _read_header(reading.files[0])
    matrix = _Matrix(field, symmetric, max(reading.limit // 32, 1 << 12))
    spool = reading.collect(matrix.chunks, weighted is not False)
    if matrix.size is None or spool.count != matrix.size[2]:
        raise DatasetError(
            f"{reading.files[0]} has {spool.count} entries, expected "
            f"{'a size' if matrix.size is None else matrix.size[2]}: get it again"
        )
    build = reading.options
    if symmetric and build.directed:
        _mirror(spool)
    build.num_nodes, build.ids = matrix.size[0], "keep"
    graph = build_graph(spool, build, add=True)
    if weighted and field != "pattern" and graph.edge_weight is None:
        ones = np.ones(graph.num_edges, np.float32)
        graph = replace(graph, edge_weight=ones)
    return graph


@dataclass
class _Matrix:
    """What is known of a matrix while it is read."""

    field: str
    """What entries are: pattern, integer or real."""
    symmetric: bool
    """Whether an entry stands for its reverse, too."""
    block_bytes: int
    size: tuple[int, int, int] | None = None

    def chunks(self, path: Path, bar: Any) -> Iterator[list[np.ndarray]]:
        """Yield the entries of a file."""
        for _, block in line_blocks(path, self.block_bytes, bar):
            if self.size is None:
                line, _, block = block.lstrip().partition(b"\n")
                self.size = _read_size(line, path)
            if block.strip():
                row, column, *values = _parse(block, self.field, self.size, path)
                if self.symmetric:  # one half, whichever
                    row, column = np.maximum(row, column), np.minimum(row, column)
                yield [row, column, *(values or [np.ones(len(row), np.float32)])]


def _read_header(path: Path) -> tuple[str, bool]:
    """Return what entries are, by the first line, and whether one half is stored."""
    with opened(path) as (_, text):
        line = text.readline(1000).decode("ascii", "replace")
    words = line.lower().split()
    if len(words) != 5 or words[:2] != ["%%matrixmarket", "matrix"]:
        raise DatasetError(
            f"{path} begins with {line[:60].strip()!r}, expected a line like "
            "'%%MatrixMarket matrix coordinate pattern general'"
        )
    layout, field, symmetry = words[2:]
    if (
        layout != "coordinate"
        or field not in _COLUMNS
        or symmetry not in ("general", "symmetric")
    ):
        raise GraphFormatError(
            f"{path} is a matrix {layout} {field} {symmetry}, expected coordinate; "
            "pattern, integer or real; general or symmetric"
        )
    return field, symmetry == "symmetric"


def _read_size(line: bytes, path: Path) -> tuple[int, int, int]:
    """Return rows, columns and entries."""
    try:
        rows, columns, entries = (int(word) for word in line.split())
    except ValueError:
        raise DatasetError(
            f"{path} has the size {line[:60].decode('ascii', 'replace')!r}, expected "
            "three whole numbers: rows, columns, entries"
        ) from None
    if rows != columns:
        raise GraphFormatError(
            f"{path} is a matrix {rows} x {columns}, expected a square one"
        )
    return rows, columns, entries


def _parse(
    block: bytes, field: str, size: tuple[int, int, int], path: Path
) -> list[np.ndarray]:
    """Return sources and destinations from 0, and the values."""
    names = ["i", "j", "value"][: _COLUMNS[field]]
    number = pa.int64() if field == "integer" else pa.float64()
    kinds = dict(enumerate([pa.int64(), pa.int64(), number][: len(names)]))
    try:
        columns = parse_lines(tidy(block), " ", len(names), kinds)
        source, destination, *values = columns.values()
    except pa.ArrowInvalid as error:
        if field == "integer":  # beyond 64 bits, or like 2.0
            return _parse(block, "real", size, path)
        raise DatasetError(
            f"{path} holds a line that does not fit ({first_line(error)}): "
            f"expected {' '.join(names)}"
        ) from None
    ends = [source - 1, destination - 1]
    for ids in ends:
        if len(ids) and (ids.min() < 0 or ids.max() >= size[0]):
            bad = int(ids.min() if ids.min() < 0 else ids.max()) + 1
            raise GraphFormatError(
                f"{path} has an entry in row or column {bad}, expected 1..{size[0]}"
            )
    return ends + values


def _mirror(spool: Spool) -> None:
    """Add the reverse of every edge that is no self-loop."""
    for source, destination, weight in list(spool.chunks()):
        apart = source != destination
        spool.append(
            destination[apart], source[apart], None if weight is None else weight[apart]
        )
