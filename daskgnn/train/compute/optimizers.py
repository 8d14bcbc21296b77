"""Optimizers by name, and made without what only torch's compiler needs."""

from __future__ import annotations

import inspect
import sys
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from daskgnn.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from daskgnn.train.options.option import OptimizerFactory

_SKIPPED = "__dynamo_disable"
_WHEN = "pre", "post"
_one_at_a_time = threading.RLock()


def optimizer_factory(
    optimizer: str | OptimizerFactory,
    lr: float,
    weight_decay: float,
    *,
    fused: bool = False,
) -> OptimizerFactory:
    """Return a factory for a name ("adam", "adamw", "sgd", ...) or for a factory.

    With `fused`, an optimizer that is named takes a step in one pass if torch has it:
    results differ by rounding.

    Raises
    ------
    ModelError
        If `torch.optim` has no such optimizer.
    """
    if callable(optimizer):
        return optimizer
    names = {
        name.lower(): cls
        for name, cls in vars(torch.optim).items()
        if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer)
    }
    names.pop("optimizer", None)
    cls = names.get(str(optimizer).lower())
    if cls is None:
        raise ModelError(
            f"optimizer={optimizer!r} is not in torch.optim, expected one of "
            f"{', '.join(sorted(names))}, or a function of a list of parameters"
        )
    given: dict[str, Any] = {"lr": lr}
    if weight_decay:
        if "weight_decay" not in inspect.signature(cls).parameters:
            raise ModelError(
                f"optimizer={cls.__name__!r} takes no weight_decay: use "
                "weight_decay=0 or another optimizer"
            )
        given["weight_decay"] = weight_decay
    if fused and _is_fused(cls):
        given["fused"] = True
    return partial(cls, **given)


def _is_fused(cls: Any) -> bool:
    """Return whether this torch can take an optimizer's step in one pass."""
    if "fused" not in inspect.signature(cls).parameters:
        return False
    try:
        make_optimizer(partial(cls, fused=True), [torch.nn.Parameter(torch.zeros(1))])
    except (RuntimeError, ValueError):  # of torch before 2.4, on CPUs
        return False
    return True


def make_optimizer(
    factory: OptimizerFactory, parameters: list[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """Call a factory, without importing torch's compiler, which takes a second."""
    with _one_at_a_time, _without_compiler():
        return factory(parameters)


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Have optimizers made without the import of torch's compiler.

    Torch imports it at the first call of a method, to have it skip that method, and
    remembers the outcome in an attribute. Where another torch has no such attribute,
    the compiler is imported.
    """
    method = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    if "torch._dynamo" in sys.modules or hasattr(method, _SKIPPED):
        yield
        return
    setattr(method, _SKIPPED, method)
    try:
        yield
    finally:
        delattr(method, _SKIPPED)


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """Take a step as `optimizer.step()` does, if it can be without torch's compiler.

    What torch wraps around the step of its own optimizers imports the compiler, and
    does nothing else outside of compiled programs than calling hooks and switching
    gradients off.
    """
    step = inspect.unwrap(type(optimizer).step)
    if not _is_bare(optimizer, step):
        optimizer.step()
        return
    with torch.no_grad():
        step(optimizer)


def _is_bare(optimizer: torch.optim.Optimizer, step: Callable[..., Any]) -> bool:
    """Return whether a step is torch's own function, with no hook beside it."""
    of_all = vars(sys.modules[torch.optim.Optimizer.__module__])
    of_one = vars(optimizer)
    hooks = [of_all.get(f"_global_optimizer_{when}_hooks") for when in _WHEN]
    hooks += [of_one.get(f"_optimizer_step_{when}_hooks") for when in _WHEN]
    return (
        step.__module__.startswith("torch.optim.")
        and "step" not in of_one
        and not optimizer.defaults.get("differentiable")
        and not any(hooks)
    )
