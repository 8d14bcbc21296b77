"""Write predictions as Zarr or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.errors import InputError
from daskgnn.paths import target_path

if TYPE_CHECKING:
    import dask.array as da


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


def write_predictions(
    predictions: da.Array, path: str | Path, nodes: np.ndarray | None = None
) -> Path:
    """Write (n, C) predictions: row *i* belongs to original node *i*, or ``nodes[i]``.

    Zarr gets one array; Parquet one row per node with ``node``, ``prediction`` (the
    largest column) and a column a class.
    """
    path = Path(target_path(path))
    if path.suffix == ".zarr":
        rows = -(-predictions.shape[0] // predictions.numblocks[0])
        predictions.rechunk((max(rows, 1), -1)).to_zarr(str(path.absolute()))
        return path
    _write_parquet(predictions, path, nodes)
    return path


def _write_parquet(predictions: da.Array, path: Path, nodes: np.ndarray | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    first = 0
    temporary = path.with_name(path.name + ".tmp")
    try:
        for block in predictions.blocks:
            values = np.asarray(block.compute())
            last = first + len(values)
            numbers = np.arange(first, last) if nodes is None else nodes[first:last]
            table = pa.table(
                {
                    "node": numbers,
                    "prediction": values.argmax(axis=1),
                    **{f"class_{c}": values[:, c] for c in range(values.shape[1])},
                }
            )
            writer = writer or pq.ParquetWriter(temporary, table.schema)
            writer.write_table(table)
            first = last
    finally:
        if writer is not None:
            writer.close()
    temporary.rename(path)
