"""Scratch arrays of a partitioner: in files if the graph is in files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from daskgnn.partition.methods.structure import Structure


def folder_of(graph: Structure) -> str | None:
    """Return the folder of a graph whose rows are mapped; None if in memory."""
    file = getattr(graph.indices, "filename", None)
    return None if file is None else str(Path(file).parent)


def empty(count: int, dtype: Any, folder: str | None) -> np.ndarray:
    """Return an array [count], in an unnamed file of a folder if there is one.

    The file goes when the array does; its pages are the system's, not the process's.
    """
    if folder is None or not count:
        return np.empty(count, dtype)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(count * np.dtype(dtype).itemsize)
        return np.asarray(np.memmap(file, dtype, "r+", shape=(count,)))
