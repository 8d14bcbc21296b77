"""Which seeds each step and each part gets: the global plan of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daskgnn.kernels.counter import PERMUTATION, derive_key, keys_below


@dataclass(frozen=True)
class SeedPlan:
    """The seeds of every step, a function of ``(seed, epoch)`` alone.

    `storage_ids` and `original_ids` name the same nodes, in any order; the plan
    does not depend on that order, nor on the partition.
    """

    original_ids: np.ndarray
    """int64 [n], the training nodes as the user numbers them."""
    storage_ids: np.ndarray
    """int64 [n], the same nodes in storage order's numbers."""
    batch_size: int
    """Seeds a step, over all parts."""
    seed: int
    shuffle: bool = True

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps, the last short one included."""
        return -(-len(self.original_ids) // self.batch_size)

    def permutation(self, epoch: int) -> np.ndarray:
        """Return the storage ids in the order in which `epoch` visits them."""
        by_id = np.argsort(self.original_ids, kind="stable")
        if not self.shuffle:
            return self.storage_ids[by_id]
        key = np.uint64(derive_key(PERMUTATION, self.seed, epoch))
        keys = keys_below(key, self.original_ids[by_id])
        return self.storage_ids[by_id[np.argsort(keys, kind="stable")]]

    def step_seeds(self, permutation: np.ndarray, step: int) -> np.ndarray:
        """Return the seeds of step `step` of an epoch, sorted in storage order."""
        first = step * self.batch_size
        return np.sort(permutation[first : first + self.batch_size])


def cut_runs(num_seeds: int, num_parts: int) -> np.ndarray:
    """Cut `num_seeds` into `num_parts` runs that differ by at most one seed.

    Returns
    -------
    numpy.ndarray
        int64 [num_parts + 1], where each run begins.
    """
    return np.arange(num_parts + 1, dtype=np.int64) * num_seeds // num_parts
