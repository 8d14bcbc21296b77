"""Graphs in Parquet: edges as two columns, nodes as a table beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.identify import WordIds
from daskgnn.graph.edges.inputfiles import readable
from daskgnn.graph.readers.build import begin, build_graph, find_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
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
        for batch in _batches(file, places, rows):
            source, destination, *weights = map(_array, batch.columns)
            ends = ids.read(source, destination, file)
            yield [*ends, *(_numbers(values, file) for values in weights)]

    spool = reading.collect(chunks, weighted=weight is not None)
    return build_graph(spool, reading.options, ids.words)


class EdgeIds:
    """Ids of edges from arrays of numbers or words, the same kind throughout."""

    def __init__(self) -> None:
        self.words: WordIds | None = None
        self._seen = False

    def read(self, source: np.ndarray, destination: np.ndarray, where: Any) -> Any:
        """Return int64 numbers of both ends [n].

        Raises
        ------
        GraphFormatError
            If ids are neither whole numbers nor words, or one is missing.
        """
        return [self._numbers(ids, where) for ids in (source, destination)]

    def _numbers(self, ids: np.ndarray, where: Any) -> np.ndarray:
        import pandas as pd

        if not len(ids):
            return np.empty(0, np.int64)
        if ids.dtype.kind in ("f", "O") and pd.isna(ids).any():
            raise GraphFormatError(f"{where}: an edge has no id, expected two ids")
        whole = ids.dtype.kind in "iu"
        if not whole and ids.dtype.kind not in "OUT":
            raise GraphFormatError(
                f"{where}: ids have type {ids.dtype}, expected whole numbers or words: "
                "name other columns by source= and destination="
            )
        if self._seen and whole == (self.words is not None):
            raise GraphFormatError(
                f"{where}: ids are whole numbers in one place and words in another, "
                "expected the same kind in all columns and files"
            )
        self._seen = True
        if whole:
            if ids.dtype == np.uint64 and int(ids.max()) >= 2**63:
                raise GraphFormatError(f"{where}: id {ids.max()} exceeds 2**63 - 1")
            return ids.astype(np.int64)
        if self.words is None:
            self.words = WordIds()
        return self.words.number(np.array([str(word) for word in ids], object))


def _batches(
    path: Path, places: Sequence[str | int | None], rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield the columns of a file, some rows at a time."""
    what, broken = "is damaged or not a Parquet file", (pa.ArrowException, OSError)
    with readable(path, what, broken), pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        columns = [names[i] for i in find_columns(names, places, path)]
        for batch in file.iter_batches(rows, columns=columns):
            yield batch.select(columns)


def _array(column: pa.Array) -> np.ndarray:
    """Return a column as numpy has it."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count and pa.types.is_integer(column.type):
        # As numbers they would become floats, and large ids lose digits.
        return np.array([None], object)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _numbers(values: np.ndarray, path: Path) -> np.ndarray:
    """Return weights as float32."""
    if values.dtype.kind not in "biuf":
        raise GraphFormatError(
            f"{path}: weights have type {values.dtype}, expected numbers"
        )
    return values.astype(np.float32)
