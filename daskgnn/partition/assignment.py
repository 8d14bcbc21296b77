"""A user's own clusters: an array, a file, or a function that makes them."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from daskgnn.errors import PartitionError, first_line
from daskgnn.partition.methods.hierarchy import order_clusters
from daskgnn.partition.methods.structure import Structure, work_of
from daskgnn.paths import given_path

SUFFIXES = (".npy", ".txt", ".part", ".csv")


def is_assignment(method: Any) -> bool:
    """Tell whether a method is an assignment: an array, or a file by its name."""
    if isinstance(method, str):
        return method.endswith(SUFFIXES) or os.sep in method
    return isinstance(method, Path | np.ndarray | list | tuple)


def assigned_clusters(graph: Structure, given: Any) -> np.ndarray:
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
        If there is no such file, or it does not hold one integer per node.
    """
    label, values = "the assignment", given
    if isinstance(given, str | Path):
        label, values = str(given), _read(Path(given_path(given)))
    values = np.asarray(values)
    check_clusters(values, f"{label} is", graph.num_nodes)
    return _ordered(graph, values)


def _ordered(graph: Structure, values: np.ndarray) -> np.ndarray:
    """Return int64 [N], hierarchical numbers of the clusters that there are."""
    numbers, clusters = np.unique(values, return_inverse=True)
    return order_clusters(graph, clusters, len(numbers), work_of(graph))


def partitioner_name(function: Any) -> str:
    """Return the name of a user's partitioner for stores and messages."""
    return str(getattr(function, "__name__", type(function).__name__))


def check_partitioner(function: Any) -> None:
    """Raise `PartitionError` if a user's partitioner has the wrong signature."""
    name = partitioner_name(function)
    if isinstance(function, type):
        raise PartitionError(
            f"method={name} is a class, expected an object of it: method={name}()"
        )
    try:
        inspect.signature(function).bind(None, 1, 0)
    except TypeError:
        raise PartitionError(
            f"method: {name}{inspect.signature(function)} is not of the form "
            f"{name}(adjacency, num_clusters, seed)"
        ) from None
    except ValueError:  # of built-in functions nothing is known
        return


def called_clusters(
    graph: Structure, function: Any, num_clusters: int, seed: int
) -> np.ndarray:
    """Return int64 [N], the clusters of a user's partitioner, renumbered.

    Parameters
    ----------
    function
        Called with the graph as a float32 CSR matrix (N, N), whose row v has the edges
        that end in v and whose values are the edges' weights, or 1; with the number of
        clusters; and with a seed. It returns integers [N] in ``0..num_clusters - 1``.

    Raises
    ------
    PartitionError
        If it returns anything else.
    """
    weights = graph.edge_weight
    if weights is None:
        weights = np.ones(graph.num_edges, np.float32)
    shape = (graph.num_nodes, graph.num_nodes)
    adjacency = sp.csr_array((weights, graph.indices, graph.indptr), shape=shape)
    values = np.asarray(function(adjacency, num_clusters, seed))
    name = partitioner_name(function)
    check_clusters(values, f"{name} returned", graph.num_nodes)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= num_clusters:
        raise PartitionError(
            f"{name} returned cluster {low if low < 0 else high}, expected "
            f"0..{num_clusters - 1} for num_clusters={num_clusters}"
        )
    return _ordered(graph, values)


def check_clusters(values: np.ndarray, said: str, num_nodes: int) -> None:
    """Raise `PartitionError` unless there is an integer for each node."""
    if values.shape != (num_nodes,) or values.dtype.kind not in "iu":
        raise PartitionError(
            f"{said} an array {values.dtype} {values.shape}, expected one integer "
            f"per node, its cluster: integers ({num_nodes},)"
        )


def _read(path: Path) -> np.ndarray:
    """Return what a file holds."""
    if not path.is_file():
        raise PartitionError(f"no file {path}: give the path of an assignment")
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        return np.loadtxt(path, dtype=np.int64, ndmin=1)
    except (ValueError, OSError, EOFError) as error:
        raise PartitionError(
            f"{path} cannot be read ({first_line(error)}): expected an .npy of "
            "integers, or one integer per line"
        ) from None
