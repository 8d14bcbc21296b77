"""Losses that sum over seeds, so that parts add up to the global batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from daskgnn.graph.graph import Graph

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs [n, C], labels [n] or [n, C]) -> sum over the n seeds, a scalar"""


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the summed cross entropy of class labels, int64 [n]."""
    return functional.cross_entropy(outputs, labels, reduction="sum")


def binary_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return, summed over seeds, the mean over their given labels (not NaN)."""
    given = ~torch.isnan(labels)
    target = torch.where(given, labels, torch.zeros_like(labels))
    each = functional.binary_cross_entropy_with_logits(
        outputs, target, reduction="none"
    )
    count = given.sum(dim=1).clamp(min=1)
    return ((each * given).sum(dim=1) / count).sum()


def loss_of(given: Loss | None, graph: Graph) -> Loss:
    """Return the loss that is given, or the one for a graph's labels."""
    if given is not None:
        return given
    return binary_cross_entropy if graph.multilabel else cross_entropy


def describe_function(function: Any) -> str:
    """Return the name that tells a function, or a callable object's class, apart."""
    if isinstance(function, partial):
        return describe_function(function.func)
    return str(getattr(function, "__qualname__", type(function).__qualname__))
