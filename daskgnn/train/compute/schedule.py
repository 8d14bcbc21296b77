"""Learning rates: computed by the driver, one set of options a step."""

from __future__ import annotations

import inspect
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch

from daskgnn.errors import ModelError, first_line
from daskgnn.train.compute.optimizers import (
    make_optimizer,
    optimizer_factory,
    take_step,
)
from daskgnn.train.compute.state import export_optimizer, import_optimizer

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from daskgnn.train.compute.gradients import UpdateOptions
    from daskgnn.train.options.option import OptimizerFactory, SchedulerFactory
    from daskgnn.train.options.options import TrainOptions

SCHEDULED = ("lr", "momentum", "betas")
"""Options of a parameter group that a scheduler may change."""


def optimizer_of(options: TrainOptions) -> OptimizerFactory:
    """Return the factory that a trainer's options mean."""
    named = options["optimizer"], options["lr"], options["weight_decay"]
    # Sparse features have many weights: several passes over them would take longer
    # than the products.
    return optimizer_factory(*named, fused=bool(options["sparse_features"]))


def check_optimizer(
    factory: OptimizerFactory, model: torch.nn.Module
) -> torch.optim.Optimizer:
    """Build the optimizer once and refuse what cannot travel between tasks.

    Returns
    -------
    torch.optim.Optimizer
        Over stand-ins of the model's parameters.

    Raises
    ------
    ModelError
        If it needs a closure or sparse gradients, or leaves parameters out.
    """
    stand_ins = [torch.nn.Parameter(p.detach().clone()) for p in model.parameters()]
    try:
        optimizer = make_optimizer(factory, stand_ins)
    except Exception as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise ModelError(f"the optimizer cannot be made: {said}") from error
    name = type(optimizer).__name__
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ModelError(
            f"optimizer returned {name}, expected an optimizer of torch.optim: "
            "optimizer=lambda parameters: torch.optim.Adam(parameters)"
        )
    step = inspect.signature(type(optimizer).step).parameters.get("closure")
    if step is not None and step.default is inspect.Parameter.empty:
        raise ModelError(f"optimizer {name} needs a closure: use e.g. optimizer='adam'")
    if name == "SparseAdam":
        raise ModelError(f"optimizer {name} needs sparse gradients: use 'adam'")
    return optimizer


def try_optimizer(factory: OptimizerFactory, model: torch.nn.Module) -> None:
    """Take a step from gradients of zeros, and carry the state to another optimizer.

    Raises
    ------
    ModelError
        If that fails, or the state is none that a checkpoint could hold.
    """
    first, second = (check_optimizer(factory, model) for _ in range(2))
    name = type(first).__name__
    try:
        with torch.random.fork_rng(devices=[]):
            arrays = export_optimizer(first, _stepped(first))
            _check_kinds(name, arrays)
            import_optimizer(second, _parameters_of(second), arrays)
            _stepped(second)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"optimizer {name} fails in its first steps ({type(error).__name__}: "
            f"{first_line(error)}), which are tried with gradients of zeros"
        ) from error


def _check_kinds(name: str, arrays: dict[str, np.ndarray]) -> None:
    """Refuse an optimizer whose state holds what is no number."""
    for entry, array in arrays.items():
        if array.dtype.kind not in "biuf":
            kept, _, _ = entry.rpartition(".")
            raise ModelError(
                f"optimizer {name} keeps {kept!r} of a parameter, which is a "
                f"{type(array.flat[0]).__name__}: expected tensors and numbers"
            )


