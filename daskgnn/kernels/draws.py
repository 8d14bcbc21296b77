"""Draws of nodes, edges and walks for subgraphs, where the rows are.

Shapes: S streams of k draws each, n rows of a part, m draws that a part is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.columnnorms import column_norms
from daskgnn.kernels.counter import draw, uniform
from daskgnn.kernels.frontier import offsets
from daskgnn.kernels.idset import IdSet
from daskgnn.kernels.induced import NodeSets
from daskgnn.kernels.jit import njit
from daskgnn.kernels.record import ArrayRecord

if TYPE_CHECKING:
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.entries import PartRows

Array = np.ndarray
_UNIT, _EDGE_UNIT = 2**24, 2**20
"""What probabilities are multiplied by, to be whole numbers."""
_S32 = np.uint64(32)


@njit(cache=True, nogil=True)
def _streams(keys: Array, count: int, stride: int, index: int, out: Array) -> None:
    for g in range(len(keys)):
        for i in range(count):
            out[g * count + i] = draw(keys[g], i * stride + index)


@njit(cache=True, nogil=True)
def _scaled(bits: Array, total: int, out: Array) -> None:
    for i in range(len(bits)):
        out[i] = min(np.int64(uniform(bits[i]) * total), total - 1)


def numbers_below(
    keys: np.ndarray, count: int, stride: int, index: int, total: int
) -> np.ndarray:
    """Return uniform whole numbers from 0 to `total` - 1, int64 [S * k].

    Parameters
    ----------
    keys : uint64 [S]
        Of each stream.
    count : int
        k.
    stride, index : int
        Draw i of a stream is its number ``i * stride + index``.
    total : int
    """
    out = np.empty(len(keys) * count, np.int64)
    _scaled(frozen(_bits(keys, count, stride, index)), total, out)
    return out


def bits32(keys: np.ndarray, count: int, stride: int, index: int) -> np.ndarray:
    """Return random bits, uint32 [S * k]: see `numbers_below`."""
    return (_bits(keys, count, stride, index) >> _S32).astype(np.uint32)


def _bits(keys: np.ndarray, count: int, stride: int, index: int) -> np.ndarray:
    out = np.empty(len(keys) * count, np.uint64)
    _streams(frozen(keys), count, stride, index, out)
    return out


def slots_below(bits: np.ndarray, degree: np.ndarray) -> np.ndarray:
    """Return a slot of each row, by 32 random bits: int64 [m], 0 of empty rows."""
    product = bits.astype(np.uint64) * degree.astype(np.uint64)
    return (product >> _S32).astype(np.int64)


@njit(cache=True, nogil=True)
def _find_slots(starts: Array, masses: Array, rest: Array, out: Array) -> None:
    for i in range(len(starts)):
        slot, left = starts[i], rest[i]
        while left >= masses[slot]:
            left -= masses[slot]
            slot += 1
        out[i] = slot - starts[i]


def slots_of_mass(starts: np.ndarray, masses: Any, rest: np.ndarray) -> np.ndarray:
    """Return the slots of rows where a mass is reached, int64 [m].

    Parameters
    ----------
    starts : int64 [m]
        Where each row begins.
    masses : uint32 [*]
        Of the edges, row by row.
    rest : int64 [m]
        Less than the mass of the row.
    """
    out = np.empty(len(starts), np.int64)
    _find_slots(frozen(starts), frozen(masses), frozen(rest), out)
    return out


@dataclass(frozen=True)
class Draws(ArrayRecord):
    """What one owner is asked to draw, for the subgraphs of a window."""

    ids: np.ndarray
    """int64 [m]: nodes to go on from, or masses below the part's."""
    bits: np.ndarray
    """uint32 [m], random bits for each."""


@dataclass(frozen=True)
class DrawnNodes(ArrayRecord):
    """An owner's answer."""

    nodes: np.ndarray
    """int [1, m], a node for each draw, or int [2, m], the ends of an edge."""


