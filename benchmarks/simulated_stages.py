"""Layers that sleep instead of computing: pipelines of more stages than cores."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from daskgnn.pipeline.schedules import Shape

FORWARD_SECONDS = 0.1
"""The backward pass takes twice as long, half of it for the parameters."""


class _Sleep(torch.autograd.Function):
    """Passes on what it is given, and sleeps on the way there and back."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, there: float, back: float) -> torch.Tensor:
        ctx.back = back
        time.sleep(there)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        time.sleep(ctx.back)
        return gradient, None, None


class SleepingLayer(torch.nn.Module):
    """A layer with one parameter, whose gradient takes as long as the input's."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.scale = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = _Sleep.apply(self.scale, 0.0, self.seconds)
        return _Sleep.apply(x, self.seconds, self.seconds) + scale


def sleeping_model(
    stages: int, workers: int, seconds: float
) -> tuple[torch.nn.Sequential, dict[str, int], dict[str, float]]:
    """Return a model of so many stages, its device map, and durations by kind.

    The first stage has a layer more, which does nothing: else nobody would need the
    gradient by its input.
    """
    sleeping = [SleepingLayer(seconds) for _ in range(stages)]
    devices = [
        i * workers // stages if stages < workers else i % workers
        for i in range(stages)
    ]
    where = {f"layer.{i}": d for i, d in enumerate([devices[0], *devices])}
    model = torch.nn.Sequential(SleepingLayer(0.0), *sleeping)
    return model, where, {"F": seconds, "B": seconds, "W": seconds}


def sleeping_seconds(shape: Shape, durations: dict[str, float]) -> dict[str, float]:
    """Return durations by kind: B is both gradients where it is not split."""
    if shape.splits:
        return durations
    return {"F": durations["F"], "B": durations["B"] + durations["W"]}
