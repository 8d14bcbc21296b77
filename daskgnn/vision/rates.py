"""The learning rate of each step: it rises in equal parts, then falls."""

from __future__ import annotations

import math
from dataclasses import dataclass

_MOST_WARMUP = 500


@dataclass(frozen=True)
class Rates:
    """A function of the step alone, so a resumed run goes on with the same rates."""

    lr: float
    """The largest."""
    warmup_steps: int
    total_steps: int
    decay: str
    """"cosine" or "none"."""

    @classmethod
    def of(
        cls, lr: float, decay: str, warmup: int | None, steps: int, epochs: int
    ) -> Rates:
        """Return the rates of a run.

        Parameters
        ----------
        lr, decay
            As they are held.
        warmup
            Steps; None is half an epoch, 500 steps at most.
        steps
            Of an epoch.
        epochs
            Of the run.
        """
        if warmup is None:
            warmup = min(steps // 2, _MOST_WARMUP)
        return cls(lr, warmup, steps * epochs, decay)

    def at(self, step: int) -> float:
        """Return the rate of a step, counted from the run's begin."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / (self.warmup_steps + 1)
        if self.decay == "none":
            return self.lr
        left = max(self.total_steps - self.warmup_steps, 1)
        return self.lr * (1 + math.cos(math.pi * (step - self.warmup_steps) / left)) / 2
