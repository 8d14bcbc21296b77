"""What the methods share: the graph as they see it, nodes' work, scratch arrays."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

NODE_SHARE = 0.1
"""Work of all nodes as such, where that of all edges is 1."""


class Structure(Protocol):
    """A graph of N nodes and E entries as CSR rows; `daskgnn.GraphData` is one."""

    @property
    def indptr(self) -> np.ndarray:
        """int64 [N+1], row pointers."""

    @property
    def indices(self) -> np.ndarray:
        """int [E], in-neighbours; each row sorted, without repeats."""

    @property
    def edge_weight(self) -> np.ndarray | None:
        """float32 [E], or None where every edge weighs 1."""

    @property
    def splits(self) -> Mapping[str, np.ndarray]:
        """Sorted ids; work is balanced by those of "train"."""

    @property
    def directed(self) -> bool:
        """Whether rows may lack the reverse of an edge."""

    @property
    def num_nodes(self) -> int:
        """N."""

    @property
    def num_edges(self) -> int:
        """E."""


@dataclass(frozen=True)
class CSRStructure:
    """A `Structure` without anything else."""

    indptr: np.ndarray
    indices: np.ndarray
    directed: bool = False
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    edge_weight: np.ndarray | None = None

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.indptr) - 1

    @property
    def num_edges(self) -> int:
        """E."""
        return len(self.indices)


def node_work(degree: np.ndarray, seeds: np.ndarray | None) -> np.ndarray:
    """Return float64 [N], the work of each node; that of all edges is 1.

    Its share of the edges, of the training nodes (ids `seeds`) if there are any,
    and a little for being a node.
    """
    work = degree / max(int(degree.sum()), 1) + NODE_SHARE / len(degree)
    if seeds is not None and len(seeds):
        work[seeds] += 1 / len(seeds)
    return work


def work_of(graph: Structure) -> np.ndarray:
    """Return float64 [N], each node's work (see `node_work`); its mean is 1.

    It is what later balances the parts, so that balanced clusters make balanced parts.
    """
    work = node_work(np.diff(graph.indptr), graph.splits.get("train"))
    work *= len(work) / work.sum()
    return work


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
