"""A model as its name and arguments, made again where it is needed."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from daskgnn.vision.models.published import make_model

if TYPE_CHECKING:
    from daskgnn.vision.models.vig import ImageModel

LOCK = threading.Lock()
"""Held while the model of `shared_model` is used."""


@dataclass(frozen=True)
class ModelSpec:
    """Which model it is."""

    name: str
    options: str
    """Its arguments, as JSON."""

    @classmethod
    def of(cls, name: str, options: dict[str, Any]) -> ModelSpec:
        """Return the description of a model."""
        return cls(name, json.dumps(options, sort_keys=True))

    def make(self, seed: int = 0) -> ImageModel:
        """Return the model with the weights that belong to a seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make_model(self.name, **json.loads(self.options))

    def num_layers(self) -> int:
        """Return the number of layers, without making weights."""
        with torch.device("meta"):
            return len(make_model(self.name, **json.loads(self.options)))


@lru_cache(maxsize=1)
def shared_model(spec: ModelSpec) -> ImageModel:
    """Return this process's copy of a model, for evaluation."""
    return spec.make().eval()