def _parameters_of(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _stepped(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Return an optimizer's parameters after a step."""
    parameters = _parameters_of(optimizer)
    for p in parameters:
        p.grad = torch.zeros_like(p)
    take_step(optimizer)
    return parameters


def new_schedule(options: TrainOptions, model: torch.nn.Module) -> Schedule:
    """Return the schedule of a run that has not begun.

    Raises
    ------
    ModelError
        If the optimizer cannot be made or used.
    """
    optimizer = check_optimizer(optimizer_of(options), model)
    return Schedule(optimizer, options["lr_scheduler"], options["scheduler_interval"])


def try_schedule(
    options: TrainOptions,
    model: torch.nn.Module,
    so_far: Schedule,
    done: int,
    count: int,
) -> None:
    """Advance a copy of a schedule as often as a run will.

    Parameters
    ----------
    so_far : Schedule
        Where the run stands.
    done, count : int
        How often it has advanced, and will have in the end: after updates, or after
        epochs.

    Raises
    ------
    ModelError
        If it fails.
    """
    if so_far.scheduler is None:
        return
    schedule = new_schedule(options, model)
    schedule.load(so_far.state())
    each = "update" if schedule.interval == "step" else "epoch"
    for number in range(done + 1, count + 1):
        try:
            schedule.advance(0.0, 0.0)
        except Exception as error:
            raise ModelError(
                f"lr_scheduler {type(schedule.scheduler).__name__} fails after {each} "
                f"{number} of {count} ({first_line(error)}): make it for {count} "
                f"{each}s"
            ) from error


class Schedule:
    """The options of each step's update.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Only its groups are used; its parameters never change.
    factory : callable or None
        From an optimizer to any of `torch.optim.lr_scheduler`.
    interval : {"epoch", "step"}
        When the scheduler advances.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        factory: SchedulerFactory | None,
        interval: str = "epoch",
    ) -> None:
        self.optimizer = optimizer
        self.interval = interval
        self.scheduler = None if factory is None else _made(factory, optimizer)
        if self.scheduler is None:
            return
        if interval == "step" and self._is_plateau:
            raise ModelError(
                "lr_scheduler ReduceLROnPlateau needs a loss or a score, and there is "
                "one an epoch: use scheduler_interval='epoch'"
            )
        # Schedulers warn unless the optimizer has stepped before them.
        optimizer.step()

    @property
    def _is_plateau(self) -> bool:
        return isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)

    def options(self) -> list[dict[str, Any]]:
        """Return the current options, a dict a parameter group."""
        return [
            {name: group[name] for name in SCHEDULED if name in group}
            for group in self.optimizer.param_groups
        ]

    def window(self, uses: Iterable[UpdateOptions]) -> list[UpdateOptions]:
        """Return the next steps' options with their groups, and advance past them."""
        out = []
        for use in uses:
            out.append(use.slowed(self.options(), use.rate))
            if use.applies and self.interval == "step":
                self.advance(None, None)
        return out

    def end_epoch(self, metric: float | None, loss: float) -> None:
        """Advance at an epoch's end.

        A plateau scheduler sees the training loss (mode "min") or the validation
        score (mode "max"), and nothing in epochs without an evaluation.
        """
        if self.interval == "epoch":
            self.advance(metric, loss)

    def advance(self, metric: float | None, loss: float | None) -> None:
        """Advance by one update or epoch; of the latter the score and the loss."""
        if self.scheduler is None:
            return
        if not self._is_plateau:
            self.scheduler.step()
        elif self.scheduler.mode == "min":
            self.scheduler.step(loss)
        elif metric is not None:
            self.scheduler.step(metric)

    def describe(self) -> list[str]:
        """Return the optimizer's and scheduler's classes, and the first rates."""
        groups = self.optimizer.param_groups
        rates = [f"lr={g.get('initial_lr', g.get('lr'))}" for g in groups]
        decays = [f"weight_decay={g.get('weight_decay', 0)}" for g in groups]
        names = [type(self.optimizer).__name__]
        if self.scheduler is not None:
            names.append(type(self.scheduler).__name__)
        return [*names, *rates, *decays]

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, JSON-able."""
        scheduler = None if self.scheduler is None else _plain(self.scheduler)
        return {"scheduler": scheduler, "options": self.options()}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint's state."""
        if self.scheduler is not None and state["scheduler"] is not None:
            stored = state["scheduler"]
            self.scheduler.load_state_dict({k: _decode(v) for k, v in stored.items()})
        for group, options in zip(
            self.optimizer.param_groups, state["options"], strict=True
        ):
            for name, value in options.items():
                group[name] = tuple(value) if isinstance(value, list) else value


def _made(factory: SchedulerFactory, optimizer: torch.optim.Optimizer) -> Any:
    """Return a scheduler of an optimizer, or say in one line why there is none."""
    if not callable(factory):
        name = type(factory).__name__
        raise ModelError(
            f"lr_scheduler is a {name} of another optimizer, expected a function that "
            "makes one: lr_scheduler=lambda optimizer: "
            f"torch.optim.lr_scheduler.{name}(optimizer, ...)"
        )
    try:
        scheduler = factory(optimizer)
    except Exception as error:
        raise ModelError(
            f"lr_scheduler cannot be made of {type(optimizer).__name__} "
            f"({type(error).__name__}: {first_line(error)})"
        ) from error
    if not hasattr(scheduler, "step") or not hasattr(scheduler, "state_dict"):
        raise ModelError(
            f"lr_scheduler returned {type(scheduler).__name__}, expected one of "
            "torch.optim.lr_scheduler: lr_scheduler=lambda optimizer: "
            "torch.optim.lr_scheduler.StepLR(optimizer, 10)"
        )
    return scheduler


def _plain(scheduler: Any) -> dict[str, Any]:
    """Return a scheduler's state without what JSON cannot hold."""
    kinds = (int, float, str, bool, type(None), list, tuple, dict)
    state = scheduler.state_dict()
    return {k: _encode(v) for k, v in state.items() if isinstance(v, kinds)}


def _encode(value: Any) -> Any:
    """Write dictionaries as pairs: JSON would turn their keys into strings."""
    if isinstance(value, dict):
        return {"pairs": [[k, _encode(v)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_encode(v) for v in value]
    return value


def _decode(value: Any) -> Any:
    """Undo `_encode`; a Counter comes back as one (missing keys count 0)."""
    if isinstance(value, dict):
        pairs = {k: _decode(v) for k, v in value["pairs"]}
        counts = pairs and all(isinstance(k, int) for k in pairs)
        return Counter(pairs) if counts else pairs
    if isinstance(value, list):
        return [_decode(v) for v in value]
    return value
