"""The steps of samplers that choose the nodes they train on."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class StepPlan:
    """Which subgraphs each step has, where a sampler chooses the seeds by itself.

    A function of the epoch and the step alone: it is asked in the driver, in any order.

    Examples
    --------
    One subgraph a step, which starts from its number:

    >>> import numpy as np
    >>> from daskgnn.sampling import StepPlan
    >>> class TenSteps(StepPlan):
    ...     steps_per_epoch = 10
    ...     seeds_per_step = 100
    ...     def starts(self, epoch, step):
    ...         return np.array([[epoch * 10 + step]])
    ...     def num_targets(self, epoch, step):
    ...         return 100
    >>> TenSteps().starts(epoch=1, step=2), TenSteps().num_targets(1, 2)
    (array([[12]]), 100)
    """

    steps_per_epoch: int
    """Number of steps of an epoch."""
    seeds_per_step: int
    """About how many seeds a step has, over all parts."""

    def starts(self, epoch: int, step: int) -> np.ndarray:
        """Return what the subgraphs of a step start from.

        Parameters
        ----------
        epoch, step : int
            From 0.

        Returns
        -------
        numpy.ndarray
            int64 [s, m], one row for each subgraph; parts get runs of these rows.
        """
        raise NotImplementedError

    def num_targets(self, epoch: int, step: int) -> int:
        """Return what the summed loss of a step is divided by.

        Parameters
        ----------
        epoch, step : int
            From 0.

        Returns
        -------
        int
            For instance the number of training nodes in the step's subgraphs.
        """
        raise NotImplementedError


def runs_of(starts: np.ndarray, num_parts: int) -> list[np.ndarray]:
    """Cut the rows of `starts` into a run for each part."""
    count = len(starts)
    cuts = [count * part // num_parts for part in range(num_parts + 1)]
    return [starts[a:b] for a, b in pairwise(cuts)]
