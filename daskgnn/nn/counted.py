"""Dropout of samples' channels or branches, drawn by counters.

`daskgnn.nn.Dropout` draws for the nodes of a block. Here a batch is of samples, such as
images, each with an id: what is dropped of one is a hash of the step's key, the
module's number, the id and the channel. It does not depend on the worker, the
micro-batch or its size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from daskgnn.errors import ModelError
from daskgnn.kernels import dropout as kernels
from daskgnn.kernels.aggregate import frozen
from daskgnn.nn.device import CPU


@dataclass(frozen=True)
class Draws:
    """Of which step and samples the rows of a batch are.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn.nn import Draws
    >>> Draws(key=7, ids=np.array([10, 11])).key
    7
    """

    key: int
    """The step's key: a number of 64 bits."""
    ids: np.ndarray
    """int64 [n], of the samples, in the order of the batch."""


class CountedDropout(torch.nn.Module):
    """Base of modules that draw by a probability and their own number."""

    number: int
    """Number of this module in its model: those with other numbers draw differently."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            name = type(self).__name__
            raise ModelError(f"dropout is {p!r}, expected 0 to 1, as in {name}(0.5)")
        self.p = float(p)
        self.number = 0

    @property
    def active(self) -> bool:
        """Whether anything is dropped now: in training, unless `p` is 0.

        Returns
        -------
        bool
        """
        return self.training and self.p > 0

    def extra_repr(self) -> str:
        """Return the settings that ``print(model)`` shows.

        Returns
        -------
        str
            The probability and the module's number.
        """
        return f"p={self.p}, number={self.number}"


def number_modules(model: torch.nn.Module, kind: type[CountedDropout]) -> int:
    """Number the modules of a kind, in the order of ``model.modules()``; count them."""
    found = [module for module in model.modules() if isinstance(module, kind)]
    for number, module in enumerate(found):
        module.number = number
    return len(found)


class SampleDropout(CountedDropout):
    """Dropout of the channels of samples.

    `p` is rounded to a multiple of 1/65536, and what is kept is scaled accordingly.

    Parameters
    ----------
    p : float, default 0.5
        Probability of dropping a channel, 0 to 1.

    Raises
    ------
    ModelError
        If `p` is not in 0..1.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from daskgnn.nn import Draws, SampleDropout
    >>> dropout, x = SampleDropout(0.5), torch.ones(2, 64)
    >>> first = dropout(x, Draws(key=7, ids=np.array([10, 11])))
    >>> other = dropout(x, Draws(key=7, ids=np.array([11, 10])))  # in another order
    >>> torch.equal(other, first.flip(0))
    True
    """

    def forward(self, x: torch.Tensor, draws: Draws | None = None) -> torch.Tensor:
        """Drop channels, in training.

        Parameters
        ----------
        x : torch.Tensor
            [n, C, ...], a row for each sample.
        draws : Draws, optional
            Whose they are; needed in training, unless `p` is 0.

        Returns
        -------
        torch.Tensor
            Like `x`.

        Raises
        ------
        ModelError
            If `draws` is missing, or of another number of samples.
        """
        if not self.active:
            return x
        if draws is None or len(draws.ids) != len(x):
            known = 0 if draws is None else len(draws.ids)
            raise ModelError(
                f"{type(self).__name__} has {len(x)} samples and was given the ids of "
                f"{known}: call the model with draws=Draws(key, ids) in training"
            )
        channels = self._channels(x)
        mask = np.empty((len(x), channels), np.uint8)
        key = kernels.layer_key(draws.key, self.number)
        ids = frozen(draws.ids, np.int64)
        kernels.node_mask(ids, key, kernels.threshold_of(self.p), mask)
        kept = CPU.tensor(mask).to(x.device, x.dtype) * kernels.scale_of(self.p)
        return x * kept.view(len(x), channels, *[1] * (x.dim() - 2))

    def _channels(self, x: torch.Tensor) -> int:
        """Return how many are drawn for a sample."""
        return x.shape[1]


class DropPath(SampleDropout):
    """Dropout of a whole branch for a sample: stochastic depth.

    Of Huang et al., "Deep Networks with Stochastic Depth" (2016). It stands before the
    branch is added to what goes past it.

    Parameters
    ----------
    p : float, default 0.5
        Probability of dropping the branch, 0 to 1.

    Raises
    ------
    ModelError
        If `p` is not in 0..1.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from daskgnn.nn import DropPath, Draws
    >>> path, draws = DropPath(0.5), Draws(key=7, ids=np.arange(4))
    >>> path.active
    True
    >>> rows = path(torch.ones(4, 8), draws)
    >>> [len(set(row.tolist())) for row in rows]  # all of a sample, or nothing
    [1, 1, 1, 1]
    """

    def _channels(self, x: torch.Tensor) -> int:
        """Draw once for a sample."""
        return 1


def number_draws(model: torch.nn.Module) -> int:
    """Number the `SampleDropout` and `DropPath` modules of a model.

    Modules with different numbers draw differently. Number a model before it is cut
    into stages.

    Parameters
    ----------
    model : torch.nn.Module
        The model; its modules' `number` is set, in the order of ``model.modules()``.

    Returns
    -------
    int
        How many there are.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.nn import DropPath, number_draws
    >>> model = torch.nn.Sequential(DropPath(0.1), DropPath(0.2))
    >>> number_draws(model), model[1].number
    (2, 1)
    """
    return number_modules(model, SampleDropout)
