"""The plan of an epoch: which targets each step and each part gets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.counter import PERMUTATION, derive_key, keys_below

if TYPE_CHECKING:
    from daskgnn.kernels.targets import Targets


@dataclass(frozen=True)
class SeedPlan:
    """The targets of every step, a function of ``(seed, epoch)`` and their keys alone.

    It does not depend on the order in which they are given, nor on the partition.
    """

    targets: Targets
    batch_size: int
    """Targets a step, over all parts."""
    seed: int
    shuffle: bool = True
    chosen: Any = None
    """A `daskgnn.sampling.StepPlan` where the sampler chooses the seeds; None where
    each step has `batch_size` of the targets."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps, the last short one included."""
        if self.chosen is not None:
            return int(self.chosen.steps_per_epoch)
        return -(-len(self.targets) // self.batch_size)

    @cached_property
    def in_order(self) -> Targets:
        """The targets in storage order."""
        return self.targets.in_order()

    def permutation(self, epoch: int) -> np.ndarray:
        """Return places in `in_order` as `epoch` visits them, int64 [n]."""
        by_key = np.argsort(self.in_order.keys, kind="stable")
        if not self.shuffle:
            return by_key
        key = np.uint64(derive_key(PERMUTATION, self.seed, epoch))
        keys = keys_below(key, self.in_order.keys[by_key])
        return by_key[np.argsort(keys, kind="stable")]

    def step_targets(self, permutation: np.ndarray, step: int) -> Targets:
        """Return the targets of step `step` of an epoch, in storage order."""
        first = step * self.batch_size
        return self.in_order.take(np.sort(permutation[first : first + self.batch_size]))

    def num_targets(self, epoch: int, step: int) -> int:
        """Return how many targets a step has, counted from its epoch's begin."""
        if self.chosen is not None:
            return int(self.chosen.num_targets(epoch, step))
        return min(self.batch_size, len(self.targets) - step * self.batch_size)


def cut_runs(num_targets: int, num_parts: int) -> np.ndarray:
    """Cut `num_targets` into `num_parts` runs that differ by at most one.

    Returns
    -------
    numpy.ndarray
        int64 [num_parts + 1], where each run begins.
    """
    return np.arange(num_parts + 1, dtype=np.int64) * num_targets // num_parts
