"""Estimate how many rows of other parts a training step needs, by sampling some steps.

Chances that are carried from hop to hop as if they were independent come out up to a
fifth too high where neighbours of a node are neighbours of each other, so batches are
drawn and followed instead. N nodes, P parts; a lane is one part of one drawn step. Of a
stored vertex-cut (C clusters, R split rows) what the parts hold counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import PartitionError
from daskgnn.kernels.counter import below, combine, derive_key, draw
from daskgnn.kernels.jit import njit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Block = Callable[[int, int], tuple[np.ndarray, np.ndarray]]

MOST_PARTS = 8
"""Parts looked at; the rest is taken to be like them."""
SEEDS = 8192
"""Seeds that are drawn, about: large batches vary little."""
STEPS = (8, 24)
"""Fewest and most steps that are drawn, but for whole windows."""
SAMPLED_ROW_BYTES = 32
"""Of a sampled row beside its neighbours: its id is asked for; its length, original id,
degree and weighted degree are answered."""
LABEL_BYTES = 12
"""Of a seed's label: its id is asked for, its class is answered."""
NEIGHBOUR_BYTES = 4
"""Of a storage id."""
LOOK_UP_BYTES = 8
"""Of an entry that is looked up: its place is asked for, its column is answered."""


def remote_traffic(
    block: Block,
    runs: list[tuple[int, int]],
    seeds: np.ndarray | None,
    row_bytes: float | np.ndarray,
    num_neighbors: Sequence[int],
    batch_size: int,
    window: int = 1,
    look_ups: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> tuple[float, float]:
    """Estimate what a step needs of other parts, as training counts it.

    Batches are drawn as training draws them: seeds without repeats, cut into equal
    runs in storage order, and nested draws of neighbours. The draws are always the
    same. Seeds are all nodes where no training nodes are given.

    Parameters
    ----------
    block
        (start, stop) -> CSR rows of a run of storage ids.
    runs
        First and last + 1 storage id of each part.
    row_bytes
        Bytes of a feature row: of every row, or [N] of each.
    window
        Steps that are prepared together: a feature row that several of them need
        counts once, so that this is a window's traffic over its steps.
    look_ups
        Of a vertex-cut: see `Holdings.look_ups`.

    Returns
    -------
    float, float
        Feature rows that a step fetches from other parts, over all parts; and the bytes
        of these, of sampled neighbours, and of the requests for both.
    """
    num_nodes = runs[-1][1]
    if len(runs) == 1:
        return 0.0, 0.0
    if seeds is None:
        seeds = np.arange(num_nodes)
    steps = int(np.clip(SEEDS // min(batch_size, len(seeds)), *STEPS))
    lanes = _Lanes(runs, -(-steps // window) * window)
    reached = lanes.draw_seeds(seeds, batch_size)
    before, sampled = reached[:0], 0.0
    for hop, fan_out in enumerate(num_neighbors):
        rest = num_neighbors[hop:]  # what these hops ask of a row at most
        width = 2**62 if -1 in rest else max(rest)
        fresh = ~np.isin(reached, before, assume_unique=True)
        asked, nodes = fresh & lanes.remote(reached), reached % num_nodes
        each = SAMPLED_ROW_BYTES + (LABEL_BYTES if hop == 0 else 0)
        sampled += int(asked.sum()) * each
        found = [reached]
        for start, stop in runs:
            here = (nodes >= start) & (nodes < stop)
            indptr, indices = block(start, stop)
            degree = np.diff(indptr)[nodes[here & asked] - start]
            sampled += NEIGHBOUR_BYTES * float(np.minimum(degree, width).sum())
            if look_ups is not None:
                new = here & fresh
                drawn = np.minimum(np.diff(indptr)[nodes[new] - start], width)
                away = look_ups(nodes[new], lanes.part(reached[new]))
                sampled += LOOK_UP_BYTES * float((drawn * away).sum())
            own = reached[here]
            rows = (indptr, indices, own % num_nodes - start)
            found.append(_neighbours(own, rows, num_nodes, fan_out))
        before, reached = reached, np.unique(np.concatenate(found))
    fetched = lanes.fetched(reached, window)
    whole = row_bytes[fetched] if isinstance(row_bytes, np.ndarray) else row_bytes
    sent = float(np.sum(np.broadcast_to(whole + NEIGHBOUR_BYTES, fetched.shape)))
    share = len(runs) / len(lanes.parts) / lanes.steps
    return len(fetched) * share, (sent + sampled) * share


def check_sampling(
    num_neighbors: Sequence[int], batch_size: int, window: int = 1
) -> None:
    """Raise `PartitionError` for fan-outs, a batch size or a window that cannot be."""
    if not num_neighbors or any(k != -1 and k < 1 for k in num_neighbors):
        raise PartitionError(
            f"num_neighbors={list(num_neighbors)}: give one number of at least 1 for "
            "each hop, or -1 for all, like [15, 10]"
        )
    if batch_size < 1:
        raise PartitionError(f"batch_size={batch_size}: give at least 1")
    if window < 1:
        raise PartitionError(f"window={window}: give at least 1")


class _Lanes:
    """Drawn steps and the parts that are looked at; keys are ``lane * N + node``."""

    def __init__(self, runs: list[tuple[int, int]], steps: int) -> None:
        self.steps, self.num_parts = steps, len(runs)
        count = min(self.num_parts, MOST_PARTS)
        self.parts = np.arange(count) * self.num_parts // count
        self.num_nodes = runs[-1][1]
        self._starts = np.array([start for start, _ in runs])

    def draw_seeds(self, seeds: np.ndarray, batch: int) -> np.ndarray:
        """Return sorted int64 keys of the seeds of all lanes."""
        rng = np.random.default_rng(0)
        batch = min(batch, len(seeds))
        cuts = np.arange(self.num_parts + 1) * batch // self.num_parts
        found, order = [], seeds[:0]
        for step in range(self.steps):
            if len(order) < batch:
                order = rng.permutation(seeds)
            drawn, order = np.sort(order[:batch]), order[batch:]
            for column, p in enumerate(self.parts):
                lane = step * len(self.parts) + column
                found.append(lane * self.num_nodes + drawn[cuts[p] : cuts[p + 1]])
        return np.sort(np.concatenate(found).astype(np.int64))

    def remote(self, keys: np.ndarray) -> np.ndarray:
        """Return bool, which keys' nodes another part owns than the lane's."""
        nodes = keys % self.num_nodes
        owners = np.searchsorted(self._starts, nodes, side="right") - 1
        return owners != self.part(keys)

    def part(self, keys: np.ndarray) -> np.ndarray:
        """Return the part of each key's lane."""
        return self.parts[keys // self.num_nodes % len(self.parts)]

    def fetched(self, keys: np.ndarray, window: int) -> np.ndarray:
        """Return the remote nodes, each once for a part and the steps of a window."""
        keys = keys[self.remote(keys)]
        lanes, count = keys // self.num_nodes, len(self.parts)
        fetches = lanes // count // window * count + lanes % count
        nodes = np.unique(fetches * self.num_nodes + keys % self.num_nodes)
        return nodes % self.num_nodes


def _neighbours(
    keys: np.ndarray,
    block: tuple[np.ndarray, np.ndarray, np.ndarray],
    num_nodes: int,
    fan_out: int,
) -> np.ndarray:
    """Return keys of the neighbours that keys' nodes draw, each once.

    Parameters
    ----------
    block
        CSR rows, and which of them each key's is.
    """
    indptr, _, rows = block
    degree = np.diff(indptr)[rows]
    taken = degree if fan_out == -1 else np.minimum(degree, fan_out)
    found = np.empty(int(taken.sum()), np.int64)
    key = np.uint64(derive_key(0))
    _draw_rows(keys, block, taken, num_nodes, key, found)
    return np.unique(found)


@njit(cache=True, nogil=True)
def _draw_rows(
    keys: Any, block: Any, taken: Any, num_nodes: int, key: Any, found: Any
) -> None:
    """Write the keys of the first `taken` of each row's draw order, row after row.

    The order is that of a partial Fisher-Yates shuffle, a function of the row's key
    alone, so that draws of several hops are nested.
    """
    indptr, indices, rows = block
    at = 0
    for i in range(len(rows)):
        begin, degree = indptr[rows[i]], indptr[rows[i] + 1] - indptr[rows[i]]
        lane = keys[i] // num_nodes * num_nodes
        own = combine(key, np.uint64(keys[i]))
        whole = taken[i] == degree
        for j in range(taken[i]):
            place = j if whole else j + below(draw(own, np.uint64(j)), degree - j)
            if not whole:
                place = _swapped(own, place, j, degree)
            found[at] = lane + indices[begin + place]
            at += 1


@njit(cache=True, nogil=True, inline="always")
def _swapped(own: Any, place: Any, step: Any, degree: Any) -> Any:
    """Return what stands at a place after the first `step` swaps of a shuffle."""
    for j in range(step - 1, -1, -1):
        other = j + below(draw(own, np.uint64(j)), degree - j)
        if place == other:
            place = j
        elif place == j:
            place = other
    return place


@dataclass(frozen=True, eq=False)
class Holdings:
    """How much of each split row each cluster holds."""

    rows: np.ndarray
    """int64 [R], storage ids, ascending."""
    counts: np.ndarray
    """int64 [R, C], entries."""
    cluster_bounds: np.ndarray
    """int64 [C + 1], storage ids."""
    stored: Callable[[int, int], np.ndarray]
    """(start, stop) -> storage ids of the neighbours in all entries that the clusters
    between two storage ids hold."""

    def by_part(self, book: np.ndarray) -> np.ndarray:
        """Return int64 [R, P], the entries of each row with each part."""
        first = np.searchsorted(self.cluster_bounds, book[:-1])
        return np.add.reduceat(self.counts, first, axis=1)

    def counts_of_parts(self, book: np.ndarray) -> tuple[list[int], list[int]]:
        """Return the entries and the halo nodes of each part as they are stored.

        A part has a copy of a node if it owns it or holds one of its edges.
        """
        held = self.by_part(book)
        edges, halo = [], []
        for part, (start, stop) in enumerate(pairwise(int(b) for b in book)):
            columns = self.stored(start, stop)
            here = np.zeros(int(book[-1]), bool)
            here[columns] = True
            here[self.rows[held[:, part] > 0]] = True
            here[start:stop] = False
            edges.append(len(columns))
            halo.append(int(here.sum()))
        return edges, halo

    def look_ups(
        self, book: np.ndarray
    ) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Return what tells the share of a row's entries that has to be looked up.

        What the row's master holds comes with its answer, and what the part itself
        holds is at hand.

        Returns
        -------
        Callable
            (nodes, parts) -> float64 [m], for parts that want the rows of nodes.
        """
        held = self.by_part(book)
        shares = held / held.sum(axis=1, keepdims=True)

        def share(nodes: np.ndarray, parts: np.ndarray) -> np.ndarray:
            number = np.searchsorted(self.rows, nodes)
            split_rows = np.append(self.rows, -1)[number] == nodes
            found = np.zeros(len(nodes))
            row, part = number[split_rows], parts[split_rows]
            master = np.searchsorted(book, nodes[split_rows], side="right") - 1
            others = 1 - shares[row, master]
            found[split_rows] = others - np.where(master == part, 0, shares[row, part])
            return found

        return share
