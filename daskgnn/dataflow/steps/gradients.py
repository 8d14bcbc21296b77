"""A part's gradient in one step, and sums of gradients."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from daskgnn.dataflow.steps.clock import Works, together
from daskgnn.kernels.compress import Message


@dataclass(frozen=True)
class PartGradient:
    """The gradient and loss of one part in a step, or the sum of several."""

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
    )


def opened(share: PartGradient) -> PartGradient:
    """Return a share with its gradient as numbers, if it came as a message."""
    if isinstance(share.gradient, Message):
        return replace(share, gradient=share.gradient.dense())
    return share
