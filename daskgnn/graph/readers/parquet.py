"""Graphs in Parquet: edges as two columns, nodes as a table beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.columns import (
    as_column,
    first_missing,
    is_list,
    is_numeric,
    is_text,
)
from daskgnn.graph.edges.identify import WordIds
from daskgnn.graph.edges.inputfiles import readable
from daskgnn.graph.edges.meaning import read_text, whole
from daskgnn.graph.readers.build import (
    OTHER_COLUMNS,
    begin,
    build_graph,
    find_columns,
)
from daskgnn.graph.readers.lines import TEXT
from daskgnn.graph.readers.tables import LEVEL, index_of, spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from daskgnn.graph.memory.data import GraphData

_BYTES_AN_EDGE = 64
"""Of a batch while it is read: words take more than numbers."""


def read_parquet(
    path: Any,
    *,
    source: str | int = 0,
    destination: str | int = 1,
    weight: str | None = None,
    **options: Any,
) -> GraphData:
    """Read a graph from Parquet files, a batch of rows at a time.

    Parameters
    ----------
    path : str, path or list of them
        A file, a pattern such as "edges/*.parquet", or a list of them.
    source : str or int, default 0
        Column of the edges' sources, by name or by number from 0.
    destination : str or int, default 1
        Column of their destinations.
    weight : str, optional
        Column of their weights.
    **options : dict
        Arguments of `read_edge_list` beyond `header`; `nodes` names Parquet files of
        nodes with features and labels.

    Returns
    -------
    GraphData
        The checked graph.

    Raises
    ------
    DatasetError
        If a file is missing or damaged.
    GraphFormatError
        If a column is missing or of another type; as `from_edge_index`.

    Examples
    --------
    >>> import os, tempfile
    >>> import pandas as pd
    >>> import daskgnn
    >>> folder = tempfile.mkdtemp()
    >>> edges, nodes = (os.path.join(folder, n) for n in ("edges.pq", "nodes.pq"))
    >>> pd.DataFrame({"src": [10, 20], "dst": [20, 30]}).to_parquet(edges)
    >>> pd.DataFrame({"id": [10, 20, 30], "kind": [0, 1, 1]}).to_parquet(nodes)
    >>> daskgnn.read_parquet(edges, ids="map", nodes=nodes, labels="kind")
    GraphData('edges', 3 nodes, 4 edges, 0 features, 2 classes)
    """
    reading, ids = begin(path, options), EdgeIds()
    places = (source, destination, weight)
    rows = max(reading.limit // (8 * _BYTES_AN_EDGE), 1)

    def chunks(file: Path, _: Any) -> Iterator[list[np.ndarray]]:
        first = 0
        for batch in _batches(file, places, rows):
            names = batch.schema.names
            columns = dict(zip(names, batch.columns, strict=True))
            yield ids.read(columns, file, first)
            first += batch.num_rows

    spool = reading.collect(chunks, weighted=weight is not None)
    return build_graph(spool, reading.options, ids.words)


class EdgeIds:
    """Ids of edges from columns of numbers or words, the same kind throughout."""

    def __init__(self) -> None:
        self.words: WordIds | None = None
        self._seen = False

    def read(
        self, columns: Mapping[Any, Any], where: Any, first: int
    ) -> list[np.ndarray]:
        """Return int64 numbers of both ends [n], and weights if there are any.

        Parameters
        ----------
        columns
            Sources, destinations and perhaps weights, of Arrow or pandas, by name.
        where, first
            The file, and which of its rows the first one is, for messages.

        Raises
        ------
        GraphFormatError
            If ids are neither whole numbers nor words, or one is missing.
        """
        named = [(n, as_column(c, str(where))) for n, c in columns.items()]
        ends = [self._numbers(ids, where, first) for _, ids in named[:2]]
        return [*ends, *(_weights(column, n, where, first) for n, column in named[2:])]

    def _numbers(self, ids: pa.Array, where: Any, first: int) -> np.ndarray:
        if not len(ids):
            return np.empty(0, np.int64)
        row = first_missing(ids)
        if row is not None:
            raise GraphFormatError(
                f"{where}, row {first + row}: an edge has no id, expected two ids"
            )
        ids = whole(ids, str(where))
        if (is_numeric(ids) and not pa.types.is_integer(ids.type)) or is_list(ids):
            raise GraphFormatError(
                f"{where}: ids have type {ids.type}, expected whole numbers or words",
                **OTHER_COLUMNS,
            )
        numbers = pa.types.is_integer(ids.type)
        if self._seen and numbers == (self.words is not None):
            raise GraphFormatError(
                f"{where}: ids are whole numbers in one place and words in another, "
                "expected the same kind in all columns and files"
            )
        self._seen = True
        if numbers:
            if pa.types.is_uint64(ids.type):
                largest = pc.max(ids).as_py()
                raise GraphFormatError(f"{where}: id {largest} exceeds 2**63 - 1")
            return np.asarray(ids.to_numpy(zero_copy_only=False))
        if self.words is None:
            self.words = WordIds()
        return self.words.number(ids.cast(TEXT))


def _weights(column: pa.Array, name: Any, where: Any, first: int) -> np.ndarray:
    """Return the numbers of a column of weights, none missing."""
    if is_text(column):
        column = read_text(column, names=False)
    if not is_numeric(column):
        raise GraphFormatError(
            f"{where}: column {name!r} has weights that are not numbers, but "
            f"{column.type}: expected numbers, one per edge"
        )
    row = first_missing(column)
    if row is not None:
        raise GraphFormatError(
            f"{where}, row {first + row}: an edge has no weight, expected a number: "
            "NaN and nulls have no meaning as weights"
        )
    return np.asarray(column.to_numpy(zero_copy_only=False))


def refuse_index(names: Sequence[str], places: Sequence[Any], where: Any) -> None:
    """Raise `GraphFormatError` where ids may be an index, and columns go by number."""
    if names and not all(isinstance(place, str) for place in places[:2]):
        raise GraphFormatError(
            f"{where} has {' and '.join(map(repr, names))} as pandas' index, so the "
            "first two columns may not be the ends of edges",
            python="name them by source= and destination=",
            shell="name them by --source and --destination",
        )


def _batches(
    path: Path, places: Sequence[str | int | None], rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield the columns of a file, some rows at a time."""
    what, broken = "is damaged or not a Parquet file", (pa.ArrowException, OSError)
    with readable(path, what, broken), pq.ParquetFile(path) as file:
        index = index_of(file.schema_arrow)
        held = [name for name in index if name and not name.startswith(LEVEL)]
        refuse_index(held, places, path)
        counted = {n: c for n, c in index.items() if n in held and c is not None}
        names = [*file.schema_arrow.names, *counted]
        columns = [names[i] for i in find_columns(names, places, path)]
        first = 0
        stored = [name for name in columns if name not in counted]
        for batch in file.iter_batches(rows, columns=stored):
            for name in counted.keys() & columns:
                part = counted[name][first : first + len(batch)]
                batch = batch.append_column(name, pa.array(np.arange(*spread(part))))
            first += len(batch)
            yield batch.select(columns)
