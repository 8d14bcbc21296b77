"""Compression of parts' gradients, as a chain of steps needs it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.dataflow.shares import PartGradient
    from daskgnn.kernels.compress import Carried, Compression
    from daskgnn.train.program import Program
    from daskgnn.train.state import TrainState


@dataclass(frozen=True)
class GradientPacking:
    """A `daskgnn.dataflow.chain.Packing`: residuals belong to parts."""

    compression: Compression

    def begin(self, program: Program, state: TrainState, part: int) -> Carried:
        """Return what a part carries at a window's begin."""
        if not state.by_part:
            return self.compression.first(program.shapes)
        return {name: array[part] for name, array in state.by_part.items()}

    def pack(
        self, program: Program, share: PartGradient, carried: Carried
    ) -> tuple[PartGradient, Carried]:
        """Return a share with its gradient compressed, and what is carried on."""
        message, carried = self.compression.compress(
            share.gradient, carried, program.shapes
        )
        return replace(share, gradient=message, sent_bytes=message.nbytes), carried

    def keep(self, state: TrainState, carried: Sequence[Carried]) -> TrainState:
        """Return a state with what all parts carry, in order."""
        by_part = {name: np.stack([c[name] for c in carried]) for name in carried[0]}
        return replace(state, by_part=by_part)
