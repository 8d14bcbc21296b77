"""A user's own assignment of nodes to clusters, as an array or in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import PartitionError
from daskgnn.partition.hierarchy import order_clusters
from daskgnn.partition.weights import work_of

if TYPE_CHECKING:
    from daskgnn.graph.data import GraphData

SUFFIXES = (".npy", ".txt", ".part", ".csv")


def is_assignment(method: Any) -> bool:
    """Tell whether a method is an assignment: an array, or a file by its name."""
    if isinstance(method, str):
        return method.endswith(SUFFIXES) or os.sep in method
    return isinstance(method, Path | np.ndarray | list | tuple)


def assigned_clusters(graph: GraphData, given: Any) -> np.ndarray:
    """Return int64 [N], the clusters that a user gives, numbered hierarchically.

    Cost: linear. Memory: 16 bytes a node. When: another tool has cut the graph, or the
    nodes have groups of their own (hosts, regions, shards). Clusters stay whole, so a
    store opens with as many parts as there are groups, or fewer.

    Parameters
    ----------
    given
        A number of any size for each node, equal ones for nodes that stay together: an
        array (N,) of integers, or a file: ``.npy``, or text with one number a line, as
        METIS and KaMinPar write them.

    Raises
    ------
    PartitionError
        If there is no such file, or it does not hold one integer a node.
    """
    label, values = "the assignment", given
    if isinstance(given, str | Path):
        label, values = str(given), _read(Path(given).expanduser())
    values = np.asarray(values)
    if values.shape != (graph.num_nodes,) or values.dtype.kind not in "iu":
        raise PartitionError(
            f"{label} is an array {values.dtype} {values.shape}, expected one integer "
            f"a node: ({graph.num_nodes},)"
        )
    numbers, clusters = np.unique(values, return_inverse=True)
    return order_clusters(graph, clusters, len(numbers), work_of(graph))


def _read(path: Path) -> np.ndarray:
    """Return what a file holds."""
    if not path.is_file():
        raise PartitionError(f"no file {path}: give the path of an assignment")
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        return np.loadtxt(path, dtype=np.int64, ndmin=1)
    except (ValueError, OSError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise PartitionError(
            f"{path} cannot be read ({reason}): expected an .npy of integers, or one "
            "integer a line"
        ) from None