@dataclass(frozen=True)
class Walkers:
    """The nodes that a part's subgraphs have drawn so far, for a window."""

    keys: np.ndarray
    """uint64 [S], of each subgraph's draws."""
    steps: np.ndarray
    """int64 [W + 1], where each step's subgraphs begin."""
    visited: tuple[np.ndarray, ...]
    """int [S * k] each: nodes, subgraph after subgraph. The last ones are where walks
    are."""

    def sets(self, num_nodes: int, dtype: Any) -> NodeSets:
        """Return the distinct nodes of each subgraph."""
        count = len(self.visited[0]) // max(len(self.keys), 1)
        found = []
        for subgraph in range(len(self.keys)):
            mine = slice(subgraph * count, (subgraph + 1) * count)
            nodes = [array[mine] for array in self.visited]
            found.append(IdSet.of(nodes, 0, num_nodes).members(dtype))
        return NodeSets.join(found, dtype)


def node_masses(
    block: AdjacencyBlock, source: Any, floor: float = 0.0
) -> dict[str, np.ndarray]:
    """Return what a part's nodes are drawn in proportion to, added up.

    Whole numbers, so that sums over parts do not depend on how the graph is cut.

    Parameters
    ----------
    floor : float
        Added to the norm of every node.

    Returns
    -------
    dict
        "mass", int64 [n + 1]: node i has those from ``mass[i]`` to ``mass[i + 1] - 1``,
        the squared norm of its column of the adjacency divided by the rows' degrees.
    """
    norms = column_norms(block, source, "mean") + floor
    masses = np.maximum(np.rint(norms * _UNIT), norms > 0)
    return {"mass": offsets(masses.astype(np.int64))}


def edge_masses(block: AdjacencyBlock, source: Any) -> dict[str, np.ndarray]:
    """Return what a part's rows are drawn in proportion to, so that edges are right.

    An edge from u to v is to have a probability in proportion to ``1/d_u + 1/d_v``. Of
    an undirected graph, a uniform node with a neighbour and a uniform neighbour of it
    are such an edge: it is met from both ends. Else each edge has a mass.

    Returns
    -------
    dict
        "mass", int64 [n + 1] as `node_masses` has it, and perhaps "edge_mass", uint32
        [edges].
    """
    if not source.schema.directed:
        return {"mass": offsets((block.degree > 0).astype(np.int64))}
    rows = block
    if block.reader is not None:
        rows = source.load_rows(block.start, block.start + block.num_rows)
    shares = 1.0 / np.maximum(source.degrees(rows.indices), 1)
    degree = rows.degree
    shares += np.repeat(1.0 / np.maximum(degree, 1), degree)
    edges = np.rint(shares * _EDGE_UNIT).astype(np.uint32)
    total = np.concatenate([[0], np.cumsum(edges, dtype=np.int64)])
    return {"mass": total[rows.indptr], "edge_mass": edges}


def nodes_at(rows: PartRows, asked: Draws, *, edges: bool) -> DrawnNodes:
    """Return the nodes, or edges, of some of a part's masses."""
    block, mass = rows.block, rows.data["mass"]
    own = np.searchsorted(mass, asked.ids, side="right") - 1
    nodes = (own + block.start).astype(block.indices.dtype)
    if not edges:
        return DrawnNodes(nodes[None])
    starts = block.indptr[own]
    if "edge_mass" in rows.data:
        slots = slots_of_mass(starts, rows.data["edge_mass"], asked.ids - mass[own])
    else:
        slots = slots_below(asked.bits, block.indptr[own + 1] - starts)
    return DrawnNodes(np.stack([nodes, rows.entries(own, slots).columns]))


def steps_of_walks(rows: PartRows, asked: Draws) -> DrawnNodes:
    """Return a uniform in-neighbour of each node; nodes without any stay."""
    block = rows.block
    own = asked.ids - block.start
    degree = block.indptr[own + 1] - block.indptr[own]
    nodes = asked.ids.astype(block.indices.dtype)
    goes = np.flatnonzero(degree)
    slots = slots_below(asked.bits[goes], degree[goes])
    nodes[goes] = rows.entries(own[goes], slots).columns
    return DrawnNodes(nodes[None])
