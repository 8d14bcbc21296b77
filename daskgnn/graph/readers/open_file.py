"""Read any graph file, by its suffix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskgnn.errors import DatasetError
from daskgnn.graph.edges.inputfiles import find_files, plain_suffix
from daskgnn.graph.readers.arrays import read_numpy
from daskgnn.graph.readers.edgelist import read_edge_list
from daskgnn.graph.readers.graphml import read_graphml
from daskgnn.graph.readers.matrixmarket import read_matrix_market
from daskgnn.graph.readers.parquet import read_parquet

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.graph.memory.data import GraphData

READERS: dict[str, Callable[..., GraphData]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".el", ".edges"), read_edge_list),
    **dict.fromkeys((".edgelist", ".tab"), read_edge_list),
    **dict.fromkeys((".parquet", ".pq"), read_parquet),
    **dict.fromkeys((".npy", ".npz"), read_numpy),
    **dict.fromkeys((".graphml", ".xml"), read_graphml),
    ".mtx": read_matrix_market,
}
"""The readers by suffix; ``.gz``, ``.bz2`` and ``.xz`` may follow those of text."""


def read_graph(path: Any, **options: Any) -> GraphData:
    """Read a graph from files, by their suffix.

    Parameters
    ----------
    path
        A file, a pattern, or a list of them.
    options
        As for the reader of that suffix.

    Raises
    ------
    DatasetError
        If there is no reader for the suffix, or a file is missing or damaged.
    GraphFormatError
        If its content describes no graph.
    """
    files = find_files(path)
    kinds = {READERS.get(plain_suffix(file)) for file in files}
    read = kinds.pop()
    if read is None or kinds:
        raise DatasetError(
            f"{files[0]} has no known suffix, expected one of "
            f"{', '.join(READERS)}: rename it, or call its reader"
        )
    return read(files if len(files) > 1 else files[0], **options)
