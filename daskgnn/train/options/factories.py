"""Types of the functions that options take."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import torch

OptimizerFactory: TypeAlias = (
    "Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]"
)
"""Makes an optimizer of parameters."""
SchedulerFactory: TypeAlias = "Callable[[torch.optim.Optimizer], Any]"
"""Makes a learning rate scheduler of an optimizer."""
