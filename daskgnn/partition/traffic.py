"""Estimate how many rows of other parts a training step needs.

N nodes, S parts looked at, h the hop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.special import ndtr

from daskgnn.errors import PartitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Block = Callable[[int, int], tuple[np.ndarray, np.ndarray]]

MOST_PARTS = 8
"""Parts looked at; the rest is taken to be like them."""
_ALMOST_ONE = np.float32(1 - 1e-6)


def remote_rows(
    block: Block,
    runs: list[tuple[int, int]],
    seeds: np.ndarray | None,
    num_neighbors: Sequence[int],
    batch_size: int,
    window: int = 1,
) -> float:
    """Estimate the rows of other parts that a step needs, summed over all parts.

    For each part, the chance of every node to be among those the part's share of a
    random batch reaches is carried from hop to hop, as if draws were independent.
    Seeds are all nodes where no training nodes are given.

    Parameters
    ----------
    block
        (start, stop) -> CSR rows of a run of storage ids.
    runs
        First and last + 1 storage id of each part.
    window
        Steps that are prepared together: a row that several of them need counts once,
        so that this is a window's rows over its steps.
    """
    num_nodes = runs[-1][1]
    if len(runs) == 1:
        return 0.0
    if seeds is None:
        seeds = np.arange(num_nodes)
    parts = _spread(len(runs))
    reached = _seed_chances(seeds, parts, len(runs), num_nodes, batch_size)
    fresh, best = reached.copy(), np.zeros(num_nodes, np.float32)
    for fan_out in num_neighbors:
        stay = _hop(block, runs, fan_out, fresh, reached - fresh, best)
        before = reached
        reached = 1 - (1 - reached) * stay
        fresh = reached - before
    remote = 0.0
    for column, p in enumerate(parts):
        start, stop = runs[p]
        chances = _within(reached[:, column], window)
        remote += float(chances.sum(dtype=np.float64))
        remote -= float(chances[start:stop].sum(dtype=np.float64))
    return max(remote, 0.0) * len(runs) / len(parts)


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


def _within(chances: np.ndarray, window: int) -> np.ndarray:
    """Return the chances to be needed in a window of steps, over its steps."""
    return chances if window == 1 else (1 - (1 - chances) ** window) / window


def _spread(num_parts: int) -> np.ndarray:
    """Choose the parts to look at, evenly."""
    count = min(num_parts, MOST_PARTS)
    return np.arange(count) * num_parts // count


def _seed_chances(
    seeds: np.ndarray, parts: np.ndarray, num_parts: int, num_nodes: int, batch: int
) -> np.ndarray:
    """Return float32 [N, S]: how likely a node is a seed of each part in a step.

    A step's seeds in storage order are cut into equal runs. The rank of a node among
    them is near normal, so nodes near a cut may be seeds of either part.
    """
    count = len(seeds)
    batch = min(batch, count)
    place = (np.arange(count) + 0.5) / count
    left_out = (count - batch) / max(count - 1, 1)
    spread = np.sqrt(batch * place * (1 - place) * left_out) + 1e-9
    chances = np.zeros((num_nodes, len(parts)), np.float32)
    for column, p in enumerate(parts):
        below = ndtr((batch * p / num_parts - batch * place) / spread)
        above = ndtr((batch * (p + 1) / num_parts - batch * place) / spread)
        if p == 0:
            below = 0
        if p == num_parts - 1:
            above = 1
        chances[seeds, column] = batch / count * (above - below)
    return chances


def _hop(
    block: Block,
    runs: list[tuple[int, int]],
    fan_out: int,
    fresh: np.ndarray,
    older: np.ndarray,
    best: np.ndarray,
) -> np.ndarray:
    """Return float32 [N, S], the chance that no draw of this hop hits a node.

    `fresh` and `older` [N, S] are the chances to be reached just now and before;
    `best` [N] is the largest share of its neighbours a node drew so far: draws are
    nested, so a node that drew before adds only what exceeds that. Updates `best`.
    """
    missed = np.zeros_like(fresh)
    for start, stop in runs:
        indptr, indices = block(start, stop)
        degree = np.diff(indptr)
        share = _share(degree, fan_out)
        more = np.maximum(share - best[start:stop], 0)
        chance = fresh[start:stop] * share[:, None] + older[start:stop] * more[:, None]
        best[start:stop] = np.maximum(best[start:stop], share)
        weights = np.ones(len(indices), np.float32)
        shape = (stop - start, len(fresh))
        rows = sp.csr_array((weights, indices, indptr), shape=shape)
        missed += rows.T @ np.log1p(-np.minimum(chance, _ALMOST_ONE))
    return np.exp(missed)


def _share(degree: np.ndarray, fan_out: int) -> np.ndarray:
    """Return float32, the share of its neighbours that a node draws."""
    if fan_out == -1:
        return np.ones(len(degree), np.float32)
    return np.minimum(fan_out / np.maximum(degree, 1), 1).astype(np.float32)
