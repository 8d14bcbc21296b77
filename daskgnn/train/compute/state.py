"""The state of training between tasks: flat vectors and named arrays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from daskgnn.nn.batchnorm import BatchNorms
from daskgnn.nn.device import CPU

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.dataflow.steps.clock import Works


_BY_PART = "by_part/"
_CARRIED = (
    "accumulated",
    "damping",
    "given",
    "past",
    "past_statistics",
    "scaling",
    "statistics",
)
"""Arrays of a state that it may have, and keeps from step to step."""


class StepReport(NamedTuple):
    """What is told of a step beside the state after it."""

    loss: float
    finished: float
    """When it was done, seconds since the epoch."""
    work: Works
    """Where its time went, as far as it was on its way to the state."""
    dense_bytes: int
    """Of all parts' gradients, as they were."""
    sent_bytes: int
    """Of what was sent of them."""


@dataclass(frozen=True)
class Weights:
    """What a model computes with."""

    parameters: np.ndarray
    """float32 [n], all parameters in `model.parameters()` order."""
    statistics: np.ndarray | None = None
    """float64 [b], the running statistics of batch normalisations, if it has any."""

    def digest(self) -> str:
        """Return the SHA-256 of parameters and statistics."""
        if self.statistics is None:
            return hash_parameters(self.parameters)
        both = self.parameters.astype("<f4").tobytes()
        return hashlib.sha256(
            both + self.statistics.astype("<f8").tobytes()
        ).hexdigest()


