"""Warn, in one line, of features that are large, and of a loss that multiplies."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from daskgnn.errors import DaskGNNError
from daskgnn.kernels.features import dense

if TYPE_CHECKING:
    from daskgnn.graph.graph import Graph
    from daskgnn.train.options.options import TrainOptions

STEPS = 50
"""The first steps of a run, which are looked at."""
TIMES = 3.0
"""By how much a loss multiplies before it is worth a warning."""
_LARGE_NORM = 4.0
"""Of a feature row, from which on scaling is suggested where the loss multiplies."""
_LARGE_ENTRY = 10.0
"""The same of entries, as their root mean square, where nothing has happened yet."""
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
        rows = _some_rows(self.graph, self.options)
        norm = _median_norm(rows)
        if norm > _LARGE_NORM:
            return (
                f"rows of features have norms of about {norm:.3g}, "
                f"{_remedy(rows)}, or lower lr"
            )
        return (
            f"lower lr={self.options['lr']:g}, or raise "
            f"warmup_steps={self.options['warmup_steps']}"
        )


def warn_of_large_features(graph: Graph, options: TrainOptions) -> None:
    """Warn where entries of features are far from 1, as initial weights expect them."""
    rows = _some_rows(graph, options)
    norm = _median_norm(rows)
    if norm > _LARGE_ENTRY * rows.shape[1] ** 0.5:
        warnings.warn(
            f"rows of features have norms of about {norm:.3g}, which slows training "
            f"down or prevents it: {_remedy(rows)}",
            stacklevel=5,
        )


def _some_rows(graph: Graph, options: TrainOptions) -> np.ndarray:
    """Return the first feature rows; none if they are scaled, or are out of reach."""
    none = np.zeros((0, graph.num_features), np.float32)
    if options["normalize_features"]:
        return none
    try:
        features = graph.source.load_features(0, min(_SAMPLE, graph.num_nodes))
    except (DaskGNNError, OSError):  # who needs them says so
        return none
    return np.asarray(dense(features))


def _median_norm(rows: np.ndarray) -> float:
    """Return the median Euclidean norm of some feature rows."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    return float(np.median(norms)) if len(norms) else 0.0


def _remedy(rows: np.ndarray) -> str:
    """Return how to scale features; sums of signed rows are no scale."""
    if rows.shape[1] > 1 and (rows >= 0).all():
        return "scale them with normalize_features=True"
    return "scale columns before the graph is built, as in (x - x.mean(0)) / x.std(0)"
