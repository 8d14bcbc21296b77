"""A part's gradient in one step, and sums of gradients."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from daskgnn.dataflow.steps.clock import Works, together
from daskgnn.kernels.compress import Message

NO_SEEDS = np.zeros(0, bool)
"""`PartGradient.given` of a part without seeds, which says nothing of parameters."""


@dataclass(frozen=True)
class PartGradient:
    """The gradient and loss of one part in a step, or the sum of several.

    What stands beside the gradient is small and never compressed.
    """

    gradient: Any
    """float32 [parameters], of the sum over seeds divided by the global count; or a
    `Message` that stands for it."""
    loss: Any
    """The loss's share, divided likewise; an array of several steps' where gradients
    of several steps are in it."""
    work: Works = field(default_factory=dict)
    """Where the time of computing it went."""
    dense_bytes: int = 0
    """Of the parts' gradients, as they were."""
    sent_bytes: int = 0
    """Of the parts' gradients, as they are sent."""
    weight: float | None = None
    """Where the loss is a weighted mean: the sum of the seeds' weights, divided
    likewise. Gradient and loss of the whole step are still to be divided by it."""
    statistics: np.ndarray | None = None
    """float64 [s], sums over the rows that layers normalised; or [k, s], of several
    steps."""
    given: np.ndarray | None = None
    """bool, a parameter: whether it has a gradient in one of the parts; None: all have.
    `NO_SEEDS` where no part had seeds."""

    @property
    def nbytes(self) -> int:
        """Bytes of its vectors."""
        beside = 0 if self.statistics is None else self.statistics.nbytes
        return int(self.gradient.nbytes) + beside


@dataclass(frozen=True)
class PartStep:
    """A part's share of a step, and what the part keeps for its next one."""

    share: PartGradient | None
    """None where nothing is added after the step."""
    carried: Any = None


def add_gradients(left: PartGradient, right: PartGradient) -> PartGradient:
    """Return the sum of two shares."""
    left, right = opened(left), opened(right)
    return PartGradient(
        left.gradient + right.gradient,
        left.loss + right.loss,
        together(left.work, right.work),
        left.dense_bytes + right.dense_bytes,
        left.sent_bytes + right.sent_bytes,
        _sum(left.weight, right.weight),
        _sum(left.statistics, right.statistics),
        either(left.given, right.given),
    )


def opened(share: PartGradient) -> PartGradient:
    """Return a share with its gradient as numbers, if it came as a message."""
    if isinstance(share.gradient, Message):
        return replace(share, gradient=share.gradient.dense())
    return share


def either(left: np.ndarray | None, right: np.ndarray | None) -> np.ndarray | None:
    """Return which parameters have a gradient in one of two: see `PartGradient`."""
    if left is None or right is None:
        return None
    if not len(left) or not len(right):
        return right if len(right) else left
    return left | right


def divided(share: PartGradient) -> PartGradient:
    """Return the share of a whole step, divided by the sum of its weights, if any."""
    if share.weight is None:
        return share
    # Seeds that all have the weight 0 change nothing.
    factor = 1 / share.weight if share.weight else 0.0
    gradient = share.gradient * np.float32(factor)
    return replace(share, gradient=gradient, loss=share.loss * factor, weight=None)


def divided_alone(share: PartGradient, num_parts: int) -> PartGradient:
    """Return a part's share, divided as if all parts' weights were like its own."""
    if share.weight is None:
        return share
    return divided(replace(share, weight=share.weight * num_parts))


def _sum(left: Any, right: Any) -> Any:
    """Return a sum in which None counts for nothing."""
    if left is None or right is None:
        return left if right is None else right
    return left + right
