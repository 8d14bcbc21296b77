"""Warn, in one line, of a run whose loss multiplies in its first steps."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.features import dense

if TYPE_CHECKING:
    from daskgnn.graph.graph import Graph
    from daskgnn.train.options.options import TrainOptions

STEPS = 50
"""The first steps of a run, which are looked at."""
TIMES = 3.0
"""By how much a loss multiplies before it is worth a warning."""
_LARGE_NORM = 4.0
"""Of a feature row, from which on scaling is suggested."""
_SAMPLE = 256
"""Rows whose norms are looked at."""


@dataclass
class FirstLosses:
    """The losses of a run's first steps."""

    graph: Graph
    options: TrainOptions
    first: float | None = None
    """Of the run's first step, if this process has seen it."""

    def look(self, step: int, loss: float) -> None:
        """Warn once if the loss is several times that of the first step."""
        if step == 0:
            self.first = loss
        if self.first is None or step >= STEPS or loss <= TIMES * abs(self.first):
            return
        warnings.warn(
            f"the loss rose from {self.first:.3g} to {loss:.3g} in {step} steps: "
            f"{self._advice()}",
            stacklevel=2,
        )
        self.first = None

    def _advice(self) -> str:
        norm = 0.0 if self.options["normalize_features"] else row_norm(self.graph)
        if norm > _LARGE_NORM:
            return (
                f"rows of features have norms of about {norm:.3g}, scale them with "
                "normalize_features=True, or lower lr"
            )
        return (
            f"lower lr={self.options['lr']:g}, or raise "
            f"warmup_steps={self.options['warmup_steps']}"
        )


def row_norm(graph: Graph) -> float:
    """Return the median Euclidean norm of some feature rows."""
    features: Any = graph.features
    rows = dense(features[:_SAMPLE].compute(scheduler="synchronous"))
    return float(np.median(np.linalg.norm(rows, axis=1)))
