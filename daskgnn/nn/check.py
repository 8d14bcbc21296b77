"""Check that a model can be trained, with reproducible results."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from daskgnn.errors import ModelError
from daskgnn.kernels.aggregate import AGGREGATIONS
from daskgnn.nn.batchnorm import is_pooled

if TYPE_CHECKING:
    from collections.abc import Iterator

_ADVICE = "use daskgnn.nn.Dropout, or pass deterministic=False"


def _draws(module: nn.Module) -> bool:
    """Return whether `module` draws from torch's generator while training."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.MultiheadAttention):
        return module.dropout > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    drawing = (nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)
    return isinstance(module, drawing)


def _uses_batch(module: nn.Module) -> bool:
    """Return whether `module` has statistics that cannot be pooled over parts."""
    if is_pooled(module):
        return False
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return True
    tracks = getattr(module, "track_running_stats", False)
    return isinstance(module, nn.modules.batchnorm._NormBase) and bool(tracks)


def _named(name: str, module: nn.Module) -> str:
    kind = type(module).__name__
    return f"module {name!r} ({kind})" if name else f"the model ({kind})"


def _check_form(model: nn.Module) -> None:
    """Raise if `model` lacks what every model needs."""
    if not isinstance(model, nn.Module):
        kind = type(model).__name__
        raise ModelError(f"model is of type {kind}, expected a torch.nn.Module")
    num_layers = getattr(model, "num_layers", 1)
    if not isinstance(num_layers, int) or num_layers < 1:
        raise ModelError(
            f"num_layers of {type(model).__name__} is {num_layers!r}, expected the "
            "number of blocks it takes, as in self.num_layers = 2"
        )
    first = getattr(model, "first_aggregation", None)
    if first is not None and first not in AGGREGATIONS:
        raise ModelError(
            f"first_aggregation is {first!r}, expected None or one of "
            f"{', '.join(AGGREGATIONS)}"
        )


def _check_parameters(model: nn.Module) -> None:
    """Raise if parameters cannot be one flat float32 vector."""
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ModelError(
                f"parameter {name!r} has no shape yet: give the lazy module its "
                "in_channels"
            )
        if parameter.device.type != "cpu":
            raise ModelError(
                f"parameter {name!r} is on {parameter.device}, and daskgnn computes on "
                "CPUs: call model.cpu()"
            )
        if parameter.dtype != torch.float32:
            raise ModelError(
                f"parameter {name!r} is {parameter.dtype}, expected torch.float32: "
                "call model.float()"
            )


def check_model(model: nn.Module, deterministic: bool = True) -> None:
    """Check that a model can be trained, with reproducible results.

    Parameters
    ----------
    model : torch.nn.Module
        A module with ``forward(x, blocks)`` and optionally ``num_layers``.
    deterministic : bool, default True
        Whether to refuse modules that draw from torch's random generator, and modules
        with statistics of the batch that cannot be pooled over parts, as those of
        ``torch.nn.BatchNorm1d`` are.

    Raises
    ------
    ModelError
        If it cannot: the message names the module and what to use instead.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.nn import GraphSAGE, check_model
    >>> check_model(GraphSAGE(64, 128, 10, dropout=0.5))
    >>> check_model(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8)))
    >>> check_model(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.5)))
    Traceback (most recent call last):
        ...
    daskgnn.errors.ModelError: module '1' (Dropout) draws from torch's generator, ...
    """
    _check_form(model)
    _check_parameters(model)
    if not any(p.requires_grad for p in model.parameters()):
        raise ModelError(f"{type(model).__name__} has no parameters to train")
    if not deterministic:
        return
    for name, module in model.named_modules():
        if _draws(module):
            raise ModelError(
                f"{_named(name, module)} draws from torch's generator, so a step that "
                f"runs again differs: {_ADVICE}"
            )
        if _uses_batch(module):
            raise ModelError(
                f"{_named(name, module)} has statistics of the batch that cannot be "
                "pooled over parts, as running_mean and running_var of "
                "torch.nn.BatchNorm1d are: use that, or torch.nn.LayerNorm"
            )


@contextmanager
def pure_step(model: nn.Module, deterministic: bool = True) -> Iterator[None]:
    """Check that a model's step changes no buffer and draws no random numbers.

    This finds what `check_model` cannot see, such as a call of
    ``torch.nn.functional.dropout``. Torch's CPU generator belongs to the whole process,
    so nothing else may draw from it meanwhile.

    Parameters
    ----------
    model : torch.nn.Module
        The model that is called inside the ``with`` statement.
    deterministic : bool, default True
        Whether to refuse random numbers as well.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    ModelError
        When the ``with`` statement ends: the message names `daskgnn.nn.Dropout`, or the
        buffer that has changed.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.nn import pure_step
    >>> model = torch.nn.Linear(2, 2)
    >>> with pure_step(model):
    ...     h = torch.nn.functional.dropout(model(torch.ones(1, 2)))
    Traceback (most recent call last):
        ...
    daskgnn.errors.ModelError: Linear drew from torch's generator: ...
    """
    before = torch.get_rng_state()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    yield
    kind = type(model).__name__
    if deterministic and not torch.equal(before, torch.get_rng_state()):
        raise ModelError(f"{kind} drew from torch's generator: {_ADVICE}")
    for name, buffer in model.named_buffers():
        if name not in buffers or not torch.equal(buffer, buffers[name]):
            raise ModelError(
                f"buffer {name!r} of {kind} changed in training, and what parts write "
                "there is not brought together: make it a parameter, or leave it as "
                "it is; of buffers, those of torch.nn.BatchNorm1d are state"
            )
