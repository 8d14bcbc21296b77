"""Matrix Market: a sparse matrix as text, entry (i, j) an edge from i to j."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import csv

from daskgnn.errors import DatasetError, GraphFormatError
from daskgnn.graph.edges.assemble import Spool, limit_bytes
from daskgnn.graph.edges.inputfiles import (
    BROKEN,
    find_files,
    line_blocks,
    open_bytes,
    tidy,
)
from daskgnn.graph.readers.build import build_graph, progress_bar, take_options

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from daskgnn.graph.memory.data import GraphData

_COLUMNS = {"pattern": 2, "integer": 3, "real": 3}


@dataclass(frozen=True)
class _Header:
    field: str
    symmetric: bool


def read_matrix_market(
    path: Any, *, weighted: bool | None = None, **options: Any
) -> GraphData:
    """Read a square sparse matrix as a graph, a block of lines at a time.

    Every stored entry is an edge, also a stored 0. Of a symmetric matrix, which stores
    one half, a directed graph gets both directions.

    Parameters
    ----------
    path
        A ``.mtx`` file (it may be compressed).
    weighted
        Whether the entries are weights; if not given, whether any is not 1.
    options
        As for ``read_edge_list``.

    Raises
    ------
    DatasetError
        If the file is missing, damaged, or of another format.
    GraphFormatError
        If the matrix is not square, dense, complex or skew, or as for
        ``from_edge_index``.
    """
    (file, *more) = find_files(path)
    if more:
        raise DatasetError(f"{path} matches {len(more) + 1} files, expected one matrix")
    build = take_options(options, file.name.partition(".")[0])
    header = _read_header(file)
    limit = limit_bytes(build.memory_limit)
    spool = Spool(
        limit // 2, weighted=header.field != "pattern" and weighted is not False
    )
    size, ones = None, True
    with progress_bar([file], build.progress) as bar:
        for block in line_blocks(file, max(limit // 32, 1 << 12), bar):
            if size is None:
                line, _, block = block.lstrip().partition(b"\n")
                size = _read_size(line, file)
            if not block.strip():
                continue
            source, destination, *weight = _parse(block, header, size, file)
            ones = ones and all(bool((w == 1).all()) for w in weight)
            spool.append(source, destination, *weight)
    if size is None or spool.count != size[2]:
        raise DatasetError(
            f"{file} has {spool.count} entries, expected "
            f"{'a size' if size is None else size[2]}: get it again"
        )
    if (weighted is None and ones) or not spool.weighted:
        spool = _without_weights(spool)
    if header.symmetric and build.directed:
        _mirror(spool)
    build.num_nodes, build.ids = size[0], "keep"
    return build_graph(spool, build)


def _read_header(path: Path) -> _Header:
    """Read the first line."""
    try:
        with open_bytes(path) as stream:
            line = stream.readline(1000).decode("ascii", "replace")
    except BROKEN as error:
        raise DatasetError(f"{path} cannot be read ({error}): get it again") from None
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
    return _Header(field, symmetry == "symmetric")


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
    block: bytes, header: _Header, size: tuple[int, int, int], path: Path
) -> list[np.ndarray]:
    """Return sources and destinations from 0, and the values."""
    names = ["i", "j", "value"][: _COLUMNS[header.field]]
    kinds = {"i": pa.int64(), "j": pa.int64(), "value": pa.float32()}
    block = tidy(block)
    try:
        table = csv.read_csv(
            pa.BufferReader(block),
            csv.ReadOptions(column_names=names, block_size=len(block) + 1),
            csv.ParseOptions(delimiter=" ", quote_char=False),
            csv.ConvertOptions(
                column_types={name: kinds[name] for name in names},
                null_values=[],
            ),
        )
    except pa.ArrowInvalid as error:
        raise DatasetError(
            f"{path} holds a line that does not fit ({str(error).splitlines()[0]}): "
            f"expected {' '.join(names)}"
        ) from None
    ends = [table.column(i).to_numpy() - 1 for i in range(2)]
    for ids in ends:
        if len(ids) and (ids.min() < 0 or ids.max() >= size[0]):
            bad = int(ids.min() if ids.min() < 0 else ids.max()) + 1
            raise GraphFormatError(
                f"{path} has an entry in row or column {bad}, expected 1..{size[0]}"
            )
    return ends + [table.column(i).to_numpy() for i in range(2, len(names))]


def _without_weights(spool: Spool) -> Spool:
    """Return the same edges without their weights."""
    found = Spool(spool.limit)
    for source, destination, _ in spool.chunks():
        found.append(source, destination)
    return found


def _mirror(spool: Spool) -> None:
    """Add the reverse of every edge that is no self-loop."""
    for source, destination, weight in list(spool.chunks()):
        apart = source != destination
        spool.append(
            destination[apart],
            source[apart],
            None if weight is None else weight[apart],
        )
