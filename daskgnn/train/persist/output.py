"""Write predictions as Zarr or Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.errors import InputError
from daskgnn.paths import given_path, target_path

if TYPE_CHECKING:
    import dask.array as da
    import pyarrow as pa

    from daskgnn.graph.graph import Graph


def check_output(path: str | Path) -> None:
    """Refuse a name that is neither Zarr nor Parquet, or already there."""
    path = Path(target_path(path))
    if path.suffix not in (".zarr", ".parquet"):
        raise InputError(
            f"cannot write predictions to {path}: the name must end in .zarr or "
            ".parquet"
        )
    if path.exists():
        raise InputError(f"{path} is already there: remove it or give another name")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the directory of {path} does not exist")


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """Makes tables of predictions: a row a node, under the user's names.

    ``id`` is the user's id, ``prediction`` the name of the class with the highest
    score, and each class has a column of scores, named by it. Where nodes have several
    labels, ``prediction`` lists those with a score above 0. Outputs that are no classes
    have columns ``output_0``, ... and no prediction.
    """

    num_outputs: int
    node_ids: np.ndarray | None = None
    """By original id; None if they are 0..N-1."""
    class_names: tuple[str, ...] | None = None
    """None if classes are called by their numbers, or outputs are no classes."""
    num_classes: int = 0
    multilabel: bool = False

    @classmethod
    def of(cls, graph: Graph, num_outputs: int) -> PredictionTable:
        """Return what writes predictions of a graph's nodes."""
        facts = graph.class_names, graph.num_classes, graph.multilabel
        return cls(num_outputs, graph.node_ids(), *facts)

    @property
    def names(self) -> list[str]:
        """The name of each class."""
        count = self.num_outputs
        return list(self.class_names or map(str, range(count)))

    @property
    def columns(self) -> list[str]:
        """The names of the columns of scores."""
        if self.num_outputs != self.num_classes:
            return [f"output_{c}" for c in range(self.num_outputs)]
        columns = ["id", "prediction"]
        for name in self.names:
            column = name
            while column in columns or (column != name and column in self.names):
                column = f"class {column}"
            columns.append(column)
        return columns[2:]

    def rows(self, ids: np.ndarray, scores: np.ndarray) -> pa.Table:
        """Return the table of some nodes.

        Parameters
        ----------
        ids : numpy.ndarray
            Original ids, int64 [n].
        scores : numpy.ndarray
            float32 [n, C], the model's outputs.
        """
        import pyarrow as pa

        called = ids if self.node_ids is None else self.node_ids[ids]
        # Arrow does not know every kind of text that numpy has.
        found = {
            "id": pa.array(called if called.dtype.kind == "i" else called.tolist())
        }
        if self.num_outputs == self.num_classes:
            found["prediction"] = self._predictions(scores)
        return pa.table(found | dict(zip(self.columns, scores.T, strict=True)))

    def _predictions(self, scores: np.ndarray) -> pa.Array:
        """Return what each node is predicted to be."""
        import pyarrow as pa

        names = pa.array(range(self.num_outputs))
        if not all(map(_is_number, self.names)):
            names = pa.array(self.names)
        elif self.class_names is not None:
            names = pa.array([int(name) for name in self.names])
        if not self.multilabel:
            return names.take(pa.array(scores.argmax(axis=1)))
        rows, columns = np.nonzero(scores > 0)
        ends = np.searchsorted(rows, np.arange(len(scores) + 1)).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(ends), names.take(pa.array(columns)))


def _is_number(name: str) -> bool:
    """Return whether a name is a whole number, as Python writes it."""
    return name.removeprefix("-").isdecimal() and str(int(name)) == name


def write_predictions(
    predictions: da.Array,
    path: str | Path,
    table: PredictionTable,
    nodes: np.ndarray | None = None,
) -> Path:
    """Write (n, C) predictions: row *i* belongs to original node *i*, or ``nodes[i]``.

    Zarr gets one array, whose attribute ``class_names`` names its columns; Parquet one
    row per node, as `PredictionTable` says.
    """
    target = Path(target_path(path))
    if target.suffix == ".zarr":
        rows = -(-predictions.shape[0] // predictions.numblocks[0])
        predictions.rechunk((max(rows, 1), -1)).to_zarr(str(target))
        _name_columns(target, table)
    else:
        _write_parquet(predictions, target, table, nodes)
    return Path(given_path(path))


def _name_columns(path: Path, table: PredictionTable) -> None:
    import zarr

    if table.class_names is not None:
        names = list(table.class_names)
        zarr.open_array(str(path), mode="r+").attrs["class_names"] = names


def _write_parquet(
    predictions: da.Array, path: Path, table: PredictionTable, nodes: np.ndarray | None
) -> None:
    import pyarrow.parquet as pq

    writer = None
    first = 0
    temporary = path.with_name(path.name + ".tmp")
    try:
        for block in predictions.blocks:
            scores = np.asarray(block.compute())
            last = first + len(scores)
            ids = np.arange(first, last) if nodes is None else nodes[first:last]
            rows = table.rows(ids, scores)
            writer = writer or pq.ParquetWriter(temporary, rows.schema)
            writer.write_table(rows)
            first = last
    finally:
        if writer is not None:
            writer.close()
    temporary.rename(path)