@dataclass(frozen=True)
class TrainState:
    """Parameters and optimizer after some steps of a run."""

    parameters: np.ndarray
    """float32 [n], all parameters in `model.parameters()` order."""
    optimizer: dict[str, np.ndarray]
    """The optimizer's state: see `export_optimizer`."""
    step: int = 0
    """Steps done since the run began."""
    accumulated: np.ndarray | None = None
    """float32 [n], of steps whose update is still to come."""
    given: np.ndarray | None = None
    """bool, a parameter: which have a gradient in `accumulated`; None: all have."""
    past: np.ndarray | None = None
    """float32 [s, n], parameters before each of the last s updates, oldest first, where
    gradients may be stale."""
    past_statistics: np.ndarray | None = None
    """float64 [s, b], the running statistics at those times."""
    statistics: np.ndarray | None = None
    """float64 [b], the running statistics of batch normalisations, if there are any."""
    sums: np.ndarray | None = None
    """float64 [k, s], with local steps: what a part has to add to the statistics of
    each step since the last average."""
    by_part: dict[str, np.ndarray] = field(default_factory=dict)
    """[P, ...] by name: what parts keep for themselves between steps."""
    scaling: np.ndarray | None = None
    """float64 [2], in float16: what losses are multiplied by, and for how long."""
    damping: np.ndarray | None = None
    """float64 [2], where late gradients' learning rates follow the loss: see `Damping`.
    """
    reports: tuple[StepReport, ...] = ()
    """Of the steps done since the window began."""
    late: tuple[int, ...] = ()
    """Staleness of each update since the window began, where they are applied as they
    come."""

    @classmethod
    def begun(cls, weights: Weights) -> TrainState:
        """Return the state of a run that begins with some weights."""
        return cls(weights.parameters, {}, statistics=weights.statistics)

    @property
    def weights(self) -> Weights:
        """What the model computes with."""
        return Weights(self.parameters, self.statistics)

    @property
    def losses(self) -> tuple[float, ...]:
        """Losses of the steps done since the window began."""
        return tuple(step.loss for step in self.reports)

    def past_weights(self) -> list[Weights]:
        """Return the weights before each of the last updates, oldest first."""
        if self.past is None:
            return []
        if self.past_statistics is None:
            return [Weights(parameters) for parameters in self.past]
        pairs = zip(self.past, self.past_statistics, strict=True)
        return [Weights(*pair) for pair in pairs]

    def with_past(self, past: Sequence[Weights]) -> TrainState:
        """Return the state with what `past_weights` returned."""
        if not past:
            return self
        statistics = [w.statistics for w in past if w.statistics is not None]
        return replace(
            self,
            past=np.stack([w.parameters for w in past]),
            past_statistics=np.stack(statistics) if statistics else None,
        )

    def cleared(self) -> TrainState:
        """Return the state without the window's reports."""
        return replace(self, reports=(), late=())

    def continues(self, other: TrainState) -> bool:
        """Return whether this is another state but for its reports: the same arrays."""
        mine, theirs = vars(self.cleared()), vars(other.cleared())
        return all(value is theirs[name] for name, value in mine.items())

    def carried(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint keeps beside parameters and optimizer."""
        arrays = {name: getattr(self, name) for name in _CARRIED}
        found = {name: array for name, array in arrays.items() if array is not None}
        return found | {f"{_BY_PART}{n}": array for n, array in self.by_part.items()}

    def with_carried(self, arrays: dict[str, np.ndarray]) -> TrainState:
        """Return the state with what `carried` returned."""
        own: dict[str, Any] = {name: arrays.get(name) for name in _CARRIED}
        return replace(self, by_part=named(arrays, _BY_PART), **own)

    def begun_with(self, weights: Weights) -> TrainState:
        """Return the state with other weights, without what is left of those before."""
        nothing = {name: None for name in _CARRIED if name != "scaling"}
        both: dict[str, Any] = nothing | vars(weights)
        return replace(self, by_part={}, **both)


def named(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose names begin so, without that."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def flatten(tensors: Sequence[torch.Tensor]) -> np.ndarray:
    """Return float32 [n], the tensors' entries one after another."""
    flat = [CPU.array(t.detach().to(torch.float32).reshape(-1)) for t in tensors]
    return np.concatenate(flat) if flat else np.empty(0, np.float32)


def weights_of(model: torch.nn.Module) -> Weights:
    """Return a copy of what a model computes with."""
    parameters = flatten(list(model.parameters()))
    return Weights(parameters, BatchNorms(model).read())


def write_weights(model: torch.nn.Module, weights: Weights) -> None:
    """Have a model compute with some weights."""
    place, flat = 0, weights.parameters
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(CPU.copy(flat[place : place + p.numel()]).view(p.shape))
            place += p.numel()
    BatchNorms(model).write(weights.statistics)


def hash_parameters(parameters: np.ndarray) -> str:
    """Return the SHA-256 of the little-endian float32 bytes."""
    return hashlib.sha256(parameters.astype("<f4").tobytes()).hexdigest()


def export_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Sequence[torch.Tensor]
) -> dict[str, np.ndarray]:
    """Return an optimizer's state as named arrays.

    An entry that every parameter has in its own shape (a moment) becomes one flat
    vector under its name; anything else one array a parameter, ``name.index``.
    """
    states = [optimizer.state.get(p, {}) for p in parameters]
    names = sorted({name for state in states for name in state})
    out: dict[str, np.ndarray] = {}
    for name in names:
        values = [state.get(name) for state in states]
        if _is_flat(values, parameters):
            out[name] = flatten([v for v in values if v is not None])
            continue
        for i, value in enumerate(values):
            if value is not None:
                out[f"{name}.{i}"] = _to_array(value)
    return out


def import_optimizer(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[torch.Tensor],
    arrays: dict[str, np.ndarray],
) -> None:
    """Give `optimizer` the state that `export_optimizer` returned."""
    for name, array in arrays.items():
        entry, _, index = name.rpartition(".")
        if index.isdigit() and entry:
            optimizer.state[parameters[int(index)]][entry] = _from_array(array)
            continue
        place = 0
        for p in parameters:
            piece = array[place : place + p.numel()]
            optimizer.state[p][name] = CPU.copy(piece).view(p.shape)
            place += p.numel()


def _is_flat(values: list[Any], parameters: Sequence[torch.Tensor]) -> bool:
    return all(
        isinstance(v, torch.Tensor)
        and v.shape == p.shape
        and v.dtype == torch.float32
        and v.dim() > 0
        for v, p in zip(values, parameters, strict=True)
    )


def _to_array(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        return np.array(CPU.array(value))
    # Python numbers come back as such: kept apart by one more dimension.
    return np.array([value])


def _from_array(array: np.ndarray) -> Any:
    if array.shape == (1,) and array.dtype in (np.float64, np.int64, np.bool_):
        return array[0].item()
    return CPU.copy(array)
