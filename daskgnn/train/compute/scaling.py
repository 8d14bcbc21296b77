"""Loss scaling for float16.

The scale is halved when a gradient is not finite, and that update is left out; it is
doubled after many updates in a row that were made: what `torch.amp.GradScaler` does
(Micikevicius et al., "Mixed Precision Training", ICLR 2018), but as a value that
belongs to the state, so that a step can be computed again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daskgnn.errors import TrainingError

FIRST = 2.0**16
GROWTH, BACKOFF, INTERVAL = 2.0, 0.5, 2000
SMALLEST = 2.0**-14
"""The smallest normal float16: where it is too large, scaling is of no use."""


@dataclass(frozen=True)
class LossScale:
    """The factor by which losses are multiplied."""

    factor: float = FIRST
    good: int = 0
    """Updates that were made since it last changed."""

    @classmethod
    def of(cls, array: np.ndarray | None) -> LossScale:
        """Return what `to_array` gave, or the first scale."""
        return cls() if array is None else cls(float(array[0]), int(array[1]))

    def to_array(self) -> np.ndarray:
        """Return float64 [2], for states and checkpoints."""
        return np.array([self.factor, self.good])

    def unscaled(self, gradient: np.ndarray) -> np.ndarray:
        """Return the gradient of the loss from that of the scaled one, float32 [n]."""
        return gradient * np.float32(1 / self.factor)

    def after(self, *, finite: bool) -> LossScale:
        """Return the scale after an update that was made, or left out."""
        if not finite:
            return LossScale(self.factor * BACKOFF)
        if self.good + 1 == INTERVAL:
            return LossScale(self.factor * GROWTH)
        return LossScale(self.factor, self.good + 1)

    def checked(self, step: int) -> LossScale:
        """Return the scale itself, unless it is of no use after a step of the run.

        Raises
        ------
        TrainingError
            If it is below `SMALLEST`.
        """
        if self.factor < SMALLEST:
            raise TrainingError(
                f"the gradient of step {step} is not finite in float16, however little "
                "the loss is scaled: lower the learning rate or use precision='bf16'"
            )
        return self
