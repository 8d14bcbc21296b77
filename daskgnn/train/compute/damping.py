"""Learning rates of late gradients, which follow the loss.

Where the curvature is L, gradient descent with rate r and momentum b (as an average:
Adam's) is stable while r L < 2 (1 + b) / (1 - b), but while r L < 1 if gradients are
one update late, and about 1 / t if t updates. Training finds places that are as curved
as it can stand, or does not come near them: that depends on the graph. So rates begin
at what is stable in any case, and rise while the loss does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

GROWTH, BACKOFF = 1.05, 0.5
RISE = 0.5
"""By which share of the usual loss one is higher after which rates fall."""
_RECENT = 0.1
"""Weight of the last loss in the usual one."""


@dataclass(frozen=True)
class Damping:
    """What the learning rates of late gradients are multiplied by: a step's state."""

    factor: float = 0.0
    """0 before the first late gradient."""
    usual: float | None = None
    """Moving average of the loss."""

    @classmethod
    def of(cls, array: np.ndarray | None) -> Damping:
        """Return what `to_array` gave, or the first one."""
        return cls() if array is None else cls(*array.tolist())

    def to_array(self) -> np.ndarray:
        """Return float64 [2], for states and checkpoints."""
        assert self.usual is not None
        return np.array([self.factor, self.usual])

    def after(
        self, loss: float, late: int, groups: Sequence[dict[str, Any]]
    ) -> Damping:
        """Return what holds for the update of a step, given its loss.

        Parameters
        ----------
        loss : float
        late : int
            Updates by which its gradient is late; 0 changes no factor.
        groups : sequence of dict
            Options of the optimizer's parameter groups.
        """
        usual = loss if self.usual is None else self.usual
        highest = usual + RISE * abs(usual)
        factor = self.factor
        if late:
            least = min((stable_rate(late, group) for group in groups), default=1.0)
            change = BACKOFF if loss > highest else GROWTH
            factor = min(1.0, max(least, max(factor, least) * change))
        usual += _RECENT * (min(loss, highest) - usual)
        return Damping(factor, usual)

    def rate(self, late: int) -> float:
        """Return what learning rates are multiplied by."""
        return self.factor if late else 1.0


def stable_rate(late: int, group: dict[str, Any]) -> float:
    """Return a factor with which late gradients stand what synchronous ones do.

    Half of it at least, in curvature: 1 / (1 + t (1 + b) / (1 - b)).

    Parameters
    ----------
    late : int
        Updates t.
    group : dict
        Options of a parameter group, its momentum b among them.
    """
    momentum = group.get("momentum") or (group.get("betas") or (0.0,))[0]
    return 1 / (1 + late * (1 + momentum) / max(1 - momentum, 1e-3))
