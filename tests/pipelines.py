"""Models, batches and facts that the tests of pipelines share."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from daskgnn.pipeline import Pipeline

CLASSES, ROWS = 5, 22


class Slow(nn.Module):
    """Takes its time, and gives what it was given."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def forward(self, x):
        time.sleep(self.seconds)
        return x


def model(norm="batch", dtype=torch.float32, slow=0.0):
    """Return a small model of five layers, one of which writes to its input."""
    torch.manual_seed(0)
    norms = {"batch": nn.BatchNorm2d, "group": lambda width: nn.GroupNorm(2, width)}
    layers = [
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), norms[norm](8), nn.GELU()),
        nn.Sequential(nn.Conv2d(8, 8, 1, groups=4), norms[norm](8)),
        nn.Sequential(nn.ReLU(inplace=True), Slow(slow)),
        nn.Sequential(nn.Dropout(0.2), nn.Conv2d(8, 4, 1)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)),
    ]
    return nn.Sequential(*layers).to(dtype)


def batch(step=0, dtype=np.float32):
    """Return the rows of a step: micro-batches of them are not equally large."""
    rng = np.random.default_rng(step)
    x = rng.normal(size=(ROWS, 3, 6, 6)).astype(dtype)
    return x, rng.integers(0, CLASSES, ROWS)


def pipeline(client=None, norm="batch", slow=0.0, **options):
    options = {"micro_batches": 4, "lr": 0.01, "client": client, **options}
    return Pipeline(model(norm, slow=slow), functional.cross_entropy, **options)


def trained(steps=3, **options):
    """Return the facts that must not depend on schedules, forms and workers."""
    run = pipeline(**options)
    losses = [run.step(*batch(step)).loss for step in range(steps)]
    facts = run.params_sha256, losses, run.predict(batch()[0]).tobytes()
    run.close()
    return facts
