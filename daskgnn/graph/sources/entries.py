"""Edges that stay in a source and are read when they are sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.adjacency import AdjacencyBlock, EntryReader
from daskgnn.seams import shown

if TYPE_CHECKING:
    from daskgnn.graph.sources.source import GraphSource

PIECE = 1 << 16
"""Rows whose weights are summed at once."""


@dataclass(frozen=True)
class SourceEntries(EntryReader):
    """The entries of a part's rows."""

    source: GraphSource
    start: int
    """Storage id of the first row."""
    weighted: bool

    def entries(
        self, rows: np.ndarray, slots: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the entries in slots of rows: see `EntryReader.entries`.

        Raises
        ------
        InputError
            If the source returns something else, naming it.
        """
        columns = ("source", "weight") if self.weighted else ("source",)
        found = self.source.entries(rows + self.start, slots, columns)
        schema = self.source.schema
        kinds = {"source": schema.index_dtype, "weight": np.dtype(np.float32)}
        for column in columns:
            check_entries(self.source, column, found, kinds[column], len(rows))
        ids = found["source"]
        if len(ids) and not 0 <= ids.min() <= ids.max() < schema.num_nodes:
            raise InputError(
                f"graph: {type(self.source).__name__}.entries returns neighbours "
                f"{ids.min()} to {ids.max()}, expected 0..{schema.num_nodes - 1}"
            )
        return ids, found.get("weight") if self.weighted else None


def check_entries(
    source: GraphSource, column: str, found: object, dtype: np.dtype, count: int
) -> None:
    """Refuse what `GraphSource.entries` has returned if it is not a column."""
    array = found.get(column) if isinstance(found, dict) else None
    if (
        not isinstance(array, np.ndarray)
        or array.dtype != dtype
        or array.shape != (count,)
    ):
        given = type(found).__name__ if array is None else shown(array)
        raise InputError(
            f"graph: {type(source).__name__}.entries returns {given}, expected a dict "
            f"whose {column!r} is {dtype} [{count}]"
        )


def degrees_only(source: GraphSource, start: int, stop: int) -> AdjacencyBlock:
    """Return a part's rows as degrees; entries are read when they are drawn."""
    schema = source.schema
    indptr = np.zeros(stop - start + 1, np.int64)
    np.cumsum(source.degrees(np.arange(start, stop)), out=indptr[1:])
    block = AdjacencyBlock(
        start,
        indptr,
        np.empty(0, schema.index_dtype),
        source.load_table("original_ids", start, stop),
        np.empty(0, np.float32) if schema.weighted else None,
        reader=SourceEntries(source, start, schema.weighted),
    )
    if schema.weighted:
        pieces = [
            source.load_rows(first, min(first + PIECE, stop)).weighted_degree
            for first in range(start, stop, PIECE)
        ]
        vars(block)["weighted_degree"] = np.concatenate(
            [np.empty(0, np.float32), *pieces]
        )
    return block
